package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	node1 = machine.ID("11111111111111111111111111111111")
	node2 = machine.ID("22222222222222222222222222222222")

	web = "[Unit]\nDescription=Web\n# a comment\n\n[Service]\nExecStart=/bin/web\n"
)

// fixture is a cluster of two machines and its API.
type fixture struct {
	t       *testing.T
	cluster *servertest.Cluster
	client  *http.Client
}

func newFixture(t *testing.T, opts server.Options) *fixture {
	c := servertest.New(t)
	c.SetMachine(machine.Machine{ID: node1, IP: "10.0.0.1", Hostname: "one", Metadata: map[string]string{"region": "eu"}})
	c.SetMachine(machine.Machine{ID: node2, IP: "10.0.0.2", Hostname: "two", Metadata: map[string]string{"region": "us"}})
	socket := strings.TrimPrefix(c.Serve(t, opts), "unix://")
	return &fixture{t: t, cluster: c, client: clientOf(t, socket)}
}

// do sends a request; a path without a leading slash is under the prefix.
func (f *fixture) do(method, path, body string) (*http.Response, string) {
	f.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/fleet/v1/" + path
	}
	req, err := http.NewRequest(method, "http://fleetd"+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return f.answer(req, path)
}

// answer gives a request's answer, which must be one that is described.
func (f *fixture) answer(req *http.Request, path string) (*http.Response, string) {
	f.t.Helper()
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := asDescribed(described(f.t), req, path, resp, string(text)); err != nil {
		f.t.Errorf("%s %s: not as api/openapi.yaml has it: %v", req.Method, path, err)
	}
	return resp, string(text)
}

// want sends a request and checks the status; of an error, that it has the one
// shape and says the words.
func (f *fixture) want(code int, method, path, body, words string) string {
	f.t.Helper()
	resp, text := f.do(method, path, body)
	if resp.StatusCode != code {
		f.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, code, text)
	}
	if code < 400 {
		if !strings.Contains(text, words) {
			f.t.Errorf("%s %s: %s doesn't say %q", method, path, text, words)
		}
		return text
	}
	var failure struct {
		Error struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(text), &failure); err != nil {
		f.t.Fatalf("%s %s: not the shape of an error: %s", method, path, text)
	}
	if failure.Error.Code != code || !strings.Contains(failure.Error.Message, words) || failure.Error.Message == "" {
		f.t.Errorf("%s %s: %s doesn't say %d and %q", method, path, text, code, words)
	}
	return text
}

func body(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

type m = map[string]any

func option(section, name, value string) m {
	return m{"section": section, "name": name, "value": value}
}
