package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// untilNextMinute is how far the next minute is when the storage is back: the mean.
const untilNextMinute = 30 * time.Second

// recoverWithCronJobs runs the second part and returns how long the apps waited
// once the storage was back.
func recoverWithCronJobs(ctx context.Context, c *outage.Cluster) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heading("The same again, without the sidecar: two CronJobs, on the minute")
	printLine("The first unseals a sealed Vault. The second restarts External Secrets when Vault")
	printLine("is well and the store is not. Their pods start at once here, which is generous.")
	p, err := begin(ctx, c, false)
	if err != nil {
		return 0, err
	}
	if err := p.waitDown(ctx, long, c.Differs); err != nil {
		return 0, err
	}
	if err := p.resumeStorage(); err != nil {
		return 0, err
	}
	printLine("The storage is back, and the next minute is %v away, which is the mean.", untilNextMinute)
	printLine("The moment is chosen: External Secrets' own next try still finds Vault sealed, and the")
	printLine("one after it would come later than the second CronJob. Other moments give other times.")
	jobs := &outage.CronJobs{Cluster: c}
	if err := p.runUntilReady(ctx, jobs); err != nil {
		return 0, err
	}
	fmt.Println()
	p.printTimeline(p.cronJobSteps(jobs))
	return p.took(), p.verify(ctx)
}

// runUntilReady runs the jobs until the store and all ExternalSecrets are well.
func (p *part) runUntilReady(ctx context.Context, jobs *outage.CronJobs) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return jobs.Run(ctx, p.storageResumed.Add(untilNextMinute)) })
	seconds := elapsedCounter{from: p.storageResumed, every: 10 * time.Second}
	fmt.Print("   seconds without secrets:")
	err := testenv.Await(ctx, 4*time.Minute, "the CronJobs to bring all back", func() string {
		seconds.show()
		return p.Differs("True")
	})
	fmt.Println()
	cancel()
	return errors.Join(err, group.Wait())
}

// cronJobSteps are the parts of the recovery once the storage was back.
func (p *part) cronJobSteps(jobs *outage.CronJobs) []step {
	unsealed := p.Vault.UnsealedAt()
	woken, how := jobs.Restarting, "the second restarts External Secrets"
	ready := p.Store.Last()
	if woken.IsZero() || woken.After(ready) {
		woken, how = ready, "External Secrets came to it by itself"
	}
	return append([]step{
		{"sealed", p.storageResumed, jobs.Unsealing, "until the next minute"},
		{"unsealing", jobs.Unsealing, unsealed, "the first CronJob runs"},
		{"store down", unsealed, woken, "until the minute after that"},
		{"store", woken, ready, how},
	}, p.secretSteps()...)
}
