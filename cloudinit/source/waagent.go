package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/fleet-project/fleet/cloudinit/format"
)

// Waagent is the directory of Azure's agent, usually /var/lib/waagent. It is
// there once the agent says that it is done (the file provisioned).
func (h *Host) Waagent(dir string) Source {
	return Source{
		Name: "Azure's agent (" + dir + ")", local: true,
		available: func(context.Context) error {
			if exists(filepath.Join(dir, "provisioned")) != nil {
				return errors.New("it has not provisioned this host yet")
			}
			return nil
		},
		read: func(ctx context.Context) (found Found, err error) {
			found.Shared = true
			shared, err := tryFile(ctx, dir, "SharedConfig.xml")
			if err == nil {
				err = azureMetadata(shared, &found.Metadata)
			}
			if err == nil {
				found.UserData, err = tryFile(ctx, dir, "CustomData")
			}
			found.UserData = customData(found.UserData)
			return found, err
		},
	}
}

// customData decodes base64: the agent leaves it as it came unless it is set to
// DecodeCustomData.
func customData(data []byte) []byte {
	plain, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || format.Detect(data) != format.Unknown {
		return data
	}
	return plain
}

func azureMetadata(text []byte, m *Metadata) error {
	if len(text) == 0 {
		return nil
	}
	var said struct {
		Incarnation struct {
			Instance string `xml:"instance,attr"`
		}
		Instances struct {
			Instance []struct {
				ID             string `xml:"id,attr"`
				Address        string `xml:"address,attr"`
				InputEndpoints struct {
					Endpoint []struct {
						Public string `xml:"loadBalancedPublicAddress,attr"`
					}
				}
			}
		}
	}
	if err := xml.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("SharedConfig.xml: %w", err)
	}
	for _, i := range said.Instances.Instance {
		if i.ID != said.Incarnation.Instance {
			continue
		}
		if err := m.setAddress("private_ipv4", i.Address); err != nil {
			return err
		}
		for _, e := range i.InputEndpoints.Endpoint {
			if host, _, err := net.SplitHostPort(e.Public); err == nil {
				return m.setAddress("public_ipv4", host)
			}
		}
	}
	return nil
}
