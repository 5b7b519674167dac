package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// Whatever a client sends, the answer is one that is described, and what is
// stored is whole: nothing after a refusal, after a PUT exactly what was put.
func FuzzAPI(f *testing.F) {
	patch := func(op, key, value string) string {
		return body([]m{{"op": op, "path": "/" + string(node1) + "/metadata/" + key, "value": value}})
	}
	for _, s := range []struct{ method, path, kind, body string }{
		{"GET", "units", "", ""}, {"GET", "units?limit=1", "", ""}, {"HEAD", "units/a.service", "", ""}, {"GET", "units/t@.service", "", ""},
		{"GET", `units/a%5Cx2d@%25.service`, "", ""}, {"GET", "state?unitName=a.service&machineID=" + string(node1), "", ""}, {"GET", "state/a.service", "", ""},
		{"GET", "machines?nextPageToken=AAAA", "", ""}, {"GET", "watch?unit=a.service", "", ""}, {"GET", "units?watch=true", "", ""}, {"GET", "state?watch=1&limit=2", "", ""},
		{"GET", "discovery", "", ""}, {"GET", "/metrics", "", ""}, {"GET", "/fleet/v1//units", "", ""}, {"GET", "/fleet/v1/../v1/units", "", ""}, {"OPTIONS", "*", "", ""},
		{"DELETE", "units/a.service", "", ""}, {"POST", "units/a.service/restart", "", ""}, {"POST", "units/a.service/restart?machineID=" + string(node1), "", ""}, {"GET", "units/a.service/explain", "", ""}, {"TRACE", "units", "", "x"},
		{"PUT", "units/a.service", "application/json", `{"desiredState":"loaded"}`},
		{"PUT", "units/n.service", "application/json; charset=utf-8", body(m{"name": "n.service", "text": web + "# \\\n", "desiredState": "launched"})},
		{"PUT", "units/n.service", "application/json", body(m{"options": []m{option("Service", "ExecStart", "/bin/a \\\n[X-Fleet]\nGlobal=true"), option("X-Fleet", "MachineOf", "a.service")}, "desiredState": "inactive"})},
		{"PUT", "units/n@.service", "application/json", body(m{"text": web, "desiredState": "launched"})},
		{"PUT", "units/n.service", "application/json", `{"text":"[A]\nb=\ud83d\ude00","Text":"","desiredState":"inactive"}`},
		{"PUT", "units/n.service", "application/json", `{"text":"[A]\nb=\ud800","desiredState":null}`},
		{"PUT", "units/n.service", "text/plain", "null"},
		{"PATCH", "machines", "application/json", patch("add", "a~1b~0", "c")}, {"PATCH", "machines", "", patch("remove", "region", "")},
		{"PATCH", "machines", "application/json-patch+json", patch("replace", "region", "a,b=c")},
	} {
		f.Add(s.method, s.path, s.kind, s.body, uint64(0))
	}
	for shape := range uint64(20) {
		f.Add("PUT", "units/a.service", "application/json", "", shape+1)
		f.Add("PATCH", "machines", "application/json", "", shape+1)
	}
	f.Fuzz(func(t *testing.T, method, path, kind, text string, shape uint64) {
		if shape != 0 { // sound JSON, which mutations of text seldom are
			text = newShaper(shape).document(method)
		}
		if !strings.HasPrefix(path, "/") && path != "*" {
			path = api.Prefix + "/" + path
		}
		sent := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: f\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, kind, len(text), text)
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
		if err != nil {
			return // net/http answers that
		}
		c, s := fuzzed(t)
		before := c.View()
		resp, answer := serve(t, s, req)
		describe := func() string { return fmt.Sprintf("%q\n%d %s", sent, resp.StatusCode, answer) }
		if resp.StatusCode >= 500 {
			t.Fatalf("fleetd's own fault: %s", describe())
		}
		if err := asDescribed(described(t), req, req.URL.EscapedPath(), resp, answer); err != nil {
			t.Fatalf("not as described: %v\n%s", err, describe())
		}
		after := c.View()
		whole(t, after)
		if resp.StatusCode >= 400 {
			var e api.Failure
			if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Error.Code != resp.StatusCode || e.Error.Message == "" {
				t.Fatalf("not the shape of an error: %v\n%s", err, describe())
			}
		}
		if resp.StatusCode >= 400 || req.Method == http.MethodGet || req.Method == http.MethodHead {
			if diff := cmp.Diff(before, after); diff != "" {
				t.Fatalf("it changed something: %s\n%s", describe(), diff)
			}
			return
		}
		if req.Method == http.MethodPut {
			givesBack(t, s, req.URL.EscapedPath(), text)
		}
	})
}

// fuzzed is a small cluster and its server.
func fuzzed(t *testing.T) (*servertest.Cluster, *server.Server) {
	c := servertest.New(t)
	c.SetMachine(machine.Machine{ID: node1, IP: "10.0.0.1", Metadata: map[string]string{"region": "eu"}})
	for name, target := range map[unit.Name]unit.Target{"a.service": unit.TargetLaunched, "t@.service": unit.TargetInactive} {
		if _, _, err := c.SubmitUnit(t.Context(), name, []byte(web), target); err != nil {
			t.Fatal(err)
		}
	}
	s := server.New(server.Options{Registry: c})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c, s
}

// taker takes an answer; of a watch, what comes before the first flush.
type taker struct {
	*httptest.ResponseRecorder
	enough context.CancelFunc
}

func (w taker) Flush() { w.enough() }

func serve(t *testing.T, s *server.Server, req *http.Request) (*http.Response, string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := taker{httptest.NewRecorder(), cancel}
	s.ServeHTTP(w, req.WithContext(ctx))
	return w.Result(), w.Body.String()
}

// whole checks that each unit is one that could have been submitted.
func whole(t *testing.T, v *record.View) {
	for name, u := range v.Units {
		text, there := v.Files[u.File]
		file, err := unit.Parse(text)
		if err == nil {
			err = unit.Validate(name, file)
		}
		if _, nameErr := unit.ParseName(string(name)); !there || err != nil || nameErr != nil {
			t.Fatalf("stored half: %q %+v, its text there: %v, %v, %v", name, u, there, err, nameErr)
		}
	}
}

// givesBack checks that a unit is, after an accepted PUT, what was put.
func givesBack(t *testing.T, s *server.Server, path, text string) {
	var sent, got api.Unit
	if err := json.Unmarshal([]byte(text), &sent); err != nil {
		t.Fatalf("accepted %q: %v", text, err)
	}
	resp, answer := serve(t, s, httptest.NewRequest(http.MethodGet, path, nil))
	if err := json.Unmarshal([]byte(answer), &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET after PUT: %d %s %v", resp.StatusCode, answer, err)
	}
	if sent.Text != "" && got.Text != sent.Text || sent.DesiredState != "" && got.DesiredState != sent.DesiredState {
		t.Fatalf("put %q, got back %s", text, answer)
	}
	if sent.Text == "" && len(sent.Options) > 0 {
		// Lines may be joined otherwise; systemd reads the same.
		if diff := cmp.Diff(unit.FromOptions(sent.Options).Options(), unit.FromOptions(got.Options).Options()); diff != "" {
			t.Fatalf("put %q, got back %s\n%s", text, answer, diff)
		}
	}
}

// shaper makes sound JSON that is nearly what the API expects.
type shaper struct{ *rand.Rand }

func newShaper(seed uint64) shaper { return shaper{rand.New(rand.NewPCG(seed, 0))} }

func (s shaper) one(of ...string) string { return of[s.IntN(len(of))] }

func (s shaper) document(method string) string {
	if s.IntN(10) == 0 {
		return s.value(3)
	}
	var out bytes.Buffer
	if method == http.MethodPatch {
		for i := range s.IntN(4) {
			if i > 0 {
				out.WriteByte(',')
			}
			fmt.Fprintf(&out, `{"op":%s,"path":%s,"value":%s}`, s.one(`"add"`, `"replace"`, `"remove"`, `"test"`, s.value(1)),
				s.one(`"/`+string(node1)+`/metadata/`+s.one("a", "region", "~1", "~", "=", " ", "")+`"`, `"/`+string(node2)+`/metadata/b"`, s.value(1)),
				s.one(`"x"`, `{"value":"y"}`, s.value(2)))
		}
		return "[" + out.String() + "]"
	}
	fields := []string{
		`"name":` + s.one(`"a.service"`, `"b.service"`, s.value(1)), `"desiredState":` + s.one(`"inactive"`, `"loaded"`, `"launched"`, `"destroyed"`, s.value(1)),
		`"text":` + s.one(`"[Unit]\nDescription=x\n"`, `"[X-Fleet]\nGlobal=true\nMachineMetadata=region=eu"`, s.value(1)), `"options":` + s.options(), `"currentState":` + s.value(2),
	}
	s.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return "{" + strings.Join(fields[:s.IntN(len(fields)+1)], ",") + "}"
}

func (s shaper) options() string {
	var all []string
	for range s.IntN(4) {
		all = append(all, fmt.Sprintf(`{"section":%s,"name":%s,"value":%s}`, s.one(`"Service"`, `"X-Fleet"`, `"Unit"`, s.value(1)),
			s.one(`"ExecStart"`, `"MachineOf"`, `"Conflicts"`, `"Global"`, `"Description"`, s.value(1)), s.one(`"true"`, `"a.service"`, `"b\\\n[Service]\nExecStart=/x"`, s.value(1))))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func (s shaper) value(depth int) string {
	if depth > 0 && s.IntN(3) == 0 {
		return s.one("["+s.value(depth-1)+"]", `{"value":`+s.value(depth-1)+"}", `{"a":1,"a":2}`)
	}
	return s.one(`""`, `"\u0000"`, `"\ud800"`, `"\r\n"`, `"é\u2028"`, "null", "true", "1e400", "-0", "123456789012345678901234567890", `"]=\""`, `" "`, "[]", "{}")
}
