package api

import _ "embed"

// OpenAPI is the API's description, OpenAPI 3.0 in YAML. A server serves it as
// JSON at /discovery, for clients to be generated from.
//
//go:embed openapi.yaml
var OpenAPI []byte
