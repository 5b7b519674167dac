package api

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// readStream passes the objects of a stream on, one a line. It returns only with
// an error: a callbackError is fn's own.
func readStream[T any](ctx context.Context, resp *http.Response, fn func(T) error) error {
	defer resp.Body.Close()
	// A read can't be interrupted but by closing what is read from.
	stop := context.AfterFunc(ctx, func() { resp.Body.Close() })
	defer stop()
	var silent atomic.Bool
	timer := time.AfterFunc(silence, func() { silent.Store(true); resp.Body.Close() })
	defer timer.Stop()
	decoder := newDecoder(resp.Body)
	for {
		var e T
		if err := jsonv2.UnmarshalDecode(decoder, &e); err != nil {
			if silent.Load() {
				err = errSilent
			}
			return err
		}
		timer.Stop() // however long fn takes: that is not the connection's silence
		if err := fn(e); err != nil {
			return callbackError{err}
		}
		timer.Reset(silence)
	}
}
