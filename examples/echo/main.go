// Command echo answers each line on port 50000 with the line itself. It is the
// service of make demo: small enough for an image FROM scratch.
package main

import (
	"context"
	"io"
	"log"
	"net"
	"os/signal"
	"syscall"
)

func main() {
	// As PID 1 of a container it gets no default handling of SIGTERM.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l, err := net.Listen("tcp", ":50000")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("echo: listening on %s", l.Addr())
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			if _, err := io.Copy(conn, conn); err != nil {
				log.Printf("echo: %s: %v", conn.RemoteAddr(), err)
			}
		}()
	}
}
