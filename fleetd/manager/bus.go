package manager

import (
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

// dial connects to systemd itself rather than to a bus: it authenticates, but
// says no Hello.
func dial(ctx context.Context, address string) (*dbus.Conn, error) {
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth(nil); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// ping asks whether a systemd answers.
func ping(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
		CallWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0).Err
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
