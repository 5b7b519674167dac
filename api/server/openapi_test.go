package server_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/unit"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"
)

// description is the API's, read and found to be valid OpenAPI.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

func described(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestCompatAPIDiscovery(t *testing.T) {
	f := newFixture(t, server.Options{})
	for _, path := range []string{"/fleet/v1/discovery", "/v1-alpha/discovery"} {
		doc, err := openapi3.NewLoader().LoadFromData([]byte(f.want(200, "GET", path, "", "")))
		if err == nil {
			err = doc.Validate(t.Context())
		}
		if err != nil || !strings.HasPrefix(doc.OpenAPI, "3.0.") || doc.Servers[0].URL != api.Prefix {
			t.Errorf("%s: OpenAPI %q at %v, %v", path, doc.OpenAPI, doc.Servers, err)
		}
	}
}

// The description has each path and method that the server answers to, and no
// other.
func TestDescriptionHasEveryRoute(t *testing.T) {
	got := map[string][]string{}
	for path, item := range described(t).Paths.Map() {
		path = strings.TrimPrefix(strings.ReplaceAll(path, "{unitName}", "N"), "/")
		got[path] = slices.Sorted(maps.Keys(item.Operations()))
	}
	if diff := cmp.Diff(server.Routes(), got); diff != "" {
		t.Errorf("routes and description differ (-route +described):\n%s", diff)
	}
}

// The schemas have each field of the types that travel, of the same kind, and
// no other.
func TestDescriptionHasEveryField(t *testing.T) {
	types := map[string]any{
		"UnitPage": api.UnitPage{}, "UnitStatePage": api.UnitStatePage{}, "MachinePage": api.MachinePage{},
		"Option": unit.Option{}, "Unit": api.Unit{}, "UnitState": api.UnitState{}, "Machine": api.Machine{}, "Manager": api.Manager{},
		"Restarted": api.Restarted{}, "Explanation": api.Explanation{}, "Verdict": api.Verdict{}, "Diagnosis": api.Diagnosis{}, "Finding": api.Finding{}, "Event": api.Event{},
		"UnitStatus": api.UnitStatus{}, "Placement": api.Placement{}, "MachineState": api.MachineState{},
		"UnitEvent": api.ListEvent[api.Unit]{}, "UnitStateEvent": api.ListEvent[api.UnitState]{}, "MachineEvent": api.ListEvent[api.Machine]{},
		"Backup": api.Backup{}, "BackupUnit": api.BackupUnit{}, "BackupFile": api.BackupFile{}, "MachineOverrides": api.MachineOverrides{},
		"Failure": api.Failure{}, "Error": api.Error{}, "Problem": api.Problem{},
	}
	// Not types of their own: words, and what only a request has.
	others := []string{"DesiredState", "Instruction", "EventType", "UnitRequest", "PatchOperation"}
	for name, ref := range described(t).Components.Schemas {
		if slices.Contains(others, name) {
			continue
		}
		v, known := types[name]
		if !known {
			t.Errorf("schema %s is none of the types in this test", name)
			continue
		}
		delete(types, name)
		want, required := fieldsOf(reflect.TypeOf(v))
		got := map[string]string{}
		for field, p := range ref.Value.Properties {
			got[field] = kindOf(p.Value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schema %s (-Go +described):\n%s", name, diff)
		}
		slices.Sort(required)
		if diff := cmp.Diff(required, slices.Sorted(slices.Values(ref.Value.Required))); diff != "" {
			t.Errorf("schema %s, what is always there (-Go +described):\n%s", name, diff)
		}
	}
	for name := range types {
		t.Errorf("type %s has no schema", name)
	}
	request, answer := described(t).Components.Schemas["UnitRequest"].Value, described(t).Components.Schemas["Unit"].Value
	for field, p := range request.Properties {
		if q := answer.Properties[field]; q == nil || kindOf(q.Value) != kindOf(p.Value) {
			t.Errorf("UnitRequest's %s is no field of a Unit", field)
		}
	}
}

// fieldsOf gives a type's fields as JSON has them: name and kind, and those that
// are always there.
func fieldsOf(typ reflect.Type) (fields map[string]string, required []string) {
	fields = map[string]string{}
	for _, f := range reflect.VisibleFields(typ) {
		tag := f.Tag.Get("json")
		if f.Anonymous || tag == "-" {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		fields[name] = jsonKind(f.Type)
		if opts != "omitempty" {
			required = append(required, name)
		}
	}
	return fields, required
}

func jsonKind(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Slice:
		return "array of " + jsonKind(typ.Elem())
	case reflect.Map:
		return "map of " + jsonKind(typ.Elem())
	case reflect.Pointer:
		return jsonKind(typ.Elem())
	}
	return "object"
}

func kindOf(s *openapi3.Schema) string {
	switch {
	case s.Type.Is("array"):
		return "array of " + kindOf(s.Items.Value)
	case s.AdditionalProperties.Schema != nil:
		return "map of " + kindOf(s.AdditionalProperties.Schema.Value)
	case len(s.Type.Slice()) == 1:
		return s.Type.Slice()[0]
	}
	return ""
}

// operation finds what the description says of a request; nil if it knows no
// such path or method.
func operation(doc *openapi3.T, method, path string) (*routers.Route, bool) {
	plain, _, _ := strings.Cut(path, "?")
	rest, below := strings.CutPrefix(plain, api.Prefix+"/")
	if !below {
		rest, below = strings.CutPrefix(plain, api.AliasPrefix+"/")
	}
	if !below {
		return nil, false
	}
	have := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for pattern, item := range doc.Paths.Map() {
		want := strings.Split(pattern[1:], "/")
		matches := len(want) == len(have)
		for i := 0; matches && i < len(want); i++ {
			segment, err := url.PathUnescape(have[i])
			matches = err == nil && segment != "" && (want[i] == segment || want[i][0] == '{')
		}
		if op := item.GetOperation(method); matches && op != nil {
			return &routers.Route{Spec: doc, Path: pattern, PathItem: item, Method: method, Operation: op}, true
		}
	}
	return nil, false
}

// asDescribed checks that an answer is one that the description has: its status,
// its type and its shape.
func asDescribed(doc *openapi3.T, req *http.Request, path string, resp *http.Response, body string) error {
	route, known := operation(doc, req.Method, path)
	if !known || resp.Header.Get("Content-Type") == api.StreamType { // the latter: see the watch's tests
		return nil
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, Route: route},
		Status:                 resp.StatusCode,
		Header:                 resp.Header,
		Body:                   io.NopCloser(strings.NewReader(body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
}
