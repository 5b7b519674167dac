# Removes one platform, named by the variables above. Each line is fine with
# what it removes being gone already.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The owner, its reaper and a later process may all be at it.
{ command exec 9<"$dir"; } 2>/dev/null || exit 0
flock 9
[ -d "$dir" ] || exit 0

# One write kills every process of every host, frozen ones too.
if [ -e "$cgroup/cgroup.kill" ]; then
	echo 1 >"$cgroup/cgroup.kill"
	tries=0
	while [ -d "$cgroup" ] && [ $tries -lt 200 ]; do
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
		[ -d "$cgroup" ] || break
		tries=$((tries + 1))
		sleep 0.05
	done
	rmdir "$(dirname "$cgroup")" 2>/dev/null # the last platform takes it along
fi
if [ -n "$twin" ] && [ -d "$twin" ]; then
	find "$twin" -depth -type d -exec rmdir {} + 2>/dev/null
	rmdir "$(dirname "$twin")" 2>/dev/null
fi

# Once the bridge is gone, another platform may have its name at any moment.
ours() { [ "$(cat "/sys/class/net/$bridge/address" 2>/dev/null)" = "$mac" ]; }
if ours; then
	nft delete table ip "$bridge" 2>/dev/null
	if command -v iptables >/dev/null; then
		# shellcheck disable=SC2086 # words of a rule
		iptables -w -D FORWARD $forward 2>/dev/null
	fi
	# A link goes with its namespace, but that may take minutes: the kernel keeps
	# it as long as a closed connection in it has something to say.
	for link in /sys/class/net/"$links"*; do
		[ -e "$link" ] && ip link delete "$(basename "$link")" 2>/dev/null
	done
	ip link delete "$bridge"
fi

if mountpoint -q "$data"; then
	umount "$data" || umount -l "$data"
fi
rm -rf --one-file-system "$data" "$dir"

# What is left has to be named: nobody will look for it later.
left=
[ -d "$cgroup" ] && left="$left $cgroup"
[ -n "$twin" ] && [ -d "$twin" ] && left="$left $twin"
ours && left="$left link:$bridge"
[ -e "$data" ] && left="$left $data"
[ -e "$dir" ] && left="$left $dir"
[ -z "$left" ] || { echo "could not be removed:$left" >&2; exit 1; }
