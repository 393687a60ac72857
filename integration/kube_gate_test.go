package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func TestReadinessGate_FollowsVault(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, stallable: true, args: []string{"--eso-recovery", "off"}},
		phase{"the node reboots and storage hangs", sequence(killVault, setStorage("hang"), startVault, startSidecar),
			[]condition{gateConditionIs("False", "WaitingForVault")}},
		phase{"storage is back", setStorage("open"),
			[]condition{gateConditionIs("True", "Unsealed"), serving(), eventContains("Unsealed", "unsealing")}},
		phase{"nothing happens", nil, []condition{podNotWritten()}},
		phase{"vault is frozen", pauseVault, []condition{gateConditionIs("False", "WaitingForVault")}},
		phase{"it goes on", continueVault, []condition{gateConditionIs("True", "Unsealed")}},
		phase{"vault dies", finishesWithin(2*time.Second, killVault, gateConditionIs("False", "WaitingForVault")), nil},
		phase{"storage hangs under the unseal", sequence(startVaultAndWaitHung), []condition{gateConditionIs("False", "WaitingForStorage")}},
		phase{"storage is back", setStorage("open"), []condition{gateConditionIs("True", "Unsealed")}},
		phase{"an operator seals", finishesWithin(2*time.Second, sealVault, gateConditionIs("False", "HeldByOperator")),
			[]condition{eventContains("HeldByOperator", "vault operator unseal")}},
		phase{"the Secret gets a wrong key", mountShares(randomShare(32)),
			[]condition{gateConditionIs("False", "KeyRejected"), eventContains("KeyRejected", "right key")}},
		phase{"it is emptied", func(sc *scenario) { require.NoError(sc, sc.secret.Write(nil)) },
			[]condition{gateConditionIs("False", "NoKey")}},
		phase{"it gets the right key", mountVaultShares, []condition{gateConditionIs("True", "Unsealed"), serving()}},
		phase{"the sidecar starts again, the API server is slow: nothing is written", sequence(stopSidecar, delayAPIServer(500*time.Millisecond), startSidecar),
			[]condition{serving(), podNotWritten(), gateConditionIs("True", "Unsealed")}},
		phase{"the API server is as fast as ever", delayAPIServer(0), nil},
		phase{"vault is sealed while the sidecar is away", sequence(killSidecar, sealVault, startSidecar),
			[]condition{gateConditionIs("False", "HeldByOperator"), eventCountIs("HeldByOperator", 2)}},
	)
}

// startVaultAndWaitHung starts a Vault that listens, on storage that hangs
// from then on.
func startVaultAndWaitHung(sc *scenario) {
	stopSidecar(sc)
	startVaultAndWait(sc)
	setStorage("hang")(sc)
	startSidecar(sc)
}

func TestReadinessGate_OfAnUninitializedVault(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, uninitialized: true, args: []string{"--eso-recovery", "off"}},
		phase{"vault is new", startSidecar, []condition{gateConditionIs("False", "NotInitialized")}},
		phase{"it is initialized", (*scenario).initialize, []condition{gateConditionIs("True", "Unsealed")}},
	)
}

func TestReadinessGate_IsRestoredAfterChanges(t *testing.T) {
	t.Parallel()
	other := `{"status":{"phase":"Running","conditions":[{"type":"example.com/other","status":"True","reason":"Theirs","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	theirs := podConditionEquals("example.com/other", map[string]string{
		"type": "example.com/other", "status": "True", "reason": "Theirs", "lastTransitionTime": "2026-01-01T00:00:00Z",
	})
	run(t, setup{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"another controller has a condition of its own", patchPod(other), nil},
		phase{"all is well", startSidecar, []condition{gateConditionIs("True", "Unsealed"), theirs}},
		phase{"ours is removed", patchPod(`{"status":{"conditions":[{"type":"` + gateType + `","$patch":"delete"}]}}`),
			[]condition{gateConditionIs("True", "Unsealed"), theirs}},
		phase{"ours is turned", patchPod(`{"status":{"conditions":[{"type":"` + gateType + `","status":"False","reason":"Theirs"}]}}`),
			[]condition{gateConditionIs("True", "Unsealed"), theirs}},
		phase{"vault is sealed", sealVault, []condition{gateConditionIs("False", "HeldByOperator"), theirs}},
	)
}

func podConditionEquals(kind string, want map[string]string) condition {
	return condition{kind + " to be untouched", func(sc *scenario) string {
		got := testenv.Condition(sc.getPod(), kind)
		for key, value := range want {
			if got[key] != value {
				return fmt.Sprint(got)
			}
		}
		return ""
	}}
}

// eventCountIs waits until an Event stands for n of them.
func eventCountIs(reason string, n int64) condition {
	return condition{fmt.Sprintf("the Event %s to count %d", reason, n), func(sc *scenario) string {
		name := "vault-0.vault-unseal-sidecar." + strings.ToLower(reason)
		e, err := sc.cluster.Get(sc.ctx, "v1", "Event", "security", name)
		if err != nil {
			return err.Error()
		}
		if count, _, _ := unstructured.NestedInt64(e.Object, "count"); count != n {
			return fmt.Sprint(count)
		}
		return ""
	}}
}

func TestEvents_CountStartsAnewForANewPod(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"an operator seals", sequence(startSidecar, waitUntil(gateConditionIs("True", "Unsealed")), sealVault),
			[]condition{eventCountIs("HeldByOperator", 1)}},
		phase{"the pod is replaced, the sidecar and all", func(sc *scenario) {
			stopSidecar(sc)
			sc.deletePod()
			require.NoError(sc, sc.cluster.ApplyVaultPod(sc.ctx))
			sc.rotateToken() // the old one ended with the pod
			startSidecar(sc)
		}, []condition{gateConditionIs("False", "HeldByOperator"), eventContains("HeldByOperator", "operator"), eventCountIs("HeldByOperator", 1)}},
	)
}

func TestAPIServer_IsNotNeededForUnsealing(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true},
		phase{"the API server is down", sequence(stopAPIServer, startSidecar), []condition{serving()}},
		phase{"it comes", startAPIServer, []condition{gateConditionIs("True", "Unsealed"), eventContains("Unsealed", "unsealing")}},
		phase{"it goes, and vault restarts", sequence(stopAPIServer, restartVaultAtOnce), []condition{sharesSent(1), serving()}},
		phase{"the sidecar ends in time all the same", stopSidecar, []condition{exitCodeIs(0)}},
		phase{"it comes back, the sidecar first", sequence(startSidecar, startAPIServer), []condition{gateConditionIs("True", "Unsealed")}},
		phase{"vault is sealed while it is down", sequence(stopAPIServer, sealVault), []condition{phaseIs("held")}},
		phase{"it comes back", startAPIServer, []condition{gateConditionIs("False", "HeldByOperator")}},
	)
}

func TestAPIServer_SlowAnswersDoNotDelayUnsealing(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true},
		phase{"each answer takes three seconds", sequence(delayAPIServer(3*time.Second), startSidecar), []condition{serving()}},
		phase{"in time it is reported", nil, []condition{gateConditionIs("True", "Unsealed")}},
		phase{"none comes at all, and vault restarts", sequence(delayAPIServer(time.Hour), restartVaultAtOnce), []condition{sharesSent(1), serving()}},
		phase{"the sidecar ends in time", stopSidecar, []condition{exitCodeIs(0)}},
	)
}

// The token is followed in its file, as the kubelet replaces it.
func TestServiceAccountToken_ReplacementIsRead(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"the token is of no use", func(sc *scenario) {
			sc.tokenPath = sc.writeTokenKubeconfig("nonsense")
			sc.startSidecar()
		}, []condition{serving(), logContains("Unauthorized")}},
		phase{"a good one takes its place", func(sc *scenario) {
			sc.rotateToken()
			// client-go reads the file once a minute.
			cond := gateConditionIs("True", "Unsealed")
			require.NoError(sc, testenv.Await(sc.ctx, 90*time.Second, cond.what, func() string { return cond.check(sc) }))
		}, nil},
	)
}

func stopAPIServer(sc *scenario)  { require.NoError(sc, sc.cluster.StopAPIServer()) }
func startAPIServer(sc *scenario) { require.NoError(sc, sc.cluster.StartAPIServer(sc.ctx)) }

func delayAPIServer(d time.Duration) func(sc *scenario) {
	return func(sc *scenario) { sc.apiProxy.SetDelay(d) }
}

func waitUntil(cond condition) func(sc *scenario) { return func(sc *scenario) { await(sc, cond) } }
