package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sync/errgroup"
)

// soon is when clients are cut off that are slow in the one way that a test is about.
// In all others a busy test machine may be slow itself.
const soon = 100 * time.Millisecond

// raw opens a connection to the server and sends bytes.
func raw(t *testing.T, socket, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestSlowClientsAreCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		request, answer string
		patience        server.Patience
	}{
		"nothing at all":                 {"", "", server.Patience{Header: soon}},
		"half of the headers":            {"GET /fleet/v1/units HTTP/1.1\r\nHost: f", "", server.Patience{Header: soon}},
		"half of a body":                 {"PUT /fleet/v1/units/a.service HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", "408 Request Timeout", server.Patience{Body: soon}},
		"half of a chunked body":         {"PATCH /fleet/v1/machines HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[", "408 Request Timeout", server.Patience{Body: soon}},
		"a body that nobody asked for":   {"GET /fleet/v1/units HTTP/1.1\r\nHost: f\r\nContent-Length: 100\r\n\r\n", "200 OK", server.Patience{Body: soon}},
		"a body that comes with a watch": {"GET /fleet/v1/watch?unit=a.service HTTP/1.1\r\nHost: f\r\nContent-Length: 100\r\n\r\n", "400 Bad Request", server.Patience{Body: soon}},
		"no second request":              {"GET /fleet/v1/units HTTP/1.1\r\nHost: f\r\n\r\n", "200 OK", server.Patience{Idle: soon}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := servertest.New(t)
			conn := raw(t, strings.TrimPrefix(c.Serve(t, server.Options{Patience: tt.patience}), "unix://"), tt.request)
			got, err := io.ReadAll(conn) // ends when the server closes
			if err != nil {
				t.Fatalf("not cut off: %v, after %q", err, got)
			}
			if status, _, _ := strings.Cut(string(got), "\r\n"); !strings.Contains(status, tt.answer) || (tt.answer == "") != (status == "") {
				t.Errorf("answered %q, want %q", status, tt.answer)
			}
			if len(c.View().Units) > 0 {
				t.Error("something was stored")
			}
		})
	}
}

// A client that asks for more than the socket holds and doesn't read it holds up
// nobody, and is cut off.
func TestSlowReadersHoldUpNobody(t *testing.T) {
	c := servertest.New(t)
	for i := range 3000 {
		id := machine.ID(fmt.Sprintf("%032x", i+1))
		c.SetMachine(machine.Machine{ID: id, IP: "10.0.0.1", Metadata: map[string]string{"filler": strings.Repeat("x", 500)}})
	}
	// The time for a body counts, too, and one does come here.
	opts := server.Options{Registry: c, Patience: server.Patience{Body: 10 * soon, Answer: soon}}
	l := listening(t)
	serveOn(t, server.New(opts), l)
	slow := raw(t, l.Addr().String(), "GET /fleet/v1/machines?limit=5000 HTTP/1.1\r\nHost: f\r\n\r\n")
	if status, err := bufio.NewReaderSize(slow, 16).ReadString('\n'); err != nil || !strings.Contains(status, "200") {
		t.Fatal(status, err)
	}
	cutOff := <-l.accepted
	// Its answer is under way, and more than fits. Others can still change
	// things, and see the change.
	f := &fixture{t: t, cluster: c, client: clientOf(t, l.Addr().String())}
	f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "inactive"}), "")
	f.want(200, "GET", "units/a.service", "", "")
	<-cutOff
	rest, err := io.ReadAll(slow)
	if err != nil || strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
		t.Errorf("the slow reader got all of it, %v", err)
	}
}

// A watcher that reads nothing is cut off too, once what it was told fills its
// socket.
func TestSlowWatchersAreCutOff(t *testing.T) {
	for _, path := range []string{"watch?unit=a.service", "units?watch=true"} {
		t.Run(path, func(t *testing.T) {
			c := servertest.New(t)
			c.SetMachine(machine.Machine{ID: node1, IP: "10.0.0.1"})
			opts := server.Options{Registry: c, Patience: server.Patience{Answer: soon}}
			l := listening(t)
			serveOn(t, server.New(opts), l)
			raw(t, l.Addr().String(), "GET /fleet/v1/"+path+" HTTP/1.1\r\nHost: f\r\n\r\n")
			cutOff := <-l.accepted
			f := &fixture{t: t, cluster: c, client: clientOf(t, l.Addr().String())}
			for i := 0; ; i++ {
				select {
				case <-cutOff:
					return
				default:
					text := fmt.Sprintf("[Unit]\nDescription=%d\n# %s\n", i, strings.Repeat("x", 1000))
					f.want(201, "PUT", "units/a.service", body(m{"text": text, "desiredState": "launched"}), "")
				}
			}
		})
	}
}

func TestWatchesAreBounded(t *testing.T) {
	c := servertest.New(t)
	socket := strings.TrimPrefix(c.Serve(t, server.Options{}), "unix://")
	f := &fixture{t: t, cluster: c, client: clientOf(t, socket)}
	var open []net.Conn
	for range server.MaxWatches {
		conn := raw(t, socket, "GET /fleet/v1/machines?watch=true HTTP/1.1\r\nHost: f\r\n\r\n")
		if status, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(status, "200") {
			t.Fatal(status, err)
		}
		open = append(open, conn)
	}
	f.want(503, "GET", "units?watch=true", "", "watches are open")
	f.want(503, "GET", "watch?unit=a.service", "", "watches are open")
	f.want(200, "GET", "units", "", "")
	open[0].Close()
	for { // until the server has noticed
		resp, err := f.client.Get("http://f/fleet/v1/units?watch=true")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
	}
}

// broken is a registry with a mistake in it.
type broken struct{ *servertest.Cluster }

func (b broken) Revision(context.Context) (int64, error) { panic("a mistake") }

func (b broken) RestartUnit(context.Context, unit.Name) (int64, error) { panic("a mistake") }

func (b broken) DestroyUnit(context.Context, unit.Name) (int64, error) { panic("a mistake") }

func TestPanicIsAnAnswer(t *testing.T) {
	log, seen := logtest.NewNullLogger()
	c := servertest.New(t)
	s := server.New(server.Options{Registry: broken{c}, Log: logrus.NewEntry(log)})
	l := listening(t)
	serveOn(t, s, l)
	f := &fixture{t: t, cluster: c, client: clientOf(t, l.Addr().String())}
	for range 2 {
		f.want(500, "GET", "units", "", "error in fleetd itself")
	}
	if e := seen.LastEntry(); e == nil || !strings.Contains(e.Message, "a mistake") || !strings.Contains(e.Message, "serve_test.go") {
		t.Errorf("logged %+v, without the mistake or where it is", e)
	}
}

// Half an answer must not look whole.
func TestPanicAmidAnAnswerCutsItOff(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "up 1\n")
		panic("a mistake")
	})
	log, _ := logtest.NewNullLogger()
	s := server.New(server.Options{Registry: servertest.New(t), Metrics: metrics, Log: logrus.NewEntry(log)})
	l := listening(t)
	serveOn(t, s, l)
	resp, err := clientOf(t, l.Addr().String()).Get("http://f/metrics")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
}

// listener tells what becomes of its connections: of each, in order, a channel
// that is closed when the server closes it.
type listener struct {
	net.Listener
	accepted chan chan struct{}
}

type connection struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func listening(t *testing.T) *listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return &listener{Listener: l, accepted: make(chan chan struct{}, 10)}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	select {
	case l.accepted <- closed:
	default: // nobody wants to know of so many
	}
	return &connection{Conn: c, closed: closed}, nil
}

func (c *connection) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// serveOn runs a server until the test ends.
func serveOn(t *testing.T, s *server.Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return s.Serve(ctx, l) })
	running.Go(func() error { _ = s.Run(ctx); return nil }) // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func clientOf(t testing.TB, socket string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ahead is a registry whose writes this fleetd is not going to see.
type ahead struct{ *servertest.Cluster }

func (a ahead) RestartUnit(ctx context.Context, name unit.Name) (int64, error) {
	rev, err := a.Cluster.RestartUnit(ctx, name)
	return rev + 1000, err
}

// Who is told that fleetd can't answer must know whether to ask again.
func TestWriteThatIsNotSeen(t *testing.T) {
	t.Parallel()
	cluster, l := servertest.New(t), listening(t)
	serveOn(t, server.New(server.Options{Registry: ahead{cluster}}), l)
	f := &fixture{t: t, cluster: cluster, client: clientOf(t, l.Addr().String())}
	f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "inactive"}), "")
	f.want(503, "POST", "units/a.service/restart", "", "the change was made, but fleetd cannot answer now: this fleetd is still catching up with etcd")
}
