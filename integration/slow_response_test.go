package integration

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// trickleResponse begins its answer and goes on with a space each second: no read waits
// for three seconds, after which it would be looked who listens.
func trickleResponse(sc *scenario) func(*portHolder) http.HandlerFunc {
	return func(*portHolder) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for sc.ctx.Err() == nil {
				if _, err := io.WriteString(out, " "); err != nil {
					return
				}
				_ = http.NewResponseController(out).Flush()
				<-tick.C
			}
		}
	}
}

// Of another user, with --vault-uid or without: the sidecar has its three probes
// with it, and asks the Vault that listens now nothing.
func TestPortHolder_TricklesItsResponses(t *testing.T) {
	sc := run(t, setup{}, phase{"vault is open", startSidecar, []condition{serving()}})
	killVault(sc)
	i := listenOnVaultPort(sc, trickleResponse(sc))
	require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "three probes", func() string {
		if i.accepted.Load() >= 3 {
			return ""
		}
		return "not yet"
	}))
	require.NoError(t, i.Close())
	startVault(sc)
	await(sc, serving())
}
