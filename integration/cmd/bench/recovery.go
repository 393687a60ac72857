package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	fewSecrets, manySecrets = 20, 1000
	// The intervals are such that ESO meets the outage with all of them soon,
	// and keeps up with them while all is well: it syncs 26 a second at most.
	refreshFew, refreshMany = 10 * time.Second, 2 * time.Minute
	// idlePeriod is how long nothing has happened when idle memory is read.
	idlePeriod = 60 * time.Second
)

// recovery prints how long External Secrets takes once Vault is unsealed, and
// what memory the sidecar takes for it.
func recovery(ctx context.Context, r rounds) error {
	fmt.Printf("From vault's \"vault is unsealed\" to every ExternalSecret Ready. ESO has its default flags,\n"+
		"has failed with all of them and with their store, and has done so for %v at least.\n"+
		"Nobody: Vault is unsealed and ESO let be. Restart: its controller is, when Vault is unsealed.\n\n", failedFor)
	if args := apiServerArgs(); len(args) > 0 {
		fmt.Printf("The kube-apiserver has %s.\n\n", strings.Join(args, " "))
	}
	fmt.Printf("%-15s %-10s %6s %9s %9s %9s\n", "ExternalSecrets", "method", "rounds", "min", "median", "max")
	idle, err := recoverFew(ctx, r.eso)
	if err != nil {
		return fmt.Errorf("%d ExternalSecrets: %w", fewSecrets, err)
	}
	fmt.Println()
	peak, err := recoverMany(ctx)
	if err != nil {
		return fmt.Errorf("%d ExternalSecrets: %w", manySecrets, err)
	}
	fmt.Println()
	printFigure("memory, Kubernetes on, idle (RSS)", "%8.2f MiB (%d ExternalSecrets, %v after)", idle, fewSecrets, idlePeriod)
	printFigure("memory, Kubernetes on, peak (RSS)", "%8.2f MiB (%d ExternalSecrets woken)", peak, manySecrets)
	return nil
}

// recoverFew gives each method a setup of its own for all rounds, and returns the
// memory of the sidecar at the end.
func recoverFew(ctx context.Context, rounds int) (idle float64, err error) {
	var turns []trial
	for _, remedy := range methods {
		st, err := newSetup(ctx)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, st.close()) }()
		if err := st.runESO(ctx, fewSecrets, refreshFew); err != nil {
			return 0, err
		}
		if err := remedy.before(ctx, st); err != nil {
			return 0, err
		}
		turns = append(turns, trial{remedy, st})
	}
	results := results{}
	for range rounds {
		took, err := outage(ctx, turns)
		if err != nil {
			return 0, err
		}
		for i, t := range turns {
			results[t.method.name] = append(results[t.method.name], took[i])
		}
	}
	results.print(fewSecrets)
	return idleMemory(ctx, turns[0].setup)
}

// idleMemory reads what the sidecar takes when it has been quiet for a while.
func idleMemory(ctx context.Context, st *setup) (float64, error) {
	if err := st.awaitReadyCondition(ctx); err != nil {
		return 0, err
	}
	if err := sleep(ctx, idlePeriod); err != nil {
		return 0, err
	}
	return memory(st.sidecar.Pid(), "VmRSS")
}

// recoverMany runs the methods one after another in one setup, since several would
// load the machine too much, and returns the peak memory of the sidecar.
func recoverMany(ctx context.Context) (peak float64, err error) {
	st, err := newSetup(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.runESO(ctx, manySecrets, refreshMany); err != nil {
		return 0, err
	}
	results := results{}
	for _, remedy := range methods {
		if err := remedy.before(ctx, st); err != nil {
			return 0, err
		}
		took, err := outage(ctx, []trial{{remedy, st}})
		if err != nil {
			return 0, err
		}
		results[remedy.name] = took
		if st.sidecar == nil || st.sidecar.Exited() {
			continue
		}
		if peak, err = st.stopSidecar(ctx); err != nil {
			return 0, err
		}
	}
	results.print(manySecrets)
	return peak, nil
}

// stopSidecar lets the sidecar finish, and returns the most that it took.
func (st *setup) stopSidecar(ctx context.Context) (peak float64, err error) {
	if err := st.awaitReadyCondition(ctx); err != nil {
		return 0, err
	}
	if peak, err = memory(st.sidecar.Pid(), "VmHWM"); err != nil {
		return 0, err
	}
	return peak, st.sidecar.Kill()
}

// results are the times of each method.
type results map[string][]time.Duration

func (r results) print(size int) {
	for _, remedy := range methods {
		s := summarize(r[remedy.name])
		fmt.Printf("%-15d %-10s %6d %9s %9s %9s\n", size, remedy.name, len(r[remedy.name]),
			formatSeconds(s.min, recoveryLimit), formatSeconds(s.median, recoveryLimit), formatSeconds(s.max, recoveryLimit))
	}
	restart, sidecar := summarize(r["restart"]).median, summarize(r["sidecar"]).median
	fmt.Printf("%-15d restart's median is %.1f times the sidecar's\n", size, float64(restart)/float64(sidecar))
}
