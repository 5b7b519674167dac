package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/fleetctl/backup"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Write all units and what is wanted of them to a file",
		Long: `Writes what the cluster was told, as it was at one moment, to a file that a person can
read: the units' exact texts and desired states, machines' metadata and cordons as they
were set in the cluster. Where units run is not in it: that follows. Without FILE, or
with -, it goes to standard output. 'fleetctl restore' puts it back.

Two backups of one state differ in the line "taken" only, and a FILE that has the state
already is left as it is: it can be kept under version control. The file holds the units'
whole texts, with whatever secrets they have in them, so only its owner may read it
(mode 0600). A unit whose text etcd has lost is named, left out, and makes it exit 1.`,
		Example: `  fleetctl backup cluster.yaml
  fleetctl --tunnel 10.0.0.5 backup - | gpg --encrypt -r ops >cluster.yaml.gpg`,
		Args:              atMostOneFile,
		ValidArgsFunction: c.completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "-"
			if len(args) == 1 {
				path = args[0]
			}
			return c.backup(cmd.Context(), path)
		},
	}
}

func atMostOneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("Give one file, not %d\nRun '%s --help' for its usage.", len(args), cmd.CommandPath())
	}
	return nil
}

func (c *cli) backup(ctx context.Context, path string) error {
	f, revision, err := c.takeBackup(ctx)
	if err != nil {
		return err
	}
	lost := 0
	f.Units = keep(f.Units, func(u backup.Unit) bool {
		if u.Text != nil {
			return true
		}
		lost++
		c.errorf("Unit %s is not in the backup: etcd has lost its text. If you have the file: fleetctl load --replace %s", u.Name, u.Name)
		return false
	})
	text := f.YAML()
	if err := readsBack(text); err != nil {
		return err
	}
	summary := fmt.Sprintf("%d units and what was said of %d machines, as of revision %d of etcd", len(f.Units), len(f.Machines), revision)
	if path == "-" {
		if _, err := c.stdout.Write(text); err != nil {
			return err
		}
		c.errorf("Backed up %s.", summary)
	} else {
		same, err := writeBackup(path, f, text)
		switch {
		case err != nil:
			return failf("%v", err)
		case same:
			c.printf("%s has that already: %s.", path, summary)
		default:
			c.printf("Backed up %s, to %s. The units' texts may hold secrets: only its owner may read it.", summary, path)
		}
	}
	if lost > 0 {
		return failed
	}
	return nil
}

func keep[T any](all []T, fits func(T) bool) []T {
	var out []T
	for _, v := range all {
		if fits(v) {
			out = append(out, v)
		}
	}
	return out
}

// takeBackup asks for the cluster as it is. A unit whose text is lost has a nil one.
func (c *cli) takeBackup(ctx context.Context) (f *backup.File, revision int64, err error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, 0, err
	}
	b, err := client.Backup(ctx)
	if err != nil {
		return nil, 0, err
	}
	f = &backup.File{
		Format: backup.Format, Fleet: b.Version, Cluster: b.Cluster, Schema: b.Schema, Taken: time.Now().UTC().Truncate(time.Second),
	}
	texts := map[unit.Hash][]byte{}
	for _, file := range b.Files {
		text := []byte(file.Text)
		if file.Base64 != "" {
			if text, err = base64.StdEncoding.DecodeString(file.Base64); err != nil {
				return nil, 0, fmt.Errorf("the backup that fleetd gave can't be read: %w", err)
			}
		}
		if unit.HashOf(text) != file.Hash {
			return nil, 0, failf("The backup that fleetd gave is damaged: a text is not the one that its hash names. Ask another host's fleetd.")
		}
		texts[file.Hash] = text
	}
	for _, u := range b.Units {
		f.Units = append(f.Units, backup.Unit{Name: u.Name, Target: u.DesiredState, Text: texts[u.Hash]})
	}
	for _, m := range b.Machines {
		f.Machines = append(f.Machines, backup.Machine{ID: m.ID, Cordoned: m.Cordoned, Metadata: m.Metadata, Removed: m.Removed})
	}
	return f, b.Revision, nil
}

// readsBack makes sure, before it takes an older one's place, that a backup can be
// read. What is wrong with the units' own texts is for who restores them.
func readsBack(text []byte) error {
	again, err := backup.Reread(text)
	if err == nil && !bytes.Equal(again, text) {
		err = fmt.Errorf("it comes back as something else")
	}
	if err != nil {
		return failf("What was backed up can't be read again (%v), so nothing was written. Please report this.", err)
	}
	return nil
}

// writeBackup puts a backup in a file's place, whole or not at all, unless that has
// the same state.
func writeBackup(path string, f *backup.File, text []byte) (same bool, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // a pipe, say
		return false, os.WriteFile(path, text, 0o600)
	}
	if err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return false, err
		}
		if old, err := os.ReadFile(path); err == nil && f.SameAs(old) {
			return true, os.Chmod(path, 0o600)
		}
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // with mode 0600
	if err != nil {
		return false, err
	}
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Sync()
	}
	if closing := temp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return false, err
}

// overrides gives what was said of a machine as the API has it.
func overrides(m backup.Machine) api.MachineOverrides {
	return api.MachineOverrides{ID: m.ID, Metadata: m.Metadata, Removed: m.Removed, Cordoned: m.Cordoned}
}
