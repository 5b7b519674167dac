package fleet_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What agents, engines and the registry decide goes by lengths of time, on clocks that
// nobody sets. A time that loses what the monotonic clock said of it would jump with the
// wall's clock: these are the ways to lose it.
func TestNothingIsDecidedByTheWallClock(t *testing.T) {
	loses := map[string]bool{"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "UTC": true, "Local": true}
	allowed := map[string]bool{"engine/planner/explain.go": true} // told to people
	looked := 0
	for _, dir := range []string{"agent", "engine", "engine/planner", "registry", "registry/record"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || allowed[path] {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			looked++
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && loses[s.Sel.Name] {
					t.Errorf("%s: %s goes by the wall's clock, which may jump", fset.Position(s.Pos()), s.Sel.Name)
				}
				if c, ok := n.(*ast.CallExpr); ok && stripped(c) {
					t.Errorf("%s: this leaves the wall's clock only, which may jump", fset.Position(c.Pos()))
				}
				return true
			})
		}
	}
	if looked < 50 {
		t.Errorf("only %d files were looked at", looked)
	}
}

// stripped reports whether a call is Round(0) or Truncate(0).
func stripped(c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Round" && s.Sel.Name != "Truncate" || len(c.Args) != 1 {
		return false
	}
	by, ok := c.Args[0].(*ast.BasicLit)
	return ok && by.Value == "0"
}
