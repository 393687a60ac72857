package web

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Text tells the status in lines of at most width characters, 40 at the least,
// without color. What others wrote, such as ESO's errors, cannot control the
// terminal.
func (s Status) Text(now time.Time, width int) string {
	p := &wrapWriter{width: max(width, 40)}
	p.wrapped("", 2, s.headline(now))
	for _, row := range s.why() {
		p.labeled("  "+row.label, row.text)
	}
	p.line("")
	s.writeTimeline(p)
	s.writeRecoveries(p)
	p.line("")
	p.labeled("Key", capital(strings.Join(s.key(now), "; ")))
	s.writeSecrets(p)
	if image, digest, _ := strings.Cut(s.Image, "@"); image != "" {
		p.labeled("Image", image)
		p.wrapped("  ", 2, digest)
	}
	p.labeled("Sidecar", s.Version)
	return p.String()
}

func (s Status) writeTimeline(p *wrapWriter) {
	r := s.shown()
	if r == nil {
		p.wrapped("", 2, noRecovery)
		return
	}
	p.wrapped("", 2, r.title())
	earlier, steps := r.newest()
	if earlier > 0 {
		p.line("  %d earlier steps", earlier)
	}
	length := max(1, p.width-40)
	for _, step := range steps {
		from, to := place(step, steps)
		left := min(int(math.Round(from*float64(length))), length-1)
		right := max(int(math.Round(to*float64(length))), left+1)
		p.line("  %-15s %s |%s%s%s|%8s", step.Name, step.Began.UTC().Format("15:04:05Z"),
			strings.Repeat(" ", left), strings.Repeat("=", right-left), strings.Repeat(" ", length-right), short(step.Seconds))
	}
}

func (s Status) writeRecoveries(p *wrapWriter) {
	before := s.before()
	if len(before) == 0 {
		return
	}
	p.line("")
	p.line("Recoveries before")
	for _, r := range before {
		p.wrapped(fmt.Sprintf("  %s %8s  ", dated(r.Began), short(r.Seconds)), 33, r.mostly())
	}
}

func (s Status) writeSecrets(p *wrapWriter) {
	e := s.ExternalSecrets
	if e == nil {
		return
	}
	p.labeled("External Secrets", strings.TrimPrefix(capital(e.verdict())+": "+e.Message, ": "))
	margin := strings.Repeat(" ", labeled)
	for _, text := range append(e.down(), e.left()...) {
		p.wrapped(margin, labeled+2, text)
	}
}
