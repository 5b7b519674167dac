package server_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
)

// Clients that ask for much and read nothing must not fill the memory, nor keep
// others from what is short.
func TestLongAnswersWithoutReadersAreBounded(t *testing.T) {
	c := servertest.New(t)
	long := "[Service]\nExecStart=/bin/sleep infinity\n" + strings.Repeat("Environment="+strings.Repeat("x", 1000)+"\n", 500)
	if _, _, err := c.SubmitUnit(t.Context(), "long.service", []byte(long), unit.TargetInactive); err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(c.Serve(t, server.Options{Unread: 1, Patience: server.Patience{Answer: time.Minute}}), "unix://")
	f := &fixture{t: t, cluster: c, client: clientOf(t, socket)}
	slow := bufio.NewReaderSize(raw(t, socket, "GET /fleet/v1/units/long.service HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n"), 16)
	if begun, err := slow.Peek(15); string(begun) != "HTTP/1.1 200 OK" {
		t.Fatalf("%q, %v", begun, err)
	}
	resp, body := f.do("GET", "units/long.service", "")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "slow clients") {
		t.Errorf("%s %v %.200s", resp.Status, resp.Header, body)
	}
	f.want(200, "GET", "machines", "", `"machines":`)
	f.want(200, "GET", "discovery", "", `"openapi"`)
	if answer, err := io.ReadAll(slow); err != nil || len(answer) < len(long) {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	f.want(200, "GET", "units/long.service", "", `"long.service"`)
}
