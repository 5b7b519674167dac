package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/figure"
)

// page is how many rows are asked for at a time: the API's most.
const page = 5000

// listing asks for all units, in the ways that users do.
func listing(ctx context.Context, f *fleet, report *figure.Report) error {
	s := f.servers[0]
	const rounds = 5
	all := shapeOf(f.o).Units()
	var raw, decoded, program []time.Duration
	for range rounds {
		began := time.Now()
		if err := s.readAll(ctx, "/units", all); err != nil {
			return err
		}
		raw = append(raw, time.Since(began))
		began = time.Now()
		units, err := s.client.Units(ctx)
		if err != nil {
			return err
		}
		decoded = append(decoded, time.Since(began))
		if len(units) < all {
			return fmt.Errorf("GET /units gave %d units", len(units))
		}
		took, printed, err := f.fleetctl(ctx, s, "list-units", "--no-legend")
		if err != nil {
			return err
		}
		if int(printed) < all {
			return fmt.Errorf("fleetctl list-units printed %d lines of %d", printed, all)
		}
		program = append(program, took)
	}
	median := func(took []time.Duration) float64 { return figure.Millis(figure.Quantile(took, 0.5)) }
	report.Add(subjectOf(f.o),
		figure.Figure{Name: "GET /units of all, median", Value: median(raw), Unit: "ms", Want: figure.AtMost(400)},
		figure.Figure{Name: "GET /units of all and decoded, median", Value: median(decoded), Unit: "ms"},
		figure.Figure{Name: "fleetctl list-units of all, median", Value: median(program), Unit: "ms", Want: figure.AtMost(400)},
	)
	return nil
}

// readAll reads a list of so many rows to its end and throws it away.
func (s *serving) readAll(ctx context.Context, list string, rows int) error {
	next := ""
	for pages := 1; ; pages++ {
		url := fmt.Sprintf("http://fleetd%s%s?limit=%d", api.Prefix, list, page)
		if next != "" {
			url += "&nextPageToken=" + next
		}
		var err error
		if next, err = s.readPage(ctx, url); err != nil {
			return err
		}
		if next == "" {
			if want := (rows + page - 1) / page; pages < want {
				return fmt.Errorf("GET %s ended after %d pages of %d", list, pages, want)
			}
			return nil
		}
	}
}

// readPage gives the token of the page after it, which stands at its end.
func (s *serving) readPage(ctx context.Context, url string) (next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", errors.Join(err, fmt.Errorf("%s: %s", url, resp.Status))
	}
	return tokenOf(text), nil
}

// tokenOf finds the token without decoding the rows.
func tokenOf(text []byte) string {
	const name = `"nextPageToken":`
	for i := len(text) - len(name); i > max(0, len(text)-1000); i-- {
		if string(text[i:i+len(name)]) != name {
			continue
		}
		var token string
		if json.NewDecoder(bytes.NewReader(text[i+len(name):])).Decode(&token) == nil {
			return token
		}
	}
	return ""
}

// fleetctl runs a command against an API, and counts the lines that it prints.
func (f *fleet) fleetctl(ctx context.Context, s *serving, args ...string) (took time.Duration, printed lines, err error) {
	cmd := exec.CommandContext(ctx, f.o.fleetctl, append([]string{"--endpoint", "unix://" + s.socket}, args...)...)
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &complaint
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("fleetctl %v: %w: %s", args, err, complaint.String())
	}
	return time.Since(began), printed, nil
}

// lines counts lines and throws them away.
type lines int

// Write is io.Writer's.
func (n *lines) Write(text []byte) (int, error) {
	*n += lines(bytes.Count(text, []byte("\n")))
	return len(text), nil
}
