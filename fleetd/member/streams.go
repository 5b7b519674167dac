package member

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A member hears of the others on streams: connections that it has made itself, on
// which they send something every two seconds at least. etcd means to give one up
// after five seconds of silence; but in 3.7 the time-outs of its peers' transport are
// set where net/http doesn't look for them. Behind a network that was cut and has
// healed, it would sit on dead connections until a kernel tries one again: up to half
// a minute, for which its host stays without etcd. So we end them here.

const (
	// silence is for how long a stream is silent that is dead: longer than etcd's own
	// time-out, which may come back.
	silence = 6 * time.Second
	// smallRequest is more than it takes to ask for a stream. Who has sent more is
	// sending messages or a snapshot, and may wait for the answer.
	smallRequest = 8 << 10
)

// endDead ends dead streams until ctx ends. served are the ports that this process
// serves: what came to them isn't a stream of ours.
func (r *runner) endDead(ctx context.Context, served []int) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, to := range endSilent(served, silence) {
			r.Log.Infof("nothing was heard from %s for %s: connecting anew", to, silence)
		}
	}
}

// servedPorts are the ports that etcd serves by these settings.
func (s Settings) servedPorts() (ports []int) {
	for _, u := range slices.Concat(s.ListenPeerURLs, s.ListenClientURLs) {
		if port, err := strconv.Atoi(u.Port()); err == nil {
			ports = append(ports, port)
		}
	}
	return ports
}

// endSilent ends this process's connections to others that have asked little, were
// answered, and are silent for too long. It gives their addresses.
func endSilent(served []int, silence time.Duration) (ended []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || !strings.HasPrefix(link, "socket:") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// One's own name for it: the number may be another connection's a moment later.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if to := silent(own, served, silence); to != "" && unix.Shutdown(own, unix.SHUT_RDWR) == nil {
			ended = append(ended, to)
		}
		_ = unix.Close(own)
	}
	return ended
}

// silent gives the address of a connection's other side if it is a stream that is
// dead, else "".
func silent(fd int, served []int, silence time.Duration) (to string) {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	from, port := address(local)
	if port == 0 || slices.Contains(served, port) {
		return ""
	}
	remote, err := unix.Getpeername(fd)
	if err != nil {
		return ""
	}
	addr, port := address(remote)
	if addr.Addr() == from.Addr() && slices.Contains(served, port) {
		return "" // this process itself: its JSON gateway, in which somebody may wait
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	const established = 1 // TCP_ESTABLISHED
	if err != nil || info.State != established || info.Bytes_received == 0 || info.Bytes_sent > smallRequest {
		return ""
	}
	if time.Duration(info.Last_data_recv)*time.Millisecond < silence || time.Duration(info.Last_data_sent)*time.Millisecond < silence {
		return ""
	}
	return addr.String()
}

// address gives a socket's address, and its port; 0 if it isn't one of IP.
func address(sa unix.Sockaddr) (at netip.AddrPort, port int) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), sa.Port
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), sa.Port
	}
	return netip.AddrPort{}, 0
}
