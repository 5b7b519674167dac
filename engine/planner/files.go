package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// file is a unit file's text and who refers to it.
type file struct {
	hash unit.Hash
	text []byte // nil: not known
	// refs counts the records, placements and states that name the file: what
	// a machine was told, or says, must stay readable.
	refs int
	jobs []*job // whose records name it

	vanished bool // text is known but its key is gone

	rec  *record.Unit // the last that named it: most units of a file have the same
	spec *record.Spec // likewise

	parsed   *unit.File // of text, once somebody asked
	parseErr error
}

// refer counts one more reference, to a file that may not be known yet.
func (p *Planner) refer(hash unit.Hash) *file {
	f := p.file(hash)
	f.refs++
	return f
}

func (p *Planner) file(hash unit.Hash) *file {
	f := p.files[hash]
	if f == nil {
		f = &file{hash: hash}
		p.files[hash] = f
	}
	return f
}

// record gives a copy of a record that names the file, which units share.
func (f *file) record(rec record.Unit) *record.Unit {
	if f.rec == nil || !f.rec.Equal(rec) {
		own := rec // a copy only where it is kept
		own.File = f.hash
		f.rec = &own
	}
	return f.rec
}

// shared gives a copy of a spec, which seats share.
func (p *Planner) shared(j *job, spec record.Spec) *record.Spec {
	switch {
	case spec == *p.none:
		return p.none
	case spec.File == "":
		own := spec
		return &own
	}
	f := j.fileOf(p, spec.File)
	if f.spec == nil || *f.spec != spec {
		own := spec // a copy only where it is kept
		own.File = f.hash
		f.spec = &own
	}
	return f.spec
}

func (f *file) add(j *job) {
	j.fileAt = int32(len(f.jobs))
	f.jobs = append(f.jobs, j)
}

func (f *file) remove(j *job) {
	last := len(f.jobs) - 1
	x := f.jobs[last]
	f.jobs[j.fileAt], x.fileAt = x, j.fileAt
	f.jobs[last] = nil
	f.jobs = f.jobs[:last]
}

func (p *Planner) unrefer(f *file) {
	if f.refs--; f.refs == 0 {
		p.idleFiles[f] = struct{}{}
	}
}

// swapFile moves a reference from one file to another; an empty hash is none.
func (p *Planner) swapFile(j *job, old, is unit.Hash) {
	if is == old {
		return
	}
	if is != "" {
		j.fileOf(p, is).refs++
	}
	if old != "" {
		p.unrefer(j.fileOf(p, old))
	}
}

// fileOf is Planner.file, which hardly ever is another than that of the unit's
// record.
func (j *job) fileOf(p *Planner, hash unit.Hash) *file {
	if j.file != nil && j.file.hash == hash {
		return j.file
	}
	return p.file(hash)
}

func (p *Planner) applyFile(c record.FileChange) {
	f := p.file(c.Hash)
	if c.Text == nil {
		f.vanished = f.text != nil
		if f.refs > 0 {
			p.lostFiles[f] = struct{}{}
		} else {
			delete(p.files, c.Hash)
			delete(p.idleFiles, f)
		}
		return
	}
	f.vanished = false
	if f.refs == 0 {
		p.idleFiles[f] = struct{}{}
	}
	if f.text != nil {
		return // a text never changes under its hash
	}
	f.text = c.Text
	for _, j := range f.jobs {
		p.spoil(j)
		p.mark(j)
	}
}

// read gives what a unit demands by this file.
func (f *file) read(name unit.Name) (unit.Requirements, error) {
	if f.text == nil {
		return unit.Requirements{}, fmt.Errorf("the text of its unit file (%s) is missing from the cluster", f.hash.Short())
	}
	if f.parsed == nil && f.parseErr == nil {
		f.parsed, f.parseErr = unit.Parse(f.text)
	}
	if f.parseErr != nil {
		return unit.Requirements{}, fmt.Errorf("its unit file can't be read: %w", f.parseErr)
	}
	req, err := f.parsed.Requirements(name)
	if err != nil {
		return unit.Requirements{}, fmt.Errorf("its unit file can't be read: %w", err)
	}
	return req, nil
}

// restoreFiles writes texts anew that vanished while they are needed.
func (p *Planner) restoreFiles() {
	for _, f := range sortedFiles(p.lostFiles) {
		if f.vanished && f.refs > 0 {
			f.vanished = false
			p.out.add(rankRestoreFile, RestoreFile{Hash: f.hash, Text: f.text})
		}
	}
	clear(p.lostFiles)
}

// collectFiles takes texts away that nothing refers to.
func (p *Planner) collectFiles() {
	for _, f := range sortedFiles(p.idleFiles) {
		switch {
		case f.refs > 0:
		case f.text == nil || f.vanished:
			delete(p.files, f.hash)
		default: // the text is kept until the deletion has been seen
			p.out.add(rankCollect, CollectFile{Hash: f.hash})
		}
	}
	clear(p.idleFiles)
}

func sortedFiles(set map[*file]struct{}) []*file {
	out := make([]*file, 0, len(set))
	for f := range set {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *file) int { return cmp.Compare(a.hash, b.hash) })
	return out
}
