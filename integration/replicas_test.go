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
func TestThreeReplicasOnRaft(t *testing.T) {
	t.Parallel()
	var c cluster
	play(t, home{virgin: true, raft: true, shares: 5, threshold: 3},
		phase{"three replicas are new", c.furnish,
			[]expectation{c.are("uninitialized", "uninitialized", "uninitialized")}},
		phase{"the first is initialized: the others join it", (*world).initialize,
			[]expectation{serving(), c.are("active", "standby", "standby"), c.joined()}},
		phase{"they become voters", nil,
			[]expectation{votersAre(3), c.leaveVaultAlone(), c.are("active", "standby", "standby")}},
		phase{"the active one is killed: another takes over", c.killActive,
			[]expectation{c.are("active", "standby", "unreachable"), c.oneCameFromStandby()}},
		phase{"it starts again", c.startKilled,
			[]expectation{c.are("active", "standby", "standby"), c.killedIs(phaseIs("standby")), c.killedIs(sent(3))}},
		phase{"all three reboot", c.reboot,
			[]expectation{c.are("active", "standby", "standby"), c.leaveVaultAlone(), c.each(sent(3))}},
	)
}

// cluster is the replicas of a scenario. The first is the scenario's world.
type cluster struct {
	replicas []*world
	killed   *world
}

// furnish adds two replicas that are to join the first, and starts a sidecar
// for each.
func (c *cluster) furnish(w *world) {
	c.replicas = []*world{w}
	for i := 2; i <= 3; i++ {
		v, err := w.lab.Vault(testenv.VaultConfig{Raft: true, Join: w.vault})
		require.NoError(w, err)
		require.NoError(w, v.StartAndWait(w.ctx))
		r := &world{
			T: w.T, ctx: w.ctx, lab: w.lab, home: w.home, vault: v, secret: w.secret,
			state: filepath.Join(w.lab.Dir, fmt.Sprintf("state-%d", i)),
		}
		if w.cluster != nil {
			r.home.args = append(slices.Clone(r.home.args), "--pod-name", fmt.Sprintf("vault-%d", i-1))
		}
		c.replicas = append(c.replicas, r)
		w.Cleanup(func() {
			r.secrets = w.secrets
			r.nothingLeaked()
			if w.Failed() {
				w.Logf("replica %d, its sidecar:\n%s\nits vault:\n%s", i, r.log(), r.vaultTail())
			}
		})
	}
	for _, r := range c.replicas {
		r.startSidecar()
	}
}

func (c *cluster) killActive(w *world) {
	i := slices.IndexFunc(c.replicas, isActive)
	require.GreaterOrEqual(w, i, 0)
	c.killed = c.replicas[i]
	killVault(c.killed)
}

func isActive(r *world) bool { return phaseIs("active").see(r) == "" }

func (c *cluster) startKilled(*world) {
	c.killed.mark = c.killed.vault.SharesSent()
	startVault(c.killed)
}

func (c *cluster) reboot(*world) {
	for _, r := range c.replicas {
		killVault(r)
	}
	for _, r := range c.replicas {
		r.mark = r.vault.SharesSent()
		startVault(r)
	}
}

// are waits until the replicas are in these phases, in any order, and checks
// that /readyz and Vault's own health say the same.
func (c *cluster) are(phases ...string) expectation {
	slices.Sort(phases)
	return expectation{fmt.Sprintf("the replicas to be %v", phases), func(w *world) string {
		var found []string
		for i, r := range c.replicas {
			s, err := r.sidecar.Status(w.ctx)
			if err != nil {
				return err.Error()
			}
			ready, _, _ := r.sidecar.Get(w.ctx, "/readyz")
			health, _ := r.vault.Health(w.ctx)
			if want := answersIn(s.Phase); want != [2]int{ready, health} {
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

// answersIn tells what /readyz and Vault's sys/health have to say in a phase.
func answersIn(phase string) [2]int {
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

// joined checks that the second and the third were sent just the shares it
// takes. Vault goes through its unseal once for each time that it is sent them
// while it joins (vault/core.go, unsealWithRaft), and then two standbys run in
// one process.
func (c *cluster) joined() expectation {
	return expectation{"three shares and one unseal on each that joined", func(w *world) string {
		for i, r := range c.replicas[1:] {
			require.NotContains(w, r.log(), "another client is sending key shares", "replica %d", i+2)
			require.LessOrEqual(w, strings.Count(r.vault.Log(), "entering standby mode"), 1, "replica %d, by then sent %d shares", i+2, r.vault.SharesSent())
			if seen := sent(3).see(r); seen != "" {
				return fmt.Sprintf("replica %d: %s", i+2, seen)
			}
		}
		return ""
	}}
}

// votersAre waits for Vault's autopilot, which lets a node vote after ten
// seconds: before that the cluster does not outlive its first node.
func votersAre(n int) expectation {
	return expectation{fmt.Sprintf("%d voters", n), func(w *world) string {
		var out struct {
			Data struct {
				Config struct {
					Servers []struct{ Voter bool }
				}
			}
		}
		_, err := w.vault.Call(w.ctx, "GET", "sys/storage/raft/configuration", nil, &out)
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

// each waits until e is met by every replica.
func (c *cluster) each(e expectation) expectation {
	return expectation{e.what + ", on each replica", func(*world) string {
		for i, r := range c.replicas {
			if seen := e.see(r); seen != "" {
				return fmt.Sprintf("replica %d: %s", i+1, seen)
			}
		}
		return ""
	}}
}

func (c *cluster) killedIs(e expectation) expectation {
	return expectation{e.what + ", on the replica that was killed", func(*world) string { return e.see(c.killed) }}
}

// leaveVaultAlone is leavesVaultAlone of every replica.
func (c *cluster) leaveVaultAlone() expectation {
	alone := []expectation{leavesVaultAlone(), leavesVaultAlone(), leavesVaultAlone()}
	return expectation{alone[0].what + ", on each replica", func(*world) string {
		var seen string
		for i, r := range c.replicas {
			seen += alone[i].see(r)
		}
		return seen
	}}
}

// oneCameFromStandby checks that the phase of the active replica went straight
// from standby to active.
func (c *cluster) oneCameFromStandby() expectation {
	return expectation{"the active replica to have been standby", func(*world) string {
		i := slices.IndexFunc(c.replicas, isActive)
		if i < 0 {
			return "none is active"
		}
		return logs("vault is unsealed, active: from=standby").see(c.replicas[i])
	}}
}
