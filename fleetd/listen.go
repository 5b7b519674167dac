package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// defaultSocket is where the API listens when systemd passes no socket.
const defaultSocket = "/var/run/fleet.sock"

// apiListeners gives the sockets that systemd passed, else the default one.
func apiListeners() ([]net.Listener, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets that systemd passed: %w", err)
	}
	var all []net.Listener
	for _, l := range passed {
		if l != nil { // nil: a socket of another kind
			all = append(all, l)
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	l, err := listenUnix(defaultSocket)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// listen takes unix:///PATH or http://HOST:PORT.
func listen(where string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(where, "unix://"); ok && filepath.IsAbs(path) {
		return listenUnix(path)
	}
	if addr, ok := strings.CutPrefix(where, "http://"); ok {
		l, err := net.Listen("tcp", strings.TrimSuffix(addr, "/"))
		if err != nil {
			return nil, fmt.Errorf("the API on %s: %w", where, err)
		}
		return l, nil
	}
	return nil, fmt.Errorf("--listen %s: write unix:///PATH or http://HOST:PORT", where)
}

// listenUnix makes the socket anew, with mode 0660: who may write to it may do
// all that fleet can. A socket on which somebody still answers is left alone.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("the API on %s: another fleetd answers there already; stop it, or choose another socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the API on %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("the API on %s: %w", path, err)
	}
	// Between listen and chmod nobody else may connect.
	old := syscall.Umask(0o117)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("the API on %s: %w", path, err)
	}
	return l, nil
}
