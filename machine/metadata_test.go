package machine

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestParseMetadata(t *testing.T) {
	for _, c := range []struct {
		in   string
		want map[string]string
	}{
		{"", nil},
		{" , ,", nil},
		{"region=eu", map[string]string{"region": "eu"}},
		{"region=eu,disk=ssd", map[string]string{"region": "eu", "disk": "ssd"}},
		{" region = eu , disk = very fast ,", map[string]string{"region": "eu", "disk": "very fast"}},
		{"a=b,c=d,a=e", map[string]string{"a": "e", "c": "d"}},
		{"url=http://x/?q=1", map[string]string{"url": "http://x/?q=1"}},
		{"note=<none>!", map[string]string{"note": "<none>!"}},
	} {
		got, err := ParseMetadata(c.in)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("ParseMetadata(%q): %v\n%s", c.in, err, diff)
		}
	}
}

func TestParseMetadataFails(t *testing.T) {
	for in, want := range map[string]string{
		"region":            `metadata "region": it has no "=": write key=value, with commas between pairs`,
		"a=b,=c":            `metadata "=c": it has no key: `,
		"a=b, c= ,":         `metadata "c=": it has no value: `,
		"ram>=2048":         `metadata "ram>=2048": its key has one of ! < > in it`,
		"a!=b":              `metadata "a!=b": its key has one of ! < > in it`,
		`a="b"`:             `has a quote`,
		"region=eu disk=ss": `more than one "="`,
	} {
		got, err := ParseMetadata(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseMetadata(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
}

func TestParseMetadataReadsWhatIsWritten(t *testing.T) {
	if got := formatMetadata(map[string]string{"b": "2", "a": "1", "c": "3"}); got != "a=1,b=2,c=3" {
		t.Error(got)
	}
	if got := formatMetadata(nil); got != "" {
		t.Error(got)
	}
	word := rapid.StringMatching(`[a-z0-9]([a-z0-9 ._/-]{0,6}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.MapOf(word, word).Draw(t, "metadata")
		out, err := ParseMetadata(formatMetadata(in))
		if diff := cmp.Diff(in, out, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

// formatMetadata writes metadata the way ParseMetadata reads it, sorted by
// key; "" for none.
func formatMetadata(metadata map[string]string) string {
	pairs := make([]string, 0, len(metadata))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		pairs = append(pairs, key+"="+metadata[key])
	}
	return strings.Join(pairs, ",")
}
