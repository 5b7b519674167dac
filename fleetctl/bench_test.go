package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
)

// BenchmarkList is a list of 50,000 units on 1,000 machines, from the command
// line to its last row; the server is in the same process.
func BenchmarkList(b *testing.B) {
	c := servertest.New(b)
	c.Fill(servertest.Large(1000, 50, 1000))
	endpoint := c.Serve(b, server.Options{})
	for _, args := range []string{"list-units", "list-unit-files", "list-machines", "list-units -o json"} {
		b.Run(strings.ReplaceAll(args, " ", ""), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var problems bytes.Buffer
				var rows counter
				cl := &cli{stdin: strings.NewReader(""), stdout: &rows, stderr: &problems}
				if code := cl.run(append([]string{"--endpoint", endpoint}, strings.Fields(args)...)); code != 0 {
					b.Fatal(problems.String())
				}
				if rows < 1000 {
					b.Fatalf("%d lines", rows)
				}
			}
		})
	}
}

// counter counts lines.
type counter int

var _ io.Writer = (*counter)(nil)

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(bytes.Count(p, []byte("\n")))
	return len(p), nil
}
