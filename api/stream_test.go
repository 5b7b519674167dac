package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A command that is busy with what a watch told it must not take that for the
// connection's silence.
func TestStreamWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() {
			fmt.Fprintln(w, `{"heartbeat":true}`)
			fmt.Fprintln(w, `{"recovered":true}`)
			w.Close()
		}()
		var heard []Event
		err := readStream(t.Context(), &http.Response{Body: r}, func(e Event) error {
			heard = append(heard, e)
			time.Sleep(2 * silence)
			return nil
		})
		if !errors.Is(err, io.EOF) || len(heard) != 2 || !heard[1].Recovered {
			t.Errorf("%v, after %+v", err, heard)
		}
	})
}

func TestStreamThatFallsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		go fmt.Fprintln(w, `{"heartbeat":true}`)
		began, heard := time.Now(), 0
		err := readStream(t.Context(), &http.Response{Body: r}, func(Event) error { heard++; return nil })
		if took := time.Since(began); !errors.Is(err, errSilent) || heard != 1 || took != silence {
			t.Errorf("%v, after %d events and %s", err, heard, took)
		}
	})
}
