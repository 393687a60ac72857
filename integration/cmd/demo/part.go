package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// pace is how long an outage lasts.
type pace struct {
	failures    int           // of External Secrets on the store before the storage is back
	resumeAfter time.Duration // after the last failure it is
}

var (
	// brief is for one who watches. The first five tries come one right after the other,
	// and one that is under way when the storage returns can wait 3 s more. The next one
	// is 16 s after the fifth failure.
	brief = pace{5, time.Second}
	// long is fair to the CronJobs. The next try is 32 s after the sixth failure, the one
	// after that 64 s later. A try takes External Secrets 3 to 4.5 s, so its own next one
	// ends within 29 s of the storage's return, and the one after that begins 91 s after
	// it at the soonest. None falls between the two CronJobs, which act after 30 s and
	// 90 s. After an outage of minutes, with tries that are minutes apart, it is mostly so
	// too.
	long = pace{6, 7500 * time.Millisecond}
)

// part is one part of the demo: a power cut, and the time until every app has its secrets.
type part struct {
	*outage.Cluster
	cut            outage.PowerCut
	values         map[outage.Secret]string // written just before; no app has them
	stale          string                   // what the app of the sample has instead
	storageResumed time.Time
}

// begin writes new values into Vault and cuts the power before an app has them.
func begin(ctx context.Context, c *outage.Cluster, startSidecar bool) (*part, error) {
	// External Secrets is the first to go, or it could sync the new values.
	if err := c.ESO.Kill(); err != nil {
		return nil, err
	}
	values, err := writeValues(ctx, c.Vault)
	if err != nil {
		return nil, err
	}
	if arrived, _ := countSynced(ctx, c, values); arrived > 0 {
		return nil, fmt.Errorf("%d new values were synced before the power cut", arrived)
	}
	stale, err := c.SecretValue(ctx, sampleSecret.App, sampleSecret.Name)
	if err != nil {
		return nil, err
	}
	cut, err := c.CutPower(ctx, startSidecar)
	return &part{Cluster: c, cut: cut, values: values, stale: stale}, err
}

// waitDown waits, and shows the seconds that pass, until External Secrets is deep
// in its backoff. By then nothing may differ from the status False.
func (p *part) waitDown(ctx context.Context, pace pace, differs func(status string) string) error {
	fmt.Print("   seconds without power or storage:")
	seconds := elapsedCounter{from: p.cut.At, every: 5 * time.Second}
	failed, lastFailure := 0, p.cut.ESO
	err := testenv.Await(ctx, 2*time.Minute, "external-secrets to be deep in its backoff", func() string {
		seconds.show()
		if n := storeFailures(p.ESO.Process); n > failed {
			failed, lastFailure = n, time.Now()
		}
		if failed < pace.failures || time.Since(lastFailure) < pace.resumeAfter {
			return fmt.Sprintf("it has failed %d times", failed)
		}
		return differs("False")
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
func (p *part) resumeStorage() error {
	p.storageResumed = time.Now()
	return p.Vault.EndOutage()
}

// took is how long the apps waited once the storage was back.
func (p *part) took() time.Duration { return p.Secrets.Last().Sub(p.storageResumed) }

// verify fails unless every app has the value that was written before the
// power cut.
func (p *part) verify(ctx context.Context) error {
	count, err := countSynced(ctx, p.Cluster, p.values)
	if err != nil {
		return err
	}
	got, err := p.SecretValue(ctx, sampleSecret.App, sampleSecret.Name)
	if err != nil {
		return err
	}
	printLine("%d of %d Secrets hold the new value: %s is %s, it was %s.", count, len(p.values), sampleSecret.Path, got, p.stale)
	return nil
}

// printTimeline draws the outage and the recovery. Each has a scale of its own, or
// the second would not be visible.
func (p *part) printTimeline(recovery []step) {
	printLine("the outage: %s", formatDuration(p.storageResumed.Sub(p.cut.At)))
	draw([]step{
		{"API server", p.cut.At, p.cut.APIServer, "is started, and gets ready"},
		{"Vault", p.cut.Vault, p.storageResumed, "cannot listen: its storage hangs"},
		{"Ext. Secrets", p.cut.ESO, p.storageResumed, "fails, and tries ever more rarely"},
	})
	fmt.Println()
	printLine("then, from the storage back until every app had its Secret: %s", formatDuration(p.took()))
	draw(recovery)
	fmt.Println()
}

// secretSteps are the last parts of a recovery, from the moment the store was Ready.
func (p *part) secretSteps() []step {
	ready, first := p.Store.Last(), p.Secrets.First("True")
	return []step{
		{"first secret", ready, first, "the first ExternalSecret is Ready"},
		{"last secret", first, p.Secrets.Last(), "the last one is"},
	}
}
