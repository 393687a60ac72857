package status

import (
	"fmt"
	"math"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// labeled is how far the texts behind a label are indented.
const labeled = 18

// wrapWriter is a text in lines of at most width characters.
type wrapWriter struct {
	strings.Builder
	width int
}

func (p *wrapWriter) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *wrapWriter) labeled(label, text string) {
	p.wrapped(fmt.Sprintf("%-*s", labeled, label), labeled, text)
}

// wrapped writes a text behind what stands first on its first line; further
// lines are indented. A word that is longer than a line is cut.
func (p *wrapWriter) wrapped(first string, indent int, text string) {
	margin := strings.Repeat(" ", indent)
	line, empty := []rune(first), true
	next := func() {
		p.line("%s", strings.TrimRight(string(line), " "))
		line, empty = []rune(margin), true
	}
	for _, field := range strings.Fields(safetext.Line(text, math.MaxInt)) {
		word := []rune(field)
		if !empty && len(line)+1+len(word) > p.width {
			next()
		}
		if !empty {
			line = append(line, ' ')
		}
		for room := p.width - len(line); len(word) > room; room = p.width - len(line) {
			line, word = append(line, word[:room]...), word[room:]
			next()
		}
		line, empty = append(line, word...), false
	}
	next()
}
