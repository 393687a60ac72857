package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

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
				took, err := measureRound(ctx, s, b)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, b.name, err)
				}
				results[b.name] = append(results[b.name], took)
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
	name        string
	begin       func(ctx context.Context, g *testenv.Stall, v *testenv.Vault) error
	resume      func(g *testenv.Stall, v *testenv.Vault) error
	awaitEffect func(ctx context.Context, g *testenv.Stall) error // once the baseline runs
}

var scenarios = []scenario{
	{"refused",
		func(ctx context.Context, g *testenv.Stall, v *testenv.Vault) error {
			if err := v.Kill(); err != nil {
				return err
			}
			if _, err := g.SetMode("hang"); err != nil {
				return err
			}
			return v.Start()
		},
		resumeStorage, awaitBlockedOperation},
	{"stopped",
		func(context.Context, *testenv.Stall, *testenv.Vault) error { return nil },
		func(_ *testenv.Stall, v *testenv.Vault) error { v.Continue(); return nil },
		nil},
	{"hung unseal",
		func(_ context.Context, g *testenv.Stall, _ *testenv.Vault) error {
			_, err := g.SetMode("hang")
			return err
		},
		resumeStorage, nil},
}

func resumeStorage(g *testenv.Stall, _ *testenv.Vault) error {
	_, err := g.SetMode("open")
	return err
}

func awaitBlockedOperation(ctx context.Context, g *testenv.Stall) error {
	return testenv.Await(ctx, 30*time.Second, "storage to be wanted", func() string {
		if s, err := g.Status(); err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
}

// measureRound makes a sealed Vault unavailable, lets the baseline wait for a random
// time, makes Vault available again, and measures.
func measureRound(ctx context.Context, s scenario, b baseline) (took time.Duration, err error) {
	env, err := testenv.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	stall, err := env.MountStall(ctx)
	if err != nil {
		return 0, err
	}
	vault, secret, err := sealedVault(ctx, env, stall.Dir)
	if err != nil {
		return 0, err
	}
	if err := s.begin(ctx, stall, vault); err != nil {
		return 0, err
	}
	if s.name == "stopped" {
		vault.Pause()
		defer vault.Continue()
	}
	stop, err := b.start(ctx, env, vault, secret)
	if err != nil {
		return 0, err
	}
	defer stop()
	if s.awaitEffect != nil {
		if err := s.awaitEffect(ctx, stall); err != nil {
			return 0, err
		}
	}
	// The period of the baseline must not be in step with the end of the outage.
	time.Sleep(time.Second + rand.N(b.period))
	if vault.Process.PrintedAt(unsealedMessage) != (time.Time{}) {
		return 0, errors.New("vault was unsealed before the outage ended")
	}
	resumed := time.Now()
	if err := s.resume(stall, vault); err != nil {
		return 0, err
	}
	at, err := awaitUnsealed(ctx, vault)
	return at.Sub(resumed), err
}
