package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

const (
	// maxBody bounds a request's body: a unit file of the largest size, as JSON.
	maxBody = 4 * unit.MaxFileSize
	// maxDrain is how much of a body that is too large is read all the same, and
	// thrown away: many clients look for an answer only once they have sent it.
	maxDrain = 64 << 20
)

// decodeBody reads a JSON body. What encoding/json would silently change or
// choose from is refused: it isn't what the client meant to have stored.
func decodeBody(r *http.Request, into any) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return &api.Error{Code: http.StatusUnsupportedMediaType, Message: fmt.Sprintf("a body in Content-Encoding %q cannot be read here: send it plain", coding)}
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return badRequest("the body isn't UTF-8")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badRequest("the body isn't the JSON that is expected here: %v", err)
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return badRequest("the body isn't the JSON that is expected here, but null")
	}
	if half := halfCharacter(body); half != "" {
		return badRequest("the body has %s in it, one half of a character without the other", half)
	}
	if key, twice := repeatedKey(body); twice {
		return badRequest("the body says %q twice in one object: say it once", key)
	}
	return nil
}

// wantJSON refuses a body that is not sent as JSON. As with fleet 1.0, what
// follows the type (a charset) doesn't count: JSON is UTF-8.
func wantJSON(r *http.Request) error {
	types := r.Header.Values("Content-Type")
	if len(types) == 1 {
		kind, _, _ := strings.Cut(types[0], ";")
		if strings.EqualFold(strings.TrimSpace(kind), "application/json") {
			return nil
		}
	}
	return &api.Error{Code: http.StatusUnsupportedMediaType, Message: "the body must be application/json: send one Content-Type header that says so"}
}

func readBody(r *http.Request) ([]byte, error) {
	tooLarge := &api.Error{Code: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes, and so than any unit may be", maxBody)}
	if r.ContentLength > maxDrain {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		if _, err = io.Copy(io.Discard, io.LimitReader(r.Body, maxDrain)); err == nil {
			err = tooLarge
		}
	}
	switch {
	case errors.Is(err, tooLarge):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &api.Error{Code: http.StatusRequestTimeout, Message: "the body did not come in time"}
	case err != nil:
		return nil, badRequest("reading the body: %v", err)
	}
	return body, nil
}

// halfCharacter finds an escape such as \ud800 that is half of a UTF-16 pair and
// stands alone, in sound JSON. encoding/json would put another character there.
func halfCharacter(body []byte) string {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // what is escaped
		if body[i] != 'u' {
			continue
		}
		half := body[i-1 : i+5]
		i += 4
		switch r := string(bytes.ToLower(half)); {
		case r < `\ud800` || r > `\udfff`:
		case r < `\udc00` && pairs(body[i+1:]):
			i += 6
		default:
			return string(half)
		}
	}
	return ""
}

// pairs reports whether text goes on with the second half of a pair.
func pairs(text []byte) bool {
	if len(text) < 6 {
		return false
	}
	r := string(bytes.ToLower(text[:6]))
	return r >= `\udc00` && r <= `\udfff`
}

// repeatedKey finds a key that one object of sound JSON has twice, but for case,
// as encoding/json takes it.
func repeatedKey(body []byte) (string, bool) {
	type level struct {
		keys  map[string]bool // nil: an array
		value bool            // a value comes next, not a key
	}
	var stack []level
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return "", false // the end: the JSON is known to be sound
		}
		top := len(stack) - 1
		if key, ok := token.(string); ok && top >= 0 && stack[top].keys != nil && !stack[top].value {
			if folded := fold(key); stack[top].keys[folded] {
				return key, true
			} else {
				stack[top].keys[folded] = true
			}
			stack[top].value = true
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		}
		if top = len(stack) - 1; top >= 0 {
			stack[top].value = false
		}
	}
}

// fold gives the same for keys that differ in case only.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next // the least of those that differ in case only
			}
			r = next
		}
	}, key)
}
