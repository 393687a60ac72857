package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// untilNextMinute is how far the next minute is when the storage is back: the mean.
const untilNextMinute = 30 * time.Second

// unsealScript is what the first CronJob runs. Exit code 2 means sealed. The
// nc before it, which decides nothing, is left out.
const unsealScript = `
code=0
timeout 5 "$VAULT" status >/dev/null 2>&1 || code=$?
if [ "$code" = 2 ]; then "$VAULT" operator unseal "$UNSEAL_KEY" && echo ` + unsealedByJob + `; fi
`

const unsealedByJob = "unsealed-by-the-job"

// cronJobs are two that start on each minute: one unseals Vault, the other
// restarts External Secrets when Vault is well and the store is not. They are
// given their pods for nothing: no image is pulled, nothing is scheduled.
type cronJobs struct {
	setup      *setup
	unsealing  time.Time // when the job began that unsealed Vault
	restarting time.Time // when the job began that restarted External Secrets
}

// run starts both at first and on every minute after it, until ctx ends.
func (j *cronJobs) run(ctx context.Context, first time.Time) error {
	for at := first; ; at = at.Add(time.Minute) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(at)):
		}
		var both errgroup.Group
		both.Go(j.unseal)
		both.Go(func() error { return j.restart(ctx) })
		if err := both.Wait(); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (j *cronJobs) unseal() error {
	began := time.Now()
	v := j.setup.vault
	p, err := j.setup.env.StartProgram("the unseal job", []string{
		"VAULT=" + j.setup.env.Binary("servers/vault"), "VAULT_ADDR=" + v.Addr, "UNSEAL_KEY=" + v.Keys[0],
	}, "sh", "-c", unsealScript)
	if err != nil {
		return err
	}
	code, err := p.ExitCode(30 * time.Second)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("the unseal job failed with %d: %s", code, p.Tail(3))
	}
	if strings.Contains(p.Output(), unsealedByJob) {
		j.unsealing = began
	}
	return nil
}

func (j *cronJobs) restart(ctx context.Context) error {
	began := time.Now()
	if code, err := j.setup.vault.Health(ctx); err != nil || code != http.StatusOK {
		return nil // Vault's container is not ready
	}
	o, err := j.setup.cluster.Get(ctx, esoAPI, "ClusterSecretStore", "", store)
	if err != nil {
		return err
	}
	if testenv.Condition(o, "Ready")["status"] == "True" {
		return nil
	}
	j.restarting = began
	if err := j.setup.eso.Stop(); err != nil {
		return err
	}
	return j.setup.eso.Start(ctx)
}
