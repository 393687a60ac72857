package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// outageOfVault is how long Vault's storage hangs in act one: at home it is minutes.
const outageOfVault = 8 * time.Second

// actOne shows Vault alone, and returns it once it is back.
func actOne(ctx context.Context, env *testenv.Env) (*outage.Vault, error) {
	heading("Act one. Vault alone: the power goes, and its storage hangs when it is back")
	v, err := outage.StartVault(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := v.StartSidecarAndWait(ctx); err != nil {
		return nil, err
	}
	printLine("Vault        a real one, on storage that can hang; one key share")
	printLine("the sidecar  beside it, with the share in a mounted Secret; it has unsealed Vault")
	fmt.Println()

	cut := time.Now()
	if err := v.KillSidecar(); err != nil {
		return nil, err
	}
	if err := v.BeginOutage(); err != nil {
		return nil, err
	}
	if err := v.StartSidecar(); err != nil {
		return nil, err
	}
	if err := v.AwaitHanging(ctx); err != nil {
		return nil, err
	}
	printLine("Both were killed, and are started again. Vault cannot even listen: its storage hangs.")
	if err := showSeconds(ctx, cut, outageOfVault); err != nil {
		return nil, err
	}
	resumed := time.Now()
	if err := v.EndOutage(); err != nil {
		return nil, err
	}
	if err := v.Sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return nil, err
	}
	status, err := v.Sidecar.Status(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := phaseSteps(status, resumed)
	if err != nil {
		return nil, err
	}
	printLine("The storage is back, and nobody is awake. From then until Vault was active again: %s",
		formatDuration(steps[len(steps)-1].to.Sub(resumed)))
	draw(steps)
	printLog(v.Sidecar)
	return v, nil
}

// showSeconds shows the seconds that pass until the outage has lasted for so long.
func showSeconds(ctx context.Context, from time.Time, outage time.Duration) error {
	fmt.Print("   seconds without power or storage:")
	seconds := elapsedCounter{from: from, every: time.Second}
	for tick := time.NewTicker(50 * time.Millisecond); time.Since(from) < outage; seconds.show() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	fmt.Println()
	return nil
}

// phaseSteps are the phases that the sidecar reported since the storage is back.
func phaseSteps(status testenv.Status, storageResumed time.Time) (steps []step, err error) {
	if status.Recovery == nil {
		return nil, errors.New("/status tells of no recovery")
	}
	from := storageResumed
	for _, phase := range status.Recovery.Steps {
		end := phase.Began.Add(time.Duration(phase.Seconds * float64(time.Second)))
		if end.After(storageResumed) {
			steps = append(steps, step{phase.Name, from, end, phaseMeanings[phase.Name]})
			from = end
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("/status tells of no step after %v: %+v", storageResumed, status.Recovery.Steps)
	}
	return steps, nil
}
