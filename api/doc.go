// Package api is fleet's HTTP API as its clients see it: the wire types, the
// errors and a client. The paths lie under /fleet/v1, as in CoreOS fleet 1.0,
// whose fields keep their names and meaning; what is new here is added beside
// them, so that 1.0's clients are served as well.
//
// The server is api/server. This package knows no etcd and links none: fleetctl
// stays small.
package api

import "time"

const (
	// Prefix is where the API's paths begin.
	Prefix = "/fleet/v1"
	// AliasPrefix is where old clients look for the same paths.
	AliasPrefix = "/v1-alpha"
	// StreamType is the content type of a watch: one JSON object a line.
	StreamType = "application/x-ndjson"
	// HeartbeatInterval is the longest that a watch is silent. A client that
	// hears nothing for much longer has lost its connection.
	HeartbeatInterval = 15 * time.Second
)
