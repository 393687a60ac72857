package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// phaseMeanings are those of the phases that Vault goes through once the storage is back.
var phaseMeanings = map[string]string{
	"unreachable":    "Vault reads storage, then listens",
	"unresponsive":   "Vault does not answer",
	"unsealing":      "the sidecar sends the key",
	"unseal-hanging": "the unseal waits for storage",
	"activating":     "Vault sets itself up",
}

// recoverWithSidecar runs the first part and returns how long the apps waited
// once the storage was back.
func recoverWithSidecar(ctx context.Context, st *setup) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heading("2. Every secret gets a new value in Vault, and the power goes before an app has it")
	o, err := st.cutPower(ctx, st.restartSidecar)
	if err != nil {
		return 0, err
	}
	printLine("%s is %s in Vault, but still %s in its app's Secret.", sampleSecret.path(), o.values[sampleSecret], o.stale)
	printLine("All but etcd was killed, and is started again. The storage hangs.")
	waiting := append(secretSubjects(), storeSubject, gateSubject)
	if err := st.waitDown(ctx, o, waiting...); err != nil {
		return 0, err
	}

	heading("3. The storage is back, and nobody is awake")
	if err := st.resumeStorage(o); err != nil {
		return 0, err
	}
	err = testenv.Await(ctx, 60*time.Second, "the sidecar to bring all back", func() string {
		return o.watch.differs("True", waiting...)
	})
	if err != nil {
		return 0, fmt.Errorf("%w; the sidecar's log ends: %s", err, st.sidecar.Tail(5))
	}
	status, err := st.sidecar.Status(ctx)
	if err != nil {
		return 0, err
	}
	if status.Recovery == nil || len(status.Recovery.Steps) == 0 {
		return 0, errors.New("/status tells of no recovery")
	}
	_, last := o.watch.firstAndLast()
	took := last.Sub(o.storageResumed)
	o.printTimeline(sidecarSteps(o, status.Recovery.Steps), took)
	if err := st.verify(ctx, o); err != nil {
		return 0, err
	}

	heading("4. What it left on Vault's pod, and in its log")
	if err := st.describePod(ctx); err != nil {
		return 0, err
	}
	st.printLog()
	return took, nil
}

func (st *setup) restartSidecar() (err error) {
	st.sidecar, err = st.env.StartSidecar(st.options)
	return err
}

// sidecarSteps are the phases that the sidecar reported, and the conditions that
// changed after that.
func sidecarSteps(o *outage, phases []testenv.Step) []step {
	var steps []step
	served := o.storageResumed
	for _, phase := range phases {
		end := phase.Began.Add(time.Duration(phase.Seconds * float64(time.Second)))
		if end.After(o.storageResumed) {
			steps = append(steps, step{phase.Name, served, end, phaseMeanings[phase.Name]})
			served = end
		}
	}
	opened, ready := o.watch.since(gateSubject), o.watch.since(storeSubject)
	first, last := o.watch.firstAndLast()
	return append(steps,
		step{"gate", served, opened, "the pod's readiness gate is open"},
		step{"store", served, ready, "the woken ClusterSecretStore is Ready"},
		step{"first secret", ready, first, "the first ExternalSecret is Ready"},
		step{"last secret", first, last, "the last one is"},
	)
}

// printTimeline draws the outage and the recovery. Each has a scale of its own, or
// the second would not be visible.
func (o *outage) printTimeline(recovery []step, took time.Duration) {
	printLine("the outage: %s", formatDuration(o.storageResumed.Sub(o.cut)))
	draw(o.steps())
	fmt.Println()
	printLine("then, from the storage back until every app had its Secret: %s", formatDuration(took))
	draw(recovery)
	fmt.Println()
}
