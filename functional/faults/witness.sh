#!/bin/bash
# witness UNIT STOP [LIFE]: writes this run's life down, on this host's disk, until
# it is told to stop, which takes STOP seconds, or crashes after LIFE seconds.
# Each line is a word and the machine's uptime, which no fault changes.
dir=/var/lib/witness/$1
[ -d "$dir" ] || mkdir -p "$dir"
exec >>"$dir/$INVOCATION_ID" || exit

say() {
	read -r now _ </proc/uptime
	echo "$1 $now" "${@:2}"
}

# Waits without starting a process: nothing ever comes from there.
exec 3<> <(:)
pause() { read -r -t 0.25 -u 3; }

stop() {
	trap '' TERM
	say stopping
	for ((beats = 0; beats < stop * 4; beats++)); do
		pause
		say alive
	done
	say stop
	exit 0
}
stop=$2 life=$3
trap stop TERM

read -r boot </proc/sys/kernel/random/boot_id
say start "$boot"
for ((beats = 0; ; beats++)); do
	pause
	say alive
	[ -z "$life" ] || ((beats < life * 4)) || kill -KILL $$
done
