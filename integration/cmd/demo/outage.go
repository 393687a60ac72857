package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	// failures are how often External Secrets fails on the store before the
	// storage is back: its next try is 32 s after the sixth, the one after
	// that 64 s later.
	failures = 6
	// thawAfter is how long after the last failure the storage is back. A try
	// takes External Secrets 3 to 4.5 s, so its own next one ends within 29 s of
	// the thaw, and the one after that begins 91 s after it at the soonest. None
	// falls between the two CronJobs, which act after 30 s and 90 s. After an
	// outage of minutes, with tries that are minutes apart, it is mostly so too.
	thawAfter = 7500 * time.Millisecond
)

// outage is a power cut, and the time until the storage is back.
type outage struct {
	values map[secret]string // written just before; no app has them
	stale  string            // what the app of the sample has instead
	watch  *watch

	cut       time.Time
	apiServer time.Time // ready again
	vault     time.Time // started
	eso       time.Time // started
	thawed    time.Time
}

// suffer takes the power away and gives it back, without the storage. Then
// beside is run, which starts what runs beside Vault.
func (h *home) suffer(ctx context.Context, beside func() error) (*outage, error) {
	o := &outage{}
	// External Secrets is the first to go, or it could sync the new values.
	if err := h.eso.Kill(); err != nil {
		return nil, err
	}
	var err error
	if o.values, err = h.writeValues(ctx); err != nil {
		return nil, err
	}
	if arrived, _ := h.arrived(ctx, o.values); arrived > 0 {
		return nil, fmt.Errorf("%d new values were synced before the power cut", arrived)
	}
	if o.stale, err = h.value(ctx, sample); err != nil {
		return nil, err
	}
	o.cut = time.Now()
	if err := h.cutPower(); err != nil {
		return nil, err
	}
	if err := h.cluster.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	o.apiServer = time.Now()
	if o.watch, err = h.watch(ctx); err != nil {
		return nil, err
	}
	o.vault = time.Now()
	if err := h.vault.Start(); err != nil {
		return nil, err
	}
	if err := beside(); err != nil {
		return nil, err
	}
	o.eso = time.Now()
	return o, h.eso.Start(ctx)
}

// cutPower kills what still runs, and leaves the storage hanging.
func (h *home) cutPower() error {
	if err := h.sidecar.Kill(); err != nil {
		return err
	}
	if err := h.vault.Kill(); err != nil {
		return err
	}
	if err := h.cluster.StopAPIServer(); err != nil {
		return err
	}
	_, err := h.gate.Set("hang")
	return err
}

// endure waits, and shows the seconds that pass, until External Secrets is deep
// in its backoff. The subjects have to have turned False by then.
func (h *home) endure(ctx context.Context, o *outage, subjects ...subject) error {
	fmt.Print("   seconds without power or storage:")
	seconds := counter{from: o.cut, every: 5 * time.Second}
	failed, lastFailure := 0, o.eso
	err := testenv.Await(ctx, 2*time.Minute, "external-secrets to be deep in its backoff", func() string {
		seconds.show()
		if n := storeFailures(h.eso.Process); n > failed {
			failed, lastFailure = n, time.Now()
		}
		if failed < failures || time.Since(lastFailure) < thawAfter {
			return fmt.Sprintf("it has failed %d times", failed)
		}
		return o.watch.differs("False", subjects...)
	})
	fmt.Println()
	if err != nil {
		return err
	}
	nextTry := lastFailure.Add(time.Second << (failed - 1))
	say("External Secrets has failed %d times. By itself it would try again in %v.", failed, time.Until(nextTry).Round(time.Second))
	return nil
}

// storeFailures counts how often this run of the controller failed on a store.
func storeFailures(p *testenv.Process) int {
	count := 0
	for line := range strings.Lines(p.Output()) {
		if strings.Contains(line, `"Reconciler error"`) && strings.Contains(line, `"ClusterSecretStore"`) {
			count++
		}
	}
	return count
}

// thaw brings the storage back.
func (h *home) thaw(o *outage) error {
	o.thawed = time.Now()
	_, err := h.gate.Set("open")
	return err
}

// verify fails unless every app has the value that was written before the
// power cut.
func (h *home) verify(ctx context.Context, o *outage) error {
	count, err := h.arrived(ctx, o.values)
	if err != nil {
		return err
	}
	got, err := h.value(ctx, sample)
	if err != nil {
		return err
	}
	say("%d of %d Secrets hold the new value: %s is %s, it was %s.", count, len(o.values), sample.path(), got, o.stale)
	return nil
}

// steps are the parts of the outage before the thaw.
func (o *outage) steps() []step {
	return []step{
		{"API server", o.cut, o.apiServer, "is started, and gets ready"},
		{"Vault", o.vault, o.thawed, "cannot listen: its storage hangs"},
		{"Ext. Secrets", o.eso, o.thawed, "fails, and tries ever more rarely"},
	}
}
