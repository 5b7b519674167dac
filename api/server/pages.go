package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
)

// cursor is what a nextPageToken says: the name after which the next page
// begins. So an entry that stays is in exactly one page, whatever others come
// and go between the pages.
type cursor struct {
	After   string `json:"after"`
	Machine string `json:"machine,omitempty"` // of the last state of the page
}

func (c cursor) token() string {
	text, _ := json.Marshal(c) // strings always marshal
	return base64.RawURLEncoding.EncodeToString(text)
}

// page is which part of a list is asked for.
type page struct {
	cursor
	limit int
}

// freshPage is how every list begins: what page is asked for, and a memory that
// holds all that was acknowledged before.
func (s *Server) freshPage(r *http.Request) (page, error) {
	p, err := s.pageOf(r)
	if err != nil {
		return p, err
	}
	return p, s.fresh(r.Context())
}

func (s *Server) pageOf(r *http.Request) (page, error) {
	p := page{limit: s.opts.PageSize}
	q := r.URL.Query()
	if token := q.Get("nextPageToken"); token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		if err == nil {
			err = json.Unmarshal(text, &p.cursor)
		}
		if err != nil || p.After == "" {
			return p, badRequest("the nextPageToken is none of this API's: begin again without one")
		}
	}
	if limit := q.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			return p, badRequest("limit=%s: want a number of at least 1", limit)
		}
		p.limit = min(n, maxPageSize)
	}
	return p, nil
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
