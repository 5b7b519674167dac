package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"

	"github.com/spf13/cobra"
)

// fdForwardCommand is what fleet 1.0's fleetctl runs on a host to reach its
// fleetd's socket through SSH.
func (c *cli) fdForwardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "fd-forward SOCKET",
		Short:  "Connect standard input and output to a unix socket",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("fd-forward takes one argument, a socket's path")
			}
			conn, err := net.Dial("unix", strings.TrimPrefix(args[0], "unix://"))
			if errors.Is(err, fs.ErrPermission) {
				return failf("fd-forward: %v: that user may not (--ssh-username; SocketGroup= in fleet.socket)", err)
			} else if err != nil {
				return failf("fd-forward: %v", err)
			}
			defer conn.Close()
			stop := context.AfterFunc(cmd.Context(), func() { conn.Close() })
			defer stop()
			go func() { // ends with the process at the latest: a read of standard input can't be interrupted
				_, _ = io.Copy(conn, c.stdin) // what goes wrong shows in the answer
				if half, ok := conn.(*net.UnixConn); ok {
					_ = half.CloseWrite()
				}
			}()
			if _, err := io.Copy(c.stdout, conn); err != nil {
				return failf("fd-forward: %v", err)
			}
			return nil
		},
	}
}
