package check

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// width is how wide a line of the table gets, in characters. A word that is
// longer, such as a URL, is not broken.
const width = 96

// maxText bounds a finding, in characters.
const maxText = 2000

// row is one line of the table: the third column takes what is left.
const row = "%-7s  %-16s  %s\n"

// textAt is where the third column begins.
const textAt = 7 + 2 + 16 + 2

// JSON writes the findings for machines.
func JSON(w io.Writer, all []Finding) error {
	all = slices.Clone(all)
	for i := range all {
		all[i] = plain(all[i])
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Worst    Level     `json:"worst"`
		Findings []Finding `json:"findings"`
	}{Worst(all), all})
}

// plain is a finding whose words are fit to be shown: some are another program's.
func plain(f Finding) Finding {
	f.Text, f.Advice = safetext.Line(f.Text, maxText), safetext.Line(f.Advice, maxText)
	return f
}

// Table writes the findings for people: no colors, so that it reads the same
// in a terminal and in a ticket.
func Table(w io.Writer, all []Finding) error {
	var b strings.Builder
	fmt.Fprintf(&b, row, "LEVEL", "ABOUT", "FINDING")
	for _, f := range all {
		f = plain(f)
		for i, line := range wrap(f.Text, width-textAt) {
			level, about := f.Level.String(), f.About
			if i > 0 {
				level, about = "", ""
			}
			fmt.Fprintf(&b, row, level, about, line)
		}
		for i, line := range wrap(f.Advice, width-textAt-len("-> ")) {
			fmt.Fprintf(&b, row, "", "", []string{"-> ", "   "}[min(i, 1)]+line)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", summary(all))
	_, err := io.WriteString(w, b.String())
	return err
}

// summary is the last line: how many there are of each level, and what that
// means.
func summary(all []Finding) string {
	var counts [len(levels)]int
	for _, f := range all {
		counts[f.Level]++
	}
	var parts []string
	for level, n := range slices.Backward(counts[:]) {
		if n > 0 {
			parts = append(parts, count(n, levels[level].name, levels[level].plural))
		}
	}
	return strings.TrimPrefix(strings.Join(parts, ", ")+". "+levels[Worst(all)].verdict, ". ")
}

// wrap breaks a text at blanks into lines of at most limit characters; none
// for an empty text.
func wrap(text string, limit int) []string {
	var lines []string
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > limit {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// namedAtMost bounds how many of a kind are named.
const namedAtMost = 5

// enumerate names things, and only counts those after the first few.
func enumerate(names []string) string {
	if len(names) <= namedAtMost {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), len(names)-namedAtMost)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
