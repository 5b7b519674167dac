package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/server"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken stands before a service, and answers in its place as long as it likes.
type broken struct {
	http.Handler
	instead atomic.Pointer[http.HandlerFunc]
}

func (b *broken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if instead := b.instead.Load(); instead != nil {
		(*instead)(w, r)
		return
	}
	b.Handler.ServeHTTP(w, r)
}

// ours is our own service, at a URL for so many members.
func ours(t *testing.T, size int) (url string, b *broken) {
	t.Helper()
	store, err := server.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv, err := server.New(server.Options{Store: store, Poll: 50 * time.Millisecond, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	b = &broken{Handler: srv}
	h := httptest.NewServer(b)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		store.Close()
	})
	req := httptest.NewRequest("GET", fmt.Sprintf("/new?size=%d", size), nil)
	req.Host = strings.TrimPrefix(h.URL, "http://")
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, req)
	return w.Body.String(), b
}

func member(url string, n int) discovery.Options {
	return discovery.Options{
		URL: url, Name: fmt.Sprint("n", n), PeerURLs: []string{fmt.Sprintf("http://10.0.0.%d:2380", n)},
		Backoff: discovery.Backoff{First: time.Millisecond, Most: 10 * time.Millisecond},
	}
}

// join has hosts join at once, and gives what each was told.
func join(t *testing.T, hosts ...discovery.Options) ([]discovery.Cluster, []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	clusters, errs := make([]discovery.Cluster, len(hosts)), make([]error, len(hosts))
	var all sync.WaitGroup
	for i, h := range hosts {
		all.Go(func() { clusters[i], errs[i] = discovery.Join(ctx, h) })
	}
	all.Wait()
	return clusters, errs
}

// sameCluster checks that all were told of the same members, and returns them.
func sameCluster(t *testing.T, url string, clusters []discovery.Cluster, errs []error) string {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
		if clusters[i].Token != url || clusters[i].InitialCluster() != clusters[0].InitialCluster() {
			t.Fatalf("%+v, and %+v", clusters[0], clusters[i])
		}
	}
	return clusters[0].InitialCluster()
}

func TestThreeAndThenAFourth(t *testing.T) {
	url, _ := ours(t, 3)
	var mu sync.Mutex
	var said []string
	first := member(url, 1)
	first.Progress = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, text)
	}
	clusters, errs := join(t, first, member(url, 2), member(url, 3))
	initial := sameCluster(t, url, clusters, errs)
	parts := strings.Split(initial, ",")
	slices.Sort(parts)
	if got := strings.Join(parts, " "); got != "n1=http://10.0.0.1:2380 n2=http://10.0.0.2:2380 n3=http://10.0.0.3:2380" {
		t.Error(initial)
	}
	for _, text := range said {
		if !strings.Contains(text, "of 3 joined; waiting for") {
			t.Error(text)
		}
	}
	_, errs = join(t, member(url, 4))
	var full *discovery.FullError
	if !errors.As(errs[0], &full) || full.Cluster.InitialCluster() != initial || !strings.Contains(full.Error(), url) {
		t.Errorf("the fourth: %v", errs[0])
	}
}

func TestMembersLooksOn(t *testing.T) {
	url, _ := ours(t, 2)
	waits := make(chan string, 100)
	onlooker := discovery.Options{URL: url, Progress: func(text string) { waits <- text }}
	seen := make(chan discovery.Cluster, 1)
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		c, err := discovery.Members(t.Context(), onlooker)
		if err != nil {
			t.Error(err)
		}
		seen <- c
	})
	if text := <-waits; text != "0 of 2 joined; waiting for 2 more" {
		t.Error(text)
	}
	clusters, errs := join(t, member(url, 1), member(url, 2))
	sameCluster(t, url, append(clusters, <-seen), errs)
}

// Two hosts come at once for the last place: one gets it, one is told that it is full.
func TestTwoForOnePlace(t *testing.T) {
	url, _ := ours(t, 1)
	_, errs := join(t, member(url, 1), member(url, 2))
	full, good := 0, 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if errors.As(err, new(*discovery.FullError)) {
			full++
		}
	}
	if good != 1 || full != 1 {
		t.Error(errs)
	}
}

// A host that is cut off while it waits comes again, and has its place.
func TestCrashedWhileWaiting(t *testing.T) {
	url, _ := ours(t, 2)
	ctx, crash := context.WithCancel(t.Context())
	first := member(url, 1)
	first.Progress = func(string) { crash() }
	if _, err := discovery.Join(ctx, first); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), url) {
		t.Fatal(err)
	}
	registered := false
	again := member(url, 1)
	again.BeforeRegister = func() error { registered = true; return nil }
	clusters, errs := join(t, again, member(url, 2))
	if got := sameCluster(t, url, clusters, errs); got != "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380" {
		t.Error(got)
	}
	if registered {
		t.Error("it registered twice")
	}
}

// A member of a complete cluster that knows nothing of it has lost its data; one
// that noted that it registered was only cut off before it began.
func TestLostDataIsToldFromCutOff(t *testing.T) {
	url, _ := ours(t, 1)
	noted := 0
	me := member(url, 1)
	me.BeforeRegister = func() error { noted++; return nil }
	clusters, errs := join(t, me)
	sameCluster(t, url, clusters, errs)
	if _, errs = join(t, me); !errors.Is(errs[0], discovery.ErrDataLost) || noted != 1 {
		t.Errorf("lost data: %v, noted %d times", errs[0], noted)
	}
	me.Resume = true
	clusters, errs = join(t, me)
	sameCluster(t, url, clusters, errs)
	twin := member(url, 1)
	twin.Name = "other"
	if _, errs = join(t, twin); !errors.Is(errs[0], discovery.ErrDuplicate) {
		t.Errorf("a twin: %v", errs[0])
	}
}

// Who has another's name or one of its addresses is told so, and is not registered.
func TestRefused(t *testing.T) {
	url, _ := ours(t, 2)
	ctx, end := context.WithCancel(t.Context())
	first := member(url, 1)
	first.PeerURLs = []string{"http://10.0.0.1:2380", "http://10.0.1.1:2380"}
	first.Progress = func(string) { end() }
	if _, err := discovery.Join(ctx, first); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	named, there := member(url, 2), member(url, 3)
	named.Name = "n1"
	there.PeerURLs = []string{"http://10.0.1.1:2380"}
	for _, tc := range []struct {
		name string
		opts discovery.Options
		says string
	}{{"a name", named, "the name n1 is member"}, {"an address", there, "the peer URL http://10.0.1.1:2380 is member"}} {
		if _, errs := join(t, tc.opts); !errors.Is(errs[0], discovery.ErrRefused) || !strings.Contains(errs[0].Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, errs[0])
		}
	}
	first.Progress = nil
	clusters, errs := join(t, first, member(url, 2))
	sameCluster(t, url, clusters, errs)
}

func TestNoteThatFailsEndsIt(t *testing.T) {
	url, _ := ours(t, 1)
	me, full := member(url, 1), errors.New("disk full")
	me.BeforeRegister = func() error { return full }
	if _, errs := join(t, me); !errors.Is(errs[0], full) {
		t.Error(errs[0])
	}
	clusters, errs := join(t, member(url, 2)) // the place is free still
	sameCluster(t, url, clusters, errs)
}

// The answer to the registration is lost: the next try is refused, for the first came through.
func TestLostAnswer(t *testing.T) {
	url, b := ours(t, 1)
	lost := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.Handler.ServeHTTP(httptest.NewRecorder(), r)
		b.instead.Store(nil)
		panic(http.ErrAbortHandler)
	})
	me := member(url, 1)
	me.BeforeRegister = func() error { b.instead.Store(&lost); return nil }
	clusters, errs := join(t, me)
	sameCluster(t, url, clusters, errs)
}

func TestServiceThatIsDownForAWhile(t *testing.T) {
	url, b := ours(t, 1)
	fails := 3
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if fails--; fails == 0 {
			b.instead.Store(nil)
		}
		http.Error(w, "backend fetch failed", http.StatusServiceUnavailable)
	})
	b.instead.Store(&down)
	me := member(url, 1)
	said := ""
	me.Progress = func(text string) { said += text + "\n" }
	clusters, errs := join(t, me)
	sameCluster(t, url, clusters, errs)
	if strings.Count(said, "backend fetch failed") != 1 || !strings.Contains(said, url) {
		t.Errorf("said %q", said)
	}
}

// The URL is etcd's cluster token: hosts that were given it in other words would
// each start in a cluster that the others aren't in, and never get out of that.
func TestURLInOtherWords(t *testing.T) {
	url, _ := ours(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits, ended := make(chan struct{}), make(chan error)
	first := member(url, 1)
	first.Progress = func(string) { close(waits) }
	go func() {
		_, err := discovery.Join(ctx, first)
		ended <- err
	}()
	<-waits
	other := member(url+"/", 2)
	other.BeforeRegister = func() error { t.Error("it registers"); return nil }
	if _, errs := join(t, other); !errors.Is(errs[0], discovery.ErrSpelling) || !strings.Contains(errs[0].Error(), "n1=http://10.0.0.1:2380") {
		t.Errorf("with a slash at the end: %v", errs[0])
	}
	if _, errs := join(t, member(url, 2)); errs[0] != nil {
		t.Errorf("corrected: %v", errs[0])
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, errs := join(t, member(url+"/", 3)); !errors.As(errs[0], new(*discovery.FullError)) {
		t.Errorf("to be a proxy, the other words do: %v", errs[0])
	}
}

// Both register at once: they see it when it is too late for this URL.
func TestURLInOtherWordsAtOnce(t *testing.T) {
	url, _ := ours(t, 2)
	var looked sync.WaitGroup
	looked.Add(2)
	one, two := member(url, 1), member(url+"/", 2)
	for _, o := range []*discovery.Options{&one, &two} {
		o.BeforeRegister = func() error { looked.Done(); looked.Wait(); return nil }
	}
	for _, err := range second(join(t, one, two)) {
		if !errors.Is(err, discovery.ErrSpelling) || !strings.Contains(err.Error(), "make a new one") {
			t.Errorf("%v", err)
		}
	}
}

func second(_ []discovery.Cluster, errs []error) []error { return errs }

func TestErrorsSayWhatToDo(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Please log in") }))
	defer page.Close()
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	url, _ := ours(t, 1)
	with := func(change func(*discovery.Options)) discovery.Options {
		o := member(url, 1)
		change(&o)
		return o
	}
	for _, tc := range []struct {
		name string
		opts discovery.Options
		says string
	}{
		{"a login page", member(page.URL+"/token", 1), "login page"},
		{"no such service", member(nothing.URL+"/token", 1), "is the URL right?"},
		{"an unknown token", member(strings.TrimRight(url, "0123456789abcdef")+strings.Repeat("0", 32), 1), "make a new one"},
		{"/new itself", member(url[:strings.LastIndex(url, "/")]+"/new", 1), "names no token"},
		{"no token", member("http://d.example.com/", 1), "names no token"},
		{"no scheme", member("d.example.com/token", 1), "it must be http://"},
		{"a query", member(url+"?size=3", 1), "nothing may follow"},
		{"no name", with(func(o *discovery.Options) { o.Name = "" }), "ETCD_NAME"},
		{"no peer URL", with(func(o *discovery.Options) { o.PeerURLs = nil }), "ETCD_INITIAL_ADVERTISE_PEER_URLS"},
		{"an empty address", with(func(o *discovery.Options) { o.PeerURLs = []string{"http://:2380"} }), "an address and a port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, errs := join(t, tc.opts)
			if errs[0] == nil || !strings.Contains(errs[0].Error(), tc.says) {
				t.Errorf("%v", errs[0])
			}
		})
	}
}
