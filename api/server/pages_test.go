package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// While units come and go between the pages, each unit that stays is in exactly
// one of them.
func TestPagesNeitherRepeatNorDrop(t *testing.T) {
	f := newFixture(t, server.Options{})
	names := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("u%03d.service", rapid.IntRange(0, 60).Draw(t, "n")) })
	rapid.Check(t, func(rt *rapid.T) {
		for n := range f.cluster.View().Units {
			f.change(string(n), false)
		}
		stay := map[string]bool{}
		for _, n := range rapid.SliceOfDistinct(names, rapid.ID).Draw(rt, "units") {
			f.change(n, true)
			stay[n] = true
		}
		limit := rapid.IntRange(1, 9).Draw(rt, "limit")
		var got []string
		for token := ""; ; {
			var page struct {
				Units         []struct{ Name string }
				NextPageToken string
			}
			path := fmt.Sprintf("units?limit=%d", limit)
			if token != "" {
				path += "&nextPageToken=" + token
			}
			if err := json.Unmarshal([]byte(f.want(200, "GET", path, "", "")), &page); err != nil {
				rt.Fatal(err)
			}
			if len(page.Units) > limit {
				rt.Fatalf("a page of %d", len(page.Units))
			}
			for _, u := range page.Units {
				got = append(got, u.Name)
			}
			if token = page.NextPageToken; token == "" {
				break
			}
			for _, n := range rapid.SliceOfN(names, 0, 5).Draw(rt, "changes") {
				_, there := f.cluster.View().Units[unit.Name(n)]
				f.change(n, !there)
				delete(stay, n)
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			rt.Fatalf("repeats itself or isn't sorted: %v", got)
		}
		for n := range stay {
			if !slices.Contains(got, n) {
				rt.Fatalf("%s is missing of %v", n, got)
			}
		}
	})
}

func (f *fixture) change(name string, there bool) {
	if there {
		f.want(201, "PUT", "units/"+name, body(m{"text": web, "desiredState": "inactive"}), "")
	} else {
		f.want(204, "DELETE", "units/"+name, "", "")
	}
}

// A page of many large unit files ends early: what one request makes fleetd hold
// is bounded, and the token leads to the rest.
func TestPagesOfLargeUnitsEndEarly(t *testing.T) {
	f := newFixture(t, server.Options{})
	const n = 40
	large := "[Service]\nExecStart=/bin/true\n# " + strings.Repeat("x", unit.MaxFileSize-100) + "\n"
	for i := range n {
		text := fmt.Sprintf("%s# %d\n", large, i)
		if _, _, err := f.cluster.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%02d.service", i)), []byte(text), unit.TargetInactive); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := 0, 0
	for token := ""; ; pages++ {
		var page struct {
			Units         []struct{ Name string }
			NextPageToken string
		}
		path := "units?limit=5000"
		if token != "" {
			path += "&nextPageToken=" + token
		}
		if err := json.Unmarshal([]byte(f.want(200, "GET", path, "", "")), &page); err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Units {
			if want := fmt.Sprintf("u%02d.service", seen); u.Name != want {
				t.Fatalf("got %s, want %s", u.Name, want)
			}
			seen++
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if seen != n || pages != 1 {
		t.Errorf("%d units, and %d pages before the last; want %d and 1", seen, pages, n)
	}
}
