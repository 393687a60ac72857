package status

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// Text tells the status in lines of at most width characters, 40 at the least,
// without color. What others wrote, such as ESO's errors, cannot control the
// terminal.
func (s Status) Text(now time.Time, width int) string {
	p := &wrapWriter{width: max(width, 40)}
	p.wrapped("", 2, s.Headline(now))
	for _, row := range s.Why() {
		p.labeled("  "+row.Label, row.Text)
	}
	p.line("")
	s.writeTimeline(p)
	s.writeRecoveries(p)
	p.line("")
	p.labeled("Key", safetext.Capital(strings.Join(s.KeyLines(now), "; ")))
	s.writeSecrets(p)
	if image, digest, _ := strings.Cut(s.Image, "@"); image != "" {
		p.labeled("Image", image)
		p.wrapped("  ", 2, digest)
	}
	p.labeled("Sidecar", s.Version)
	return p.String()
}

func (s Status) writeTimeline(p *wrapWriter) {
	r := s.Shown()
	if r == nil {
		p.wrapped("", 2, NoRecovery)
		return
	}
	p.wrapped("", 2, r.Title())
	earlier, steps := r.Newest()
	if earlier > 0 {
		p.line("  %d earlier steps", earlier)
	}
	length := max(1, p.width-40)
	for _, step := range steps {
		from, to := Place(step, steps)
		left := min(int(math.Round(from*float64(length))), length-1)
		right := max(int(math.Round(to*float64(length))), left+1)
		p.line("  %-15s %s |%s%s%s|%8s", step.Name, step.Began.UTC().Format("15:04:05Z"),
			strings.Repeat(" ", left), strings.Repeat("=", right-left), strings.Repeat(" ", length-right), Short(step.Seconds))
	}
}

func (s Status) writeRecoveries(p *wrapWriter) {
	before := s.Earlier()
	if len(before) == 0 {
		return
	}
	p.line("")
	p.line("Recoveries before")
	for _, r := range before {
		p.wrapped(fmt.Sprintf("  %s %8s  ", DateTime(r.Began), Short(r.Seconds)), 33, r.Mostly())
	}
}

func (s Status) writeSecrets(p *wrapWriter) {
	e := s.ExternalSecrets
	if e == nil {
		return
	}
	p.labeled("External Secrets", strings.TrimPrefix(safetext.Capital(e.Verdict())+": "+e.Message, ": "))
	margin := strings.Repeat(" ", labeled)
	for _, text := range append(e.NotReady(), e.LeftLines()...) {
		p.wrapped(margin, labeled+2, text)
	}
}
