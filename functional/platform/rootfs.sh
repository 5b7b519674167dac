# Finishes the hosts' root filesystem; mmdebstrap runs it with the root's path.
set -e
root=$1

# The user that CoreOS hosts have. It lingers: its `systemd --user` starts at boot.
chroot "$root" useradd --uid 1000 --user-group --create-home --shell /bin/bash --groups docker,sudo core
echo '%sudo ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/sudo-group"
chmod 0440 "$root/etc/sudoers.d/sudo-group"
mkdir -p "$root/var/lib/systemd/linger"
touch "$root/var/lib/systemd/linger/core"

# Nothing that delays a boot, or that wakes up in the middle of a test.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer systemd-pstore.service console-getty.service getty@.service \
	getty-static.service systemd-networkd-wait-online.service systemd-update-utmp-runlevel.service \
	dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
	systemd-modules-load.service modprobe@.service; do
	ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done

# Docker starts where the host's spec asks for it: see Boot. There it counts as
# started at once, so that boot need not wait for it: its socket is open before,
# and a client that comes early waits there until dockerd answers.
for unit in docker.service containerd.service; do
	chroot "$root" systemctl --quiet disable "$unit"
	mkdir -p "$root/etc/systemd/system/$unit.d"
	printf '[Service]\nType=exec\n' >"$root/etc/systemd/system/$unit.d/10-fast-boot.conf"
done
chroot "$root" systemctl --quiet disable docker.socket

# The journal outlives the host, for whoever has to find out why it died.
mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=500M\nRateLimitIntervalSec=0\n' \
	>"$root/etc/systemd/journald.conf.d/platform.conf"

# One key type, generated at a host's first boot; no DNS to wait for.
rm -f "$root"/etc/ssh/ssh_host_*
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nPermitRootLogin prohibit-password\n' \
	>"$root/etc/ssh/sshd_config.d/platform.conf"

# These are every host's own, or come from the machine it was built on.
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf"
rm -f "$root/etc/hostname" "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/man "$root"/usr/share/locale
