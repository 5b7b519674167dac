package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/unit"
	jsonv2 "github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// anyOf is any value of a type, with the texts that lists have, and those that
// JSON must escape.
func anyOf[T any](t *rapid.T) T {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "app@1.service", `a "b" \c`, "<&>", "a\nb\b", "é\u2028", "\xff", "\x7f"}))
	return rapid.MakeCustom[T](rapid.MakeConfig{Kinds: map[reflect.Kind]*rapid.Generator[any]{reflect.String: text.AsAny()}}).Draw(t, "value")
}

// One after the other, as streams have them.
func TestAnswersAreReadAsByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pages := []UnitPage{anyOf[UnitPage](t), anyOf[UnitPage](t)}
		var text strings.Builder
		for _, p := range append(pages, pages...) {
			if err := json.NewEncoder(&text).Encode(p); err != nil {
				t.Fatal(err)
			}
		}
		in, want := newDecoder(strings.NewReader(text.String())), json.NewDecoder(strings.NewReader(text.String()))
		for want.More() {
			var g, w UnitPage
			if err := want.Decode(&w); err != nil {
				t.Fatal(err)
			}
			if err := jsonv2.UnmarshalDecode(in, &g); err != nil || !reflect.DeepEqual(g, w) {
				t.Fatalf("%s\nread as %+v %v\nencoding/json has %+v", text.String(), g, err, w)
			}
		}
	})
}

// Whatever serves a list need not write it as fleetd does.
func TestListsOfOthers(t *testing.T) {
	a := []Unit{{Name: "a.service", DesiredState: "launched"}}
	for name, tt := range map[string]struct {
		body string
		want []Unit
		err  bool
	}{
		"spaces":              {`{ "units": [ {"name": "a.service", "desiredState": "launched"} ] }`, a, false},
		"an unknown field":    {`{"units":[{"new":[1],"name":"a.service","desiredState":"launched"}]}`, a, false},
		"a field of the page": {`{"new":null,"units":[{"name":"a.service","desiredState":"launched"}]}`, a, false},
		"a field twice":       {`{"units":[{"name":"b","name":"a.service","desiredState":"launched"}]}`, a, false},
		"another case":        {`{"units":[{"Name":"a.service","desiredstate":"launched"}]}`, a, false},
		"null":                {`{"units":[{"name":"a.service","desiredState":"launched","options":null}]}`, a, false},
		"nothing":             {`{}`, nil, false},
		"no JSON":             {`<html>`, nil, true},
		"half of it":          {`{"units":[{"name":"a.service","desir`, nil, true},
		"another type":        {`{"units":[{"name":7}]}`, nil, true},
		"half an option":      {`{"units":[{"options":[{"section":"S"`, nil, true},
		"options of no kind":  {`{"units":[{"options":[7]}]}`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(tt.body))
			}))
			defer server.Close()
			c, err := NewClient(ClientOptions{Endpoint: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			got, err := list(t.Context(), c, "/units", nil, UnitPage.parts)
			if (err != nil) != tt.err || !reflect.DeepEqual(tt.want, got) {
				t.Errorf("%+v %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestUnitsOfAFileShareItsOptions(t *testing.T) {
	options := `"options":[{"section":"S","name":"N","value":"v"}]`
	body := `{"units":[{"name":"a@1.service",` + options + `},{"name":"a@2.service",` + options + `},{"name":"b.service","options":[{"section":"S","name":"N","value":"w"}]}]}`
	var p UnitPage
	if err := jsonv2.UnmarshalDecode(newDecoder(strings.NewReader(body)), &p); err != nil || len(p.Units) != 3 {
		t.Fatalf("%+v %v", p, err)
	}
	if &p.Units[0].Options[0] != &p.Units[1].Options[0] {
		t.Error("the options were read anew")
	}
	if want := (unit.Option{Section: "S", Name: "N", Value: "w"}); p.Units[2].Options[0] != want || p.Units[0].Options[0].Value != "v" {
		t.Errorf("%+v", p)
	}
}
