package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// meanings are those of the phases that Vault goes through after the thaw.
var meanings = map[string]string{
	"unreachable":    "Vault reads storage, then listens",
	"unresponsive":   "Vault does not answer",
	"unsealing":      "the sidecar sends the key",
	"unseal-hanging": "the unseal waits for storage",
	"activating":     "Vault sets itself up",
}

// recoverWithSidecar tells the first story and returns how long the apps
// waited from the thaw on.
func recoverWithSidecar(ctx context.Context, h *home) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heading("2. Every secret gets a new value in Vault, and the power goes before an app has it")
	o, err := h.suffer(ctx, h.restartSidecar)
	if err != nil {
		return 0, err
	}
	say("%s is %s in Vault, but still %s in its app's Secret.", sample.path(), o.values[sample], o.stale)
	say("All but etcd was killed, and is started again. The storage hangs.")
	waiting := append(secretSubjects(), storeSubject, gateSubject)
	if err := h.endure(ctx, o, waiting...); err != nil {
		return 0, err
	}

	heading("3. The storage is back, and nobody is awake")
	if err := h.thaw(o); err != nil {
		return 0, err
	}
	err = testenv.Await(ctx, 60*time.Second, "the sidecar to bring all back", func() string {
		return o.watch.differs("True", waiting...)
	})
	if err != nil {
		return 0, fmt.Errorf("%w; the sidecar's log ends: %s", err, h.sidecar.Tail(5))
	}
	status, err := h.sidecar.Status(ctx)
	if err != nil {
		return 0, err
	}
	if status.Recovery == nil || len(status.Recovery.Steps) == 0 {
		return 0, errors.New("/status tells of no recovery")
	}
	_, last := o.watch.firstAndLast()
	took := last.Sub(o.thawed)
	o.tell(sidecarSteps(o, status.Recovery.Steps), took)
	if err := h.verify(ctx, o); err != nil {
		return 0, err
	}

	heading("4. What it left on Vault's pod, and in its log")
	if err := h.describePod(ctx); err != nil {
		return 0, err
	}
	h.printLog()
	return took, nil
}

func (h *home) restartSidecar() (err error) {
	h.sidecar, err = h.lab.Sidecar(h.options)
	return err
}

// sidecarSteps are the phases that Vault went through, by the sidecar's word,
// and what the API server told after that.
func sidecarSteps(o *outage, phases []testenv.Step) []step {
	var steps []step
	served := o.thawed
	for _, phase := range phases {
		end := phase.Began.Add(time.Duration(phase.Seconds * float64(time.Second)))
		if end.After(o.thawed) {
			steps = append(steps, step{phase.Name, served, end, meanings[phase.Name]})
			served = end
		}
	}
	opened, ready := o.watch.at(gateSubject), o.watch.at(storeSubject)
	first, last := o.watch.firstAndLast()
	return append(steps,
		step{"gate", served, opened, "the pod's readiness gate is open"},
		step{"store", served, ready, "the woken ClusterSecretStore is Ready"},
		step{"first secret", ready, first, "the first ExternalSecret is Ready"},
		step{"last secret", first, last, "the last one is"},
	)
}

// tell draws a story. Its two parts have two scales, or the second would not
// be seen at all.
func (o *outage) tell(recovery []step, took time.Duration) {
	say("the outage: %s", short(o.thawed.Sub(o.cut)))
	draw(o.steps())
	fmt.Println()
	say("then, from the storage back until every app had its Secret: %s", short(took))
	draw(recovery)
	fmt.Println()
}
