package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealing prints how long each contender takes from the thaw to an unsealed
// Vault.
func unsealing(ctx context.Context, r rounds) error {
	fmt.Printf("From the thaw to vault's \"vault is unsealed\", %d rounds each, in turns.\n"+
		"The shell loop's minute is scaled to %v; its figures at home are ten times as long.\n\n", r.vault, loopEvery)
	fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", "scenario", "contender", "min", "median", "max", "median-floor", "max-floor")
	for i, s := range scenarios {
		if i > 0 {
			fmt.Println()
		}
		results := map[string][]time.Duration{}
		for range r.vault {
			for _, c := range contenders {
				took, err := round(ctx, s, c)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
				}
				results[c.name] = append(results[c.name], took)
			}
		}
		floor := summarize(results[contenders[0].name])
		for _, c := range contenders {
			r := summarize(results[c.name])
			fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", s.name, c.name,
				show(r.min), show(r.median), show(r.max), show(r.median-floor.median), show(r.max-floor.max))
		}
	}
	return nil
}

// scenario is a way for Vault to be away, and its end.
type scenario struct {
	name   string
	begin  func(ctx context.Context, g *testenv.Gate, v *testenv.Vault) error
	thaw   func(g *testenv.Gate, v *testenv.Vault) error
	settle func(ctx context.Context, g *testenv.Gate) error // once the contender works
}

var scenarios = []scenario{
	{"refused",
		func(ctx context.Context, g *testenv.Gate, v *testenv.Vault) error {
			if err := v.Kill(); err != nil {
				return err
			}
			if _, err := g.Set("hang"); err != nil {
				return err
			}
			return v.Start()
		},
		openGate, somethingWaits},
	{"stopped",
		func(context.Context, *testenv.Gate, *testenv.Vault) error { return nil },
		func(_ *testenv.Gate, v *testenv.Vault) error { v.Continue(); return nil },
		nil},
	{"hung unseal",
		func(_ context.Context, g *testenv.Gate, _ *testenv.Vault) error { _, err := g.Set("hang"); return err },
		openGate, nil},
}

func openGate(g *testenv.Gate, _ *testenv.Vault) error {
	_, err := g.Set("open")
	return err
}

func somethingWaits(ctx context.Context, g *testenv.Gate) error {
	return testenv.Await(ctx, 30*time.Second, "storage to be wanted", func() string {
		if s, err := g.Status(); err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
}

// round makes a sealed Vault unavailable, lets the contender wait for it for a
// random time, thaws, and measures.
func round(ctx context.Context, s scenario, c contender) (took time.Duration, err error) {
	l, err := testenv.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	gate, err := l.Gate(ctx)
	if err != nil {
		return 0, err
	}
	vault, secret, err := sealedVault(ctx, l, gate.Dir)
	if err != nil {
		return 0, err
	}
	if err := s.begin(ctx, gate, vault); err != nil {
		return 0, err
	}
	if s.name == "stopped" {
		vault.Pause()
		defer vault.Continue()
	}
	stop, err := c.start(ctx, l, vault, secret)
	if err != nil {
		return 0, err
	}
	defer stop()
	if s.settle != nil {
		if err := s.settle(ctx, gate); err != nil {
			return 0, err
		}
	}
	// The contender's own rhythm must not meet the thaw at a fixed point.
	time.Sleep(time.Second + rand.N(c.period))
	if vault.Process.SeenAt(unsealed) != (time.Time{}) {
		return 0, errors.New("vault was unsealed before the thaw")
	}
	thawed := time.Now()
	if err := s.thaw(gate, vault); err != nil {
		return 0, err
	}
	at, err := awaitUnsealed(ctx, vault)
	return at.Sub(thawed), err
}
