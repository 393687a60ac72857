package unseal

import "time"

// briefOpening notes that a process said it was opened, until a probe has seen it open.
// One that turns out to be sealed all the same is sent the key in growing
// intervals: it would say so again as fast as it is asked.
type briefOpening struct {
	process string
	times   int       // in a row
	until   time.Time // nothing is sent to this process before
}

// opened notes that a process said so once more.
func (b *briefOpening) opened(process string, now time.Time) {
	if b.process != process {
		*b = briefOpening{process: process}
	}
	b.times++
	b.until = now.Add(retryInterval(b.times, random()))
}

// holds reports whether this process is left alone for now.
func (b *briefOpening) holds(process string, now time.Time) bool {
	return b.process == process && now.Before(b.until)
}
