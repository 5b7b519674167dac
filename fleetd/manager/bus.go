package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// pingTimeout is how long systemd may take to answer while nothing is wrong:
// it answers in a millisecond, but a daemon-reload can hold it up for seconds.
const pingTimeout = 10 * time.Second

// busAddress is the D-Bus address of a socket. In an address every byte but a
// few is written as %xx.
func busAddress(path string) string {
	var b strings.Builder
	b.WriteString("unix:path=")
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_/.", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

const (
	systemdName = "org.freedesktop.systemd1"
	systemdPath = "/org/freedesktop/systemd1"
	pingMethod  = "org.freedesktop.DBus.Peer.Ping"
)

// dial connects to systemd itself rather than to a bus: it authenticates, but
// says no Hello. It returns when systemd has answered.
//
// systemd (252 at least) has a flaw here: what it reads
// together with the last line of authentication it keeps, but looks at only
// when more comes. Our first call can wait forever for its answer; over a
// proxy, or on a busy machine, most do. So we knock until it is answered: from
// then on the connection is as good as any.
func dial(ctx context.Context, address string) (_ *dbus.Conn, err error) {
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	// Auth takes no context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.Auth(nil); err != nil {
		return nil, cmp.Or(ctx.Err(), err)
	}
	systemd := conn.Object(systemdName, systemdPath)
	answer := systemd.GoWithContext(ctx, pingMethod, 0, make(chan *dbus.Call, 1)).Done
	knock := time.NewTicker(2 * time.Millisecond)
	defer knock.Stop()
	for {
		select {
		case call := <-answer:
			return conn, call.Err
		case <-knock.C:
			systemd.Go(pingMethod, dbus.FlagNoReplyExpected, nil)
		}
	}
}

// ping asks whether a systemd answers.
func ping(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := dial(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// nobodyListens tells "no systemd" from "a systemd that is in trouble".
func nobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrPermission)
}

// stopUnits stops every unit in the units' own order, as a shutdown does:
// whatever has default dependencies conflicts with shutdown.target.
// Irreversibly, so that nobody starts anything in between.
func stopUnits(ctx context.Context, address string) error {
	conn, err := systemd.NewConnection(func() (*dbus.Conn, error) { return dial(ctx, address) })
	if err != nil {
		return err
	}
	defer conn.Close()
	result := make(chan string, 1)
	if _, err := conn.StartUnitContext(ctx, "shutdown.target", "replace-irreversibly", result); err != nil {
		return err
	}
	select {
	case <-result:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
