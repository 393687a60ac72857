package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README's table of options is the one that parses them.
func TestREADME_ListsTheOptions(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var documented [][]string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `--") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		documented = append(documented, cells)
	}
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	var want [][]string
	for _, o := range options {
		want = append(want, []string{code("--" + o.flag), code(o.env), code(o.defaultValue), o.help})
	}
	assert.Equal(t, want, documented)
}

// The README's table of messages has each that is logged at info or above, and
// no other.
func TestREADME_ListsTheLogMessages(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## What the log says\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		if name, found := strings.CutPrefix(line, "| `"); found {
			message, _, _ := strings.Cut(name, "` |")
			documented = append(documented, message)
		}
	}
	packages, err := filepath.Glob("internal/*")
	require.NoError(t, err)
	var logged []string
	for _, dir := range append(packages, ".") {
		logged = append(logged, messages(t, dir)...)
	}
	require.Contains(t, logged, "recovered")
	slices.Sort(logged)
	assert.ElementsMatch(t, slices.Compact(logged), documented)
}

// messages returns what the code of a folder logs at info or above: each is a
// literal, a constant of the package, or a phase's.
func messages(t *testing.T, dir string) (logged []string) {
	t.Helper()
	set := token.NewFileSet()
	files := parsed(t, set, dir)
	text := func(e ast.Expr) (string, bool) {
		switch at := e.(type) {
		case *ast.Ident:
			e = constant(files, at.Name)
		case *ast.SelectorExpr: // of another package of ours
			e = constant(parsed(t, set, "internal/"+at.X.(*ast.Ident).Name), at.Sel.Name)
		}
		literal, ok := e.(*ast.BasicLit)
		if !ok {
			return "", false
		}
		s, err := strconv.Unquote(literal.Value)
		return s, err == nil
	}
	phases := false
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				place, ok := messageOf(n)
				if !ok || place >= len(n.Args) {
					break
				}
				if s, ok := n.Args[place].(*ast.SelectorExpr); ok && s.Sel.Name == "Message" {
					phases = true
					break
				}
				message, ok := text(n.Args[place])
				assert.True(t, ok, "%s: no constant", set.Position(n.Pos()))
				logged = append(logged, message)
			case *ast.ValueSpec: // the phases'
				if n.Names[0].Name != "phases" || len(n.Values) == 0 {
					break
				}
				for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
					phase := e.(*ast.KeyValueExpr)
					message, ok := "", false
					for _, field := range phase.Value.(*ast.CompositeLit).Elts {
						if f := field.(*ast.KeyValueExpr); f.Key.(*ast.Ident).Name == "Message" {
							message, ok = text(f.Value)
						}
					}
					require.True(t, ok)
					if phase.Key.(*ast.Ident).Name != "Starting" { // no phase leads to it
						logged = append(logged, message)
					}
				}
			}
			return true
		})
	}
	assert.Equal(t, dir == "internal/unseal", phases, "%s: only there is a phase logged", dir)
	return logged
}

func parsed(t *testing.T, set *token.FileSet, dir string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, path := range paths {
		if !strings.HasSuffix(path, "_test.go") {
			file, err := parser.ParseFile(set, path, nil, 0)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	return files
}

// messageOf returns which argument of a call is the message of a line of the
// log at info or above.
func messageOf(call *ast.CallExpr) (place int, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return 0, false
	}
	name := ""
	switch on := method.X.(type) {
	case *ast.Ident:
		name = on.Name
	case *ast.SelectorExpr:
		name = on.Sel.Name
	}
	if !strings.EqualFold(name, "log") {
		return 0, false
	}
	switch method.Sel.Name {
	case "Info", "Warn", "Error":
		return 0, true
	case "Log": // at a level that is found when it runs
		return 1, true
	}
	return 0, false
}

// constant returns the value of a constant of a package.
func constant(files []*ast.File, name string) (value ast.Expr) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) > 0 && spec.Names[0].Name == name {
				value = spec.Values[0]
			}
			return true
		})
	}
	return value
}
