package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/api/server"
	"github.com/google/go-cmp/cmp"
)

func TestPatchMachines(t *testing.T) {
	f := newFixture(t, server.Options{})
	path := "/" + string(node1) + "/metadata/"
	metadata := func() map[string]string {
		var got struct {
			Machines []struct{ Metadata map[string]string }
		}
		if err := json.Unmarshal([]byte(f.want(200, "GET", "machines", "", "")), &got); err != nil {
			t.Fatal(err)
		}
		return got.Machines[0].Metadata
	}
	f.want(204, "PATCH", "machines", body([]m{{"op": "add", "path": path + "disk", "value": "ssd"}, {"op": "replace", "path": path + "region", "value": m{"value": "us"}}}), "")
	if diff := cmp.Diff(map[string]string{"disk": "ssd", "region": "us"}, metadata()); diff != "" {
		t.Error(diff)
	}
	f.want(204, "PATCH", "machines", body([]m{{"op": "remove", "path": path + "disk"}, {"op": "remove", "path": path + "region"}, {"op": "add", "path": path + "a~1b", "value": "c"}}), "")
	if diff := cmp.Diff(map[string]string{"a/b": "c"}, metadata()); diff != "" {
		t.Error(diff)
	}
	f.want(204, "PATCH", "machines", body([]m{{"op": "add", "path": path + "region", "value": "asia"}}), "")
	if got := metadata()["region"]; got != "asia" {
		t.Errorf("region is %q", got)
	}
	own := f.cluster.View().Machines[node1].Metadata
	f.want(204, "PATCH", "machines", body([]m{{"op": "remove", "path": path + "region"}, {"op": "remove", "path": "/" + string(node1) + "/metadata"}}), "")
	if diff := cmp.Diff(own, metadata()); diff != "" {
		t.Errorf("after all was taken back: %s", diff)
	}
	f.want(204, "PATCH", "machines", body([]m{{"op": "remove", "path": "/" + string(node1) + "/metadata"}, {"op": "add", "path": path + "disk", "value": "ssd"}}), "")
	if got := metadata(); got["disk"] != "ssd" || got["region"] != own["region"] {
		t.Errorf("what follows a removal of all is not carried out: %v", got)
	}
	before := f.cluster.View().Overrides[node1]
	for _, bad := range []string{
		`{}`, `[{"op":"move","path":"` + path + `a"}]`, `[{"op":"add","path":"` + path + `a"}]`, `[{"op":"add","path":"` + path + `a","value":1}]`,
		`[{"op":"add","path":"` + path + `a","value":null}]`, `[{"op":"add","path":"/x/metadata/a","value":"b"}]`, `[{"op":"add","path":"` + path + `","value":"b"}]`,
		`[{"op":"add","path":"/` + string(node1) + `/name/a","value":"b"}]`, `[{"op":"add","path":"` + path + `a=b","value":"c"}]`,
		`[{"op":"add","path":"/` + string(node1) + `/metadata","value":{}}]`, `[{"op":"remove","path":"/` + string(node1) + `"}]`, `[{"op":"remove","path":"` + path + `"}]`,
		`[{"op":"add","path":"` + path + `good","value":"x"},{"op":"bad","path":"` + path + `a"}]`,
	} {
		f.want(400, "PATCH", "machines", bad, "")
	}
	if diff := cmp.Diff(before, f.cluster.View().Overrides[node1]); diff != "" {
		t.Errorf("a refused patch changed: %s", diff)
	}
}

// What etcd can't take in one request is refused as such: to ask again would not
// help.
func TestPatchThatIsTooMuchForEtcd(t *testing.T) {
	r := newReal(t)
	var patches []m
	for i := range 30 {
		patches = append(patches, m{"op": "add", "path": fmt.Sprintf("/%032x/metadata/note", i+1), "value": strings.Repeat("x", 60<<10)})
	}
	before := r.etcd.All(t, r.prefix)
	if err := r.send(t.Context(), http.MethodPatch, "machines", patches, http.StatusBadRequest, nil); err != nil {
		t.Error(err)
	}
	if after := r.etcd.All(t, r.prefix); len(after) != len(before) {
		t.Errorf("%d keys, after %d", len(after), len(before))
	}
	if err := r.send(t.Context(), http.MethodPatch, "machines", patches[:15], http.StatusNoContent, nil); err != nil {
		t.Error(err)
	}
}
