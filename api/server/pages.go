package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// cursor is what a nextPageToken says: the entry after which the next page
// begins, there or not. So an entry that stays is in exactly one page, whatever
// others come and go between the pages.
type cursor struct {
	After   string // a unit or a machine
	Machine string // of the last state of the page
}

// maxToken is longer than any token is: names have bounds.
const maxToken = 1024

// token writes the cursor down, with the list that it is of and a sum over all:
// one that was cut off, mistyped or taken from another list would else begin
// somewhere and drop units silently. It is no secret, and any fleetd reads it.
func (c cursor) token(list listKind) string {
	text := string(list) + "\x00" + c.After + "\x00" + c.Machine
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32([]byte(text), crc32.ChecksumIEEE([]byte(text))))
}

// cursorOf reads a token of the list.
func cursorOf(token string, list listKind) (cursor, bool) {
	if len(token) > maxToken {
		return cursor{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 4 {
		return cursor{}, false
	}
	text, sum := string(raw[:len(raw)-4]), binary.BigEndian.Uint32(raw[len(raw)-4:])
	parts := strings.Split(text, "\x00")
	if sum != crc32.ChecksumIEEE([]byte(text)) || len(parts) != 3 || parts[0] != string(list) || parts[1] == "" {
		return cursor{}, false
	}
	return cursor{After: parts[1], Machine: parts[2]}, true
}

// maxPageBytes bounds the unit files that one page shows: a page of many large
// ones ends early, so that no single request makes fleetd hold gigabytes.
const maxPageBytes = 16 << 20

// page is which part of a list is asked for.
type page struct {
	cursor
	limit int
	query url.Values
}

// freshPage is how every list begins: what page is asked for, and a memory that
// holds all that was acknowledged before.
func (s *Server) freshPage(r *http.Request, list listKind) (page, error) {
	p, err := s.pageOf(r, list)
	if err != nil {
		return p, err
	}
	return p, s.fresh(r.Context())
}

func (s *Server) pageOf(r *http.Request, list listKind) (page, error) {
	p := page{limit: int(s.pageSize.Load())}
	var err error
	if p.query, err = queryOf(r); err != nil {
		return p, err
	}
	if tokens := p.query["nextPageToken"]; len(tokens) > 1 {
		return p, badRequest("nextPageToken is given %d times", len(tokens))
	}
	if token := p.query.Get("nextPageToken"); token != "" {
		var ok bool
		if p.cursor, ok = cursorOf(token, list); !ok {
			return p, badRequest("the nextPageToken is none of this list's: begin again without one")
		}
	}
	if limit := p.query.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			return p, badRequest("limit=%s: want a number of at least 1", limit)
		}
		p.limit = min(n, maxPageSize)
	}
	return p, nil
}

// queryOf reads the URL's parameters. What can't be read is refused: without a
// filter that was meant, an answer would be another question's.
func queryOf(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the URL's parameters: %v", err)
	}
	return q, nil
}

// after gives the part of a sorted list that follows a key, there or not; all of
// it if the key is empty.
func after[K ~string](keys []K, key K) []K {
	i, found := slices.BinarySearch(keys, key)
	if found {
		i++
	}
	return keys[i:]
}

// pageWriter writes a page of a list as it goes through it: the whole list at
// once, as values and as JSON, would be a multiple of what is stored.
type pageWriter struct {
	body bytes.Buffer
	out  jsontext.Encoder
	rows int
	err  error // the first
}

// bodies are buffers of pages that have been sent.
var bodies = sync.Pool{New: func() any { return &pageWriter{} }}

// newPageWriter begins a page; free is to be called when its body is needed no
// more.
func newPageWriter(field string) (p *pageWriter, free func()) {
	p = bodies.Get().(*pageWriter)
	p.rows, p.err = 0, nil
	p.body.Reset()
	p.out.Reset(&p.body, asEncodingJSON)
	p.tokens(jsontext.BeginObject, jsontext.String(field), jsontext.BeginArray)
	return p, func() { bodies.Put(p) }
}

// row writes the next row, which is a pointer to what encoding/json would make one
// of.
func (p *pageWriter) row(v any) {
	p.rows++
	p.note(jsonv2.MarshalEncode(&p.out, v))
}

// end completes the page; next is where the one after begins, nil if there is
// none.
func (p *pageWriter) end(next *cursor, list listKind) {
	p.tokens(jsontext.EndArray)
	if next != nil {
		p.tokens(jsontext.String("nextPageToken"), jsontext.String(next.token(list)))
	}
	p.tokens(jsontext.EndObject)
}

func (p *pageWriter) tokens(all ...jsontext.Token) {
	for _, t := range all {
		p.note(p.out.WriteToken(t))
	}
}

func (p *pageWriter) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

// asEncodingJSON has rows written as encoding/json writes them, byte by byte. Its
// successor takes JSON that is there already as it is, which encoding/json copies
// and checks several times over.
var asEncodingJSON = jsonv1.DefaultOptionsV1()

// answerPage sends a page.
func (s *Server) answerPage(w http.ResponseWriter, p *pageWriter) error {
	if p.err != nil {
		return p.err
	}
	return s.answerJSON(w, http.StatusOK, p.body.Bytes())
}
