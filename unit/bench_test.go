package unit

import (
	"os"
	"testing"
)

// BenchmarkParse reads a typical unit file of about 1 KB, the way the API and
// the engine do for every unit.
func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("testdata/typical.service")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Requirements("web@1.service"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, s := range []string{"region=eu", "ram>=2048", "kernel<6.0"} {
		rule, msg, _ := parsePair(s)
		if msg != "" {
			b.Fatal(msg)
		}
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rule.Match("5.15.0-91-generic", true)
			}
		})
	}
}
