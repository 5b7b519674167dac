package machine

import (
	"fmt"
	"strings"
)

// ParseMetadata reads metadata as fleet.conf has it: "region=eu,disk=ssd".
// Spaces around keys and values don't count, nor do commas too many; of several
// values of a key the last one counts; "" is no metadata (nil). A pair that must
// be a mistake is an error that names it.
func ParseMetadata(s string) (map[string]string, error) {
	var metadata map[string]string
	for pair := range strings.SplitSeq(s, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok:
			return nil, pairError(pair, `it has no "="`)
		case key == "":
			return nil, pairError(pair, "it has no key")
		case value == "":
			return nil, pairError(pair, "it has no value")
		case strings.ContainsAny(key, "!<>"):
			return nil, pairError(pair, "its key has one of ! < > in it, which compare in MachineMetadata")
		case strings.ContainsAny(pair, "\"'\n"):
			return nil, pairError(pair, "it has a quote or a line break in it, which MachineMetadata can't ask for")
		case strings.Contains(value, "=") && strings.ContainsAny(value, " \t"):
			return nil, pairError(pair, `it has more than one "="`)
		}
		if metadata == nil {
			metadata = make(map[string]string)
		}
		metadata[key] = value
	}
	return metadata, nil
}

func pairError(pair, what string) error {
	return fmt.Errorf("metadata %q: %s: write key=value, with commas between pairs", pair, what)
}
