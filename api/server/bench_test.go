package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
)

// large is a cluster of 50,000 units on 1,000 machines, and a client of its API.
func large(b *testing.B) (*servertest.Cluster, *http.Client) {
	c := servertest.New(b)
	c.Fill(servertest.Large(1000, 50, 1000))
	client := clientOf(b, strings.TrimPrefix(c.Serve(b, server.Options{}), "unix://"))
	get(b, client, "units?limit=1") // it has read the cluster
	return c, client
}

// get reads an answer, and no more.
func get(b *testing.B, client *http.Client, path string) []byte {
	resp, err := client.Get("http://fleetd" + api.Prefix + "/" + path)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %d %s %v", path, resp.StatusCode, body, err)
	}
	return body
}

// wholeList reads all pages of a list, as large as they may be, and gives its bytes.
func wholeList(b *testing.B, client *http.Client, path string) (size int64) {
	for token := ""; ; {
		body := get(b, client, path+"?limit=5000&nextPageToken="+token)
		size += int64(len(body))
		_, rest, more := strings.Cut(string(body[max(0, len(body)-500):]), `"nextPageToken":"`)
		if !more {
			return size
		}
		token, _, _ = strings.Cut(rest, `"`)
	}
}

func BenchmarkList(b *testing.B) {
	_, client := large(b)
	for _, list := range []string{"units", "state", "machines"} {
		b.Run(list, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(wholeList(b, client, list))
			}
		})
	}
}

func BenchmarkPage(b *testing.B) {
	_, client := large(b)
	for _, path := range []string{"units", "state", "state?unitName=app0007@0700.service"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				get(b, client, path)
			}
		})
	}
}

func BenchmarkPutUnit(b *testing.B) {
	_, client := large(b)
	text := someText(b, client)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		name := unit.Name(fmt.Sprintf("app0000@new%d.service", n))
		body, err := json.Marshal(api.Unit{Name: name, Text: text, DesiredState: unit.TargetLaunched})
		if err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPut, "http://fleetd"+api.Prefix+"/units/"+string(name), strings.NewReader(string(body)))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusCreated {
			b.Fatal(resp, err)
		}
		resp.Body.Close()
	}
}

// someText is the text of one of the cluster's unit files.
func someText(b *testing.B, client *http.Client) string {
	var u api.Unit
	if err := json.Unmarshal(get(b, client, "units/app0000@0000.service"), &u); err != nil {
		b.Fatal(err)
	}
	return u.Text
}

// BenchmarkEventToWatches is one change of a unit, until 500 watches of the list
// have told it.
func BenchmarkEventToWatches(b *testing.B) {
	const watches = 500
	c := servertest.New(b)
	c.Fill(servertest.Large(10, 1, 1000))
	client := clientOf(b, strings.TrimPrefix(c.Serve(b, server.Options{}), "unix://"))
	ctx, cancel := context.WithCancel(b.Context())
	defer client.CloseIdleConnections()
	defer cancel()
	told := make(chan struct{}, watches)
	var reading sync.WaitGroup
	defer reading.Wait()
	for range watches {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://fleetd"+api.Prefix+"/units?watch=true", nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		reading.Go(func() {
			defer resp.Body.Close()
			for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
				if !strings.HasPrefix(lines.Text(), `{"type":"ADDED"`) {
					told <- struct{}{}
				}
			}
		})
		<-told // that the list is complete
	}
	targets := []unit.Target{unit.TargetLoaded, unit.TargetLaunched}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.SetTarget(b.Context(), "app0000@0500.service", targets[n%2]); err != nil {
			b.Fatal(err)
		}
		n++
		for range watches {
			<-told
		}
	}
	b.StopTimer()
	cancel()
}
