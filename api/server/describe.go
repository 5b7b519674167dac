package server

import (
	"net/http"

	"github.com/fleet-project/fleet/api"
)

// description is what GET /discovery tells of the API.
type description struct {
	Name    string              `json:"name"`
	Version string              `json:"version"` // of the API
	Fleetd  string              `json:"fleetd"`  // its version
	Base    string              `json:"basePath"`
	Methods map[string][]string `json:"methods"` // by path
}

func (s *Server) describe(w http.ResponseWriter, _ *http.Request, _ string) error {
	d := description{Name: "fleet", Version: "v1", Fleetd: s.opts.Version, Base: api.Prefix, Methods: map[string][]string{}}
	for _, route := range routes() {
		d.Methods["/"+route.path] = route.methods()
	}
	return answer(w, http.StatusOK, d)
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ string) error {
	if s.opts.Metrics == nil {
		return notFound("this fleetd keeps no metrics")
	}
	s.opts.Metrics.ServeHTTP(w, r)
	return nil
}
