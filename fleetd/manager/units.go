package manager

import (
	"os"
	"path/filepath"
	"strings"
)

// ownUnits are all the units that a private manager knows at first. It does
// not read the machine's own in /lib/systemd/system and /etc/systemd/system:
// `Requires=docker.service` would start a second docker beside the one that
// runs there.
//
// @DIR@ is the private manager's directory, @LIB@ where systemd's binaries are.
var ownUnits = map[string]string{
	// What we boot into. lift comes last: see boot.
	bootTarget: `[Unit]
Description=Private systemd of fleetd dev
DefaultDependencies=no
Wants=systemd-journald.service fleet-dev-bus.socket fleet-dev-lift.service
After=systemd-journald.service fleet-dev-bus.socket fleet-dev-lift.service
`,
	"fleet-dev-lift.service": `[Unit]
Description=Take away what protected the machine while systemd started
DefaultDependencies=no
After=systemd-journald.service
[Service]
Type=oneshot
# Lazily: systemd has files open in there.
ExecStart=umount --lazy /proc/sys
ExecStart=-umount --lazy /dev/kmsg
`,

	// systemd talks only to peers whose PID it can see, and fleetd's isn't in
	// this namespace. The socket is root's because the proxy is root to systemd.
	"fleet-dev-bus.socket": `[Unit]
Description=D-Bus socket for fleetd, outside
DefaultDependencies=no
[Socket]
ListenStream=@DIR@/bus
SocketMode=0600
`,
	"fleet-dev-bus.service": `[Unit]
Description=D-Bus proxy for fleetd, outside
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
ExecStart=@LIB@/systemd-socket-proxyd --connections-max=1024 /run/systemd/private
`,

	// journald's names are known to systemd: it logs to the kernel unless
	// exactly these are up. They don't conflict with shutdown.target, so that
	// the last words of units are kept. There is no /dev/log: it would be the
	// machine's.
	"systemd-journald.socket": `[Unit]
Description=Journal sockets
DefaultDependencies=no
IgnoreOnIsolate=yes
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
ListenDatagram=/run/systemd/journal/dev-log
SocketMode=0666
PassCredentials=yes
ReceiveBuffer=8M
Timestamping=us
`,
	"systemd-journald.service": `[Unit]
Description=Journal
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
IgnoreOnIsolate=yes
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=@LIB@/systemd-journald
Restart=always
RestartSec=0
StandardOutput=null
FileDescriptorStoreMax=4224
LimitNOFILE=524288
OOMScoreAdjust=-250
`,

	// Units that run in docker ask for it by name, and on this machine it is
	// (or isn't) run by something else.
	"docker.service": `[Unit]
Description=Docker, run outside of this systemd
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'test -S /var/run/docker.sock || { echo "no docker on this machine: there is no /var/run/docker.sock" >&2; exit 1; }'
`,
}

// targets that units name in After=, Wants= and WantedBy=. Here the machine is
// up already, so there is nothing behind them.
var targets = []string{
	"sysinit", "basic", "shutdown", "multi-user", "graphical", "default", "sockets", "timers", "paths",
	"slices", "network-pre", "network", "network-online", "nss-lookup", "local-fs-pre", "local-fs",
	"remote-fs-pre", "remote-fs", "swap", "umount", "time-set", "time-sync", "getty", "rescue", "emergency",
}

// bootTarget is what a private manager boots into.
const bootTarget = "fleet-dev.target"

// journalConfig wins over the machine's own: ours is a journal for this
// manager's units, kept in its directory, whatever the machine's is.
const journalConfig = `[Journal]
Storage=volatile
RuntimeMaxUse=256M
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
`

// writeUnits makes the files that a private manager starts from. systemd sees
// run as /run/systemd.
func writeUnits(dir, run, lib string) error {
	files := map[string]string{"journald.conf.d/zz-fleet-dev.conf": journalConfig}
	for _, t := range targets {
		files["fleet-dev/"+t+".target"] = "[Unit]\nDescription=" + t + "\nDefaultDependencies=no\n"
	}
	// In a unit file, % starts a specifier.
	fill := strings.NewReplacer("@DIR@", strings.ReplaceAll(dir, "%", "%%"), "@LIB@", lib)
	for name, text := range ownUnits {
		files["fleet-dev/"+name] = fill.Replace(text)
	}
	for name, text := range files {
		path := filepath.Join(run, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
