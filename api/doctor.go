package api

import (
	"context"
	"net/http"
)

// Level says how a check came out.
type Level string

// Levels, from good to bad.
const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning" // it works, but it may not for long, or not well
	LevelError   Level = "error"   // something doesn't work
)

// Finding is what one check found.
type Finding struct {
	Check   string `json:"check"`   // what was looked into: etcd, clock, disk, ...
	Subject string `json:"subject"` // at which endpoint, machine, directory, ...
	Level   Level  `json:"level"`
	Found   string `json:"found"`
	// Remedy says what to do about it; empty if there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}

// Diagnosis is how one host is, and the cluster as that host sees it.
type Diagnosis struct {
	MachineID string    `json:"machineID"`
	Hostname  string    `json:"hostname,omitempty"`
	Version   string    `json:"version,omitempty"` // of its fleetd
	Findings  []Finding `json:"findings"`
}

// Doctor has the host of the fleetd that is asked examined. It is answered
// without etcd, too.
func (c *Client) Doctor(ctx context.Context) (*Diagnosis, error) {
	var d Diagnosis
	_, err := c.do(ctx, http.MethodGet, "/doctor", nil, &d)
	if IsNotFound(err) {
		return nil, &Fleet1Error{
			Endpoint: c.opts.Endpoint, Lacks: "examine itself",
			Remedy: "On its host, look at: systemctl status fleet etcd2; journalctl -u fleet -n 100",
		}
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}
