package server

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/fleet-project/fleet/api"
)

// call is one of the API's calls. name is what stands for N in its path.
type call func(s *Server, w http.ResponseWriter, r *http.Request, name string) error

// route is one path of the API and what it answers to.
type route struct {
	path     string // under the prefix; N stands for any one segment
	calls    map[string]call
	segments []string // of the path
}

// methods lists what the path answers to.
func (r route) methods() []string { return slices.Sorted(maps.Keys(r.calls)) }

// routes are all there are. They are asked for with each request.
var routes = sync.OnceValue(func() []route {
	all := []route{
		{path: "units", calls: map[string]call{http.MethodGet: (*Server).listUnits}},
		{path: "units/N", calls: map[string]call{http.MethodGet: (*Server).getUnit, http.MethodPut: (*Server).putUnit, http.MethodDelete: (*Server).deleteUnit}},
		{path: "units/N/restart", calls: map[string]call{http.MethodPost: (*Server).restartUnit}},
		{path: "units/N/explain", calls: map[string]call{http.MethodGet: (*Server).explainUnit}},
		{path: "state", calls: map[string]call{http.MethodGet: (*Server).listStates}},
		{path: "state/N", calls: map[string]call{http.MethodGet: (*Server).getState}},
		{path: "machines", calls: map[string]call{http.MethodGet: (*Server).listMachines, http.MethodPatch: (*Server).patchMachines}},
		{path: "backup", calls: map[string]call{http.MethodGet: (*Server).backup}},
		{path: "watch", calls: map[string]call{http.MethodGet: (*Server).watch}},
		{path: "discovery", calls: map[string]call{http.MethodGet: (*Server).describe}},
		{path: "doctor", calls: map[string]call{http.MethodGet: (*Server).examine}},
		{path: "metrics", calls: map[string]call{http.MethodGet: (*Server).serveMetrics}},
	}
	for i := range all {
		all[i].segments = strings.Split(all[i].path, "/")
	}
	return all
})

// route finds what a request is for, and has it answered.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	path, ok := below(r.URL.EscapedPath())
	if !ok {
		s.refuse(w, r, notFound("no such path: the API is under %s", api.Prefix))
		return
	}
	route, name, ok := find(path)
	if !ok {
		s.refuse(w, r, notFound("no such path: %q", r.URL.Path))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handle := route.calls[method]
	if handle == nil {
		allowed := strings.Join(route.methods(), ", ")
		w.Header().Set("Allow", allowed)
		s.refuse(w, r, &api.Error{Code: http.StatusMethodNotAllowed, Message: fmt.Sprintf("%q is not allowed here, but %s", r.Method, allowed)})
		return
	}
	if err := handle(s, w, r, name); err != nil {
		s.refuse(w, r, err)
	}
}

// find gives the route of a path, and what stands for N in it.
func find(path []string) (of route, name string, ok bool) {
	for _, of := range routes() {
		if name, ok := match(of.segments, path); ok {
			return of, name, true
		}
	}
	return route{}, "", false
}

// below gives the segments of a path, still escaped, that follow the API's
// prefix. A slash at the end doesn't count.
func below(escaped string) (segments []string, ok bool) {
	for _, s := range strings.Split(strings.TrimSuffix(strings.TrimPrefix(escaped, "/"), "/"), "/") {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments = append(segments, plain)
	}
	if slices.Equal(segments, []string{"metrics"}) {
		return segments, true
	}
	for _, prefix := range [...]string{api.Prefix, api.AliasPrefix} {
		p := strings.Split(prefix[1:], "/")
		if len(segments) > len(p) && slices.Equal(segments[:len(p)], p) {
			return segments[len(p):], true
		}
	}
	return nil, false
}

// match compares a path with a route's; it gives what stands for N.
func match(want, path []string) (name string, ok bool) {
	if len(want) != len(path) {
		return "", false
	}
	for i, segment := range want {
		switch {
		case segment == "N" && path[i] != "":
			name = path[i]
		case segment != path[i]:
			return "", false
		}
	}
	return name, true
}
