package main

import (
	"bytes"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/google/go-cmp/cmp"
)

// What is to be done for several is said once, and for each by itself what differs.
func TestRemediesAreSaidOnce(t *testing.T) {
	full := func(check, subject string) api.Finding {
		return api.Finding{Check: check, Subject: subject, Level: api.LevelError, Found: "full", Remedy: "free"}
	}
	d := api.Diagnosis{MachineID: "11111111111111111111111111111111", Hostname: "one", Version: "2.0.0", Findings: []api.Finding{
		full("etcd", "a"), full("etcd member", "b"),
		{Check: "etcd member", Subject: "c", Level: api.LevelError, Found: "dead", Remedy: "start it"},
		{Check: "etcd member", Subject: "e", Level: api.LevelOK},
		full("etcd member", "d"),
	}}
	var out bytes.Buffer
	c := &cli{stdout: &out}
	if err := c.diagnosed([]api.Diagnosis{d}, false); err != nil {
		t.Fatal(err)
	}
	_, got, _ := bytes.Cut(out.Bytes(), []byte("What to do:\n"))
	want := "  etcd, a: free\n  etcd member, b, d: free\n  etcd member, c: start it\n"
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}
