// Command bench measures, in one run, how long a recovery takes: from storage that
// is back to an unsealed Vault, and from there to every ExternalSecret Ready, each
// with the sidecar and with baselines; and what the sidecar costs.
// It asserts nothing: the figures are for people.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is a measurement that can be run alone.
type part struct {
	name string
	run  func(ctx context.Context, r rounds) error
}

var parts = []part{
	{"vault", unsealing},
	{"footprint", footprint},
	{"eso", recovery},
	{"concurrency", concurrency},
	{"requests", requests},
	{"many", massResync},
}

func bench(ctx context.Context) error {
	wanted, err := parseParts(os.Getenv("PARTS"))
	if err != nil {
		return err
	}
	r, err := parseRounds()
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d cores, %s\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	for _, p := range wanted {
		fmt.Println()
		if err := p.run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// parseParts reads a list of parts with commas between them, all of them when
// it is empty. They run in their own order.
func parseParts(list string) ([]part, error) {
	if list == "" {
		return parts, nil
	}
	named := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		named[strings.TrimSpace(name)] = true
	}
	var wanted []part
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
		if named[p.name] {
			wanted = append(wanted, p)
			delete(named, p.name)
		}
	}
	for name := range named {
		return nil, fmt.Errorf("PARTS: %q is not accepted; accepted: %s", name, strings.Join(names, ", "))
	}
	return wanted, nil
}

// rounds are how often what can be repeated is.
type rounds struct{ vault, eso int }

func parseRounds() (r rounds, err error) {
	if r.vault, err = envInt("ROUNDS", 20); err != nil {
		return r, err
	}
	r.eso, err = envInt("ESO_ROUNDS", 3)
	return r, err
}

// envInt reads a variable of the environment, whose default is used when it is
// not set.
func envInt(name string, byDefault int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s: %q is not accepted; accepted: a number from 1", name, text)
	}
	return n, nil
}
