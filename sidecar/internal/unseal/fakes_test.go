package unseal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeVault does towards the loop what a Vault does, with its process, its
// lock and its storage in the hands of the test.
type fakeVault struct {
	mu          sync.Mutex
	process     string // that listens; empty: none
	run         *processRun
	processErr  error // why processes cannot be distinguished
	processTook time.Duration
	stopping    bool // answers, though its listener is closed
	standby     bool
	silent      chan struct{} // not nil: connections are accepted, and answered after it was closed
	storageHung chan struct{} // not nil: storage hangs until it is closed

	status SealStatus // Progress and Nonce follow from parts
	right  []string   // the shares, any t of which open it
	parts  []string
	nonces int

	statusErr, healthErr, unsealErr, lookupErr error
	statusLag                                  time.Duration // a seal status is read, and answered this much later
	unsealLag                                  time.Duration
	beforeShare                                func(n int)   // called before the nth share is looked at
	resets                                     int           // of the progress, before our last share is counted and before it is answered
	joinDelay                                  time.Duration // not 0: a raft node that opens so long after it has accepted the key
	unsealTimesOut                             bool          // what an unseal has done is answered by an error
	verifiesEachShare                          bool          // at an unknown threshold each share is judged
	resealsAtOnce                              bool          // it answers that it is unsealed, and is sealed again at once

	sent         []string // the shares in hex
	sentAt       []time.Time
	probes       int
	probedAt     []time.Time
	processReads int // times that its process was asked for
	lookups      []time.Time
	inFlight     int // of the probes
	maxInFlight  int
	joins        int // times that it accepted the key and joined
	abandoned    int // unseals that the loop gave up
}

// processRun is the state that ends with a process.
type processRun struct {
	gone chan struct{}
	lock chan struct{}
}

func newFakeVault(threshold int, shares ...Share) *fakeVault {
	v := &fakeVault{status: SealStatus{Initialized: true, Sealed: true, Type: "shamir", Threshold: threshold, Shares: len(shares)}}
	for _, s := range shares {
		v.right = append(v.right, inHex(s))
	}
	return v
}

func inHex(s Share) string { return hex.EncodeToString(s.bytes()) }

// with changes the Vault under its lock.
func (v *fakeVault) with(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// begin starts a process, sealed as every new one is.
func (v *fakeVault) begin(name string) {
	v.end()
	v.with(func() {
		v.process, v.run = name, &processRun{gone: make(chan struct{}), lock: make(chan struct{}, 1)}
		v.status.Sealed, v.parts = true, nil
	})
}

// end kills the process: its connections break.
func (v *fakeVault) end() {
	v.with(func() {
		if v.run != nil {
			close(v.run.gone)
		}
		v.process, v.run = "", nil
	})
}

func (v *fakeVault) unseal()                { v.with(func() { v.status.Sealed = false }) }
func (v *fakeVault) seal()                  { v.with(func() { v.status.Sealed, v.parts = true, nil }) }
func (v *fakeVault) hangStorage()           { v.with(func() { v.storageHung = make(chan struct{}) }) }
func (v *fakeVault) stopAnswering()         { v.with(func() { v.silent = make(chan struct{}) }) }
func (v *fakeVault) resumeStorage()         { v.open(&v.storageHung) }
func (v *fakeVault) resumeAnswering()       { v.open(&v.silent) }
func (v *fakeVault) open(c *chan struct{})  { v.with(func() { closeIt(c) }) }
func (v *fakeVault) set(e *error, as error) { v.with(func() { *e = as }) }

func closeIt(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

func (v *fakeVault) sentShares() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.sent)
}

func (v *fakeVault) count(n *int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return *n
}

func (v *fakeVault) Process() (string, error) {
	time.Sleep(v.processTook)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.processReads++
	if v.processErr != nil {
		return "", v.processErr
	}
	if v.stopping {
		return "", nil
	}
	return v.process, nil
}

// connect finds the process and waits until it answers at all.
func (v *fakeVault) connect(ctx context.Context) (*processRun, error) {
	time.Sleep(100 * time.Microsecond)
	v.mu.Lock()
	alive, silent := v.run, v.silent
	v.mu.Unlock()
	if alive == nil {
		return nil, fmt.Errorf("connection refused: %w", ErrUnreachable)
	}
	return alive, v.await(ctx, alive, silent)
}

// await waits for c to be closed; a nil one is.
func (v *fakeVault) await(ctx context.Context, alive *processRun, c <-chan struct{}) error {
	time.Sleep(100 * time.Microsecond)
	if c == nil {
		return nil
	}
	select {
	case <-c:
		return nil
	case <-alive.gone:
		return fmt.Errorf("connection broken: %w", ErrUnreachable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withStateLock calls f with Vault's state lock, after its storage has served.
func (v *fakeVault) withStateLock(ctx context.Context, alive *processRun, storage bool, f func() reply) reply {
	select {
	case alive.lock <- struct{}{}:
		defer func() { <-alive.lock }()
		select {
		case <-alive.gone:
			return reply{err: fmt.Errorf("connection broken: %w", ErrUnreachable)}
		default:
		}
	case <-alive.gone:
		return reply{err: fmt.Errorf("connection broken: %w", ErrUnreachable)}
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
	v.mu.Lock()
	storageHung := v.storageHung
	v.mu.Unlock()
	if storage {
		if err := v.await(ctx, alive, storageHung); err != nil {
			return reply{err: err}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return f()
}

func (v *fakeVault) probe(change int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inFlight += change
	if change > 0 {
		v.probes++
		v.probedAt = append(v.probedAt, time.Now())
	}
	v.maxInFlight = max(v.maxInFlight, v.inFlight)
}

// SealStatus reads whether Vault is sealed before it waits for the lock, as
// Vault does: its answer can be old.
func (v *fakeVault) SealStatus(ctx context.Context) (SealStatus, error) {
	v.probe(1)
	defer v.probe(-1)
	alive, err := v.connect(ctx)
	if err != nil {
		return SealStatus{}, err
	}
	v.mu.Lock()
	sealed, lag := v.status.Sealed, v.statusLag
	v.mu.Unlock()
	s := v.withStateLock(ctx, alive, false, func() reply { return reply{v.shown(sealed), v.statusErr} })
	select {
	case <-time.After(lag):
	case <-ctx.Done():
		return SealStatus{}, ctx.Err()
	}
	return s.status, s.err
}

// AwaitListener checks at each pause whether a process listens.
func (v *fakeVault) AwaitListener(ctx context.Context, pause func() time.Duration) {
	for {
		v.mu.Lock()
		listens := v.run != nil
		if !listens {
			v.probes++
		}
		v.mu.Unlock()
		if listens {
			return
		}
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return
		}
	}
}

func (v *fakeVault) shown(sealed bool) SealStatus {
	s := v.status
	s.Sealed, s.Progress = sealed, len(v.parts)
	if len(v.parts) > 0 {
		s.Nonce = strconv.Itoa(v.nonces)
	}
	return s
}

func (v *fakeVault) Health(ctx context.Context) (Answer, error) {
	v.probe(1)
	defer v.probe(-1)
	alive, err := v.connect(ctx)
	if err != nil {
		return NoAnswer, err
	}
	health := AnswerActive
	s := v.withStateLock(ctx, alive, false, func() reply {
		if v.status.Sealed || !v.status.Initialized {
			health = AnswerSealed
		} else if v.standby {
			health = AnswerStandby
		}
		return reply{err: v.healthErr}
	})
	if s.err != nil {
		return NoAnswer, s.err
	}
	return health, nil
}

// Unseal continues within Vault after its caller has gone.
func (v *fakeVault) Unseal(ctx context.Context, share Share) (SealStatus, error) {
	text := inHex(share)
	alive, err := v.connect(ctx)
	if err != nil {
		return SealStatus{}, err
	}
	n := 0
	v.with(func() {
		v.sent, v.sentAt = append(v.sent, text), append(v.sentAt, time.Now())
		n = len(v.sent)
	})
	if v.beforeShare != nil {
		v.beforeShare(n)
	}
	answer := make(chan reply, 1)
	go func() {
		answer <- v.withStateLock(context.Background(), alive, true, func() reply {
			if v.unsealErr != nil {
				return reply{err: v.unsealErr}
			}
			s := v.add(text)
			if v.unsealTimesOut {
				s.err = errors.New("answered 500: context deadline exceeded")
			}
			return s
		})
	}()
	select {
	case s := <-answer:
		time.Sleep(v.unsealLag)
		return s.status, s.err
	case <-ctx.Done():
		v.with(func() { v.abandoned++ })
		return SealStatus{}, ctx.Err()
	}
}

// add takes one share of any client.
func (v *fakeVault) add(text string) reply {
	if !v.status.Sealed {
		return reply{status: v.shown(false)}
	}
	if len(v.parts) == 0 {
		v.nonces++
	}
	if v.resets > 0 && len(v.parts) == v.status.Threshold-1 {
		v.resets--
		v.parts = nil
		return reply{status: v.shown(true)}
	}
	if !slices.Contains(v.parts, text) {
		v.parts = append(v.parts, text)
	}
	if v.status.Threshold == 0 && !v.verifiesEachShare || len(v.parts) < v.status.Threshold {
		return reply{status: v.shown(true)}
	}
	wrong := slices.ContainsFunc(v.parts, func(p string) bool { return !slices.Contains(v.right, p) })
	v.parts = nil
	if wrong {
		return reply{err: fmt.Errorf("unsealing: %w", ErrInvalidKey)}
	}
	if v.joinDelay > 0 {
		v.joins++
		time.AfterFunc(v.joinDelay, v.unseal)
		return reply{status: v.shown(true)}
	}
	v.status.Sealed = v.resealsAtOnce
	return reply{status: v.shown(false)}
}

// sendForeign sends a share as another client does.
func (v *fakeVault) sendForeign(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(text)
}

func (v *fakeVault) ReadStorage(ctx context.Context) error {
	v.with(func() { v.lookups = append(v.lookups, time.Now()) })
	alive, err := v.connect(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	storageHung := v.storageHung
	v.mu.Unlock()
	if err := v.await(ctx, alive, storageHung); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lookupErr
}

// fakeKeys is a mounted Secret.
type fakeKeys struct {
	stampReads []time.Time // when the stamp was read
	mu         sync.Mutex
	shares     []Share
	remarks    []Remark
	err        error
	stamp      int
	handedOut  []Share // all shares that were read, to check whether they were wiped
	reads      int
}

func (k *fakeKeys) Revision() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stampReads = append(k.stampReads, time.Now())
	return strconv.Itoa(k.stamp)
}

func (k *fakeKeys) Read() ([]Share, []Remark, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	if k.err != nil {
		return nil, k.remarks, k.err
	}
	var out []Share
	for _, s := range k.shares {
		out = append(out, s.clone())
	}
	k.handedOut = append(k.handedOut, out...)
	return out, k.remarks, nil
}

func (k *fakeKeys) mount(shares ...Share) { k.change(shares, nil, nil) }

func (k *fakeKeys) fail(why string) { k.change(nil, nil, errors.New(why)) }

func (k *fakeKeys) change(shares []Share, remarks []Remark, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shares, k.remarks, k.err = shares, remarks, err
	k.stamp++
}

// inMemory counts the shares that were read and not wiped.
func (k *fakeKeys) inMemory() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, s := range k.handedOut {
		if s.Len() > 0 {
			n++
		}
	}
	return n
}

// fakeStore is a state file.
type fakeStore struct {
	mu               sync.Mutex
	text             []byte
	loadErr, saveErr error
	saves            int
}

func (s *fakeStore) Load(into any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loadErr != nil || s.text == nil {
		return s.loadErr
	}
	return json.Unmarshal(s.text, into)
}

func (s *fakeStore) Save(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	if s.saveErr != nil {
		return s.saveErr
	}
	var err error
	s.text, err = json.Marshal(v)
	return err
}

// fakeMeter keeps what is counted.
type fakeMeter struct {
	results    []string
	keyChanges int
	recoveries []Recovery
}

func (m *fakeMeter) Attempted(result string) { m.results = append(m.results, result) }
func (m *fakeMeter) KeysChanged()            { m.keyChanges++ }
func (m *fakeMeter) Recovered(r Recovery)    { m.recoveries = append(m.recoveries, r) }

// harness connects a fake Vault, Secret and state file with a sidecar.
type harness struct {
	*testing.T
	vault *fakeVault
	keys  *fakeKeys
	store *fakeStore
	meter fakeMeter
	wake  chan struct{}
	loop  *Loop
	stop  func() // ends the loop and waits until it did

	mu     sync.Mutex
	states []Snapshot
	output bytes.Buffer
}

// Write takes the log.
func (h *harness) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.output.Write(p)
}

// inBubble runs a scenario with the Vault and the keys of a t-of-n seal in a
// synctest bubble, and checks afterwards that no share is left in memory, in the
// log or in the state file.
func inBubble(t *testing.T, threshold, n int, scenario func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var shares []Share
		for i := range n {
			b := secretBytes()
			b[0] = byte(i)
			if threshold == 1 {
				b = b[:32]
			} else { // on polynomials of that degree, of which all but one are constant
				b[0], b[32] = 1, byte(i+1)
				for range threshold - 1 {
					b[0] = multiply(b[0], b[32])
				}
			}
			shares = append(shares, NewShare(b))
		}
		h := &harness{T: t, vault: newFakeVault(threshold, shares...), keys: &fakeKeys{}, store: &fakeStore{}, wake: make(chan struct{}, 1)}
		h.keys.mount(shares...)
		scenario(h)
		if h.stop != nil {
			h.stop()
		}
		h.vault.resumeStorage()
		h.vault.resumeAnswering()
		h.vault.end()
		h.advance(time.Hour) // for what is still in flight
		assert.Zero(t, h.keys.inMemory(), "shares that are left in memory after the end")
		assertHidden(t, notations(secretBytes()[:32]), h.output.String(), "the log")
		h.vault.with(func() { assertHidden(t, notations(secretBytes()[:32]), string(h.store.text), "the state file") })
	})
}

// start starts a sidecar, the first one or another.
func (h *harness) start(change ...func(*Config)) {
	h.Helper()
	if h.stop != nil {
		h.stop()
	}
	c := Config{
		Vault: h.vault, Keys: h.keys, Processes: h.vault, Store: h.store, Wake: h.wake, HoldSeals: true, Meter: &h.meter,
		Log: hclog.New(&hclog.LoggerOptions{Output: h, Level: hclog.Debug, JSONFormat: true}),
		Publish: func(s Snapshot) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.states = append(h.states, s)
		},
	}
	for _, f := range change {
		f(&c)
	}
	h.loop = New(c)
	ctx, cancel := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.loop.Run(ctx)
	}()
	h.stop = func() {
		cancel()
		<-ended
	}
}

// advance lets time pass.
func (h *harness) advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// hint wakes the loop as a watch of files or connections does.
func (h *harness) hint() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// resetRecords drops what was published and logged so far.
func (h *harness) resetRecords() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.states) > 0 {
		h.states = h.states[len(h.states)-1:]
	}
	h.output.Reset()
}

// phases returns the names of the published phases, each change once.
func (h *harness) phases() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, s := range h.states {
		names = append(names, s.Phase.String())
	}
	return slices.Compact(names)
}

func (h *harness) state() Snapshot {
	h.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.NotEmpty(h, h.states, "nothing was published")
	return h.states[len(h.states)-1]
}

func (h *harness) expectPhase(p Phase) {
	h.Helper()
	assert.Equal(h, p.String(), h.state().Phase.String())
}

func (h *harness) expectPhases(want ...Phase) {
	h.Helper()
	var names []string
	for _, p := range want {
		names = append(names, p.String())
	}
	assert.Equal(h, names, h.phases())
}

// expectSent compares the number of shares that Vault was sent in all.
func (h *harness) expectSent(n int) {
	h.Helper()
	assert.Len(h, h.vault.sentShares(), n, "shares sent")
}

// logged returns the messages of at least info, in order.
func (h *harness) logged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var messages []string
	for line := range bytes.Lines(h.output.Bytes()) {
		var entry struct {
			Level   string `json:"@level"`
			Message string `json:"@message"`
		}
		require.NoError(h, json.Unmarshal(line, &entry), "%s", line)
		if hclog.LevelFromString(entry.Level) >= hclog.Info {
			messages = append(messages, entry.Message)
		}
	}
	return messages
}

// loggedTimes counts a message of at least info.
func (h *harness) loggedTimes(message string) int {
	n := 0
	for _, m := range h.logged() {
		if m == message {
			n++
		}
	}
	return n
}

var nopLogger = hclog.NewNullLogger()

// wrongKey is a share of the right length that opens nothing, and is of one key
// with no other.
func wrongKey(b byte, length int) Share {
	raw := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{b}).Read(raw)
	raw[length-1] = 200 + b
	return NewShare(raw)
}
