package server

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
)

// call is one of the API's calls. name is what stands for N in its path.
type call func(s *Server, w http.ResponseWriter, r *http.Request, name string) error

// route is one path of the API and what it answers to.
type route struct {
	path  string // under the prefix; N stands for any one segment
	calls map[string]call
}

// methods lists what the path answers to.
func (r route) methods() []string { return slices.Sorted(maps.Keys(r.calls)) }

func routes() []route {
	return []route{
		{"units", map[string]call{http.MethodGet: (*Server).listUnits}},
		{"units/N", map[string]call{http.MethodGet: (*Server).getUnit, http.MethodPut: (*Server).putUnit, http.MethodDelete: (*Server).deleteUnit}},
		{"units/N/restart", map[string]call{http.MethodPost: (*Server).restartUnit}},
		{"units/N/explain", map[string]call{http.MethodGet: (*Server).explainUnit}},
		{"state", map[string]call{http.MethodGet: (*Server).listStates}},
		{"state/N", map[string]call{http.MethodGet: (*Server).getState}},
		{"machines", map[string]call{http.MethodGet: (*Server).listMachines, http.MethodPatch: (*Server).patchMachines}},
		{"watch", map[string]call{http.MethodGet: (*Server).watch}},
		{"discovery", map[string]call{http.MethodGet: (*Server).describe}},
		{"metrics", map[string]call{http.MethodGet: (*Server).serveMetrics}},
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.metrics.measured(w, r, s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		s.serveRoute(w, r, "metrics")
		return
	}
	for _, prefix := range []string{api.Prefix, api.AliasPrefix} {
		if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix+"/"); ok {
			s.serveRoute(w, r, strings.TrimSuffix(rest, "/"))
			return
		}
	}
	s.refuse(w, r, notFound("no such path: the API is under %s", api.Prefix))
}

func (s *Server) serveRoute(w http.ResponseWriter, r *http.Request, path string) {
	for _, route := range routes() {
		name, ok := match(route.path, path)
		if !ok {
			continue
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		handle := route.calls[method]
		if handle == nil {
			allowed := strings.Join(route.methods(), ", ")
			w.Header().Set("Allow", allowed)
			s.refuse(w, r, &api.Error{Code: http.StatusMethodNotAllowed, Message: r.Method + " is not allowed here, but " + allowed})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := handle(s, w, r, name); err != nil {
			s.refuse(w, r, err)
		}
		return
	}
	s.refuse(w, r, notFound("no such path: %s", r.URL.Path))
}

// match compares a path, still escaped, with a route's; it gives what stands
// for N.
func match(pattern, path string) (name string, ok bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return "", false
	}
	for i, segment := range want {
		plain, err := url.PathUnescape(have[i])
		switch {
		case err != nil || plain == "":
			return "", false
		case segment == "N":
			name = plain
		case segment != plain:
			return "", false
		}
	}
	return name, true
}
