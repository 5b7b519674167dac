// Package discovery turns one URL into an etcd cluster: each host registers with
// the service behind the URL, waits until all members have, and is told who they
// are. Join is a host's part; the package server is the service's. Both speak
// the discovery protocol of etcd 2, so either works with etcd's own other half.
// It starts no etcd, and stores nothing.
package discovery

import "fmt"

// IndexHeader tells how far a token has come, with every answer.
const IndexHeader = "X-Etcd-Index"

// Answer is what the service says of a key.
type Answer struct {
	Action   string `json:"action"`
	Node     *Node  `json:"node,omitempty"`
	PrevNode *Node  `json:"prevNode,omitempty"`
}

// Node is a key: the size, a member, or the token with its members.
type Node struct {
	Key           string  `json:"key,omitempty"`
	Value         *string `json:"value,omitempty"`
	Dir           bool    `json:"dir,omitempty"`
	Nodes         []*Node `json:"nodes,omitempty"`
	ModifiedIndex uint64  `json:"modifiedIndex,omitempty"`
	CreatedIndex  uint64  `json:"createdIndex,omitempty"`
}

// Failure is an error as the service tells it.
type Failure struct {
	Code    int    `json:"errorCode"`
	Message string `json:"message"`
	Cause   string `json:"cause,omitempty"`
	Index   uint64 `json:"index"`
}

// Error is as etcd's clients print it.
func (f *Failure) Error() string {
	return fmt.Sprintf("%d: %s (%s)", f.Code, f.Message, f.Cause)
}

// The codes of failures, as etcd 2 gave them.
const (
	CodeKeyNotFound   = 100
	CodeCompareFailed = 101
	CodeFull          = 103
	CodeNodeExists    = 105
	CodeAddressTaken  = 109
	CodeValueRequired = 200
	CodeIndexNaN      = 203
	CodeInvalidField  = 209
	CodeInvalidForm   = 210
	CodeUnavailable   = 300
)
