package server

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/discovery"
)

// maxBody bounds a PUT's form: a member's value, escaped.
const maxBody = 32 << 10

// query is what a GET asks for.
type query struct {
	wait      bool
	waitIndex uint64
}

// parseQuery reads a GET's query as etcd did: a value that makes no sense is an
// error, a key that has no meaning here isn't.
func parseQuery(r *http.Request) (q query, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, invalidForm(err)
	}
	if q.wait, _, err = boolean(values, "wait"); err != nil {
		return q, err
	}
	for _, key := range []string{"recursive", "sorted", "quorum", "stream"} {
		set, _, err := boolean(values, key)
		if err != nil {
			return q, err
		}
		if set && key == "stream" {
			return q, invalid(key, "a stream is not served here: wait without it")
		}
	}
	if text := values.Get("waitIndex"); text != "" {
		if q.waitIndex, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, &discovery.Failure{Code: discovery.CodeIndexNaN, Message: "The given index in POST form is not a number", Cause: `invalid value for "waitIndex"`}
		}
	}
	return q, nil
}

// put is what a PUT says.
type put struct {
	value     string
	prevExist *bool
}

// parsePut reads a PUT's form, and the query, which etcd's clients say prevExist in.
func parsePut(w http.ResponseWriter, r *http.Request) (p put, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return p, invalidForm(fmt.Errorf("send value=NAME%%3DURL as application/x-www-form-urlencoded"))
	}
	if err := r.ParseForm(); errors.Is(err, os.ErrDeadlineExceeded) {
		return p, errSlow
	} else if err != nil {
		return p, invalidForm(err)
	}
	for _, key := range []string{"ttl", "refresh", "dir", "prevValue", "prevIndex"} {
		if r.Form.Has(key) && r.Form.Get(key) != "" && r.Form.Get(key) != "false" {
			return p, invalid(key, "a member is for good: nothing may bind it to a time or to another value")
		}
	}
	exist, said, err := boolean(r.Form, "prevExist")
	if err != nil {
		return p, err
	}
	if said {
		p.prevExist = &exist
	}
	if p.value = strings.TrimSpace(r.Form.Get("value")); p.value == "" {
		return p, &discovery.Failure{Code: discovery.CodeValueRequired, Message: "Value is Required in POST form", Cause: "send value=NAME=URL"}
	}
	return p, nil
}

func boolean(values url.Values, key string) (value, said bool, err error) {
	if !values.Has(key) {
		return false, false, nil
	}
	text := values.Get(key)
	if text == "" { // as in ?wait
		return true, true, nil
	}
	if value, err = strconv.ParseBool(text); err != nil {
		return false, false, invalid(key, fmt.Sprintf("%.40q is neither true nor false", text))
	}
	return value, true, nil
}

func invalid(key, why string) error {
	return &discovery.Failure{Code: discovery.CodeInvalidField, Message: "Invalid field", Cause: fmt.Sprintf("invalid value for %q: %s", key, why)}
}

func invalidForm(err error) error {
	return &discovery.Failure{Code: discovery.CodeInvalidForm, Message: "Invalid POST form", Cause: err.Error()}
}
