package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/fleet-project/fleet/fleetd/durable"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/sirupsen/logrus"
)

// etcdMembers keeps what fleetd has learned of etcd's members for its successor,
// which may begin when etcd on this host is down. It lies beside the units directory.
type etcdMembers struct {
	unitsDir  string
	cluster   func() record.ClusterID // "" if this host has joined none yet
	endpoints []string                // as configured
	log       *logrus.Entry
}

// learnedMembers is what is kept: it is true of one cluster, for who asks those
// endpoints.
type learnedMembers struct {
	Cluster   record.ClusterID `json:"cluster"`
	Endpoints []string         `json:"endpoints"`
	Members   []string         `json:"members"`
}

func (e etcdMembers) path() string {
	return filepath.Join(filepath.Dir(filepath.Clean(e.unitsDir)), "etcd-members")
}

// known gives the members' client URLs; none if nothing is known of this cluster's.
func (e etcdMembers) known() []string {
	kept := e.kept()
	if kept.Cluster == "" || kept.Cluster != e.cluster() || !slices.Equal(kept.Endpoints, e.endpoints) {
		return nil
	}
	return kept.Members
}

func (e etcdMembers) kept() (kept learnedMembers) {
	text, err := os.ReadFile(e.path())
	if err != nil || json.Unmarshal(text, &kept) != nil {
		return learnedMembers{} // it is learned anew
	}
	return kept
}

// learned keeps the members' client URLs.
func (e etcdMembers) learned(members []string) {
	now, kept := learnedMembers{e.cluster(), e.endpoints, members}, e.kept()
	if now.Cluster == kept.Cluster && slices.Equal(now.Endpoints, kept.Endpoints) && slices.Equal(now.Members, kept.Members) {
		return
	}
	text, err := json.Marshal(now)
	if err == nil {
		err = durable.Write(e.path(), append(text, '\n'))
	}
	if err != nil {
		e.log.WithError(err).Warn("etcd's members can't be written down: a fleetd that starts while etcd on this host is down will not know of others")
	}
}
