package server

import (
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"strings"

	"github.com/fleet-project/fleet/discovery/token"
)

// The kinds of page for people.
const (
	kindText = "text/plain"
	kindHTML = "text/html"
)

// forPeople says which page a request wants: what its Accept header names first.
// etcd names none, and gets JSON, as does all that isn't known to be a person: one
// types curl and the URL, and nothing more.
func forPeople(r *http.Request) string {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil || params["q"] == "0" {
			continue
		}
		switch kind {
		case kindText, kindHTML:
			return kind
		case "application/json":
			return ""
		}
	}
	if agent, _, _ := strings.Cut(r.UserAgent(), "/"); r.URL.RawQuery == "" && (strings.EqualFold(agent, "curl") || strings.EqualFold(agent, "wget")) {
		return kindText
	}
	return ""
}

// view is what a page shows.
type view struct {
	Summary, Next string
	Rows          []row
	Complete      bool
}

type row struct{ Place, Name, URLs, ID string }

func (s *Server) viewOf(t token.Token) view {
	v := view{Summary: fmt.Sprintf("%d of %d joined", len(t.Members), t.Size), Complete: t.Complete(), Next: "Complete: hosts that come now become proxies."}
	if !t.Complete() {
		v.Summary += fmt.Sprintf("; waiting for %d more", t.Missing())
		v.Next = "No host starts etcd before all have joined. Is one missing that should be here? On it: journalctl -u etcd2"
	}
	for i, m := range t.Members {
		r := row{Place: fmt.Sprint(i + 1), Name: m.Value, ID: string(m.ID)}
		if p, err := token.ParsePeer(m.Value); err == nil {
			r.Name, r.URLs = p.Name, strings.Join(p.URLs, " ")
		}
		v.Rows = append(v.Rows, r)
	}
	for i := len(t.Members); i < t.Size; i++ {
		v.Rows = append(v.Rows, row{Place: fmt.Sprint(i + 1), Name: "missing"})
	}
	v.Next += fmt.Sprintf("\nThis URL works until %s.", t.Expires(s.opts.Lifetime).Format("2006-01-02 15:04 MST"))
	return v
}

var pageOf = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{{if not .Complete}}<meta http-equiv="refresh" content="5">{{end}}<title>{{.Summary}}</title>
<style>body{font-family:sans-serif;margin:2em}td,th{text-align:left;padding:.2em 1em .2em 0}</style></head>
<body><h1>{{.Summary}}</h1>
<table><tr><th>#</th><th>name</th><th>peer URLs</th><th>id</th></tr>
{{range .Rows}}<tr><td>{{.Place}}</td><td>{{.Name}}</td><td>{{.URLs}}</td><td>{{.ID}}</td></tr>
{{end}}</table><p style="white-space:pre-line">{{.Next}}</p></body></html>
`))

// page shows a token to a person.
func (s *Server) page(w http.ResponseWriter, kind string, t token.Token) error {
	v := s.viewOf(t)
	if kind == kindHTML {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = pageOf.Execute(w, v) // a client that is gone is no error
		return nil
	}
	var b strings.Builder
	fmt.Fprintln(&b, v.Summary)
	for _, r := range v.Rows {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%4s  %-20s  %s  %s", r.Place, r.Name, r.URLs, r.ID), " "))
	}
	fmt.Fprintln(&b, v.Next)
	return text(w, b.String())
}
