package unseal

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what a Loop works with. Vault, Keys, Processes, Store, Log, Meter and
// Publish are required.
type Config struct {
	Vault     Vault
	Keys      Keys
	Processes Processes
	Store     Store
	Log       hclog.Logger
	Meter     Meter
	// Publish is called with every new state, by the loop's own goroutine: it
	// must not block.
	Publish func(Snapshot)

	// HoldSeals leaves a Vault that was sealed in the running process sealed.
	HoldSeals bool
	// StorageProbe is the interval at which an active Vault is made to read
	// its storage. Zero: only once, at the end of each recovery.
	StorageProbe time.Duration
	// Wake hints that a key or a connection changed. May be nil: whatever it
	// hints at is found within a second without it.
	Wake <-chan struct{}
}

// Loop watches one Vault and unseals it. One goroutine, Run's, owns all of
// its state; the calls it makes report back to it.
type Loop struct {
	Config
	ctx     context.Context // Run's; calls end with it
	reports chan func()
	turned  atomic.Int64 // when the loop last turned, as time since born
	born    time.Time

	phase       Phase
	since       time.Time
	reason      string
	timeline    timeline
	logLimiter  LogLimiter
	deferredLog func() // logs the phase at its level, when it was not

	trouble  string // the text of the last error of an unseal or a lookup
	withheld bool   // the last error was an ErrWithheld

	prober  prober
	process processTracker
	keys    keySet
	sender  sender
	storage storageProbe

	saved      SavedState
	saveFailed bool      // the state is to be saved again; it was logged
	saveAt     time.Time // if it failed
}

// call is a request in flight.
type call struct {
	began   time.Time
	cancel  context.CancelFunc
	dropped bool
}

func (c *call) overdue(now time.Time) bool {
	return c != nil && now.Sub(c.began) >= hangThreshold
}

// drop ends a call whose answer is of no use any more: it is not reported.
func (c *call) drop() {
	if c != nil {
		c.dropped = true
		c.cancel()
	}
}

// start runs f beside the loop, which then runs the report that f returns.
func (l *Loop) start(now time.Time, f func(context.Context) func()) *call {
	ctx, cancel := context.WithCancel(l.ctx)
	c := &call{began: now, cancel: cancel}
	go func() {
		defer cancel()
		report := f(ctx)
		unlessDropped := func() {
			if !c.dropped {
				report()
			}
		}
		select {
		case l.reports <- unlessDropped:
		case <-ctx.Done():
		}
	}()
	return c
}

// New returns a Loop that has not looked at anything yet.
func New(c Config) *Loop {
	now := time.Now()
	return &Loop{Config: c, reports: make(chan func()), born: now, since: now}
}

// Run turns the loop until ctx is done, then tries once more to save what could not be
// saved, and wipes the keys. Calls that hang are abandoned.
func (l *Loop) Run(ctx context.Context) {
	defer l.keys.wipe()
	l.ctx = ctx
	l.loadSaved()
	l.timeline.enter(Starting, l.since)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if l.saveFailed {
				l.save()
			}
			return
		case report := <-l.reports:
			report()
		case <-l.Wake:
			l.handleHint()
		case <-timer.C:
		}
		now := time.Now()
		l.turned.Store(int64(now.Sub(l.born)))
		timer.Reset(max(0, l.turn(now).Sub(now)))
	}
}

// Turned returns how long ago the loop last turned. A loop that is well turns
// at least once a second, whatever Vault does.
func (l *Loop) Turned() time.Duration {
	return time.Since(l.born) - time.Duration(l.turned.Load())
}

// handleHint follows a hint: the keys are looked at now, and so is Vault, unless it
// is in a state in which connections break all the time.
func (l *Loop) handleHint() {
	l.keys.next, l.process.recorded = time.Time{}, false
	if l.phase == Unreachable || l.phase == Unresponsive || l.phase == Failing {
		return
	}
	if soon := l.prober.last.Add(hintDebounce); soon.Before(l.prober.next) {
		l.prober.next = soon
	}
}

// turn observes, decides and acts, and returns when to do so again at the
// latest.
func (l *Loop) turn(now time.Time) time.Time {
	for i := 0; ; i++ {
		l.readKeys(now)
		phase, action := Next(l.phase, l.observe(now))
		entered := l.enter(phase, now)
		again := l.act(action, now)
		if action != SendShare && l.sender.call == nil {
			l.endAttempt()
		}
		if !entered && !again || i == 3 {
			break
		}
	}
	if l.deferredLog != nil && now.Sub(l.since) >= logAfter {
		l.deferredLog()
		l.deferredLog = nil
	}
	if l.saveFailed && !now.Before(l.saveAt) {
		l.save()
	}
	l.checkShortfall(now)
	l.startProbe(now)
	l.askThreshold(now)
	return l.nextTurn(now)
}

// nextTurn returns the next moment at which something is due by itself.
func (l *Loop) nextTurn(now time.Time) time.Time {
	due := []time.Time{
		l.sender.notBefore, l.sender.recheck.at, l.sender.briefOpening.until, l.storage.notBefore, l.storage.due,
	}
	if len(l.prober.inFlight) < maxProbes {
		due = append(due, l.prober.next)
	}
	if l.saveFailed {
		due = append(due, l.saveAt)
	}
	for _, c := range append([]*call{l.sender.call, l.storage.call}, l.prober.inFlight...) {
		if c != nil {
			due = append(due, c.began.Add(hangThreshold))
		}
	}
	next := l.keys.next
	for _, at := range due {
		if at.After(now) && at.Before(next) {
			next = at
		}
	}
	return next
}

func (l *Loop) observe(now time.Time) Observation {
	if probes := l.prober.inFlight; len(probes) > 0 && probes[0].overdue(now) {
		l.prober.answer, l.prober.answerError = AnswerOverdue, ""
	}
	if l.prober.answer > AnswerUnsealed { // an unseal's own answer has no health
		l.sender.briefOpening = briefOpening{}
	}
	o := Observation{
		Vault:          l.prober.answer,
		HoldSeals:      l.HoldSeals,
		SealedByHand:   l.process.current != "" && l.saved.Unsealed == l.process.current,
		Released:       l.holdReleased(),
		Sending:        l.sender.call != nil,
		SendingOverdue: l.sender.call.overdue(now),
		SendingFails:   l.sender.failures > 0,
		Storage:        l.storageState(now),
	}
	if l.prober.answer == AnswerSealed {
		_, o.Keys, _ = l.pick()
		if o.Keys == KeysRejected && l.recheckIsDue(now) {
			_, o.Keys, _ = l.pick()
		}
		o.Rechecking = l.sender.recheck.running
	}
	return o
}

// act does what was decided, unless it is not its time yet. The result says
// that it changed what there is to observe.
func (l *Loop) act(a Action, now time.Time) (again bool) {
	waits := now.Before(l.sender.notBefore) || l.sender.briefOpening.holds(l.process.current, now)
	switch {
	case a == SendShare && l.sender.call == nil && !waits:
		return l.send(now)
	case a == CheckStorage && l.storage.call == nil && !now.Before(l.storage.notBefore):
		l.checkStorage(now)
	}
	return false
}

func random() float64 { return rand.Float64() }
