package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

func TestPutUnit(t *testing.T) {
	f := newFixture(t, server.Options{})
	for _, tt := range []struct {
		name   string
		path   string
		body   string
		code   int
		words  string
		stored string // of the unit's text; "" for none
	}{
		{"created from text", "units/web.service", body(m{"name": "web.service", "text": web, "desiredState": "inactive"}), 201, "", web},
		{"the same again", "units/web.service", body(m{"text": web, "desiredState": "inactive"}), 204, "", web},
		{"the same by options", "units/web.service", body(m{"options": []m{option("Unit", "Description", "Web"), option("Service", "ExecStart", "/bin/web")}, "desiredState": "inactive"}), 204, "", web},
		{"state only", "units/web.service", body(m{"desiredState": "launched"}), 204, "", web},
		{"replaced", "units/web.service", body(m{"text": web + "#\n", "desiredState": "launched"}), 201, "", web + "#\n"},
		{"created from options", "units/opt.service", body(m{"name": "opt.service", "options": []m{option("Service", "ExecStart", "/bin/a")}, "desiredState": "inactive"}), 201, "", "[Service]\nExecStart=/bin/a\n"},
		{"new without options", "units/none.service", body(m{"desiredState": "inactive"}), 409, "does not exist", ""},
		{"another name in the body", "units/x.service", body(m{"name": "y.service", "text": web, "desiredState": "inactive"}), 400, "y.service", ""},
		{"a bad name", "units/x", body(m{"text": web, "desiredState": "inactive"}), 400, "unit name", ""},
		{"a bogus state", "units/x.service", body(m{"text": web, "desiredState": "bogus"}), 400, "bogus", ""},
		{"a destroyed state", "units/x.service", body(m{"text": web, "desiredState": "destroyed"}), 400, "destroyed", ""},
		{"the same again, no state", "units/web.service", body(m{"text": web + "#\n"}), 204, "", web + "#\n"},
		{"neither state nor file", "units/web.service", body(m{}), 409, "desiredState", web + "#\n"},
		{"new without a state", "units/still.service", body(m{"text": web}), 201, "", web},
		{"a template launched", "units/x@.service", body(m{"text": web, "desiredState": "launched"}), 400, "cannot activate template", ""},
		{"a template", "units/x@.service", body(m{"text": web, "desiredState": "inactive"}), 201, "", web},
		{"text that systemd couldn't read", "units/x.service", body(m{"text": "rubbish", "desiredState": "inactive"}), 400, "line 1", ""},
		{"an unknown option of fleet", "units/x.service", body(m{"text": web + "[X-Fleet]\nMachineMetdata=a=b\n", "desiredState": "inactive"}), 400, "MachineMetadata", ""},
		{"text and options that differ", "units/x.service", body(m{"text": web, "options": []m{option("A", "b", "c")}, "desiredState": "inactive"}), 400, "only one", ""},
		{"not UTF-8", "units/x.service", "{\"text\":\"[A]\\nb=\xff\",\"desiredState\":\"inactive\"}", 400, "UTF-8", ""},
		{"no JSON", "units/x.service", "{", 400, "JSON", ""},
		{"JSON of another kind", "units/x.service", `["a"]`, 400, "JSON", ""},
		{"an option that no file can hold", "units/x.service", body(m{"options": []m{option("", "a", "b")}, "desiredState": "inactive"}), 400, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, cluster: f.cluster, client: f.client}
			f.want(tt.code, "PUT", tt.path, tt.body, tt.words)
			name := unit.Name(strings.TrimPrefix(tt.path, "units/"))
			v := f.cluster.View()
			u, exists := v.Units[name]
			if !exists && tt.stored != "" || string(v.Files[u.File]) != tt.stored {
				t.Errorf("stored: %q, want %q", v.Files[u.File], tt.stored)
			}
			if tt.stored != "" {
				var got struct{ Text, Hash string }
				if err := json.Unmarshal([]byte(f.want(200, "GET", tt.path, "", "")), &got); err != nil || got.Text != tt.stored || got.Hash != string(unit.HashOf([]byte(tt.stored))) {
					t.Errorf("GET gives %+v, %v", got, err)
				}
			}
		})
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	f := newFixture(t, server.Options{})
	options := make([]m, 100000)
	for i := range options {
		options[i] = option("Service", "Environment", "A=some fifty characters, to have it grow quickly")
	}
	f.want(413, "PUT", "units/x.service", body(m{"options": options, "desiredState": "inactive"}), "larger")
	f.want(400, "PUT", "units/x.service", body(m{"options": options[:10000], "desiredState": "inactive"}), "")
	if len(f.cluster.View().Units) != 0 {
		t.Error("something was stored")
	}
}

func TestBodyMustBeJSON(t *testing.T) {
	f := newFixture(t, server.Options{})
	req, _ := http.NewRequest("PUT", "http://fleetd/fleet/v1/units/x.service", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "text/plain")
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 415 {
		t.Errorf("%d, want 415", resp.StatusCode)
	}
}

func TestMachineOfCircleIsRefused(t *testing.T) {
	f := newFixture(t, server.Options{})
	of := func(name string) string {
		return body(m{"text": web + "[X-Fleet]\nMachineOf=" + name + "\n", "desiredState": "launched"})
	}
	f.want(201, "PUT", "units/a.service", of("b.service"), "")
	f.want(201, "PUT", "units/b.service", of("c.service"), "")
	f.want(400, "PUT", "units/c.service", of("a.service"), "c.service → a.service → b.service → c.service")
	f.want(201, "PUT", "units/c.service", of("d.service"), "")
}

func TestUnitsLife(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(404, "GET", "units/web.service", "", "web.service")
	f.want(404, "DELETE", "units/web.service", "", "web.service")
	f.want(404, "DELETE", "units/%2e%2e", "", "")
	f.want(404, "POST", "units/web.service/restart", "", "web.service")
	f.want(404, "GET", "units/web.service/explain", "", "web.service")
	f.want(404, "GET", "state/web.service", "", "web.service")

	f.want(201, "PUT", "units/web.service", body(m{"text": web + "[X-Fleet]\nMachineMetadata=region=eu\n", "desiredState": "launched"}), "")
	f.want(200, "GET", "units/web.service", "", `"currentState":"launched","machineID":"`+string(node1)+`"`)
	f.want(200, "GET", "state/web.service", "", `"systemdActiveState":"active","systemdSubState":"running"`)
	f.want(200, "GET", "units/web.service/explain", "", `"placed":["`+string(node1)+`"]`)
	f.want(202, "POST", "units/web.service/restart", "", `{"restart":1}`)
	f.want(204, "PUT", "units/web.service", body(m{"desiredState": "loaded"}), "")
	f.want(200, "GET", "units/web.service", "", `"currentState":"loaded"`)
	f.want(204, "PUT", "units/web.service", body(m{"desiredState": "inactive"}), "")
	f.want(200, "GET", "units/web.service", "", `"currentState":"inactive"`)
	f.want(404, "GET", "state/web.service", "", "")

	f.cluster.PauseAgents(true)
	f.want(204, "PUT", "units/web.service", body(m{"desiredState": "launched"}), "")
	f.want(200, "GET", "units/web.service", "", `"currentState":"inactive"`)
	f.want(204, "DELETE", "units/web.service", "", "")
	f.want(404, "GET", "units/web.service", "", "") // though it is still being stopped
	f.want(200, "GET", "units", "", `{"units":[]}`)
	f.cluster.PauseAgents(false)
	if v := f.cluster.View(); len(v.Units)+len(v.Schedule)+len(v.States)+len(v.Files) != 0 {
		t.Errorf("left over: %+v", v)
	}
}

func TestRestartOnOneMachine(t *testing.T) {
	f := newFixture(t, server.Options{})
	global := body(m{"text": web + "[X-Fleet]\nGlobal=true\n", "desiredState": "launched"})
	f.want(201, "PUT", "units/g.service", global, "")
	f.want(201, "PUT", "units/eu.service", body(m{"text": web + "[X-Fleet]\nMachineMetadata=region=eu\n", "desiredState": "launched"}), "")
	f.want(201, "PUT", "units/loaded.service", body(m{"text": web, "desiredState": "loaded"}), "")
	s := f.watch("unit=g.service")
	counts := func(what string, common, on1, on2 uint64) {
		t.Helper()
		s.untilStatus(what, func(s api.UnitStatus) bool {
			said := map[string]uint64{}
			for _, st := range s.States {
				said[st.MachineID] = st.Restart
			}
			return s.Restart == common && s.RestartCount(string(node1)) == on1 && s.RestartCount(string(node2)) == on2 &&
				said[string(node1)] == on1 && said[string(node2)] == on2
		})
	}
	on1, on2 := "restart?machineID="+string(node1), "restart?machineID="+string(node2)
	f.want(202, "POST", "units/g.service/"+on2, "", `{"restart":1}`)
	counts("the restart on the second", 0, 0, 1)
	f.want(202, "POST", "units/g.service/"+on1, "", `{"restart":2}`)
	counts("the restart on the first", 0, 2, 1)
	f.want(202, "POST", "units/g.service/restart", "", `{"restart":3}`)
	counts("the restart on both", 3, 3, 3)
	f.want(202, "POST", "units/eu.service/"+on1, "", `{"restart":1}`)

	before := f.cluster.View().Units
	for _, tt := range []struct {
		name, path string
		code       int
		words      string
	}{
		{"no such unit", "units/no.service/" + on1, 404, "unit no.service does not exist"},
		{"no unit's name", "units/no/" + on1, 404, "unit no does not exist"},
		{"no such machine", "units/g.service/restart?machineID=nobody", 404, "there is no machine with the id"},
		{"the beginning of an id", "units/g.service/restart?machineID=" + node1.Short(), 404, "no machine with the id"},
		{"no id", "units/g.service/restart?machineID=", 400, "machineID is empty"},
		{"two machines", "units/g.service/" + on1 + "&machineID=" + string(node2), 400, "machineID is given 2 times"},
		{"another machine's unit", "units/eu.service/" + on2, 409, "unit eu.service is not on machine " + string(node2)},
		{"a unit that is loaded", "units/loaded.service/" + on1, 409, "unit loaded.service is not launched, but loaded"},
	} {
		t.Run(tt.name, func(t *testing.T) { f.want(tt.code, "POST", tt.path, "", tt.words) })
	}
	if d := cmp.Diff(before, f.cluster.View().Units); d != "" {
		t.Errorf("what was refused has changed:\n%s", d)
	}
}

func TestGlobalUnitHasNoMachine(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/g.service", body(m{"text": web + "[X-Fleet]\nGlobal=true\n", "desiredState": "launched"}), "")
	if got := f.want(200, "GET", "units/g.service", "", `"currentState":"launched"`); strings.Contains(got, "machineID") {
		t.Errorf("names a machine: %s", got)
	}
}

func TestStateFilters(t *testing.T) {
	f := newFixture(t, server.Options{PageSize: 1})
	f.want(201, "PUT", "units/g.service", body(m{"text": web + "[X-Fleet]\nGlobal=true\n", "desiredState": "launched"}), "")
	f.want(201, "PUT", "units/a.service", body(m{"text": web + "[X-Fleet]\nMachineID=" + string(node2) + "\n", "desiredState": "launched"}), "")
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"", []string{"a.service@2", "g.service@1", "g.service@2"}},
		{"unitName=g.service", []string{"g.service@1", "g.service@2"}},
		{"machineID=" + string(node2), []string{"a.service@2", "g.service@2"}},
		{"machineID=" + string(node1) + "&unitName=g.service", []string{"g.service@1"}},
		{"machineID=" + string(node1) + "&unitName=a.service", nil},
	} {
		var got []string
		for token := "begin"; token != ""; {
			q := tt.query
			if token != "begin" {
				q += "&nextPageToken=" + token
			}
			var page struct {
				States        []struct{ Name, MachineID string }
				NextPageToken string
			}
			if err := json.Unmarshal([]byte(f.want(200, "GET", "state?"+q, "", "")), &page); err != nil {
				t.Fatal(err)
			}
			for _, s := range page.States {
				got = append(got, s.Name+"@"+s.MachineID[:1])
			}
			token = page.NextPageToken
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.query, diff)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") })
	f := newFixture(t, server.Options{Metrics: metrics})
	f.want(200, "GET", "/v1-alpha/machines", "", `"primaryIP":"10.0.0.1"`)
	f.want(200, "GET", "/fleet/v1/units/", "", `"units":[]`)
	f.want(200, "GET", "/metrics", "", "up 1")
	f.want(200, "GET", "metrics", "", "up 1")
	f.want(404, "GET", "/", "", "/fleet/v1")
	f.want(404, "GET", "/fleet/v1", "", "")
	f.want(404, "GET", "nothing", "", "nothing")
	f.want(404, "GET", "units/a/b/c", "", "")
	f.want(400, "GET", "units?nextPageToken=%21", "", "nextPageToken")
	f.want(400, "GET", "units?limit=0", "", "limit")
	f.want(400, "GET", "watch", "", "unit=NAME")
	f.want(400, "GET", "watch?unit=x", "", "unit name")
	for path, methods := range map[string]string{
		"units": "DELETE POST PUT PATCH", "units/a.service": "POST PATCH", "units/a.service/restart": "GET PUT", "state": "PUT",
		"state/a.service": "PUT", "machines": "PUT POST DELETE", "discovery": "PUT", "metrics": "POST", "watch": "POST",
	} {
		for _, method := range strings.Fields(methods) {
			f.want(405, method, path, "", method)
		}
	}
	if resp, _ := f.do("PUT", "units", ""); resp.Header.Get("Allow") != "GET" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
}

func TestEtcdDown(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "inactive"}), "")
	f.cluster.Break(errors.New("cut the cable"))
	for _, call := range [][3]string{
		{"GET", "units", ""}, {"GET", "units/a.service", ""}, {"GET", "machines", ""}, {"GET", "state", ""}, {"GET", "watch?unit=a.service", ""},
		{"PUT", "units/b.service", body(m{"text": web, "desiredState": "inactive"})}, {"DELETE", "units/a.service", ""}, {"POST", "units/a.service/restart", ""},
	} {
		f.want(503, call[0], call[1], call[2], "cut the cable")
		if resp, _ := f.do(call[0], call[1], call[2]); resp.Header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", call)
		}
	}
	f.want(200, "GET", "discovery", "", "")
	f.cluster.Break(nil)
	f.want(200, "GET", "units/a.service", "", "")
}

func TestBeforeEtcdAnswers(t *testing.T) {
	c := servertest.New(t)
	c.Break(errors.New("still booting"))
	socket := strings.TrimPrefix(c.Serve(t, server.Options{}), "unix://")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	f := &fixture{t: t, cluster: c, client: client}
	f.want(503, "GET", "units", "", "still booting")
	c.Break(nil)
	f.want(200, "GET", "units", "", "")
}

// Keys that aren't fleet's raise etcd's revision and cause no event.
func TestReadsKeepUpWithForeignRevisions(t *testing.T) {
	f := newFixture(t, server.Options{})
	for range 20 {
		f.cluster.Advance()
		f.want(200, "GET", "units", "", "") // else 503: still catching up
	}
}

func TestReadYourWrites(t *testing.T) {
	f := newFixture(t, server.Options{})
	for range 200 {
		f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "inactive"}), "")
		f.want(200, "GET", "units/a.service", "", "")
		f.want(204, "DELETE", "units/a.service", "", "")
		f.want(404, "GET", "units/a.service", "", "")
	}
}
