// Command bench measures, in turns and in one run, how long three contenders
// take from the thaw to an unsealed Vault, and what the sidecar costs while
// nothing happens. It asserts nothing: the figures are for people.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	rounds, err := roundsWanted()
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d cores, %s\n\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	fmt.Printf("From the thaw to vault's \"vault is unsealed\", %d rounds each, in turns.\n"+
		"The shell loop's minute is scaled to %v; its figures at home are ten times as long.\n\n", rounds, loopEvery)
	fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", "scenario", "contender", "min", "median", "max", "median-floor", "max-floor")
	for _, s := range scenarios {
		results := map[string][]time.Duration{}
		for range rounds {
			for _, c := range contenders {
				took, err := round(ctx, s, c)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
				}
				results[c.name] = append(results[c.name], took)
			}
		}
		floor := summarise(results[contenders[0].name])
		for _, c := range contenders {
			r := summarise(results[c.name])
			fmt.Printf("%-12s %-10s %9s %9s %9s %14s %14s\n", s.name, c.name,
				show(r.min), show(r.median), show(r.max), show(r.median-floor.median), show(r.max-floor.max))
		}
		fmt.Println()
	}
	return footprint(ctx)
}

// roundsWanted reads ROUNDS, 20 when it is not set.
func roundsWanted() (int, error) {
	text := os.Getenv("ROUNDS")
	if text == "" {
		return 20, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("ROUNDS: %q is not accepted; accepted: a number from 1", text)
	}
	return n, nil
}

// scenario is a way for Vault to be away, and its end.
type scenario struct {
	name   string
	begin  func(ctx context.Context, g *lab.Gate, v *lab.Vault) error
	thaw   func(g *lab.Gate, v *lab.Vault) error
	settle func(ctx context.Context, g *lab.Gate) error // once the contender works
}

var scenarios = []scenario{
	{"refused",
		func(ctx context.Context, g *lab.Gate, v *lab.Vault) error {
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
		func(context.Context, *lab.Gate, *lab.Vault) error { return nil },
		func(_ *lab.Gate, v *lab.Vault) error { v.Continue(); return nil },
		nil},
	{"hung unseal",
		func(_ context.Context, g *lab.Gate, _ *lab.Vault) error { _, err := g.Set("hang"); return err },
		openGate, nil},
}

func openGate(g *lab.Gate, _ *lab.Vault) error {
	_, err := g.Set("open")
	return err
}

func somethingWaits(ctx context.Context, g *lab.Gate) error {
	return lab.Await(ctx, 30*time.Second, "storage to be wanted", func() string {
		if s, err := g.Status(); err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
}

// round makes a sealed Vault unavailable, lets the contender wait for it for a
// random time, thaws, and measures.
func round(ctx context.Context, s scenario, c contender) (took time.Duration, err error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	gate, vault, secret, err := sealedVault(ctx, l)
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
	err = lab.Await(ctx, 2*time.Minute, "vault to be unsealed", func() string {
		if vault.Process.SeenAt(unsealed).IsZero() {
			return "its log ends: " + vault.Process.Tail(2)
		}
		return ""
	})
	return vault.Process.SeenAt(unsealed).Sub(thawed), err
}

// unsealed is what Vault logs when it is; the moment is taken when the line
// comes out of its pipe, so that nobody has to ask Vault.
const unsealed = "core: vault is unsealed"

// sealedVault starts a Vault that is initialised, sealed and listening.
func sealedVault(ctx context.Context, l *lab.Lab) (*lab.Gate, *lab.Vault, *lab.Secret, error) {
	gate, err := l.Gate(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	vault, err := l.Vault(lab.VaultConfig{Data: gate.Dir})
	if err != nil {
		return nil, nil, nil, err
	}
	if err := vault.StartAndWait(ctx); err != nil {
		return nil, nil, nil, err
	}
	if err := vault.Init(ctx, 1, 1); err != nil {
		return nil, nil, nil, err
	}
	secret, err := l.Secret()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := secret.WriteShares(vault.Keys...); err != nil {
		return nil, nil, nil, err
	}
	if err := vault.Kill(); err != nil {
		return nil, nil, nil, err
	}
	return gate, vault, secret, vault.StartAndWait(ctx)
}
