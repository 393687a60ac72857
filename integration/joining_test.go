package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// A stranger sends single shares to the replicas that join. Each of them would be
// unsealed once more with every key that follows.
func TestAStrangerDuringAJoin_TheKeyIsSentOnce(t *testing.T) {
	var c cluster
	play(t, home{virgin: true, raft: true, shares: 5, threshold: 3},
		phase{"three replicas are new", c.furnish,
			[]expectation{c.are("uninitialized", "uninitialized", "uninitialized")}},
		phase{"a stranger sends shares", func(w *world) {
			stop := make(chan struct{})
			defer close(stop)
			for _, r := range c.replicas[1:] {
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(30 * time.Millisecond):
						}
						if !strings.Contains(r.log(), "raft") && !strings.Contains(r.log(), "opens once it has joined") {
							continue
						}
						q, _ := http.NewRequest("PUT", r.vault.Addr+"/v1/sys/unseal", bytes.NewBufferString(fmt.Sprintf(`{"key":%q}`, garbage(33))))
						if resp, err := http.DefaultClient.Do(q); err == nil {
							resp.Body.Close()
						}
					}
				}()
			}
			w.initialize()
			for i, r := range c.replicas[1:] {
				require.NoError(w, testenv.Await(w.ctx, patience, "replica to be a standby", func() string { return phaseIs("standby").see(r) }), "replica %d", i+2)
				require.Equal(w, 1, strings.Count(r.log(), "vault accepted the key"), "replica %d: %s", i+2, r.vault.Log())
				require.LessOrEqual(w, strings.Count(r.vault.Log(), "entering standby mode"), 1)
			}
		}, nil})
}
