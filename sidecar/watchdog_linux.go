package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

const (
	// lookEvery is how often the watchdog looks at the loop.
	lookEvery = 5 * time.Second
	// stuckLooks is how many looks in a row have to find it stuck. One does not
	// count: a process that was stopped, or whose node slept, finds its own loop
	// late once.
	stuckLooks = 2
	// lastWords is how long the process waits for its last line to be written:
	// a log that nobody reads may be what the loop waits for.
	lastWords = time.Second
)

// watchdog ends the process, so that the kubelet starts it again, when the loop
// stands still. No probe does that: it would have to ask a port, and who fills a
// port has its container killed.
type watchdog struct {
	turned func() time.Duration // how long ago the loop last turned
	log    hclog.Logger
	end    func(code int)
}

// run looks until ctx is done, or until it has ended the process.
func (w watchdog) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for stuck := 0; stuck < stuckLooks; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		stuck++
		if !status.Stuck(w.turned()) {
			stuck = 0
		}
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		w.log.Error("the loop stands still, the process ends to be started again", "since", w.turned().Round(time.Second))
	}()
	select {
	case <-said:
	case <-time.After(lastWords):
	}
	w.end(exitFailed)
}
