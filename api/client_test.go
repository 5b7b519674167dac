package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const web = "# a comment\n[Service]\nExecStart=/bin/web\n"

func newClient(t *testing.T, opts api.ClientOptions) *api.Client {
	t.Helper()
	c, err := api.NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient(t *testing.T) {
	cluster := servertest.New(t)
	const id = "11111111111111111111111111111111"
	cluster.SetMachine(machine.Machine{ID: id, IP: "10.0.0.1", Manager: machine.Manager{Scope: "user", Systemctl: []string{"systemctl", "--user"}}})
	c := newClient(t, api.ClientOptions{Endpoint: cluster.Serve(t, server.Options{}), Timeout: 3 * time.Second})
	ctx := t.Context()

	if _, err := c.Unit(ctx, "web.service"); !api.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	stored, err := c.SetUnit(ctx, api.Unit{Name: "web.service", Text: web, DesiredState: unit.TargetLaunched})
	if !stored || err != nil {
		t.Fatal(stored, err)
	}
	if stored, err := c.SetUnit(ctx, api.Unit{Name: "web.service", DesiredState: unit.TargetLaunched}); stored || err != nil {
		t.Fatal(stored, err)
	}
	u, err := c.Unit(ctx, "web.service")
	if err != nil || u.Text != web || u.CurrentState != unit.TargetLaunched || u.MachineID != id {
		t.Errorf("%+v %v", u, err)
	}
	states, err := c.States(ctx, api.StateFilter{Unit: "web.service", Machine: id})
	if err != nil || len(states) != 1 || states[0].SystemdSubState != "running" {
		t.Errorf("%+v %v", states, err)
	}
	machines, err := c.Machines(ctx)
	if err != nil || len(machines) != 1 || machines[0].Manager.Systemctl[1] != "--user" {
		t.Errorf("%+v %v", machines, err)
	}
	x, err := c.Explain(ctx, "web.service")
	if err != nil || !x.Fits || len(x.Placed) != 1 {
		t.Errorf("%+v %v", x, err)
	}
	if r, err := c.RestartUnit(ctx, "web.service"); r.Restart != 1 || err != nil {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := c.RestartUnitOn(ctx, "web.service", id); r.Restart != 2 || err != nil {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := c.RestartUnitOn(ctx, "web.service", "nobody"); !api.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	var refused *api.Error
	_, err = c.SetUnit(ctx, api.Unit{Name: "bad.service", Text: "[X-Fleet]\nNonsense=1\n", DesiredState: unit.TargetInactive})
	if !errors.As(err, &refused) || refused.Code != 400 || len(refused.Problems) != 1 || refused.Problems[0].Line != 2 {
		t.Errorf("%+v", err)
	}
	if err := c.DestroyUnit(ctx, "web.service"); err != nil {
		t.Error(err)
	}
	if err := c.DestroyUnit(ctx, "web.service"); !api.IsNotFound(err) {
		t.Error(err)
	}
}

func TestListsFollowPages(t *testing.T) {
	cluster := servertest.New(t)
	c := newClient(t, api.ClientOptions{Endpoint: cluster.Serve(t, server.Options{})})
	const n = 2345
	for i := range n {
		if _, _, err := cluster.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%04d.service", i)), []byte(web), unit.TargetInactive); err != nil {
			t.Fatal(err)
		}
	}
	units, err := c.Units(t.Context())
	if err != nil || len(units) != n || units[n-1].Name != "u2344.service" {
		t.Errorf("%d units, %v", len(units), err)
	}
}

func TestUnreachable(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	silent, err := net.Listen("unix", filepath.Join(dir, "silent"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dead, err := net.Listen("unix", filepath.Join(dir, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	for endpoint, words := range map[string][]string{
		"unix://" + dir + "/none":   {"fleetd isn't running there", "systemctl start fleet", "--endpoint", "fleetd dev"},
		"unix://" + dir + "/dead":   {"fleetd isn't running there"},
		"unix://" + dir + "/silent": {"no answer in time", "systemctl status fleet", "--request-timeout"},
		"http://127.0.0.1:1":        {"nothing listens there", "127.0.0.1:1"},
	} {
		limit := time.Minute // that nothing but the silent one comes near
		if strings.HasSuffix(endpoint, "/silent") {
			limit = 100 * time.Millisecond
		}
		c := newClient(t, api.ClientOptions{Endpoint: endpoint, Timeout: limit})
		_, err := c.Machines(t.Context())
		watched := c.Watch(t.Context(), []unit.Name{"a.service"}, func(api.Event) error { return nil })
		for _, err := range []error{err, watched} {
			var unreachable *api.UnreachableError
			if !errors.As(err, &unreachable) {
				t.Fatalf("%s: %v", endpoint, err)
			}
			for _, w := range append(words, endpoint) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %v doesn't say %q", endpoint, err, w)
				}
			}
		}
	}
	for _, bad := range []string{"", "fleet.sock", "unix://relative", "ftp://x", "http://", "://"} {
		if _, err := api.NewClient(api.ClientOptions{Endpoint: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A fleetd that was started a moment ago makes its socket in a moment.
func TestSocketThatAppears(t *testing.T) {
	t.Run("within the time of a request", func(t *testing.T) { socketAppears(t, 5*time.Second) })
	t.Run("without a limit", func(t *testing.T) { socketAppears(t, 0) })
}

func socketAppears(t *testing.T, timeout time.Duration) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "late")
	refused := make(chan struct{}, 100)
	c, err := api.NewClient(api.ClientOptions{Endpoint: "unix://" + path, Timeout: timeout,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				refused <- struct{}{}
			}
			return conn, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"machines": []}`) }))
	s.Listener.Close()
	started := make(chan error)
	go func() {
		<-refused
		l, err := net.Listen("unix", path)
		if err == nil {
			s.Listener = l
			s.Start()
		}
		started <- err
	}()
	if _, err := c.Machines(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// A fleetd that is not ready is asked again; one that stays so is told of.
func TestNotReady(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":{"code":503,"message":"etcd is still booting"}}`)
			return
		}
		fmt.Fprint(w, `{"machines":[]}`)
	}))
	defer s.Close()
	c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 5 * time.Second})
	if _, err := c.Machines(t.Context()); err != nil {
		t.Error(err)
	}
	asked.Store(-1000)
	c = newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 2 * time.Second})
	if _, err := c.Machines(t.Context()); err == nil || !strings.Contains(err.Error(), "still booting") {
		t.Error(err)
	}
}

// A fleetd that is restarted ends connections without an answer; its successor
// answers. What may be done twice is sent again, and no more often than a few times.
func TestConnectionEndsBeforeTheAnswer(t *testing.T) {
	tests := map[string]struct {
		ends int32 // requests that are not answered
		do   func(context.Context, *api.Client) error
		code int // of the answer
		asks int32
		fine bool
	}{
		"once": {1, func(ctx context.Context, c *api.Client) error {
			_, err := c.SetUnit(ctx, api.Unit{Name: "a.service", DesiredState: unit.TargetLoaded})
			return err
		}, 204, 2, true},
		"destroyed by the request that was not answered": {1, func(ctx context.Context, c *api.Client) error {
			return c.DestroyUnit(ctx, "a.service")
		}, 404, 2, true},
		"no such unit": {0, func(ctx context.Context, c *api.Client) error { return c.DestroyUnit(ctx, "a.service") }, 404, 1, false},
		"always": {100, func(ctx context.Context, c *api.Client) error {
			_, err := c.Machines(ctx)
			return err
		}, 200, 3, false},
		"a restart, which would be one more": {1, func(ctx context.Context, c *api.Client) error {
			_, err := c.RestartUnit(ctx, "a.service")
			return err
		}, 202, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Server", "fleetd/2.0.0")
				if asked.Add(1) <= tt.ends {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(tt.code)
			}))
			defer s.Close()
			err := tt.do(t.Context(), newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 10 * time.Second}))
			if (err == nil) != tt.fine || asked.Load() != tt.asks {
				t.Errorf("asked %d times, want %d; %v", asked.Load(), tt.asks, err)
			}
		})
	}
}

// A fleetd that said why it can't answer, and then takes too long to say it
// again, is quoted.
func TestNotReadyThenSilent(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"error":{"code":503,"message":"etcd is still booting"}}`)
	}))
	defer s.Close()
	c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: 3 * time.Second})
	if _, err := c.Machines(t.Context()); err == nil || !strings.Contains(err.Error(), "still booting") {
		t.Error(err)
	}
}

// An answer of something that isn't fleetd is an error that says its status.
func TestForeignAnswers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "<html>welcome</html>")
			return
		}
		http.Error(w, "<html>no</html>", http.StatusBadGateway)
	}))
	defer s.Close()
	c := newClient(t, api.ClientOptions{Endpoint: s.URL, Timeout: time.Second})
	if _, err := c.Units(t.Context()); err == nil || !strings.Contains(err.Error(), s.URL) {
		t.Error(err)
	}
	if err := c.DestroyUnit(t.Context(), "a.service"); err == nil || !strings.Contains(err.Error(), "502 Bad Gateway") {
		t.Error(err)
	}
}

// A watch outlives its connection: it says so, and tells all anew.
func TestWatchConnectsAgain(t *testing.T) {
	cluster := servertest.New(t)
	var conns atomic.Pointer[net.Conn]
	socket := strings.TrimPrefix(cluster.Serve(t, server.Options{}), "unix://")
	c := newClient(t, api.ClientOptions{Endpoint: "unix://" + socket, Timeout: time.Second, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		conns.Store(&conn)
		return conn, err
	}})
	enough := errors.New("enough")
	var told []string
	err := c.Watch(t.Context(), []unit.Name{"a.service"}, func(e api.Event) error {
		switch {
		case e.Status != nil:
			told = append(told, "status")
			if len(told) > 1 {
				return enough
			}
			(*conns.Load()).Close()
		case e.Trouble != "":
			told = append(told, "trouble")
		case e.Recovered:
			told = append(told, "recovered")
		}
		return nil
	})
	if got := strings.Join(told, " "); got != "status trouble recovered status" || !errors.Is(err, enough) {
		t.Errorf("%s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Watch(ctx, []unit.Name{"a.service"}, func(api.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.Watch(t.Context(), []unit.Name{"bad"}, nil); err == nil || !strings.Contains(err.Error(), "unit name") {
		t.Error(err)
	}
}
