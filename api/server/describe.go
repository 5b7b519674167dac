package server

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/fleet-project/fleet/api"
	"sigs.k8s.io/yaml"
)

// description is the API's own, as JSON. It is made when first asked for.
var description = sync.OnceValues(func() (json.RawMessage, error) { return yaml.YAMLToJSON(api.OpenAPI) })

func (s *Server) describe(w http.ResponseWriter, _ *http.Request, _ string) error {
	text, err := description()
	if err != nil {
		return err
	}
	return s.answer(w, http.StatusOK, text)
}

// examine has this host examined.
func (s *Server) examine(w http.ResponseWriter, r *http.Request, _ string) error {
	if s.opts.Doctor == nil {
		return notFound("this fleetd examines nothing")
	}
	return s.answer(w, http.StatusOK, s.opts.Doctor(r.Context()))
}
