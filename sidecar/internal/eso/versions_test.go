package eso

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// Objects as ESO 2.9 leaves them in an outage.
const (
	openBaoStore = `{"apiVersion":"external-secrets.io/v1","kind":"SecretStore","metadata":{"name":"own","namespace":"app","uid":"u"},
		"spec":{"provider":{"openBao":{"server":"http://vault.security.svc:8200","path":"secret","version":"v2","namespace":"team-a",
			"auth":{"kubernetes":{"mountPath":"kubernetes","role":"app","serviceAccountRef":{"name":"app"}}}}}},
		"status":{"capabilities":"ReadWrite","conditions":[{"lastTransitionTime":"2026-11-29T01:00:00Z",
			"message":"unable to validate store","reason":"InvalidProviderConfig","status":"False","type":"Ready"}]}}`
	windowedSecret = `{"apiVersion":"external-secrets.io/v1","kind":"ExternalSecret","metadata":{"name":"nightly","namespace":"app","uid":"n"},
		"spec":{"refreshInterval":"1h0m0s","refreshPolicy":"Periodic","secretStoreRef":{"kind":"SecretStore","name":"own"},
			"syncWindows":{"kind":"allow","windows":[{"schedule":"0 22 * * *","duration":"2h0m0s"}]},
			"data":[{"secretKey":"value","remoteRef":{"key":"app","property":"value","conversionStrategy":"Default","decodingStrategy":"None","metadataPolicy":"None","nullBytePolicy":"Ignore"}}],
			"target":{"creationPolicy":"Owner","deletionPolicy":"Retain","name":"nightly"}},
		"status":{"binding":{"name":"nightly"},"refreshTime":"2026-11-29T00:00:00Z","syncedResourceVersion":"1-0a",
			"conditions":[{"lastTransitionTime":"2026-11-29T01:00:00Z","message":"could not get secret data from provider","reason":"SecretSyncedError","status":"False","type":"Ready"}]}}`
	manifestSecret = `{"apiVersion":"external-secrets.io/v1","kind":"ExternalSecret","metadata":{"name":"config","namespace":"app","uid":"c"},
		"spec":{"refreshInterval":"1h0m0s","secretStoreRef":{"kind":"SecretStore","name":"own"},
			"dataFrom":[{"extract":{"key":"app"}}],
			"target":{"name":"config","manifest":{"apiVersion":"v1","kind":"ConfigMap"}}},
		"status":{"binding":{"name":""},"refreshTime":null,
			"conditions":[{"lastTransitionTime":"2026-11-29T01:00:00Z","message":"could not get secret data from provider","reason":"ResourceSyncedError","status":"False","type":"Ready"}]}}`
	stablePushSecret = `{"apiVersion":"external-secrets.io/v1","kind":"PushSecret","metadata":{"name":"push","namespace":"app","uid":"p"},
		"spec":{"refreshInterval":"1h0m0s","updatePolicy":"Replace","deletionPolicy":"None","secretStoreRefs":[{"kind":"SecretStore","name":"own"}],
			"selector":{"secret":{"name":"to-push"}},"data":[{"match":{"secretKey":"value","remoteRef":{"remoteKey":"pushed"}}}]},
		"status":{"refreshTime":"2026-11-29T00:00:00Z","syncedPushSecrets":{"SecretStore/own":{}},"syncedResourceVersion":"1-0a",
			"conditions":[{"lastTransitionTime":"2026-11-29T01:00:00Z","message":"set secret failed: could not write remote ref value to target secretstore own","reason":"Errored","status":"False","type":"Ready"}]}}`
)

func TestFailedSync_ReadsWhatESO2Writes(t *testing.T) {
	ours := func(n StoreName) bool { return n == StoreName{"app", "own"} }
	s := StoreOf(kubetest.Object(t, openBaoStore))
	assert.True(t, s.Vault && s.Down() && s.Namespaced)
	for sentence, text := range map[string]string{"in windows": windowedSecret, "a generic target": manifestSecret} {
		t.Run(sentence, func(t *testing.T) {
			o := kubetest.Object(t, text)
			assert.True(t, FailedSync(o) && Uses(o, ours))
			assert.False(t, generates(o))
		})
	}
	push := kubetest.Object(t, stablePushSecret)
	assert.True(t, FailedSync(push) && pushesTo(push, ours))
	assert.False(t, generates(push))
}

func TestWaitsForWindow_FollowsPolicyAndStatus(t *testing.T) {
	const (
		windows = `"syncWindows":{"kind":"deny","windows":[{"schedule":"@daily","duration":"1h"}]}`
		synced  = `"refreshTime":"2026-11-29T00:00:00Z"`
	)
	for _, row := range []struct {
		sentence, spec, status string
		want                   bool
	}{
		{"without windows", `"refreshPolicy":"Periodic"`, synced, false},
		{"with windows", `"refreshPolicy":"Periodic",` + windows, synced, true},
		{"periodic is the default", windows, synced, true},
		{"other policies know no windows", `"refreshPolicy":"OnChange",` + windows, synced, false},
		{"its first sync is at any time", windows, ``, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			o := kubetest.Object(t, `{"spec":{`+row.spec+`},"status":{`+row.status+`}}`)
			assert.Equal(t, row.want, waitsForWindow(o))
		})
	}
}

func TestResync_LeavesSyncWindowsToESO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		windowed, free := *kubetest.Object(t, windowedSecret), *kubetest.Object(t, manifestSecret)
		n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
			return []unstructured.Unstructured{windowed, free}
		}), vaultStore("app", "own", kube.True))
		during(10 * time.Minute)
		assert.Zero(t, a.times("externalsecrets/app/nightly"))
		assert.Equal(t, 2, a.times("externalsecrets/app/config"))
		n.mu.Lock()
		defer n.mu.Unlock()
		assert.Contains(t, n.scan.unsynced[0], "(left to External Secrets: its syncWindows decide when)")
	})
}

// Whoever may write an ExternalSecret may name any owner there, who is not annotated: that
// would have all its children synced, of which others are pinned or wait for their window.
func TestResync_ChildOfAClusterExternalSecretIsAnnotatedItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		child := failedSecret("a", "app", "")
		child.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "external-secrets.io/v1", Kind: "ClusterExternalSecret", Name: "shared", UID: "u"}})
		besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
			return []unstructured.Unstructured{child}
		}), vaultStore("", "home", kube.True))
		during(time.Second)
		assert.Equal(t, 1, a.times("externalsecrets/a/app"))
		during(time.Hour)
		assert.Equal(t, 2, a.times("externalsecrets/a/app"))
		assert.Zero(t, a.times("clusterexternalsecrets//shared"))
	})
}

func TestResync_FollowsTheServedVersionOfPushSecrets(t *testing.T) {
	served, lists := "v1alpha1", map[string]int{}
	var patched []string
	api := &kubetest.API{
		OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			if at.Resource.Resource != PushSecrets.Resource {
				return nil, "", nil
			}
			lists[at.Resource.Version]++
			if at.Resource.Version != served {
				return nil, "", apierrors.NewNotFound(at.Resource.GroupResource(), "")
			}
			return []unstructured.Unstructured{*kubetest.Object(t, stablePushSecret)}, "", nil
		},
		OnPatch: func(_ context.Context, at kubetest.At, _ string, _ metav1.PatchOptions) error {
			patched = append(patched, at.Resource.Version)
			return nil
		},
	}
	s := newResyncer(Config{Log: hclog.NewNullLogger()}, api)
	for _, step := range []struct {
		sentence, served string
		lists            map[string]int
		patched          []string
	}{
		{"as it always was", "v1alpha1", map[string]int{"v1alpha1": 1}, []string{"v1alpha1"}},
		{"the kind gets stable", "v1", map[string]int{"v1alpha1": 1, "v1": 1}, []string{"v1"}},
		{"it stays so, and is remembered", "v1", map[string]int{"v1": 1}, []string{"v1"}},
		{"none is served", "", map[string]int{"v1": 1, "v1alpha1": 1}, nil},
		{"and back again", "v1alpha1", map[string]int{"v1": 1, "v1alpha1": 1}, []string{"v1alpha1"}},
	} {
		served, patched = step.served, nil
		clear(lists)
		clear(s.resyncedAt)
		f := s.scan(t.Context(), newResync(map[StoreName]bool{{"app", "own"}: true}))
		assert.NoError(t, f.err, step.sentence)
		assert.Equal(t, step.lists, lists, step.sentence)
		assert.Equal(t, step.patched, patched, step.sentence)
	}
}
