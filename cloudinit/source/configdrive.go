package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AnyDrive asks for the config drive wherever it is.
const AnyDrive = "auto"

// mountPoints are where CoreOS mounted config drives.
var mountPoints = []string{"/media/configdrive", "/media/configvirtfs"}

// ConfigDrive is a directory laid out as OpenStack's config drive
// (openstack/latest/user_data and meta_data.json) or as cloud-init's NoCloud
// (user-data and meta-data). For AnyDrive, and for one of CoreOS's mount points
// that has neither, it is the drive labelled config-2 or cidata, mounted for as
// long as it is read. Its metadata has no addresses.
func (h *Host) ConfigDrive(dir string) Source {
	dirs, findDrive := []string{dir}, slices.Contains(mountPoints, dir)
	name := "the config drive in " + dir
	if dir == AnyDrive {
		dirs, findDrive, name = nil, true, "the config drive"
		for _, point := range mountPoints {
			dirs = append(dirs, h.path(point))
		}
	}
	find := func() (string, *drive) {
		for _, d := range dirs {
			if layoutOf(d) != noLayout {
				return d, nil
			}
		}
		if findDrive {
			return "", h.findDrive()
		}
		return "", nil
	}
	return Source{
		Name: name, local: true,
		available: func(context.Context) error {
			switch d, drive := find(); {
			case d != "" || drive != nil:
				return nil
			case findDrive:
				return errors.New("there is no drive labelled config-2 or cidata")
			}
			return errors.New("neither openstack/latest nor user-data is there")
		},
		read: func(ctx context.Context) (Found, error) {
			d, drive := find()
			if drive == nil {
				return readDrive(ctx, d)
			}
			return h.readUnmounted(ctx, drive)
		},
	}
}

// layout is how a drive's files are laid out.
type layout struct{ userData, metadata string }

var (
	noLayout  = layout{}
	openStack = layout{"openstack/latest/user_data", "openstack/latest/meta_data.json"}
	noCloud   = layout{"user-data", "meta-data"}
)

func layoutOf(dir string) layout {
	for _, l := range []layout{openStack, noCloud} {
		for _, file := range []string{l.userData, l.metadata} {
			if exists(filepath.Join(dir, file)) == nil {
				return l
			}
		}
	}
	return noLayout
}

// maxMetadata bounds what is parsed: YAML takes a hundred times its size.
const maxMetadata = 512 << 10

func readDrive(ctx context.Context, dir string) (found Found, err error) {
	found.Shared = true
	l := layoutOf(dir)
	if l == noLayout {
		return Found{}, errors.New("it is there no more")
	}
	text, err := tryFile(ctx, dir, l.metadata)
	if err != nil {
		return Found{}, err
	}
	if len(text) > maxMetadata {
		return Found{}, fmt.Errorf("%s: it is larger than %d KiB", l.metadata, maxMetadata>>10)
	}
	read := openStackMetadata
	if l == noCloud {
		read = noCloudMetadata
		for _, unused := range []string{"network-config", "vendor-data"} {
			if exists(filepath.Join(dir, unused)) == nil {
				found.Notes = append(found.Notes, unused+" is there, and not used: put what it is for into user-data")
			}
		}
	}
	if err := read(text, &found); err != nil {
		return Found{}, fmt.Errorf("%s: %w", l.metadata, err)
	}
	found.UserData, err = tryFile(ctx, dir, l.userData)
	return found, err
}

func openStackMetadata(text []byte, found *Found) error {
	if len(text) == 0 {
		return nil
	}
	var said struct {
		Hostname string
		Keys     map[string]string `json:"public_keys"`
		Network  struct {
			Path string `json:"content_path"`
		} `json:"network_config"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return err
	}
	found.Metadata.Hostname = said.Hostname
	for _, name := range slices.Sorted(maps.Keys(said.Keys)) {
		found.Metadata.addKeys(said.Keys[name])
	}
	if said.Network.Path != "" {
		found.Notes = append(found.Notes, "network_config is there, and not used: write coreos.units named *.network instead")
	}
	return nil
}

// noCloudMetadata reads cloud-init's meta-data, YAML or JSON.
func noCloudMetadata(text []byte, found *Found) error {
	var said struct {
		Hostname      string    `yaml:"hostname"`
		LocalHostname string    `yaml:"local-hostname"`
		Keys          yaml.Node `yaml:"public-keys"`
		Network       yaml.Node `yaml:"network-interfaces"`
	}
	if err := yaml.Unmarshal(text, &said); err != nil {
		return errors.New("it is no YAML") // the error could quote it
	}
	found.Metadata.Hostname = said.LocalHostname
	if said.Hostname != "" {
		found.Metadata.Hostname = said.Hostname
	}
	if !said.Network.IsZero() {
		found.Notes = append(found.Notes, "network-interfaces is there, and not used: write coreos.units named *.network instead")
	}
	keys, err := keysIn(&said.Keys)
	found.Metadata.addKeys(keys...)
	return err
}

// keysIn takes SSH keys in any form that cloud-init does: a text of lines, a
// list, or either by name.
func keysIn(n *yaml.Node) (keys []string, err error) {
	switch n.Kind {
	case 0:
	case yaml.ScalarNode:
		keys = strings.Split(n.Value, "\n")
	case yaml.SequenceNode, yaml.MappingNode:
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				continue // a name
			}
			if child.Kind == yaml.AliasNode {
				return nil, errors.New("public-keys: YAML aliases are not taken")
			}
			more, err := keysIn(child)
			if err != nil {
				return nil, err
			}
			keys = append(keys, more...)
		}
	default:
		return nil, errors.New("public-keys must be a list of keys")
	}
	return keys, nil
}
