package policy

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
)

// dryRunAPI grants everything, and refuses by policy what is tried of a resource.
// A real API server has no virtual time.
type dryRunAPI struct {
	answers func(resource string) error

	mu    sync.Mutex // to wait in a bubble orders what others did before, not after
	tries int
}

// count returns how often something was tried.
func (p *dryRunAPI) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// set has it answer otherwise.
func (p *dryRunAPI) set(answers func(string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = answers
}

func (p *dryRunAPI) try(options []string, resource ...string) error {
	if len(options) == 0 {
		return errors.New("this was no dry run")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	return p.answers(strings.Join(resource, "/"))
}

func (p *dryRunAPI) api() *kubetest.API {
	return &kubetest.API{
		OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			return []unstructured.Unstructured{{Object: map[string]any{"metadata": map[string]any{"name": "one"}}}}, "", nil
		},
		OnPatch: func(_ context.Context, at kubetest.At, _ string, o metav1.PatchOptions) error {
			return p.try(o.DryRun, at.Resource.Resource)
		},
		OnCreate: func(at kubetest.At, _ *unstructured.Unstructured, o metav1.CreateOptions, sub []string) error {
			return p.try(o.DryRun, append([]string{at.Resource.Resource}, sub...)...)
		},
	}
}

// policyMeter keeps the newest states.
type policyMeter struct {
	kube.NoopMetrics
	mu     sync.Mutex
	states map[string]string
}

func (m *policyMeter) Policy(manifest, state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[manifest] = state
}

func (m *policyMeter) of(manifest string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[manifest]
}

func TestRestriction_RetriesDailyAndSoonerIfMissing(t *testing.T) {
	deny := func(resource string) error {
		policy := map[string]string{"pods": "gate", "events": "events", "clustersecretstores": "stores", "secretstores": "stores",
			"externalsecrets": "externalsecrets", "pushsecrets": "more", "pods/eviction": "eviction"}[resource]
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x",
			errors.New("ValidatingAdmissionPolicy 'vault-unseal-sidecar-"+policy+"' with binding 'x' denied request: no"))
	}
	through := func(string) error { return nil }
	away := func(string) error { return errors.New("connection refused") }
	synctest.Test(t, func(t *testing.T) {
		api := &dryRunAPI{answers: deny}
		meter := &policyMeter{states: map[string]string{}}
		r := New(Config{Trial: Trial{API: api.api()}, Log: hclog.NewNullLogger(), Meter: meter}, nil)
		go r.Run(t.Context())
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		wait(time.Minute)
		require.Equal(t, "enforced", meter.of("stores"))
		first := api.count()
		wait(23 * time.Hour)
		assert.Equal(t, first, api.count())
		api.set(through)
		wait(8 * time.Hour)
		assert.Equal(t, "missing", meter.of("stores"))
		api.set(away)
		wait(time.Hour)
		assert.Equal(t, "missing", meter.of("stores"), "that the API is away is no verdict")
		api.set(deny)
		wait(15 * time.Minute)
		assert.Equal(t, "enforced", meter.of("stores"))
	})
}

func TestRestriction_ConditionFollowsTheStates(t *testing.T) {
	for sentence, row := range map[string]struct {
		states         map[string]State
		status, reason string
		text           string
	}{
		"all are there":         {map[string]State{"gate": Enforced, "stores": Enforced, "more": NotGranted}, kube.True, "PoliciesEnforced", "by manifests/gate, manifests/stores."},
		"one is missing":        {map[string]State{"gate": Enforced, "stores": Missing}, kube.False, "PolicyMissing", "by manifests/stores: run kubectl apply -k manifests with the component stores, and in settings.yaml namespace: vault-b, which takes Kubernetes 1.30"},
		"one has nothing":       {map[string]State{"gate": Enforced, "stores": Untried}, kube.True, "PoliciesEnforced", "manifests/stores could not be tried"},
		"one has an error":      {map[string]State{"gate": Enforced, "stores": Unknown}, kube.True, "PoliciesEnforced", "manifests/stores could not be tried"},
		"the only has nothing":  {map[string]State{"stores": Untried}, kube.Unknown, "NotTried", "manifests/stores is not known. There is no object to try it on."},
		"the API does not work": {map[string]State{"gate": Unknown}, kube.Unknown, "NotTried", "manifests/gate is not known. The dry runs failed."},
		"nothing is granted":    {map[string]State{"gate": NotGranted}, kube.True, "NothingGranted", "No right is granted"},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := New(Config{Rights: kube.Rights{Namespace: "vault-b"}, Log: hclog.NewNullLogger()}, nil)
			for component, state := range row.states {
				r.known[component] = Verdict{State: state}
			}
			c := r.condition()
			assert.Equal(t, []string{podstatus.RestrictedCondition, row.status, row.reason}, []string{c.Type, c.Status, c.Reason})
			assert.Contains(t, c.Message, row.text)
		})
	}
}

// What the program looks for in a refusal is what the manifests have it say.
func TestPolicies_ContainTheExpectedMessages(t *testing.T) {
	for _, component := range []string{"externalsecrets", "more", "stores"} {
		text, err := os.ReadFile("../../../manifests/" + component + "/policy.yaml")
		require.NoError(t, err)
		assert.Contains(t, string(text), kube.NotReadyOnly+"\n", component)
		assert.Contains(t, string(text), `"`+RestrictedVerb+`"`)
		assert.Contains(t, string(text), `"`+UnrestrictedVerb+`"`)
	}
}

// The three that are about force-sync differ in their kinds, and in the rule on
// when.
func TestPolicies_OnForceSyncAreIdentical(t *testing.T) {
	shared := func(component string) string {
		text, err := os.ReadFile("../../../manifests/" + component + "/policy.yaml")
		require.NoError(t, err)
		_, rest, found := strings.Cut(string(text), "    - name: served #")
		require.True(t, found)
		part, _, found := strings.Cut(rest, "      message: no field but the annotation may lose its owner")
		require.True(t, found)
		return part
	}
	for _, component := range []string{"externalsecrets", "more"} {
		assert.Equal(t, shared("stores"), shared(component), component)
	}
}

// What others wrote may be long: see podstatus for what the manifests let through.
func TestRestriction_TruncatesItsMessage(t *testing.T) {
	tried := &Restriction{log: kube.NewTelemetry(hclog.NewNullLogger(), nil, kube.Rights{}), known: Verdicts{"gate": {State: Missing, Admitted: strings.Repeat("x", 1<<20)}}}
	message := tried.condition().Message
	assert.LessOrEqual(t, utf8.RuneCountInString(message), kube.MaxOwnText+len("..."))
	assert.Equal(t, message, kube.SafeText(message), "it is read as it was written")
}

// The manifests are applied a moment before the sidecar starts.
func TestRestriction_AwaitsPoliciesThatWereJustApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &dryRunAPI{answers: func(string) error { return nil }}
		meter := &policyMeter{states: map[string]string{}}
		r := New(Config{Trial: Trial{API: api.api()}, Log: hclog.NewNullLogger(), Meter: meter}, nil)
		go r.Run(t.Context())
		time.Sleep(firstTrialDelay + time.Second)
		synctest.Wait()
		assert.Empty(t, meter.of("stores"), "it is not reported yet")
		api.set(func(string) error { return kubetest.DeniedBy("stores", "secretstores", "no") })
		time.Sleep(confirmDelay)
		synctest.Wait()
		assert.Equal(t, "enforced", meter.of("stores"))
	})
}

// Our policy is gone. Another one of the cluster refuses to have an object written that a
// tenant has called after ours.
func TestVerdict_GoesByThePolicysOwnName(t *testing.T) {
	refused := func(object, policy string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "externalsecrets"}, object,
			errors.New("ValidatingAdmissionPolicy '"+policy+"' with binding 'x' denied request: no"))
	}
	assert.Equal(t, Unknown, verdictOf("externalsecrets", refused("vault-unseal-sidecar-externalsecrets", "team-label")).State)
	assert.Equal(t, Enforced, verdictOf("externalsecrets", refused("own", "b-vault-unseal-sidecar-externalsecrets.security")).State)
}
