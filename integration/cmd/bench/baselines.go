package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// loopEvery is the shell loop's pause: the CronJob's minute, scaled.
const loopEvery = 6 * time.Second

// baseline is one way to unseal a Vault that comes back: the sidecar, or what it
// is compared with.
type baseline struct {
	name   string
	period time.Duration // of its rhythm, for choosing when the storage is back
	start  func(ctx context.Context, env *testenv.Env, v *testenv.Vault, s *testenv.MountedSecret) (stop func(), err error)
}

var baselines = []baseline{
	{"floor", 500 * time.Millisecond, startFloor},
	{"sidecar", time.Second, startSidecar},
	{"shell loop", loopEvery, startShellLoop},
}

// startFloor sends the key every 2 ms, with a few requests left open: no
// client can be much sooner.
func startFloor(ctx context.Context, _ *testenv.Env, v *testenv.Vault, _ *testenv.MountedSecret) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	open := make(chan struct{}, 4)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case open <- struct{}{}:
				go func() {
					_, _ = v.Unseal(ctx, v.Keys[0])
					<-open
				}()
			default: // all wait for their answers
			}
		}
	}()
	return cancel, nil
}

func startSidecar(_ context.Context, env *testenv.Env, v *testenv.Vault, s *testenv.MountedSecret) (func(), error) {
	sidecar, err := startSidecarFor(env, v, s)
	if err != nil {
		return nil, err
	}
	return func() { _ = sidecar.Kill() }, nil
}

// startShellLoop does what the CronJob does, with the same tools.
func startShellLoop(_ context.Context, env *testenv.Env, v *testenv.Vault, s *testenv.MountedSecret) (func(), error) {
	script := fmt.Sprintf(`
while :; do
  if nc -z -w 5 127.0.0.1 "$VAULT_PORT"; then
    code=0
    timeout 5 "$VAULT" status >/dev/null 2>&1 || code=$?
    if [ "$code" = 2 ]; then "$VAULT" operator unseal "$UNSEAL_KEY" >/dev/null 2>&1; fi
  fi
  sleep %g
done`, loopEvery.Seconds())
	environ := []string{
		"VAULT=" + env.Binary("servers/vault"), "VAULT_ADDR=" + v.Addr,
		"VAULT_PORT=" + v.Port(), "UNSEAL_KEY=" + v.Keys[0],
	}
	p, err := env.StartProgram("shell loop", environ, "sh", "-c", script)
	if err != nil {
		return nil, err
	}
	return func() { _ = p.KillGroup() }, nil
}
