package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Three replicas with raft storage, each with its own sidecar and all with one
// Secret: what the chart makes of server.ha.raft.
func TestRaft_ThreeReplicasAreUnsealed(t *testing.T) {
	t.Parallel()
	var c raftCluster
	run(t, setup{uninitialized: true, raft: true, shares: 5, threshold: 3},
		phase{"three replicas are new", c.addReplicas,
			[]condition{c.phasesAre("uninitialized", "uninitialized", "uninitialized")}},
		phase{"the first is initialized: the others join it", (*scenario).initialize,
			[]condition{serving(), c.phasesAre("active", "standby", "standby"), c.joinSharesSent()}},
		phase{"they become voters", nil,
			[]condition{voterCountIs(3), c.sendNothing(), c.phasesAre("active", "standby", "standby")}},
		phase{"the active one is killed: another takes over", c.killActive,
			[]condition{c.phasesAre("active", "standby", "unreachable"), c.activeCameFromStandby()}},
		phase{"it starts again", c.startKilled,
			[]condition{c.phasesAre("active", "standby", "standby"), c.killedReplica(phaseIs("standby")), c.killedReplica(sharesSent(3))}},
		phase{"all three reboot", c.reboot,
			[]condition{c.phasesAre("active", "standby", "standby"), c.sendNothing(), c.eachReplica(sharesSent(3))}},
	)
}

// raftCluster is the replicas of a scenario. The first is the scenario itself.
type raftCluster struct {
	replicas []*scenario
	killed   *scenario
}

// addReplicas adds two replicas that are to join the first, and starts a sidecar
// for each.
func (c *raftCluster) addReplicas(sc *scenario) {
	c.replicas = []*scenario{sc}
	for i := 2; i <= 3; i++ {
		v, err := sc.env.NewVault(testenv.VaultConfig{Raft: true, Join: sc.vault})
		require.NoError(sc, err)
		require.NoError(sc, v.StartAndWait(sc.ctx))
		r := &scenario{
			T: sc.T, ctx: sc.ctx, env: sc.env, setup: sc.setup, vault: v, secret: sc.secret,
			stateDir: filepath.Join(sc.env.Dir, fmt.Sprintf("state-%d", i)),
		}
		if sc.cluster != nil {
			r.setup.args = append(slices.Clone(r.setup.args), "--pod-name", fmt.Sprintf("vault-%d", i-1))
		}
		c.replicas = append(c.replicas, r)
		sc.Cleanup(func() {
			r.secrets = sc.secrets
			r.assertNoShareLeaked()
			if sc.Failed() {
				sc.Logf("replica %d, its sidecar:\n%s\nits vault:\n%s", i, r.sidecarLog(), r.vaultLogTail())
			}
		})
	}
	for _, r := range c.replicas {
		r.startSidecar()
	}
}

func (c *raftCluster) killActive(sc *scenario) {
	i := slices.IndexFunc(c.replicas, isActive)
	require.GreaterOrEqual(sc, i, 0)
	c.killed = c.replicas[i]
	killVault(c.killed)
}

func isActive(r *scenario) bool { return phaseIs("active").check(r) == "" }

func (c *raftCluster) startKilled(*scenario) {
	c.killed.sharesAtPhaseStart = c.killed.vault.SharesSent()
	startVault(c.killed)
}

func (c *raftCluster) reboot(*scenario) {
	for _, r := range c.replicas {
		killVault(r)
	}
	for _, r := range c.replicas {
		r.sharesAtPhaseStart = r.vault.SharesSent()
		startVault(r)
	}
}

// phasesAre waits until the replicas are in these phases, in any order, and checks
// that /readyz and Vault's own health say the same.
func (c *raftCluster) phasesAre(phases ...string) condition {
	slices.Sort(phases)
	return condition{fmt.Sprintf("the replicas to be %v", phases), func(sc *scenario) string {
		var found []string
		for i, r := range c.replicas {
			s, err := r.sidecar.Status(sc.ctx)
			if err != nil {
				return err.Error()
			}
			ready, _, _ := r.sidecar.Get(sc.ctx, "/readyz")
			health, _ := r.vault.Health(sc.ctx)
			if want := expectedCodes(s.Phase); want != [2]int{ready, health} {
				return fmt.Sprintf("replica %d is %s %s, readyz %d, health %d", i+1, s.Phase, s.Reason, ready, health)
			}
			found = append(found, s.Phase)
		}
		slices.Sort(found)
		if !slices.Equal(found, phases) {
			return fmt.Sprint(found)
		}
		return ""
	}}
}

// expectedCodes returns the status codes of /readyz and of Vault's sys/health in a phase.
func expectedCodes(phase string) [2]int {
	switch phase {
	case "active":
		return [2]int{http.StatusOK, http.StatusOK}
	case "standby":
		return [2]int{http.StatusOK, http.StatusTooManyRequests}
	case "uninitialized":
		return [2]int{http.StatusServiceUnavailable, http.StatusNotImplemented}
	case "unreachable":
		return [2]int{http.StatusServiceUnavailable, 0}
	default:
		return [2]int{http.StatusServiceUnavailable, http.StatusServiceUnavailable}
	}
}

// joinSharesSent checks that the second and the third were sent just the shares it
// takes. Vault goes through its unseal once for each time that it is sent them
// while it joins (vault/core.go, unsealWithRaft), and then two standbys run in
// one process.
func (c *raftCluster) joinSharesSent() condition {
	return condition{"three shares and one unseal on each that joined", func(sc *scenario) string {
		for i, r := range c.replicas[1:] {
			require.NotContains(sc, r.sidecarLog(), "another client is sending key shares", "replica %d", i+2)
			require.LessOrEqual(sc, strings.Count(r.vault.Log(), "entering standby mode"), 1, "replica %d, by then sent %d shares", i+2, r.vault.SharesSent())
			if seen := sharesSent(3).check(r); seen != "" {
				return fmt.Sprintf("replica %d: %s", i+2, seen)
			}
		}
		return ""
	}}
}

// voterCountIs waits for Vault's autopilot, which lets a node vote after ten
// seconds: before that the cluster does not outlive its first node.
func voterCountIs(n int) condition {
	return condition{fmt.Sprintf("%d voters", n), func(sc *scenario) string {
		var out struct {
			Data struct {
				Config struct {
					Servers []struct{ Voter bool }
				}
			}
		}
		_, err := sc.vault.Call(sc.ctx, "GET", "sys/storage/raft/configuration", nil, &out)
		voters := 0
		for _, s := range out.Data.Config.Servers {
			if s.Voter {
				voters++
			}
		}
		if err != nil || voters != n {
			return fmt.Sprintf("%d voters %v", voters, err)
		}
		return ""
	}}
}

// eachReplica waits until e is met by every replica.
func (c *raftCluster) eachReplica(cond condition) condition {
	return condition{cond.what + ", on each replica", func(*scenario) string {
		for i, r := range c.replicas {
			if seen := cond.check(r); seen != "" {
				return fmt.Sprintf("replica %d: %s", i+1, seen)
			}
		}
		return ""
	}}
}

func (c *raftCluster) killedReplica(cond condition) condition {
	return condition{cond.what + ", on the replica that was killed", func(*scenario) string { return cond.check(c.killed) }}
}

// sendNothing is leavesVaultAlone of every replica.
func (c *raftCluster) sendNothing() condition {
	alone := []condition{sendsNothing(), sendsNothing(), sendsNothing()}
	return condition{alone[0].what + ", on each replica", func(*scenario) string {
		var seen string
		for i, r := range c.replicas {
			seen += alone[i].check(r)
		}
		return seen
	}}
}

// activeCameFromStandby checks that the phase of the active replica went straight
// from standby to active.
func (c *raftCluster) activeCameFromStandby() condition {
	return condition{"the active replica to have been standby", func(*scenario) string {
		i := slices.IndexFunc(c.replicas, isActive)
		if i < 0 {
			return "none is active"
		}
		return logContains("vault is unsealed, active: from=standby").check(c.replicas[i])
	}}
}
