package unseal

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what a Loop works with. Vault, Keys, Processes, Store and Log are
// required.
type Config struct {
	Vault     Vault
	Keys      Keys
	Processes Processes
	Store     Store
	Log       hclog.Logger

	// HoldSeals leaves a Vault that was sealed in the running process sealed.
	HoldSeals bool
	// StorageProbe is the interval at which an active Vault is made to read
	// its storage. Zero: only once, at the end of each recovery.
	StorageProbe time.Duration
	// Wake hints that a key or a connection changed. May be nil: whatever it
	// hints at is found within a second without it.
	Wake <-chan struct{}
	// Meter counts what happens. May be nil.
	Meter Meter
	// Publish is called with every new state, by the loop's own goroutine: it
	// must not block. May be nil.
	Publish func(State)
}

// Loop watches one Vault and unseals it. One goroutine, Run's, owns all of
// its state; the calls it makes report back to it.
type Loop struct {
	Config
	ctx     context.Context // Run's; calls end with it
	reports chan func()
	turned  atomic.Int64 // when the loop last turned, as time since born
	born    time.Time

	phase    Phase
	since    time.Time
	reason   string
	timeline timeline
	voice    voice
	untold   func() // tells the phase aloud, when it was not

	seen      Answer     // the newest answer
	seenError string     // its text, when it was an error
	trouble   string     // the text of the last error of an unseal or a lookup
	withheld  bool       // the last error was an ErrWithheld
	askHealth bool       // the newest answer was one of sys/health
	askSeal   bool       // health said sealed: the seal status must tell more
	status    SealStatus // the newest seal status
	statusAt  time.Time  // when it was asked for
	process   string     // Vault's process as of the newest answer; "" unknown yet
	recorded  bool       // the process was recorded as unsealed since it last broke off
	epoch     int        // counts the times Vault was away, where processes have no names
	placed    int        // the epoch in which process was seen

	probes    map[*call]bool // in flight
	lastProbe time.Time      // when one was started
	nextProbe time.Time

	ring     ring
	nextKeys time.Time // when the mounted keys are looked at again
	keysAt   time.Time // when something about them was last new
	lack     string    // why they could not open Vault, by their number and lengths
	asking   *call     // an open Vault for its threshold
	askAt    time.Time // not before
	memory   Memory

	attempt   *attempt
	sending   *call
	sendAt    time.Time // not before
	troubles  int       // attempts in a row that ended in an error
	mixtures  int       // attempts in a row that somebody else spoilt
	doubt     doubt
	brief     brief
	accepted  bool   // the key, by a raft replica that joins its cluster
	allSent   string // names the keys of which all was sent, and what came of it is not known yet
	disturbed bool   // said so, for this seal

	storage    StorageState
	lookup     *call
	lookupAt   time.Time // not before
	lookupBad  int       // lookups in a row that ended in an error
	storageDue time.Time // when to look again, with StorageProbe

	saveFailed  bool      // said so
	saveAgain   time.Time // when to try again, if it failed
	noProcesses bool      // said so
}

// call is a request in flight.
type call struct {
	began  time.Time
	cancel context.CancelFunc
}

func (c *call) overdue(now time.Time) bool {
	return c != nil && now.Sub(c.began) >= overdueAfter
}

// New returns a Loop that has not looked at anything yet.
func New(c Config) *Loop {
	now := time.Now()
	if c.Meter == nil {
		c.Meter = unmetered{}
	}
	return &Loop{
		Config:  c,
		reports: make(chan func()),
		born:    now,
		since:   now,
		probes:  map[*call]bool{},
	}
}

// Run turns the loop until ctx is done, and wipes the keys. Calls that hang
// are abandoned.
func (l *Loop) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.ring.wipe()
	l.ctx = ctx
	l.recall()
	l.timeline.enter(Starting, l.since)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case report := <-l.reports:
			report()
		case <-l.Wake:
			l.woken()
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

// woken follows a hint: the keys are looked at now, and so is Vault, unless it
// is in a state in which connections break all the time.
func (l *Loop) woken() {
	l.nextKeys, l.recorded = time.Time{}, false
	switch l.phase {
	case Unreachable, Unresponsive, Failing:
	default:
		if soon := l.lastProbe.Add(wokenAfter); soon.Before(l.nextProbe) {
			l.nextProbe = soon
		}
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
		if action != SendShare && l.sending == nil {
			l.endAttempt()
		}
		if !entered && !again || i == 3 {
			break
		}
	}
	if l.untold != nil && now.Sub(l.since) >= lasting {
		l.untold()
		l.untold = nil
	}
	if l.saveFailed && !now.Before(l.saveAgain) {
		l.save()
	}
	l.judgeKeys(now)
	l.startProbe(now)
	l.askThreshold(now)
	return l.wakeUp(now)
}

// wakeUp returns the next moment at which something is due by itself.
func (l *Loop) wakeUp(now time.Time) time.Time {
	next := l.nextKeys
	sooner := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if len(l.probes) < maxProbes {
		sooner(l.nextProbe)
	}
	for c := range l.probes {
		sooner(c.began.Add(overdueAfter))
	}
	for _, c := range []*call{l.sending, l.lookup} {
		if c != nil {
			sooner(c.began.Add(overdueAfter))
		}
	}
	sooner(l.sendAt)
	sooner(l.brief.until)
	sooner(l.lookupAt)
	sooner(l.storageDue)
	return next
}

// observe gathers the facts that decide.
func (l *Loop) observe(now time.Time) Observation {
	for c := range l.probes {
		if c.overdue(now) {
			l.seen, l.seenError = AnswerOverdue, ""
		}
	}
	if l.seen > AnswerUnsealed { // an unseal's own answer tells no health
		l.brief = brief{}
	}
	o := Observation{
		Vault:          l.seen,
		HoldSeals:      l.HoldSeals,
		SealedByHand:   l.process != "" && l.memory.Unsealed == l.process,
		Released:       l.released(),
		Sending:        l.sending != nil,
		SendingOverdue: l.sending.overdue(now),
		SendingFails:   l.troubles > 0,
	}
	o.Storage = l.storageState(now)
	if l.seen == AnswerSealed {
		_, o.Keys, _ = l.pick()
	}
	return o
}

func (l *Loop) storageState(now time.Time) StorageState {
	switch {
	case l.seen != AnswerActive:
		l.dropLookup()
	case l.lookup.overdue(now):
		l.storage = StorageSilent
	case l.storage == StorageServes && l.StorageProbe > 0 && !now.Before(l.storageDue):
		l.storage = StorageUnknown
	}
	return l.storage
}

// act does what was decided, unless it is not its time yet. The result says
// that it changed what there is to observe.
func (l *Loop) act(a Action, now time.Time) (again bool) {
	switch {
	case a == SendShare && l.sending == nil && !now.Before(l.sendAt) && !l.brief.holds(l.process, now):
		return l.send(now)
	case a == CheckStorage && l.lookup == nil && !now.Before(l.lookupAt):
		l.checkStorage(now)
	}
	return false
}

// enter makes phase p the current one, and reports whether it was not.
func (l *Loop) enter(p Phase, now time.Time) bool {
	reason := l.reasonFor(p)
	if p == l.phase && reason == l.reason {
		return false
	}
	from, changed := l.phase, p != l.phase
	if changed {
		after := round(now.Sub(l.since))
		l.phase, l.since = p, now
		l.nextProbe = now.Add(pace(p, 0, random()))
		l.timeline.enter(p, now)
		l.arrive(p)
		if len(l.timeline.history) > 0 && !slices.Equal(l.memory.History, l.timeline.history) {
			l.memory.History = slices.Clone(l.timeline.history)
			l.Meter.Recovered(*l.timeline.history[0].copied())
			l.save()
		}
		l.tell(now, []any{keyFrom, from.String(), keyAfter, after}, reason, !from.Serving())
	}
	l.reason = reason
	l.publish()
	return changed
}

// arrive does what belongs to the phase that begins.
func (l *Loop) arrive(p Phase) {
	switch {
	case p == Held && l.memory.Held == nil:
		l.memory.Held = &Hold{Process: l.process, Keys: l.ring.version}
		l.save()
	case l.seen == AnswerSealed && l.released():
		l.Log.Info(msgReleased)
		l.memory.Unsealed, l.memory.Held = "", nil
		l.save()
	case p == Unsealing && l.memory.Unsealed == l.process && l.process != "":
		l.Log.Warn(msgOverruled)
		l.memory.Unsealed = "" // said once for each seal
	case p.unsealed():
		l.troubles, l.mixtures, l.doubt, l.disturbed = 0, 0, doubt{}, false
		if l.allSent != "" { // a raft replica has joined, or an unseal that hung has come to its end
			l.opened(l.allSent)
		}
		l.accepted = false
	}
}

func random() float64 { return rand.Float64() }
