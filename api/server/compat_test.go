package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/machine"
	"github.com/google/go-cmp/cmp"
)

// The lists' keys, and tokens that are none: cut off, of another list, of fleet
// 1.0 (limit and page, as two little numbers), twice, huge.
func TestCompatAPILists(t *testing.T) {
	f := newFixture(t, server.Options{PageSize: 1})
	for _, name := range []string{"a.service", "b.service", "c.service"} {
		f.want(201, "PUT", "units/"+name, body(m{"text": web, "desiredState": "launched"}), "")
	}
	tokens := map[string]string{}
	for path, key := range map[string]string{"units": "units", "state": "states", "machines": "machines"} {
		var page map[string]json.RawMessage
		if err := json.Unmarshal([]byte(f.want(200, "GET", path, "", "")), &page); err != nil || page[key] == nil {
			t.Fatalf("%s has no %q: %v", path, key, page)
		}
		tokens[path] = strings.Trim(string(page["nextPageToken"]), `"`)
		f.want(200, "GET", path+"?nextPageToken="+tokens[path], "", `"`+key+`":[{`)
	}
	for path, token := range tokens {
		for other, foreign := range tokens {
			if other != path {
				f.want(400, "GET", path+"?nextPageToken="+foreign, "", "nextPageToken")
			}
		}
		tampered := []byte(token)
		tampered[len(tampered)/2] ^= 1
		for name, bad := range map[string]string{
			"cut off": token[:len(token)-2], "tampered": string(tampered), "fleet 1.0's": base64.URLEncoding.EncodeToString([]byte{100, 0, 2, 0}),
			"huge": strings.Repeat("A", 100000), "another alphabet": "%2B%2F==", "JSON": "eyJhZnRlciI6ImEifQ", "twice": token + "&nextPageToken=" + token, "no parameter": "%zz",
		} {
			if resp, text := f.do("GET", path+"?nextPageToken="+bad, ""); resp.StatusCode != 400 {
				t.Errorf("%s, %s: %d %s", path, name, resp.StatusCode, text)
			}
		}
	}
}

func TestCompatAPIUnit(t *testing.T) {
	f := newFixture(t, server.Options{})
	const escaped, name = `units/web%5Cx2da@1.service`, `web\x2da@1.service`
	f.want(404, "GET", escaped, "", `web\x2da@1.service does not exist`)
	f.want(201, "PUT", escaped, body(m{"name": name, "options": []m{option("Service", "ExecStart", "/bin/web")}, "desiredState": "launched"}), "")
	var got map[string]any
	if err := json.Unmarshal([]byte(f.want(200, "GET", escaped, "", "")), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "hash")
	delete(got, "primaryIP")
	want := m{
		"name": name, "options": []any{map[string]any{"section": "Service", "name": "ExecStart", "value": "/bin/web"}},
		"desiredState": "launched", "currentState": "launched", "machineID": string(node1), "text": "[Service]\nExecStart=/bin/web\n",
	}
	if diff := cmp.Diff(want, got); diff != "" && got["machineID"] != string(node2) {
		t.Error(diff)
	}
	if resp, text := f.do("HEAD", escaped, ""); resp.StatusCode != 200 || text != "" {
		t.Errorf("HEAD: %d %q", resp.StatusCode, text)
	}
	f.want(204, "DELETE", escaped, "", "")
	f.want(404, "DELETE", escaped, "", "")
}

// A body that is wrong in any way changes nothing.
func TestCompatAPIPutRefuses(t *testing.T) {
	f := newFixture(t, server.Options{})
	before := f.cluster.View()
	for name, tt := range map[string]struct {
		path, kind, body string
		code             int
	}{
		"not JSON":                    {"units/a.service", "text/plain", `{}`, 415},
		"no type":                     {"units/a.service", "", `{}`, 415},
		"JSON of another sort":        {"units/a.service", "application/jsonp", `{}`, 415},
		"no file for a new unit":      {"units/a.service", "application/json;charset=UTF-8", `{"desiredState":"launched"}`, 409},
		"another name":                {"units/a.service", "application/json", body(m{"name": "b.service", "text": web, "desiredState": "inactive"}), 400},
		"bogus desiredState":          {"units/a.service", "application/json", body(m{"text": web, "desiredState": "bogus"}), 400},
		"a template launched":         {"units/a@.service", "application/json", body(m{"text": web, "desiredState": "launched"}), 400},
		"a template loaded":           {"units/a@.service", "application/json", body(m{"text": web, "desiredState": "loaded"}), 400},
		"invalid UTF-8":               {"units/a.service", "application/json", "{\"text\":\"[A]\\nb=\xff\",\"desiredState\":\"inactive\"}", 400},
		"half of a character":         {"units/a.service", "application/json", `{"text":"[A]\nb=\ud83d","desiredState":"inactive"}`, 400},
		"halves in the wrong order":   {"units/a.service", "application/json", `{"text":"[A]\nb=\ude00\ud83d","desiredState":"inactive"}`, 400},
		"NUL":                         {"units/a.service", "application/json", `{"text":"[A]\nb=\u0000","desiredState":"inactive"}`, 400},
		"null":                        {"units/a.service", "application/json", ` null `, 400},
		"an array":                    {"units/a.service", "application/json", `[]`, 400},
		"rubbish behind it":           {"units/a.service", "application/json", body(m{"text": web, "desiredState": "inactive"}) + "}", 400},
		"a second document behind it": {"units/a.service", "application/json", body(m{"text": web, "desiredState": "inactive"}) + "{}", 400},
		"a field twice":               {"units/a.service", "application/json", `{"text":"[A]\nb=c","text":"[A]\nb=d","desiredState":"inactive"}`, 400},
		"a field twice, but for case": {"units/a.service", "application/json", `{"text":"[A]\nb=c","TEXT":"[A]\nb=d","desiredState":"inactive"}`, 400},
		"a field twice, deep down":    {"units/a.service", "application/json", `{"options":[{"section":"A","section":"B","name":"c","value":"d"}],"desiredState":"inactive"}`, 400},
		"deep nesting":                {"units/a.service", "application/json", `{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`, 400},
		"a huge number":               {"units/a.service", "application/json", `{"desiredState":1e999}`, 400},
		"a section that ends a line":  {"units/a.service", "application/json", body(m{"options": []m{option("A]\n[B", "c", "d")}, "desiredState": "inactive"}), 400},
		"a name that ends a line":     {"units/a.service", "application/json", body(m{"options": []m{option("A", "c=d\n[B]\ne", "f")}, "desiredState": "inactive"}), 400},
		"a path as a name":            {"units/..%2Fa.service", "application/json", body(m{"text": web, "desiredState": "inactive"}), 400},
		"a slash too many":            {"/fleet/v1/units//a.service", "application/json", body(m{"text": web, "desiredState": "inactive"}), 404},
		"5 MB of options":             {"units/a.service", "application/json", `{"options":[` + strings.TrimSuffix(strings.Repeat(body(option("Service", "Environment", "A=b"))+",", 100000), ",") + `]}`, 413},
	} {
		t.Run(name, func(t *testing.T) {
			path := tt.path
			if !strings.HasPrefix(path, "/") {
				path = "/fleet/v1/" + path
			}
			req, err := http.NewRequest("PUT", "http://fleetd"+path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.kind != "" {
				req.Header.Set("Content-Type", tt.kind)
			}
			f := &fixture{t: t, cluster: f.cluster, client: f.client}
			if resp, text := f.answer(req, path); resp.StatusCode != tt.code || !strings.Contains(text, `"message":"`) {
				t.Errorf("%d %s, want %d", resp.StatusCode, text, tt.code)
			}
			if diff := cmp.Diff(before, f.cluster.View()); diff != "" {
				t.Errorf("it changed something: %s", diff)
			}
		})
	}
}

// A value's line breaks never begin another option.
func TestCompatAPIOptionsStayOptions(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/a.service", body(m{"options": []m{
		option("Service", "ExecStart", "/bin/a\n[X-Fleet]\nGlobal=true\r\n[Service]\\\n#x\nExecStart=/bin/evil"),
	}, "desiredState": "launched"}), "")
	var got struct {
		Options []struct{ Section, Name string }
	}
	if err := json.Unmarshal([]byte(f.want(200, "GET", "units/a.service", "", "machineID")), &got); err != nil || len(got.Options) != 1 {
		t.Errorf("options %+v, %v", got.Options, err)
	}
}

func TestCompatAPIState(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(404, "GET", "state/a.service", "", "a.service") // fleet 1.0 crashed
	f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "launched"}), "")
	var got map[string]any
	if err := json.Unmarshal([]byte(f.want(200, "GET", "state/a.service", "", "")), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"name", "hash", "machineID", "systemdLoadState", "systemdActiveState", "systemdSubState"} {
		if got[field] == nil {
			t.Errorf("no %s in %v", field, got)
		}
	}
	f.want(200, "GET", "state?unitName=a.service&machineID=", "", `"name":"a.service"`)
	f.want(200, "GET", "state?unitName=b.service", "", `"states":[]`)
	f.want(200, "GET", "state?machineID=nobody", "", `"states":[]`)
}

// What fleet 1.0's users sent: any type, the value in an object, machines that
// are not there.
func TestCompatAPIPatchMachines(t *testing.T) {
	f := newFixture(t, server.Options{})
	const away = machine.ID("33333333333333333333333333333333")
	path := func(id machine.ID, key string) string { return "/" + string(id) + "/metadata/" + key }
	send := func(code int, kind string, ops ...m) {
		t.Helper()
		req, err := http.NewRequest("PATCH", "http://fleetd/v1-alpha/machines", strings.NewReader(body(ops)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		if resp, text := f.answer(req, "/v1-alpha/machines"); resp.StatusCode != code {
			t.Errorf("%v: %d %s", ops, resp.StatusCode, text)
		}
	}
	send(204, "application/x-www-form-urlencoded", m{"op": "add", "path": path(node1, "disk"), "value": m{"value": "ssd"}}, m{"op": "add", "path": path(node2, "a~1b~01"), "value": "c"})
	send(204, "application/json-patch+json", m{"op": "add", "path": path(away, "disk"), "value": "hdd"}, m{"op": "remove", "path": path(away, "region")})
	f.cluster.SetMachine(machine.Machine{ID: away, IP: "10.0.0.3", Metadata: map[string]string{"region": "asia", "disk": "none"}})
	f.cluster.LoseMachine(node1)
	f.cluster.SetMachine(machine.Machine{ID: node1, IP: "10.0.0.1", Metadata: map[string]string{"region": "eu"}})
	want := map[machine.ID]map[string]string{
		node1: {"region": "eu", "disk": "ssd"}, node2: {"region": "us", "a/b~1": "c"}, away: {"disk": "hdd"},
	}
	metadata := func() map[machine.ID]map[string]string {
		var got struct {
			Machines []struct {
				ID       machine.ID
				Metadata map[string]string
			}
		}
		if err := json.Unmarshal([]byte(f.want(200, "GET", "machines", "", "")), &got); err != nil {
			t.Fatal(err)
		}
		out := map[machine.ID]map[string]string{}
		for _, m := range got.Machines {
			out[m.ID] = m.Metadata
		}
		return out
	}
	if diff := cmp.Diff(want, metadata()); diff != "" {
		t.Error(diff)
	}
	// One that is wrong spoils all, on every machine.
	good := m{"op": "add", "path": path(node1, "disk"), "value": "tape"}
	for _, bad := range []m{
		{"op": "test", "path": path(node1, "disk"), "value": "ssd"}, {"op": "copy", "path": path(node1, "b"), "from": path(node1, "disk")},
		{"op": "add", "path": path(node2, "b"), "value": ""}, {"op": "add", "path": path(node2, "b"), "value": "a,b"}, {"op": "add", "path": path(node2, "b"), "value": "a\x01"},
		{"op": "add", "path": path(node2, "b~2"), "value": "a"}, {"op": "add", "path": path(node2, "b/c"), "value": "a"}, {"op": "add", "path": path("nobody", "b"), "value": "a"},
		{"op": "add", "path": path(node2, "b"), "value": strings.Repeat("x", 70000)}, nil,
	} {
		send(400, "application/json", good, bad)
	}
	f.want(400, "PATCH", "machines", "null", "null")
	f.want(204, "PATCH", "machines", "[]", "")
	if diff := cmp.Diff(want, metadata()); diff != "" {
		t.Errorf("a patch that was refused changed: %s", diff)
	}
}

func TestCompatAPIErrors(t *testing.T) {
	f := newFixture(t, server.Options{})
	for path, code := range map[string]int{
		"/": 404, "/fleet": 404, "/fleet/v1": 404, "/fleet/v2/units": 404, "//fleet/v1/units": 404, "/fleet/v1/units/a/b/c": 404,
		"/fleet/v1/units/..": 404, "/fleet/v1/units/%2e%2e%2fmachines": 404, "/fleet%2Fv1/units": 404, "/fleet/v1/units//": 404,
		"/fleet/v1/units/": 200, "/%66leet/v1/units": 200, "/v1-alpha/units": 200,
	} {
		f.want(code, "GET", path, "", "")
	}
	for path, allow := range map[string]string{"units": "GET", "units/a.service": "DELETE, GET, PUT", "machines": "GET, PATCH", "discovery": "GET"} {
		f.want(405, "POST", path, "", allow)
		if resp, _ := f.do("OPTIONS", path, ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d, Allow %q", path, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
}
