package source

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
)

// GCE is the metadata service of Google's Compute Engine. The user-data is the
// instance's attribute of that name.
func (h *Host) GCE(at string) (Source, error) {
	s, name, err := h.newService("the GCE metadata service", at, map[string][]string{"Metadata-Flavor": {"Google"}})
	if err != nil {
		return Source{}, err
	}
	const instance = "computeMetadata/v1/instance/"
	return Source{Name: name, available: s.there("computeMetadata/v1/"), read: func(ctx context.Context) (found Found, err error) {
		found.Shared = true
		if found.Metadata.Hostname, err = s.text(ctx, instance+"hostname"); err != nil {
			return Found{}, err
		}
		for _, address := range [][2]string{
			{"private_ipv4", "network-interfaces/0/ip"},
			{"public_ipv4", "network-interfaces/0/access-configs/0/external-ip"},
		} {
			value, err := s.text(ctx, instance+address[1])
			if err == nil {
				err = found.Metadata.setAddress(address[0], value)
			}
			if err != nil {
				return Found{}, err
			}
		}
		found.UserData, err = s.getOr(ctx, s.root+instance+"attributes/user-data")
		return found, err
	}}, nil
}

// DigitalOcean is the metadata service of DigitalOcean's droplets.
func (h *Host) DigitalOcean(at string) (Source, error) {
	s, name, err := h.newService("the DigitalOcean metadata service", at, nil)
	if err != nil {
		return Source{}, err
	}
	type addresses []struct {
		IPv4, IPv6 struct {
			Address string `json:"ip_address"`
		}
	}
	return Source{Name: name, available: s.there("metadata/v1"), read: func(ctx context.Context) (found Found, err error) {
		found.Shared = true
		var said struct {
			Hostname   string
			Keys       []string `json:"public_keys"`
			Interfaces struct{ Public, Private addresses }
		}
		if err := s.json(ctx, "metadata/v1.json", &said); err != nil {
			return Found{}, err
		}
		found.Metadata.Hostname = said.Hostname
		found.Metadata.addKeys(said.Keys...)
		for kind, all := range map[string]addresses{"public": said.Interfaces.Public, "private": said.Interfaces.Private} {
			for _, i := range all {
				if err := found.Metadata.setAddress(kind+"_ipv4", i.IPv4.Address); err != nil {
					return Found{}, err
				}
				if err := found.Metadata.setAddress(kind+"_ipv6", i.IPv6.Address); err != nil {
					return Found{}, err
				}
			}
		}
		found.UserData, err = s.getOr(ctx, s.root+"metadata/v1/user-data")
		return found, err
	}}, nil
}

// Packet is the metadata service of Packet, later Equinix Metal.
func (h *Host) Packet(at string) (Source, error) {
	s, name, err := h.newService("the Packet metadata service", at, nil)
	if err != nil {
		return Source{}, err
	}
	return Source{Name: name, available: s.there("metadata"), read: func(ctx context.Context) (found Found, err error) {
		found.Shared = true
		var said struct {
			Hostname string
			Keys     []string `json:"ssh_keys"`
			Network  struct {
				Addresses []struct {
					Address netip.Addr
					Public  bool
				}
			}
		}
		if err := s.json(ctx, "metadata", &said); err != nil {
			return Found{}, err
		}
		found.Metadata.Hostname = said.Hostname
		found.Metadata.addKeys(said.Keys...)
		for _, a := range said.Network.Addresses {
			kind, version := "private", "4"
			if a.Public {
				kind = "public"
			}
			if a.Address.Is6() {
				version = "6"
			}
			if a.Address.IsValid() {
				err = found.Metadata.setAddress(kind+"_ipv"+version, a.Address.String())
			}
			if err != nil {
				return Found{}, err
			}
		}
		found.UserData, err = s.getOr(ctx, s.root+"userdata")
		return found, err
	}}, nil
}

// json reads a service's description of the host.
func (s *service) json(ctx context.Context, path string, into any) error {
	data, err := s.getOr(ctx, s.root+path)
	if err != nil || len(data) == 0 {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("its %s: %w", path, err)
	}
	return nil
}
