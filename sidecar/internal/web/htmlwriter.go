package web

import (
	"html"
	"math"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// htmlWriter writes HTML. html/template would do the same, for 3.6 MB more of
// binary: it calls methods by their names, so that the linker keeps all there
// are. What is not a literal of this package gets in through text and through
// the values of attributes alone, where it is always escaped.
type htmlWriter struct{ strings.Builder }

// literal is markup that is written in the source: only constants become one
// by themselves.
type literal string

func (m *htmlWriter) raw(l literal) { m.WriteString(string(l)) }

func (m *htmlWriter) text(s string) { m.WriteString(html.EscapeString(safetext.Line(s, math.MaxInt))) }

// open writes a tag with attributes: a name, a value, and so on.
func (m *htmlWriter) open(tag literal, attributes ...string) {
	m.raw("<" + tag)
	for i := 0; i+1 < len(attributes); i += 2 {
		m.WriteString(" " + attributes[i] + `="`)
		m.text(attributes[i+1])
		m.raw(`"`)
	}
	m.raw(">")
}

func (m *htmlWriter) close(tag literal) { m.raw("</" + tag + ">") }

// element writes an element with nothing but a text in it.
func (m *htmlWriter) element(tag literal, text string, attributes ...string) {
	m.open(tag, attributes...)
	m.text(text)
	m.close(tag)
}
