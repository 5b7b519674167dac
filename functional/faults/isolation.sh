#!/bin/bash
# isolated UNIT KIND: a witness, as witness.sh is, with a beat of 50 ms, for units
# that must never run twice. KIND says what becomes of it when it is told to stop:
#   quick   it ends at once
#   slow    it takes a minute, in which it lives
#   deaf    it hears nothing
#   parent  it ends at once, and leaves a child behind, which hears nothing
#   after   it is what runs after the main process has ended, for a minute
dir=/var/lib/witness/$1 kind=$2
[ -d "$dir" ] || mkdir -p "$dir"

say() {
	read -r now _ </proc/uptime
	echo "$1 $now" "${@:2}"
}

exec 3<> <(:)
live() { # BEATS: for so long, or for ever
	for ((beats = 0; $1 == 0 || beats < $1; beats++)); do
		read -r -t 0.05 -u 3
		say alive
	done
}

begin() {
	read -r boot </proc/sys/kernel/random/boot_id
	say start "$boot"
}

if [ "$kind" = child ]; then
	trap '' TERM
	exec >>"$dir/$INVOCATION_ID-child" || exit
	begin
	live 0
fi
if [ "$kind" = after ]; then
	trap '' TERM
	exec >>"$dir/$INVOCATION_ID-after" || exit
	begin
	live 1200
	say stop
	exit
fi
exec >>"$dir/$INVOCATION_ID" || exit
case $kind in
slow) trap 'trap "" TERM; live 1200; say stop; exit' TERM ;;
deaf) trap '' TERM ;;
parent) setsid "$0" "$1" child & ;&
*) trap 'say stop; exit' TERM ;;
esac
begin
live 0
