package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// recoverWithCronJobs runs the second part and returns how long the apps waited
// once the storage was back.
func recoverWithCronJobs(ctx context.Context, st *setup) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heading("5. The same again, without the sidecar: two CronJobs, on the minute")
	printLine("The first unseals a sealed Vault. The second restarts External Secrets when Vault")
	printLine("is well and the store is not. Their pods start at once here, which is generous.")
	o, err := st.cutPower(ctx, func() error { return nil })
	if err != nil {
		return 0, err
	}
	waiting := append(secretSubjects(), storeSubject)
	if err := st.waitDown(ctx, o, waiting...); err != nil {
		return 0, err
	}
	if err := st.resumeStorage(o); err != nil {
		return 0, err
	}
	printLine("The storage is back, and the next minute is %v away, which is the mean.", untilNextMinute)
	printLine("The moment is chosen: External Secrets' own next try still finds Vault sealed, and the")
	printLine("one after it would come later than the second CronJob. Other moments give other times.")
	jobs := &cronJobs{setup: st}
	if err := jobs.runUntilReady(ctx, o, waiting); err != nil {
		return 0, err
	}
	_, last := o.watch.firstAndLast()
	took = last.Sub(o.storageResumed)
	fmt.Println()
	o.printTimeline(jobs.steps(o), took)
	return took, st.verify(ctx, o)
}

// runUntilReady runs the jobs until all subjects are well.
func (j *cronJobs) runUntilReady(ctx context.Context, o *outage, subjects []subject) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return j.run(ctx, o.storageResumed.Add(untilNextMinute)) })
	seconds := elapsedCounter{from: o.storageResumed, every: 10 * time.Second}
	fmt.Print("   seconds without secrets:")
	err := testenv.Await(ctx, 4*time.Minute, "the CronJobs to bring all back", func() string {
		seconds.show()
		return o.watch.differs("True", subjects...)
	})
	fmt.Println()
	cancel()
	return errors.Join(err, group.Wait())
}

// steps are the parts of the recovery once the storage was back.
func (j *cronJobs) steps(o *outage) []step {
	unsealed := j.setup.vault.Process.PrintedAt("vault is unsealed")
	woken, how := j.restarting, "the second restarts External Secrets"
	ready := o.watch.since(storeSubject)
	if woken.IsZero() || woken.After(ready) {
		woken, how = ready, "External Secrets came to it by itself"
	}
	first, last := o.watch.firstAndLast()
	return []step{
		{"sealed", o.storageResumed, j.unsealing, "until the next minute"},
		{"unsealing", j.unsealing, unsealed, "the first CronJob runs"},
		{"store down", unsealed, woken, "until the minute after that"},
		{"store", woken, ready, how},
		{"first secret", ready, first, "the first ExternalSecret is Ready"},
		{"last secret", first, last, "the last one is"},
	}
}
