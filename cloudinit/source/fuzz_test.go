package source

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzMetadata: whatever a drive or an agent's directory says, it is read or
// refused, and what is taken of it is what it should be.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"hostname": "web-1", "public_keys": {"a": "ssh-rsa A"}}`, "local-hostname: x\npublic-keys: {a: [b]}\n", "a: &a [*a]\n",
		ovf, sharedConfig, "guestinfo", "10.0.0.4/24",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var found Found
		_ = openStackMetadata(text, &found)
		_ = noCloudMetadata(text, &found)
		_ = azureMetadata(text, &found.Metadata)
		_ = customData(text)
		if properties, err := ovfProperties(text); err == nil {
			for _, value := range properties {
				_ = setGuestAddress(&found.Metadata, "private", value)
			}
		}
		for name, addr := range found.Metadata.Addresses {
			if ip, err := netip.ParseAddr(addr); err != nil || ip.Is4() != strings.HasSuffix(name, "4") {
				t.Errorf("%s is %q", name, addr)
			}
		}
		for _, key := range found.Metadata.SSHKeys {
			if strings.TrimSpace(key) != key || key == "" {
				t.Errorf("a key is %q", key)
			}
		}
	})
}
