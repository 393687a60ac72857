package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
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
func recoverWithSidecar(ctx context.Context, c *outage.Cluster, compare bool) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heading("Every secret gets a new value in Vault, and the power goes before an app has it")
	p, err := begin(ctx, c, true)
	if err != nil {
		return 0, err
	}
	printLine("%s is %s in Vault, but still %s in its app's Secret.", sampleSecret.Path, p.values[sampleSecret], p.stale)
	printLine("All but etcd was killed, and is started again. The storage hangs.")
	differs := func(status string) string {
		return cmp.Or(c.Gate.Missing(status, 1), c.Differs(status))
	}
	pace := brief
	if compare {
		pace = long
	}
	if err := p.waitDown(ctx, pace, differs); err != nil {
		return 0, err
	}

	heading("The storage is back, and nobody is awake")
	if err := p.resumeStorage(); err != nil {
		return 0, err
	}
	err = testenv.Await(ctx, 60*time.Second, "the sidecar to bring all back", func() string {
		return differs("True")
	})
	if err != nil {
		return 0, fmt.Errorf("%w; the sidecar's log ends: %s", err, c.Vault.Sidecar.Tail(5))
	}
	status, err := c.Vault.Sidecar.Status(ctx)
	if err != nil {
		return 0, err
	}
	steps, err := phaseSteps(status, p.storageResumed)
	if err != nil {
		return 0, err
	}
	served := steps[len(steps)-1].to
	steps = append(steps,
		step{"gate", served, p.Gate.Last(), "the pod's readiness gate is open"},
		step{"store", served, p.Store.Last(), "the ClusterSecretStore is Ready"},
	)
	took := p.took()
	p.printTimeline(append(steps, p.secretSteps()...))
	if err := p.verify(ctx); err != nil {
		return 0, err
	}

	heading("What it left on Vault's pod, and in its log")
	if err := describePod(ctx, c); err != nil {
		return 0, err
	}
	printLog(c.Vault.Sidecar)
	return took, nil
}
