package outage

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealScript is what the CronJob runs that unseals Vault. Exit code 2 means sealed.
const unsealScript = `
if nc -z -w 5 127.0.0.1 "$VAULT_PORT"; then
  code=0
  timeout 5 "$VAULT" status >/dev/null 2>&1 || code=$?
  if [ "$code" = 2 ]; then "$VAULT" operator unseal "$UNSEAL_KEY" && echo ` + unsealedByJob + `; fi
fi
`

const unsealedByJob = "unsealed-by-the-job"

// StartUnsealLoop runs that job again and again, with a pause after each.
func (v *Vault) StartUnsealLoop(pause time.Duration) error {
	_, err := v.startShell(fmt.Sprintf("while :; do %s sleep %g; done", unsealScript, pause.Seconds()))
	return err
}

func (v *Vault) startShell(script string) (*testenv.Process, error) {
	return v.Env.StartProgram("the unseal job", []string{
		"VAULT=" + v.Env.Binary("servers/vault"),
		"VAULT_ADDR=" + v.Addr,
		"VAULT_PORT=" + v.Port(),
		"UNSEAL_KEY=" + v.Keys[0],
	}, "sh", "-c", script)
}

// CronJobs are the two that the sidecar replaces: one unseals Vault, the other restarts
// External Secrets when Vault is well and the store is not. They are given their pods
// for nothing: no image is pulled, nothing is scheduled.
type CronJobs struct {
	Cluster    *Cluster
	Unsealing  time.Time // when the job began that unsealed Vault
	Restarting time.Time // when the job began that restarted External Secrets
}

// Run starts both at first and on every minute after it, until ctx ends.
func (j *CronJobs) Run(ctx context.Context, first time.Time) error {
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

func (j *CronJobs) unseal() error {
	began := time.Now()
	p, err := j.Cluster.Vault.startShell(unsealScript)
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
		j.Unsealing = began
	}
	return nil
}

func (j *CronJobs) restart(ctx context.Context) error {
	began := time.Now()
	if code, err := j.Cluster.Vault.Health(ctx); err != nil || code != http.StatusOK {
		return nil // Vault's container is not ready
	}
	store, err := j.Cluster.Get(ctx, esoAPI, "ClusterSecretStore", "", StoreName)
	if err != nil {
		return err
	}
	if testenv.Condition(store, "Ready")["status"] == "True" {
		return nil
	}
	j.Restarting = began
	return j.Cluster.ESO.Restart(ctx)
}
