package figure

import (
	"fmt"
	"os"
	"strings"
)

// Put puts a text into a page of documentation, in place of what stands between
// two marks, each a line of its own.
func Put(path, begin, end, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: it has no lines %q and %q to put the table between", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(path, []byte(before+begin+text+end+after), 0o644)
}
