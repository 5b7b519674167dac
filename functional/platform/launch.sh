# Runs one host's systemd-nspawn. It starts in mount and network namespaces
# of its own, and waits, by reading the archive below, until the network
# namespace has been given its interface.
set -e
mount -t overlay overlay -o "$OVERLAY" "$ROOT"

# What the host has of its own, unpacked with the host's own symlinks followed
# (/lib is one). At a later boot the archive is empty.
chroot "$ROOT" /bin/sh -e -c '
	umask 022
	tar --extract --file=- --directory=/ --keep-directory-symlink --numeric-owner --preserve-permissions
	printf "%s" "$PEERS" | while read -r line; do
		grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts
	done
	[ -e /etc/ssh/ssh_host_ed25519_key ] ||
		ssh-keygen -q -t ed25519 -N "" -C "$HOST" -f /etc/ssh/ssh_host_ed25519_key
'
ip address add "$ADDRESS" dev host0
ip link set host0 up
ip route add default via "$GATEWAY"

# nspawn leaves directories and locks in there: keep them to ourselves.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn

# Docker in the host needs its cgroups and sysctls writable and the keyring
# calls allowed. Hosts share the machine's clock: they must not set it.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
set -- systemd-nspawn --quiet --boot --register=no --keep-unit --notify-ready=yes \
	--directory="$ROOT" --machine="$HOST" --settings=no --resolv-conf=off --timezone=off --link-journal=no \
	--capability=all --drop-capability=CAP_SYS_TIME \
	--system-call-filter="add_key keyctl bpf @keyring @privileged" "$@"

# nspawn divides its cgroup and wants a clean one each time. It ends with 133 for
# a reboot, leaving that to the service manager that it believes it has.
while :; do
	find "$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
	mkdir -p "$CGROUP"
	code=0
	sh -c 'echo $$ >"$CGROUP/cgroup.procs" && exec "$@"' nspawn "$@" </dev/null || code=$?
	[ $code = 133 ] || exit $code
done
