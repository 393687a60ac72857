package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
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
		"Nobody: Vault is unsealed and ESO let be. Restart: its controller is, when Vault is unsealed.\n"+
		"Service: the sidecar, where Vault's Service leads to a Ready pod alone, from when that is:\n"+
		"the probe of Vault's container comes every 5 s. Floor: all is well, from the first request to sync.\n\n", failedFor)
	printArgs("kube-apiserver", apiServerArgs())
	printArgs("controller of ESO", esoArgs())
	fmt.Printf("%-15s %-10s %6s %9s %9s %9s\n", "ExternalSecrets", "method", "rounds", "min", "median", "max")
	idle, err := recoverFew(ctx, r.eso)
	if err != nil {
		return fmt.Errorf("%d ExternalSecrets: %w", fewSecrets, err)
	}
	fmt.Println()
	var peak float64
	err = withCluster(ctx, func(c *outage.Cluster) (err error) {
		peak, err = recoverMany(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("%d ExternalSecrets: %w", manySecrets, err)
	}
	fmt.Println()
	printFigure("memory, Kubernetes on, idle (RSS)", "%8.2f MiB (%d ExternalSecrets, %v after)", idle, fewSecrets, idlePeriod)
	printFigure("memory, Kubernetes on, peak (RSS)", "%8.2f MiB (%d ExternalSecrets woken)", peak, manySecrets)
	return nil
}

func printArgs(program string, args []string) {
	if len(args) > 0 {
		fmt.Printf("The %s has %s.\n\n", program, strings.Join(args, " "))
	}
}

// recoverFew gives each method a cluster of its own for all rounds, and returns the
// memory of the sidecar at the end.
func recoverFew(ctx context.Context, rounds int) (idle float64, err error) {
	results := results{}
	if results[floorName], err = floor(ctx, fewSecrets, rounds); err != nil {
		return 0, err
	}
	var trials []*trial
	few := append([]method{behindService()}, methods...)
	for _, m := range few {
		var env *testenv.Env
		if env, err = testenv.New(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, env.Close()) }()
		c, err := startCluster(ctx, env)
		if err != nil {
			return 0, err
		}
		if err := startESO(ctx, c, fewSecrets, refreshFew); err != nil {
			return 0, err
		}
		if err := m.before(ctx, c); err != nil {
			return 0, err
		}
		trials = append(trials, &trial{Cluster: c, method: m})
	}
	for range rounds {
		took, err := runOutage(ctx, trials...)
		if err != nil {
			return 0, err
		}
		for i, t := range trials {
			results[t.method.name] = append(results[t.method.name], took[i])
		}
	}
	results.print(fewSecrets, few)
	c := trials[1].Cluster // the sidecar's alone
	if err := c.AwaitReported(ctx, reportLimit); err != nil {
		return 0, err
	}
	if err := sleep(ctx, idlePeriod); err != nil {
		return 0, err
	}
	return memory(c.Vault.Sidecar.Pid(), "VmRSS")
}

// recoverMany runs the methods one after another in one cluster, since several would
// load the machine too much, and returns the peak memory of the sidecar.
func recoverMany(ctx context.Context, c *outage.Cluster) (peak float64, err error) {
	results := results{}
	if results[floorName], err = floor(ctx, manySecrets, 1); err != nil {
		return 0, err
	}
	if err := startESO(ctx, c, manySecrets, refreshMany); err != nil {
		return 0, err
	}
	for _, m := range methods {
		if err := m.before(ctx, c); err != nil {
			return 0, err
		}
		if results[m.name], err = runOutage(ctx, &trial{Cluster: c, method: m}); err != nil {
			return 0, err
		}
		if c.Vault.Sidecar == nil || c.Vault.Sidecar.Exited() {
			continue
		}
		// It finishes before it is killed, and the next method runs without it.
		if err := c.AwaitReported(ctx, reportLimit); err != nil {
			return 0, err
		}
		if peak, err = memory(c.Vault.Sidecar.Pid(), "VmHWM"); err != nil {
			return 0, err
		}
		if err := c.Vault.KillSidecar(); err != nil {
			return 0, err
		}
	}
	results.print(manySecrets, methods)
	return peak, nil
}

// floorName stands for External Secrets' own floor beside the methods.
const floorName = "floor"

// results are the times of each method, and of the floor.
type results map[string][]time.Duration

func (r results) print(size int, methods []method) {
	names := []string{floorName}
	for _, m := range methods {
		names = append(names, m.name)
	}
	median := func(name string) float64 { return summarize(r[name]).median.Seconds() }
	for _, name := range names {
		s := summarize(r[name])
		fmt.Printf("%-15d %-10s %6d %9s %9s %9s\n", size, name, len(r[name]),
			formatSeconds(s.min), formatSeconds(s.median), formatSeconds(s.max))
	}
	fmt.Printf("%-15d medians: the sidecar's is %.2f times the floor, restart's %.2f times\n", size,
		median("sidecar")/median(floorName), median("restart")/median(floorName))
}
