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

// Another client sends single shares to the replicas that join. Each of them would be
// unsealed once more with every key that follows.
func TestRaftJoin_KeyIsSentOnceDespiteOtherClients(t *testing.T) {
	var c raftCluster
	run(t, setup{uninitialized: true, raft: true, shares: 5, threshold: 3},
		phase{"three replicas are new", c.addReplicas,
			[]condition{c.phasesAre("uninitialized", "uninitialized", "uninitialized")}},
		phase{"another client sends shares", func(sc *scenario) {
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
						if !strings.Contains(r.sidecarLog(), "raft") && !strings.Contains(r.sidecarLog(), "opens once it has joined") {
							continue
						}
						q, _ := http.NewRequest("PUT", r.vault.Addr+"/v1/sys/unseal", bytes.NewBufferString(fmt.Sprintf(`{"key":%q}`, randomShare(33))))
						if resp, err := http.DefaultClient.Do(q); err == nil {
							resp.Body.Close()
						}
					}
				}()
			}
			sc.initialize()
			for i, r := range c.replicas[1:] {
				require.NoError(sc, testenv.Await(sc.ctx, waitTimeout, "replica to be a standby", func() string { return phaseIs("standby").check(r) }), "replica %d", i+2)
				require.Equal(sc, 1, strings.Count(r.sidecarLog(), "vault accepted the key"), "replica %d: %s", i+2, r.vault.Log())
				require.LessOrEqual(sc, strings.Count(r.vault.Log(), "entering standby mode"), 1)
			}
		}, nil})
}
