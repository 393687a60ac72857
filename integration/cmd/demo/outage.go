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
	// resumeAfter is how long after the last failure the storage is back. A try
	// takes External Secrets 3 to 4.5 s, so its own next one ends within 29 s of
	// that, and the one after that begins 91 s after it at the soonest. None
	// falls between the two CronJobs, which act after 30 s and 90 s. After an
	// outage of minutes, with tries that are minutes apart, it is mostly so too.
	resumeAfter = 7500 * time.Millisecond
)

// outage is a power cut, and the time until the storage is back.
type outage struct {
	values map[secret]string // written just before; no app has them
	stale  string            // what the app of the sample has instead
	watch  *conditionWatch

	cut            time.Time
	apiServer      time.Time // ready again
	vault          time.Time // started
	eso            time.Time // started
	storageResumed time.Time
}

// cutPower kills everything and starts it again, with storage that hangs. Then
// startOthers is run, which starts what runs beside Vault.
func (st *setup) cutPower(ctx context.Context, startOthers func() error) (*outage, error) {
	o := &outage{}
	// External Secrets is the first to go, or it could sync the new values.
	if err := st.eso.Kill(); err != nil {
		return nil, err
	}
	var err error
	if o.values, err = st.writeValues(ctx); err != nil {
		return nil, err
	}
	if arrived, _ := st.countSynced(ctx, o.values); arrived > 0 {
		return nil, fmt.Errorf("%d new values were synced before the power cut", arrived)
	}
	if o.stale, err = st.appValue(ctx, sampleSecret); err != nil {
		return nil, err
	}
	o.cut = time.Now()
	if err := st.killAll(); err != nil {
		return nil, err
	}
	if err := st.cluster.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	o.apiServer = time.Now()
	if o.watch, err = st.watchConditions(ctx); err != nil {
		return nil, err
	}
	o.vault = time.Now()
	if err := st.vault.Start(); err != nil {
		return nil, err
	}
	if err := startOthers(); err != nil {
		return nil, err
	}
	o.eso = time.Now()
	return o, st.eso.Start(ctx)
}

// killAll kills what still runs, and leaves the storage hanging.
func (st *setup) killAll() error {
	if err := st.sidecar.Kill(); err != nil {
		return err
	}
	if err := st.vault.Kill(); err != nil {
		return err
	}
	if err := st.cluster.StopAPIServer(); err != nil {
		return err
	}
	_, err := st.stall.SetMode("hang")
	return err
}

// waitDown waits, and shows the seconds that pass, until External Secrets is deep
// in its backoff. The subjects have to have turned False by then.
func (st *setup) waitDown(ctx context.Context, o *outage, subjects ...subject) error {
	fmt.Print("   seconds without power or storage:")
	seconds := elapsedCounter{from: o.cut, every: 5 * time.Second}
	failed, lastFailure := 0, o.eso
	err := testenv.Await(ctx, 2*time.Minute, "external-secrets to be deep in its backoff", func() string {
		seconds.show()
		if n := storeFailures(st.eso.Process); n > failed {
			failed, lastFailure = n, time.Now()
		}
		if failed < failures || time.Since(lastFailure) < resumeAfter {
			return fmt.Sprintf("it has failed %d times", failed)
		}
		return o.watch.differs("False", subjects...)
	})
	fmt.Println()
	if err != nil {
		return err
	}
	nextTry := lastFailure.Add(time.Second << (failed - 1))
	printLine("External Secrets has failed %d times. By itself it would try again in %v.", failed, time.Until(nextTry).Round(time.Second))
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

// resumeStorage brings the storage back.
func (st *setup) resumeStorage(o *outage) error {
	o.storageResumed = time.Now()
	_, err := st.stall.SetMode("open")
	return err
}

// verify fails unless every app has the value that was written before the
// power cut.
func (st *setup) verify(ctx context.Context, o *outage) error {
	count, err := st.countSynced(ctx, o.values)
	if err != nil {
		return err
	}
	got, err := st.appValue(ctx, sampleSecret)
	if err != nil {
		return err
	}
	printLine("%d of %d Secrets hold the new value: %s is %s, it was %s.", count, len(o.values), sampleSecret.path(), got, o.stale)
	return nil
}

// steps are the parts of the outage until the storage is back.
func (o *outage) steps() []step {
	return []step{
		{"API server", o.cut, o.apiServer, "is started, and gets ready"},
		{"Vault", o.vault, o.storageResumed, "cannot listen: its storage hangs"},
		{"Ext. Secrets", o.eso, o.storageResumed, "fails, and tries ever more rarely"},
	}
}
