package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// File is a unit file to write.
type File struct {
	Name unit.Name
	Text []byte
}

func (c *Client) path(name unit.Name) string { return filepath.Join(c.opts.UnitDir, string(name)) }

// Claim reports for each file's unit whether fleet may have that name on this
// host: an entry in the result says why not, a *ForeignError if the host has a
// unit of that name. It counts whatever systemd would find: files in any of its
// directories, generated ones, masks, aliases, instances of the host's
// templates, mounts. A file of the very same text in our directory is taken for
// ours: the record of it was lost.
//
// Ask only for units that no record says are fleet's.
func (c *Client) Claim(ctx context.Context, files []File) (map[unit.Name]error, error) {
	c.files.Lock()
	defer c.files.Unlock()
	vacant, err := c.vacant(ctx, files)
	if err != nil {
		return nil, err
	}
	c.unheard = map[unit.Name]bool{}
	maps.Copy(c.unheard, vacant)
	files = slices.DeleteFunc(slices.Clone(files), func(f File) bool { return vacant[f.Name] })
	if len(files) == 0 {
		return nil, nil
	}
	names := make([]unit.Name, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	rows, _, err := c.list(ctx, names)
	if err != nil {
		return nil, err
	}
	refused := map[unit.Name]error{}
	for i, f := range files {
		path := c.path(f.Name)
		text, err := os.ReadFile(path)
		switch {
		case err == nil && !bytes.Equal(text, f.Text):
			refused[f.Name] = &ForeignError{Unit: f.Name, Path: path, Load: rows[i].LoadState}
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			refused[f.Name] = &ForeignError{Unit: f.Name, Path: path} // a directory, a link to nowhere
			continue
		}
		// Of a unit that has failed, systemd keeps the name after its file is gone.
		if rows[i].LoadState == "not-found" && (rows[i].ActiveState == "inactive" || rows[i].ActiveState == "failed") {
			c.unheard[f.Name] = true
			continue
		}
		if err := c.claimLoaded(ctx, f.Name, rows[i]); err != nil {
			refused[f.Name] = err
		}
	}
	return refused, nil
}

// claimLoaded looks at a unit that systemd knows. It is ours if systemd has it
// from the file that we would write, and nobody's if it is an idle slice that
// nothing on the host describes: systemd makes one up whenever it is asked.
func (c *Client) claimLoaded(ctx context.Context, name unit.Name, row listed) error {
	var from string
	if err := c.property(ctx, name, unitIface, "FragmentPath", &from); err != nil {
		return err
	}
	if row.Name == string(name) && from == c.path(name) {
		return nil
	}
	if from == "" && name.Type() == "slice" && row.ActiveState == "inactive" {
		var dropIns []string
		if err := c.property(ctx, name, unitIface, "DropInPaths", &dropIns); err != nil {
			return err
		}
		if len(dropIns) == 0 {
			return nil
		}
	}
	return &ForeignError{Unit: name, Path: from, Load: row.LoadState}
}

// Write puts unit files in place, atomically and as real files, so that systemd
// finds them. Then, if systemd has a unit of theirs in memory with another text,
// it reloads, once for all. A unit that couldn't be written has its error in
// the result.
func (c *Client) Write(ctx context.Context, files []File) (map[unit.Name]error, error) {
	c.files.Lock()
	defer c.files.Unlock()
	defer clear(c.unheard)
	failed := map[unit.Name]error{}
	for _, f := range files {
		if err := c.write(f); err != nil {
			failed[f.Name] = err
		}
	}
	if err := c.touch(); err != nil {
		return nil, err
	}
	for _, f := range files {
		if failed[f.Name] != nil || c.unheard[f.Name] {
			continue
		}
		stale, err := c.needReload(ctx, f.Name)
		if err != nil {
			return nil, err
		}
		if stale {
			return failed, c.reload(ctx, reasonChanged)
		}
	}
	return failed, nil
}

func (c *Client) write(f File) error {
	if err := os.MkdirAll(c.opts.UnitDir, 0o755); err != nil {
		return err
	}
	// systemd ignores names with a dot before them; c.files is held.
	temp := filepath.Join(c.opts.UnitDir, ".fleet.new")
	if err := os.WriteFile(temp, f.Text, 0o644); err != nil {
		return err
	}
	c.outdate(f.Name)
	if err := os.Chtimes(temp, c.stamp, c.stamp); err != nil {
		return err
	}
	return os.Rename(temp, c.path(f.Name))
}

// outdate makes the next stamp of a unit's file. To systemd a text is new if its stamp
// is later than that of the text which it has in memory. But the kernel stamps files in
// steps of 4 ms or so; and the host's clock may have been set back since.
func (c *Client) outdate(name unit.Name) {
	now := time.Now().Round(0) // stamps are of the wall's clock
	if old, err := os.Stat(c.path(name)); err == nil && old.ModTime().After(c.stamp) {
		c.stamp = old.ModTime()
	}
	if c.stamp = c.stamp.Add(time.Microsecond); now.After(c.stamp) {
		c.stamp = now
	}
}

// touch makes systemd see that something in the directory changed, even if it
// looked in the same tick of the kernel's clock.
func (c *Client) touch() error {
	now := time.Now()
	return os.Chtimes(c.opts.UnitDir, now, now)
}

// Remove takes a unit's file away. One that isn't there is no error.
func (c *Client) Remove(name unit.Name) error {
	c.files.Lock()
	defer c.files.Unlock()
	c.outdate(name) // systemd may have it in memory when it is written anew
	if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.touch()
}

// needReload reports whether systemd has the unit in memory with a text that
// isn't the file's. It doesn't make systemd load anything.
func (c *Client) needReload(ctx context.Context, name unit.Name) (bool, error) {
	if _, err := c.call(ctx, "find", name, "GetUnit", string(name)); err != nil {
		if notLoaded(err) {
			return false, nil
		}
		return false, err
	}
	var load string
	if err := c.property(ctx, name, unitIface, "LoadState", &load); err != nil {
		return false, err
	}
	if load == "not-found" {
		// Others refer to it. systemd looks for its file again at the start.
		return false, nil
	}
	var from string
	if err := c.property(ctx, name, unitIface, "FragmentPath", &from); err != nil {
		return false, err
	}
	if from == "" {
		return true, nil // a slice that systemd made up before there was a file
	}
	var stale bool
	if err := c.property(ctx, name, unitIface, "NeedDaemonReload", &stale); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return stale, nil
}

// Text gives the unit file that is in place.
func (c *Client) Text(name unit.Name) ([]byte, error) { return os.ReadFile(c.path(name)) }
