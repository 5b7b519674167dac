package apply

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fleet-project/fleet/cloudinit"
)

// fetchFile applies a config of one file, with more settings of Ignition's.
func fetchFile(t *testing.T, settings, contents string) (string, error) {
	t.Helper()
	in := config(t, `{"ignition": {"version": "3.6.0"`+settings+`}, "storage": {"files": [{"path": "/a", "contents": `+contents+`}]}}`)
	root := image(t, accountsOf)
	a := applier(t, Options{Root: root})
	_, err := a.Apply(t.Context(), in)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(root + "/a")
	return string(text), err
}

func TestFetch(t *testing.T) {
	var tries atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			fmt.Fprintf(w, "%s|%s", r.Header.Get("X-Key"), r.Header.Get("Accept-Encoding"))
		case "/busy":
			if tries.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/moved":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/down":
			w.WriteHeader(http.StatusInternalServerError)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for _, c := range []struct{ name, settings, contents, want, err string }{
		{"with headers, not compressed on the way", "", `{"source": "URL/file", "httpHeaders": [{"name": "X-Key", "value": "k"}]}`, "k|", ""},
		{"moved", "", `{"source": "URL/moved", "httpHeaders": [{"name": "X-Key", "value": "k"}]}`, "k|", ""},
		{"busy at first", "", `{"source": "URL/busy"}`, "", ""},
		{"not there: no second try", "", `{"source": "URL/nothing?token=secret"}`, "", "URL/nothing: 404 Not Found"},
		{"never up", `, "timeouts": {"httpTotal": 1}`, `{"source": "URL/down"}`, "", "no success in 1s, the last time: 500"},
		{"verified", "", `{"source": "URL/file", "verification": {"hash": "sha512-` + strings.Repeat("0", 128) + `"}}`, "", "but the config wants sha512-000"},
		{"nobody there", `, "timeouts": {"httpTotal": 1}`, `{"source": "http://u:secret@127.0.0.1:1/a?token=secret"}`, "", "fetching http://u:xxxxx@127.0.0.1:1/a: no success in 1s, the last time: dial tcp"},
		{"by a proxy that isn't there", `, "timeouts": {"httpTotal": 1}, "proxy": {"httpProxy": "http://127.0.0.1:1"}`, `{"source": "http://fleet.example/"}`, "", "proxyconnect"},
		{"around the proxy", `, "timeouts": {"httpTotal": 1}, "proxy": {"httpProxy": "http://127.0.0.1:1", "noProxy": ["127.0.0.1"]}`, `{"source": "URL/busy"}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fetchFile(t, c.settings, strings.ReplaceAll(c.contents, "URL", server.URL))
			want := strings.ReplaceAll(c.err, "URL", server.URL)
			switch {
			case want == "" && err != nil:
				t.Fatal(err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")):
				t.Errorf("it says %v, not %q", err, want)
			case got != c.want:
				t.Errorf("it is %q, not %q", got, c.want)
			}
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	in := config(t, `{"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": "/a", "contents": {"source": "`+server.URL+`/down"}}]}}`)
	if _, err := applier(t, Options{Root: image(t, accountsOf)}).Apply(ended, in); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "no success in") {
		t.Errorf("ended by the caller, it says %v", err)
	}
	f, err := newFetcher(t.Context(), config(t, `{"ignition": {"version": "3.6.0"}}`).Config.Ignition, nil)
	if err != nil {
		t.Fatal(err)
	}
	in = config(t, `{"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": "/a", "contents": {"source": "`+server.URL+`/endless"}}]}}`)
	if _, err := f.get(t.Context(), in.Config.Storage.Files[0].Contents, 4<<20); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("an endless file: %v", err)
	}
}

// What is there already, by its hash, is not fetched again: a boot works without
// the network.
func TestVerifiedFilesAreNotFetchedAgain(t *testing.T) {
	in := config(t, `{"ignition": {"version": "3.6.0", "timeouts": {"httpTotal": 1}}, "storage": {"files": [{"path": "/a", "mode": 384,
		"contents": {"source": "http://127.0.0.1:1/a", "compression": "gzip", "verification": {"hash": "sha256-5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}}}]}}`)
	root := image(t, map[string]string{"/a": "hello\n"})
	if _, err := applier(t, Options{Root: root}).Apply(t.Context(), in); err != nil {
		t.Error(err)
	}
	addTo(t, root, map[string]string{"/a": "changed\n"})
	if _, err := applier(t, Options{Root: root}).Apply(t.Context(), in); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("changed, it says %v", err)
	}
}

// An https server is trusted if its authority is the config's.
func TestAuthorities(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that doesn't trust it
	server.StartTLS()
	defer server.Close()
	contents := `{"source": "` + server.URL + `"}`
	if _, err := fetchFile(t, "", contents); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "no success") {
		t.Errorf("without: %v", err)
	}
	ca := "data:;base64," + base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if got, err := fetchFile(t, `, "security": {"tls": {"certificateAuthorities": [{"source": "`+ca+`"}]}}`, contents); err != nil || !strings.Contains(got, "hello") {
		t.Errorf("with: %q, %v", got, err)
	}
	if _, err := fetchFile(t, `, "security": {"tls": {"certificateAuthorities": [{"source": "data:,none"}]}}`, contents); err == nil || !strings.Contains(err.Error(), "no certificate in PEM") {
		t.Errorf("with none: %v", err)
	}
}

// inURL puts a config into a URL.
func inURL(text string) string { return "data:," + url.PathEscape(text) }

func fileConfig(settings, path, content string) string {
	return `{"ignition": {"version": "3.6.0"` + settings + `}, "storage": {"files": [{"path": "` + path + `", "contents": {"source": "data:,` + content + `"}}]}}`
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // strings can be
	return string(text)
}

func TestReferencedConfigs(t *testing.T) {
	merge := func(sources ...string) string {
		var refs []string
		for _, s := range sources {
			refs = append(refs, `{"source": `+quoted(s)+`}`)
		}
		return `, "config": {"merge": [` + strings.Join(refs, ", ") + `]}`
	}
	replace := func(source string) string { return `, "config": {"replace": {"source": ` + quoted(source) + `}}` }
	older := inURL(`{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/older"}]}}`)
	for _, c := range []struct{ name, in, want, err string }{
		{"merged, the later wins", fileConfig(merge(inURL(fileConfig("", "/a", "two")), inURL(fileConfig("", "/b", "three"))), "/a", "one"), "/a=two /b=three", ""},
		{"one that merges others, of an older version", fileConfig(merge(inURL(fileConfig(merge(older), "/b", "x"))), "/a", "one"), "/a=one /b=x /older=", ""},
		{"replaced: all else is forgotten", fileConfig(replace(inURL(fileConfig(merge(older), "/c", "x"))), "/a", "one"), "/c=x /older=", ""},
		{"a hash that is wrong", `{"ignition": {"version": "3.6.0", "config": {"merge": [{"source": "data:,x", "verification": {"hash": "sha256-` + strings.Repeat("0", 64) + `"}}]}}}`, "", "but the config wants sha256-0000"},
		{"no config", fileConfig(merge("data:,hello"), "/a", "x"), "", "a data: URL is no Ignition config"},
		{"one that is wrong", fileConfig(merge(inURL(`{"ignition": {"version": "3.6.0"}, "storage": {"filez": []}}`)), "/a", "x"), "", "filez"},
		{"a unit that systemd would not read", fileConfig(merge(inURL(`{"ignition": {"version": "3.6.0"}, "systemd": {"units": [{"name": "a.service", "contents": "what"}]}}`)), "/a", "x"), "", "a.service"},
		{"of which one says what can't be done", fileConfig(merge(inURL(`{"ignition": {"version": "3.6.0"}, "storage": {"raid": [{"name": "r", "level": "raid1", "devices": ["/dev/a", "/dev/b"]}]}}`)), "/a", "x"), "", "storage.raid: making r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := image(t, nil)
			_, err := applier(t, Options{Root: root}).Apply(t.Context(), config(t, c.in))
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("it says %v, not %q", err, c.err)
			}
			var got []string
			all := treeOf(t, root)
			for _, p := range keys(all) {
				_, text, _ := strings.Cut(all[p], "\n\t")
				text, _, _ = strings.Cut(text, "\n")
				got = append(got, p+"="+text)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("it made %v, not %s", got, c.want)
			}
		})
	}
}

// Configs that name each other end.
func TestConfigsInACircle(t *testing.T) {
	var asked atomic.Int32
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		ref := `{"source": "` + server.URL + `/` + r.URL.Path[1:] + `"}`
		kind := map[string]string{"/replace": `"replace": ` + ref, "/merge": `"merge": [` + ref + `]`, "/twice": `"merge": [` + ref + `, {"source": "` + server.URL + `/twice?more"}]`}[r.URL.Path]
		fmt.Fprintf(w, `{"ignition": {"version": "3.6.0", "config": {%s}}}`, kind)
	}))
	defer server.Close()
	for _, kind := range []string{"replace", "merge", "twice"} {
		asked.Store(0)
		in := config(t, `{"ignition": {"version": "3.6.0", "config": {"merge": [{"source": "`+server.URL+`/`+kind+`"}]}}}`)
		_, err := whole(t.Context(), in, nil)
		if err == nil || !strings.Contains(err.Error(), "go in a circle") {
			t.Errorf("%s: %v", kind, err)
		}
		if n := asked.Load(); n > maxConfigs {
			t.Errorf("%s: it asked %d times", kind, n)
		}
	}
	if out, err := whole(t.Context(), cloudinit.Result{}, nil); err != nil || len(out.Storage.Files) > 0 {
		t.Errorf("of none: %v %v", out, err)
	}
}
