package eso

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

func TestController_LogsUnsyncedObjectsWhenTheyChange(t *testing.T) {
	var out bytes.Buffer
	n := newController(t, Config{Log: hclog.New(&hclog.LoggerOptions{Output: &out})}, &fakeCluster{t: t}, nil)
	n.phase, n.since = unseal.Active, time.Now()
	for _, row := range []struct {
		sentence string
		found    scanResult
		reason   string
		text     string // of the log; empty: nothing
	}{
		{"while it is annotated nothing is told", scanResult{resynced: 3, unsyncedCount: 3}, "Recovering", ""},
		{"what is left in the end is", scanResult{resynced: 3, unsyncedCount: 2, unsynced: []string{"a", "b"}, final: true}, "NotSynced", msgLeft},
		{"but once", scanResult{resynced: 3, unsyncedCount: 2, unsynced: []string{"a", "b"}, final: true}, "NotSynced", ""},
		{"and when some of it is repaired", scanResult{resynced: 3, unsyncedCount: 1, unsynced: []string{"b"}, final: true}, "NotSynced", msgLeft},
		{"all is repaired", scanResult{resynced: 3, final: true}, "Recovered", msgRecovered},
		{"a store comes back, and with it something is left again", scanResult{resynced: 1, unsyncedCount: 1}, "Recovering", ""},
		{"it is", scanResult{resynced: 1, unsyncedCount: 1, unsynced: []string{"b"}, final: true}, "NotSynced", msgLeft},
		{"another was never ours to annotate, and is repaired", scanResult{final: true}, "Ready", msgRecovered},
		{"all is well", scanResult{final: true}, "Ready", ""},
	} {
		out.Reset()
		row.found.at = time.Now()
		n.handleScan(row.found)
		assert.Equal(t, row.reason, n.condition().Reason, row.sentence)
		if row.text == "" {
			assert.Empty(t, out.String(), row.sentence)
		} else {
			assert.Equal(t, 1, strings.Count(out.String(), row.text), "%s: %s", row.sentence, out.String())
		}
		r := n.snapshot(n.condition())
		assert.Equal(t, row.found.unsyncedCount, r.LeftCount, row.sentence)
	}
}

// A store that goes down while something is left takes more with it, which is
// no new trouble of what was left. That all of it is synced is its end.
func TestController_LogsNoUnsyncedObjectsWhileAStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, meter, setStatus := withBrokenStores(t)
		var out bytes.Buffer
		n.log.Logger = hclog.New(&hclog.LoggerOptions{Output: &out})
		setStatus(kube.True, "a", "b")
		left := func(count int, afterResync bool) {
			n.handleScan(scanResult{at: time.Now(), resynced: 3, unsyncedCount: count, unsynced: []string{"c"}, final: true, afterResync: afterResync})
		}
		left(1, false)
		out.Reset()
		time.Sleep(time.Hour)
		setStatus(kube.False, "a")
		since := n.since
		left(7, true)
		left(0, true)
		assert.NotContains(t, out.String(), msgLeft)
		assert.Equal(t, 1, strings.Count(out.String(), msgRecovered))
		assert.Empty(t, meter.took[kube.StepObjects], "by a person")
		time.Sleep(time.Second)
		setStatus(kube.False, "b")
		assert.Equal(t, since, n.since, "it is one trouble")
		setStatus(kube.True, "a", "b")
		left(0, false)
		assert.Equal(t, 2, strings.Count(out.String(), msgRecovered), "that of the stores")
	})
}

// A tenant's store never gets ready, while what was left in another namespace is mended one by one.
func TestController_BrokenStoreHidesNothingThatIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		var left atomic.Int32
		left.Store(2)
		var out lockedBuffer
		n := besideVault(t, Config{Recovery: RecoveryNudge, Log: hclog.New(&hclog.LoggerOptions{Output: &out})},
			a.serve(func() (all []unstructured.Unstructured) {
				for i := range left.Load() {
					all = append(all, failedSecret("victim", fmt.Sprint("app-", i), ""))
				}
				return all
			}), vaultStore("", "home", kube.True), vaultStore("tenant", "broken", kube.False))
		during(time.Hour)
		assert.Equal(t, 1, strings.Count(out.String(), msgLeft))
		for _, row := range []struct {
			left     int
			messages string
		}{{1, msgLeft}, {0, msgRecovered}} {
			out.Reset()
			left.Store(int32(row.left))
			during(unsyncedInterval)
			n.handle(func() {
				assert.Equal(t, row.left, n.scan.unsyncedCount)
				assert.Equal(t, row.left, n.snapshot(n.condition()).LeftCount)
				assert.Equal(t, "StoreNotReady", n.condition().Reason)
			})
			assert.Equal(t, 1, strings.Count(out.String(), row.messages), out.String())
		}
	})
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// A store that was down for its own reason took whoever repaired it, however
// long, and is no measure of a recovery.
func TestController_MeasuresNoManuallyRepairedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, meter, setStatus := withBrokenStores(t)
		setStatus(kube.True, "a")
		time.Sleep(62 * time.Hour)
		n.process(t.Context(), StoreName{"", "b"})
		setStatus(kube.True, "b")
		assert.Equal(t, []time.Duration{0}, meter.took[kube.StepStore])
		assert.Zero(t, n.slowestStore)
	})
}

// reached writes down what is measured.
type reached struct {
	kube.NoopMetrics
	took map[string][]time.Duration
}

func (r *reached) Reached(step string, took time.Duration) { r.took[step] = append(r.took[step], took) }

// withBrokenStores is a controller beside an active Vault that keeps what it is told of two
// stores, both down.
func withBrokenStores(t *testing.T) (*Controller, *reached, func(status string, names ...string)) {
	meter := &reached{took: map[string][]time.Duration{}}
	c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger(), Meter: meter}
	n := newController(t, c, &fakeCluster{t: t}, nil)
	setStatus := func(status string, names ...string) {
		for _, name := range names {
			n.handle(func() {
				n.updateStore(Store{StoreName: StoreName{"", name}, uid: name, Vault: true, Status: status}, false)
			})
			n.process(t.Context(), StoreName{"", name})
		}
	}
	n.Publish(unseal.Snapshot{Phase: unseal.Active})
	setStatus(kube.False, "a", "b")
	return n, meter, setStatus
}

func TestController_MeasuresARecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, meter, setStatus := withBrokenStores(t)
		synced := func(left int) {
			n.handleScan(scanResult{at: time.Now(), resynced: 3, unsyncedCount: left, unsynced: []string{"c"}, final: true})
		}
		time.Sleep(time.Second)
		setStatus(kube.True, "a")
		time.Sleep(time.Second)
		synced(0)
		assert.Empty(t, meter.took[kube.StepObjects], "a store is still down")
		time.Sleep(time.Second)
		setStatus(kube.True, "b")
		time.Sleep(2 * time.Second)
		synced(0)
		assert.Equal(t, []time.Duration{time.Second, 3 * time.Second}, meter.took[kube.StepStore])
		assert.Equal(t, []time.Duration{5 * time.Second}, meter.took[kube.StepObjects])
		assert.Contains(t, n.condition().Message, "the last store was ready after 3s, and 3 objects were resynced within 5s")

		time.Sleep(5 * time.Hour)
		setStatus(kube.False, "a")
		time.Sleep(time.Second)
		setStatus(kube.False, "b")
		time.Sleep(time.Second)
		setStatus(kube.True, "a", "b")
		time.Sleep(4 * time.Second)
		synced(0)
		assert.Equal(t, []time.Duration{2 * time.Second, time.Second}, meter.took[kube.StepStore][2:])
		assert.Equal(t, []time.Duration{6 * time.Second}, meter.took[kube.StepObjects][1:], "not since Vault is active, hours ago")

		setStatus(kube.False, "a")
		setStatus(kube.True, "a")
		synced(1)
		time.Sleep(time.Hour)
		synced(0)
		assert.Len(t, meter.took[kube.StepObjects], 2, "what a person repaired is none of it")
	})
}
