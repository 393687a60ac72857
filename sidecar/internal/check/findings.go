// Package check holds every check of what the next recovery depends on, and how
// findings are shown: of what the sidecar's container sees (Container), and of what
// Kubernetes shows (Checker). A check changes nothing.
package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// Level is how bad a finding is, in rising order.
type Level uint8

// The levels.
const (
	OK      Level = iota
	Unknown       // it could not be seen, which is no fault by itself
	Warning       // works now, and will not in some case that is likely
	Failure       // the next recovery fails, or somebody can do what nobody should
)

// levels has the names of each level, and what it means where it is the worst. That
// something could not be seen is no reason to fail: in the container it is so by design.
// The other exit codes are 1, the check could not run, and 2, bad usage.
var levels = [...]struct {
	name, plural string
	exitCode     int
	verdict      string
}{
	OK:      {"ok", "ok", 0, "The next reboot would recover."},
	Unknown: {"unknown", "unknown", 0, "As far as can be seen from here, the next reboot would recover."},
	Warning: {"warning", "warnings", 3, "The next reboot would recover, but see the warnings."},
	Failure: {"failure", "failures", 4, "See the failures: do not count on the next recovery."},
}

// String returns the level's name as it is shown.
func (l Level) String() string { return levels[l].name }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one thing that was looked at.
type Finding struct {
	About  string `json:"about"` // the part: one of the constants below
	Level  Level  `json:"level"`
	Text   string `json:"text"`             // what was found, in a sentence's words; holds nothing of a key
	Advice string `json:"advice,omitempty"` // what to do; required above Unknown
}

// The parts that are looked at.
const (
	AboutKey      = "key"
	AboutVault    = "vault"
	AboutRecovery = "recovery"
	AboutAPI      = "kubernetes"
	AboutPod      = "pod"
	AboutRights   = "rights"
	AboutServices = "services"
	AboutNetwork  = "network"
	AboutSecrets  = "external-secrets"
)

// Worst returns the level of the worst finding; OK when there is none.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}

// ExitCode is what the worst finding comes to.
func ExitCode(worst Level) int { return levels[worst].exitCode }

// Sort puts the worst first, and leaves those of one level as they were found.
func Sort(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
}

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
		level, about, arrow := f.Level.String(), f.About, "-> " // each in the first line alone
		for _, line := range wrap(f.Text, width-textAt) {
			fmt.Fprintf(&b, row, level, about, line)
			level, about = "", ""
		}
		for _, line := range wrap(f.Advice, width-textAt-len(arrow)) {
			fmt.Fprintf(&b, row, "", "", arrow+line)
			arrow = "   "
		}
	}
	fmt.Fprintf(&b, "\n%s\n", summary(all))
	_, err := io.WriteString(w, b.String())
	return err
}

// summary is the last line: how many there are of each level, and what that means.
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

// wrap breaks a text at blanks into lines of at most limit characters; none for an empty text.
func wrap(text string, limit int) (lines []string) {
	for word := range strings.FieldsSeq(text) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last]+" "+word) <= limit {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
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
