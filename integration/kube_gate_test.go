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

func TestTheGateFollowsVault(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, gated: true, args: []string{"--eso-recovery", "off"}},
		phase{"the node reboots and storage hangs", all(killVault, storage("hang"), startVault, startSidecar),
			[]expectation{gateIs("False", "WaitingForVault")}},
		phase{"storage thaws", storage("open"),
			[]expectation{gateIs("True", "Unsealed"), serving(), tells("Unsealed", "unsealing")}},
		phase{"nothing happens", nil, []expectation{podIsNotWritten()}},
		phase{"vault is frozen", pauseVault, []expectation{gateIs("False", "WaitingForVault")}},
		phase{"it goes on", continueVault, []expectation{gateIs("True", "Unsealed")}},
		phase{"vault dies", fast(2*time.Second, killVault, gateIs("False", "WaitingForVault")), nil},
		phase{"storage hangs under the unseal", all(startVaultAndWaitHung), []expectation{gateIs("False", "WaitingForStorage")}},
		phase{"storage thaws", storage("open"), []expectation{gateIs("True", "Unsealed")}},
		phase{"an operator seals", fast(2*time.Second, sealVault, gateIs("False", "HeldByOperator")),
			[]expectation{tells("HeldByOperator", "vault operator unseal")}},
		phase{"the Secret gets a wrong key", mountShares(garbage(32)),
			[]expectation{gateIs("False", "KeyRejected"), tells("KeyRejected", "right key")}},
		phase{"it is emptied", func(w *world) { require.NoError(w, w.secret.Write(nil)) },
			[]expectation{gateIs("False", "NoKey")}},
		phase{"it gets the right key", mountVaultsShares, []expectation{gateIs("True", "Unsealed"), serving()}},
		phase{"the sidecar starts again, the API server is slow: nothing is written", all(stopSidecar, slowAPIServer(500*time.Millisecond), startSidecar),
			[]expectation{serving(), podIsNotWritten(), gateIs("True", "Unsealed")}},
		phase{"the API server is as fast as ever", slowAPIServer(0), nil},
		phase{"vault is sealed while the sidecar is away", all(killSidecar, sealVault, startSidecar),
			[]expectation{gateIs("False", "HeldByOperator"), eventCounts("HeldByOperator", 2)}},
	)
}

// startVaultAndWaitHung starts a Vault that listens, on storage that hangs
// from then on.
func startVaultAndWaitHung(w *world) {
	stopSidecar(w)
	startVaultAndWait(w)
	storage("hang")(w)
	startSidecar(w)
}

func TestTheGateOfAVaultThatWasNeverInitialized(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, virgin: true, args: []string{"--eso-recovery", "off"}},
		phase{"vault is new", startSidecar, []expectation{gateIs("False", "NotInitialized")}},
		phase{"it is initialized", (*world).initialize, []expectation{gateIs("True", "Unsealed")}},
	)
}

func TestTheGateIsKept(t *testing.T) {
	t.Parallel()
	other := `{"status":{"phase":"Running","conditions":[{"type":"example.com/other","status":"True","reason":"Theirs","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	theirs := podSaysExactly("example.com/other", map[string]string{
		"type": "example.com/other", "status": "True", "reason": "Theirs", "lastTransitionTime": "2026-01-01T00:00:00Z",
	})
	play(t, home{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"somebody has a condition of his own", patchPod(other), nil},
		phase{"all is well", startSidecar, []expectation{gateIs("True", "Unsealed"), theirs}},
		phase{"ours is removed", patchPod(`{"status":{"conditions":[{"type":"` + gateType + `","$patch":"delete"}]}}`),
			[]expectation{gateIs("True", "Unsealed"), theirs}},
		phase{"ours is turned", patchPod(`{"status":{"conditions":[{"type":"` + gateType + `","status":"False","reason":"Theirs"}]}}`),
			[]expectation{gateIs("True", "Unsealed"), theirs}},
		phase{"vault is sealed", sealVault, []expectation{gateIs("False", "HeldByOperator"), theirs}},
	)
}

func podSaysExactly(kind string, want map[string]string) expectation {
	return expectation{kind + " to be untouched", func(w *world) string {
		got := testenv.Condition(w.pod(), kind)
		for key, value := range want {
			if got[key] != value {
				return fmt.Sprint(got)
			}
		}
		return ""
	}}
}

// eventCounts waits until an Event stands for n of them.
func eventCounts(reason string, n int64) expectation {
	return expectation{fmt.Sprintf("the Event %s to count %d", reason, n), func(w *world) string {
		name := "vault-0.vault-unseal-sidecar." + strings.ToLower(reason)
		e, err := w.cluster.Get(w.ctx, "v1", "Event", "security", name)
		if err != nil {
			return err.Error()
		}
		if count, _, _ := unstructured.NestedInt64(e.Object, "count"); count != n {
			return fmt.Sprint(count)
		}
		return ""
	}}
}

func TestAnEventForASuccessorOfThePodBeginsAnew(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"an operator seals", all(startSidecar, waitFor(gateIs("True", "Unsealed")), sealVault),
			[]expectation{eventCounts("HeldByOperator", 1)}},
		phase{"the pod is replaced, the sidecar and all", func(w *world) {
			stopSidecar(w)
			w.deletePod()
			require.NoError(w, w.cluster.ApplyVaultPod(w.ctx))
			w.renewToken() // the old one ended with the pod
			startSidecar(w)
		}, []expectation{gateIs("False", "HeldByOperator"), tells("HeldByOperator", "operator"), eventCounts("HeldByOperator", 1)}},
	)
}

func TestUnsealingNeedsNoAPIServer(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true},
		phase{"the API server is down", all(stopAPIServer, startSidecar), []expectation{serving()}},
		phase{"it comes", startAPIServer, []expectation{gateIs("True", "Unsealed"), tells("Unsealed", "unsealing")}},
		phase{"it goes, and vault restarts", all(stopAPIServer, restartVaultAtOnce), []expectation{sent(1), serving()}},
		phase{"the sidecar ends in time all the same", stopSidecar, []expectation{exits(0)}},
		phase{"it comes back, the sidecar first", all(startSidecar, startAPIServer), []expectation{gateIs("True", "Unsealed")}},
		phase{"vault is sealed while it is down", all(stopAPIServer, sealVault), []expectation{phaseIs("held")}},
		phase{"it comes back", startAPIServer, []expectation{gateIs("False", "HeldByOperator")}},
	)
}

func TestASlowAPIServer(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true},
		phase{"each answer takes three seconds", all(slowAPIServer(3*time.Second), startSidecar), []expectation{serving()}},
		phase{"in time it is told", nil, []expectation{gateIs("True", "Unsealed")}},
		phase{"none comes at all, and vault restarts", all(slowAPIServer(time.Hour), restartVaultAtOnce), []expectation{sent(1), serving()}},
		phase{"the sidecar ends in time", stopSidecar, []expectation{exits(0)}},
	)
}

// The token is followed in its file, as the kubelet replaces it.
func TestATokenThatIsReplaced(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"the token is of no use", func(w *world) {
			w.token = w.tokenFile("nonsense")
			w.startSidecar()
		}, []expectation{serving(), logs("Unauthorized")}},
		phase{"a good one takes its place", func(w *world) {
			w.renewToken()
			// client-go reads the file once a minute.
			e := gateIs("True", "Unsealed")
			require.NoError(w, testenv.Await(w.ctx, 90*time.Second, e.what, func() string { return e.see(w) }))
		}, nil},
	)
}

func stopAPIServer(w *world)  { require.NoError(w, w.cluster.StopAPIServer()) }
func startAPIServer(w *world) { require.NoError(w, w.cluster.StartAPIServer(w.ctx)) }

func slowAPIServer(d time.Duration) func(w *world) { return func(w *world) { w.faults.Slow(d) } }

func waitFor(e expectation) func(w *world) { return func(w *world) { await(w, e) } }
