package server

import (
	"encoding/json"
	"sync"

	"github.com/fleet-project/fleet/unit"
)

// fileCache keeps unit files parsed, once somebody has asked for them. It is
// safe for concurrent use.
type fileCache struct {
	mu     sync.Mutex
	parsed map[unit.Hash]*parsedFile
}

// parsedFile is a unit file, and what lists show of it. All of them share that,
// also what open watches remember of ten thousand units: nobody changes it.
type parsedFile struct {
	*unit.File
	written []unit.Option
	asJSON  []byte // written
	// local: whatever the unit's name, it is no global one.
	local bool
}

func newParsedFile(f *unit.File) *parsedFile {
	written := f.WrittenOptions()
	return &parsedFile{File: f, written: written, asJSON: optionsJSON(written), local: !f.MayBeGlobal()}
}

// optionsJSON gives a unit file's options as JSON; nothing if there are none.
func optionsJSON(options []unit.Option) []byte {
	if len(options) == 0 {
		return nil
	}
	text, err := json.Marshal(options)
	if err != nil {
		panic(err) // they are strings
	}
	return text
}

func (f *fileCache) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parsed = map[unit.Hash]*parsedFile{}
}

func (f *fileCache) forget(h unit.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.parsed, h)
}

// file gives a unit file, parsed. A text that is missing or that only another
// version of fleet can read is an empty file: the list goes on. The cache's lock
// must be held.
func (c *cache) file(h unit.Hash) *parsedFile {
	c.files.mu.Lock()
	defer c.files.mu.Unlock()
	if f := c.files.parsed[h]; f != nil {
		return f
	}
	text, there := c.view.Files[h]
	if !there {
		return newParsedFile(unit.FromOptions(nil))
	}
	f, err := unit.Parse(text)
	if err != nil {
		f = unit.FromOptions(nil)
	}
	p := newParsedFile(f)
	c.files.parsed[h] = p
	return p
}

// global reports whether a unit runs on every machine. The cache's lock must be
// held.
func (c *cache) global(name unit.Name, h unit.Hash) bool {
	f := c.file(h)
	if f.local {
		return false
	}
	req, err := f.Requirements(name)
	return err == nil && req.Global
}
