package main

import (
	"context"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
)

// loopEvery is the shell loop's pause: the CronJob's minute, scaled.
const loopEvery = 6 * time.Second

// baseline is one way to unseal a Vault that comes back: the sidecar, or what it
// is compared with.
type baseline struct {
	name   string
	period time.Duration // of its rhythm, for choosing when the storage is back
	start  func(ctx context.Context, v *outage.Vault) error
}

// They end with ctx or with Vault's environment.
var baselines = []baseline{
	{"floor", 500 * time.Millisecond, startFloor},
	{"sidecar", time.Second, startSidecar},
	{"shell loop", loopEvery, startShellLoop},
}

func startSidecar(_ context.Context, v *outage.Vault) error { return v.StartSidecar() }

// startShellLoop does what the CronJob does, with the same tools.
func startShellLoop(_ context.Context, v *outage.Vault) error { return v.StartUnsealLoop(loopEvery) }

// startFloor sends the key every 2 ms, with a few requests left open: no
// client can be much sooner.
func startFloor(ctx context.Context, v *outage.Vault) error {
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
	return nil
}
