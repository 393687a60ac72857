package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealing prints how long each baseline takes to unseal Vault once it can be
// unsealed.
func unsealing(ctx context.Context, r rounds) error {
	fmt.Printf("From storage being back to vault's \"vault is unsealed\", %d rounds each, in turns.\n"+
		"The shell loop's minute is scaled to %v; its figures at home are ten times as long.\n\n", r.vault, loopEvery)
	fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", "scenario", "baseline", "min", "median", "max", "median-floor", "max-floor")
	for i, s := range scenarios {
		if i > 0 {
			fmt.Println()
		}
		results := map[string][]time.Duration{}
		for range r.vault {
			for _, b := range baselines {
				err := testenv.Run(testenv.Programs{}, func(env *testenv.Env) error {
					took, err := measureRound(ctx, env, s, b)
					results[b.name] = append(results[b.name], took)
					return err
				})
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, b.name, err)
				}
			}
		}
		floor := summarize(results[baselines[0].name])
		for _, b := range baselines {
			r := summarize(results[b.name])
			fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", s.name, b.name,
				formatDuration(r.min), formatDuration(r.median), formatDuration(r.max), formatDuration(r.median-floor.median), formatDuration(r.max-floor.max))
		}
	}
	return nil
}

// scenario is a way for Vault to be away, and its end.
type scenario struct {
	name         string
	begin        func(v *outage.Vault) error
	end          func(v *outage.Vault) error
	awaitHanging bool // once the baseline runs
}

var scenarios = []scenario{
	{"refused", (*outage.Vault).BeginOutage, (*outage.Vault).EndOutage, true},
	{"stopped",
		func(v *outage.Vault) error { v.Pause(); return nil },
		func(v *outage.Vault) error { v.Continue(); return nil },
		false},
	{"hung unseal", (*outage.Vault).HangStorage, (*outage.Vault).EndOutage, false},
}

// measureRound makes a sealed Vault unavailable, lets the baseline wait for a random
// time, makes Vault available again, and measures.
func measureRound(ctx context.Context, env *testenv.Env, s scenario, b baseline) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	vault, err := outage.StartVault(ctx, env)
	if err != nil {
		return 0, err
	}
	if err := s.begin(vault); err != nil {
		return 0, err
	}
	if err := b.start(ctx, vault); err != nil {
		return 0, err
	}
	if s.awaitHanging {
		if err := vault.AwaitHanging(ctx); err != nil {
			return 0, err
		}
	}
	// The period of the baseline must not be in step with the end of the outage.
	time.Sleep(time.Second + rand.N(b.period))
	if !vault.UnsealedAt().IsZero() {
		return 0, errors.New("vault was unsealed before the outage ended")
	}
	resumed := time.Now()
	if err := s.end(vault); err != nil {
		return 0, err
	}
	at, err := vault.AwaitUnsealed(ctx)
	return at.Sub(resumed), err
}
