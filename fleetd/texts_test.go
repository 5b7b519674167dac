package main

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/unit"
)

// What the API hasn't heard of yet comes from etcd; what it has, needs none.
func TestTextsAreTheAPIsOrEtcds(t *testing.T) {
	s := etcdtest.New(t)
	r, err := registry.Dial(registry.Config{Endpoints: s.Endpoints(), RequestTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	const text = "[Service]\nExecStart=/bin/true\n"
	hashes := []unit.Hash{unit.HashOf([]byte(text))}
	if _, _, err := r.SubmitUnit(t.Context(), "a.service", []byte(text), unit.TargetInactive); err != nil {
		t.Fatal(err)
	}
	api := server.New(server.Options{Registry: r})
	files := func() {
		t.Helper()
		got, err := texts{r, api}.Files(t.Context(), hashes)
		if err != nil || string(got[hashes[0]]) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	files()

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = api.Run(ctx) // until it is stopped
	}()
	t.Cleanup(func() { stop(); <-done })
	for len(api.Files(hashes)) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Stop()
	files()
}
