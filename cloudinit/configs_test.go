package cloudinit

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/clarketm/json"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

var everywhere = Addresses{
	"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "private_ipv6": "fd00::4", "public_ipv6": "2001:db8::4",
}

// configs are the cloud-configs of testdata, by name.
func configs(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	inputs, _ := filepath.Glob("testdata/configs/*.yaml")
	for _, in := range inputs {
		text, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(in), ".yaml")] = text
	}
	if len(all) < 40 {
		t.Fatalf("there are %d configs", len(all))
	}
	return all
}

// Each config comes to what its golden file says, warnings included, each time.
func TestConfigs(t *testing.T) {
	for name, text := range configs(t) {
		t.Run(name, func(t *testing.T) {
			result, problems := Translate(text, Options{Addresses: everywhere})
			if problems.Failed() {
				t.Fatal(problems.InFile(name))
			}
			got, err := json.MarshalIndent(struct {
				Problems Problems `json:",omitempty"`
				Result   Result
			}{problems, result}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata/configs", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || string(want) != string(got)+"\n" {
				t.Errorf("%s is not what it was (%v); look, then run with -update:\n%s", golden, err, got)
			}
			if again, _ := Translate(text, Options{Addresses: everywhere}); !reflect.DeepEqual(again, result) {
				t.Error("translated twice, it differs")
			}
		})
	}
}

// Each key that the reader takes is in a config, with hyphens and underscores.
func TestConfigsHaveEveryKey(t *testing.T) {
	seen := map[string]bool{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, path+"[]")
			}
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := n.Content[i].Value
				seen[path+"."+key] = true
				walk(n.Content[i+1], path+"."+strings.ReplaceAll(key, "-", "_"))
			}
		}
	}
	for _, text := range configs(t) {
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if len(doc.Content) > 0 {
			walk(doc.Content[0], "")
		}
	}
	for path, keys := range knownKeys() {
		for _, key := range keys {
			if refused(path, key) {
				continue
			}
			for _, spelling := range []string{key, strings.ReplaceAll(key, "_", "-")} {
				if full := "." + path + "." + spelling; !seen[strings.Replace(full, "..", ".", 1)] {
					t.Errorf("no config has %s", full)
				}
			}
		}
	}
}

// refused says whether a key is known only to be refused by name.
func refused(path, key string) bool {
	value := "x"
	for _, parent := range slices.Backward(strings.Split(path+"."+key, ".")) {
		if parent == "" {
			continue
		}
		if name, list := strings.CutSuffix(parent, "[]"); list {
			value = "{" + name + ": [" + value + "]}"
		} else {
			value = "{" + parent + ": " + value + "}"
		}
	}
	_, ps := Translate([]byte("#cloud-config\n"+value+"\n"), Options{})
	return strings.Contains(ps.InFile("f"), "not done here")
}
