package main

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// profiled runs a case, with CPU profiles of all processes if they are wanted.
func (f *fleet) profiled(name string, measured func() error) error {
	if f.o.cpu == "" {
		return measured()
	}
	f.profile = f.o.cpu + name + "-"
	defer func() { f.profile = "" }()
	etcd := make(chan error, 1)
	path := f.profile + "etcd.pprof"
	go func() { etcd <- fetch(f.etcd.url+"/debug/pprof/profile?seconds=10", path) }()
	for of, p := range f.named() {
		if err := p.order("cpu " + f.profile + of + ".pprof"); err != nil {
			return err
		}
	}
	err := measured()
	for _, p := range f.named() { // without those that were ended as part of the case
		err = errors.Join(err, p.order("stop"))
	}
	return errors.Join(err, <-etcd)
}

// fetch keeps what a URL answers.
func fetch(url, path string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
