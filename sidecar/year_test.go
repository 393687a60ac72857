package main

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/metrics"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	allWeeks    = 52
	firstWeeks  = 8 // in which all has happened that ever does, and each bound is reached
	daysPerWeek = 7
	// coreDay is a day of the core, which turns each second: what happens in a day happens
	// in it, and the rest of 24 hours would only be more of the same turns.
	coreDay = 2 * time.Minute
)

// yearOfCore is the core, its proofs, its files and its metrics, beside a Vault, in virtual time.
type yearOfCore struct {
	*testing.T
	vault   *yearVault
	latest  *status.Latest
	metrics *metrics.Metrics
	loop    *unseal.Loop
	proofs  *unseal.ProofSchedule
	wake    chan struct{}
	state   string // the directory of its files
	keys    int    // how many there were
}

func (y *yearOfCore) newKey() string {
	y.keys++
	return fmt.Sprintf("%032d", y.keys)
}

func noCertificates() (server, client time.Time) { return time.Time{}, time.Time{} }

// startCore starts it, as run does.
func startCore(t *testing.T, group *sync.WaitGroup, ctx context.Context) *yearOfCore {
	y := &yearOfCore{T: t, vault: &yearVault{}, latest: status.NewLatest("v1"), state: t.TempDir()}
	y.wake = make(chan struct{}, 1)
	y.vault.key = y.newKey()
	y.vault.mount(y.vault.key)
	y.vault.begin("boot/0")
	y.metrics = metrics.New("commit", y.latest, noCertificates)
	log := hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	y.proofs = unseal.NewProofSchedule(unseal.ProofSchedule{
		Prover: &unseal.Prover{
			Vault: session{yearVault: y.vault}, Keys: y.vault, Login: y.vault.login,
			Lock: statefile.New(y.state, "proof"), Notes: statefile.New(y.state, "proof.json"),
		},
		Every: coreDay, Log: log, Publish: y.latest.PublishProof,
	})
	y.loop = unseal.New(unseal.Config{
		Vault: y.vault, Keys: y.vault, Processes: y.vault, Store: statefile.New(y.state, "state.json"),
		Log: log, Meter: y.metrics, HoldSeals: true, StorageProbe: time.Minute, Wake: y.wake,
		Publish: func(s unseal.Snapshot) { y.latest.Publish(s); y.proofs.Update(s) },
	})
	y.latest.Turned = y.loop.Turned
	group.Go(func() { y.loop.Run(ctx) })
	group.Go(func() { y.proofs.Run(ctx) })
	return y
}

// The days of a week, each with what happens in it. Names and keys are new each week.
var coreDays = [daysPerWeek]func(y *yearOfCore, week int){
	func(y *yearOfCore, week int) { // a power cut
		y.vault.end()
		time.Sleep(40 * time.Second)
		y.vault.begin(fmt.Sprint("boot/power/", week))
	},
	func(y *yearOfCore, week int) { // storage hangs under an open Vault, and under one that is unsealed
		y.vault.hang()
		time.Sleep(30 * time.Second)
		y.vault.begin(fmt.Sprint("boot/storage/", week))
		time.Sleep(10 * time.Second)
		y.vault.thaw()
	},
	func(y *yearOfCore, week int) { // the key is rotated: both are mounted for a while
		old, next := y.vault.key, y.newKey()
		y.vault.mount(old, next)
		time.Sleep(10 * time.Second)
		y.vault.with(func() { y.vault.key = next })
		time.Sleep(30 * time.Second)
		y.vault.mount(next)
	},
	func(y *yearOfCore, week int) { // a wrong key, none, and the right one
		y.vault.mount(y.newKey())
		y.vault.begin(fmt.Sprint("boot/key/", week))
		time.Sleep(20 * time.Second)
		y.vault.mount()
		time.Sleep(20 * time.Second)
		y.vault.mount(y.vault.key)
	},
	func(y *yearOfCore, week int) { // Vault's certificate ran out, and is renewed
		y.vault.with(func() { y.vault.failure = fmt.Errorf("its certificate ran out in week %d", week) })
		time.Sleep(30 * time.Second)
		y.vault.with(func() { y.vault.failure = nil })
	},
	func(y *yearOfCore, week int) { // an operator seals it, and opens it later
		y.vault.with(func() { y.vault.sealed = true })
		time.Sleep(30 * time.Second)
		y.vault.with(func() { y.vault.sealed = false })
	},
	func(y *yearOfCore, week int) { // a proxy before it answers now and then, and connections break
		for range 20 {
			y.vault.with(func() { y.vault.failure = unseal.ErrNotVault })
			time.Sleep(time.Second)
			y.vault.with(func() { y.vault.failure = nil })
			select {
			case y.wake <- struct{}{}:
			default:
			}
			time.Sleep(time.Second)
		}
	},
}

// take samples what the core has, as far as it may be seen while it works.
func (y *yearOfCore) take() sample {
	synctest.Wait()
	s := sampled()
	s["series of metrics"] = seriesOf(y.metrics)
	files, err := os.ReadDir(y.state)
	require.NoError(y, err)
	s["files"] = len(files)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(y.state, file.Name()))
		require.NoError(y, err)
		s["bytes of "+file.Name()] = len(text)
	}
	return s
}

func seriesOf(m *metrics.Metrics) int {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return strings.Count(w.Body.String(), "\n")
}

// run lets weeks pass, each with all that ever happens, and notes what there is after each.
func (y *yearOfCore) run(weeks int, seen growth) {
	for week := range weeks {
		for day, happens := range coreDays {
			until := time.Now().Add(coreDay)
			happens(y, week)
			time.Sleep(time.Until(until))
			k, when := y.latest.Known(), fmt.Sprintf("week %d, day %d", week, day)
			require.Equal(y, unseal.Active.String(), k.State.Phase.String(), "%s: %s", when, k.State.Reason)
			require.Equal(y, unseal.ProofValid, k.Proof.Result, "%s: %s", when, k.Proof.Reason)
			_, err := k.Status(time.Now()).JSON()
			require.NoError(y, err)
		}
		seen.note(y.take(), week < firstWeeks)
	}
}

// A year of daily work leaves nothing behind, whatever happened in each of its weeks. What
// the parts hold is weighed once they have ended, of the first weeks and of a year.
func TestYear_CoreKeepsWithinItsFirstWeeks(t *testing.T) {
	seen := growth{}
	for _, weeks := range []int{firstWeeks, allWeeks} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			var group sync.WaitGroup
			y := startCore(t, &group, ctx)
			y.run(weeks, seen)
			end()
			group.Wait()
			seen.note(weighed(y.loop, y.proofs, y.latest, y.metrics), weeks == firstWeeks)
		})
	}
	seen.assertFlat(t, map[string]int{
		"bytes of string": 64, "bytes of state.json": 64, "bytes of proof.json": 64, // numbers have more digits
		// What the runtime and the libraries cache comes to its bound in some hundred weeks. One
		// object of each day would be 273.
		"objects on the heap": 200,
	})
}
