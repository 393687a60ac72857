package podstatus

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	apijson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext/safetexttest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// anyAPI has one object, which is there whenever one is made, and keeps what was written.
type anyAPI struct {
	dynamic.ResourceInterface
	object  *unstructured.Unstructured
	written []map[string]any
}

func (a *anyAPI) Create(_ context.Context, o *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	return nil, apierrors.NewAlreadyExists(kube.Events.GroupResource(), o.GetName())
}

func (a *anyAPI) Patch(_ context.Context, _ string, _ types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	var patch map[string]any
	err := apijson.Unmarshal(body, &patch)
	a.written = append(a.written, patch)
	return a.object.DeepCopy(), err
}

// FuzzPod has an API server that holds anything for our pod and for our Events.
func FuzzPod(f *testing.F) {
	for _, text := range []string{
		`{"metadata":{"uid":"a","resourceVersion":"5"},"status":{"conditions":[{"type":"Ready","status":"True","message":"\u009b"},7,` +
			`{"type":"gate","status":"True","message":"A.","lastTransitionTime":"2026-01-01T00:00:00Z"}],` +
			`"containerStatuses":[{"name":"vault-unseal-sidecar","imageID":"\u202e"}]}}`,
		`{"involvedObject":{"uid":"a"},"count":2147483647}`, `{"involvedObject":{"uid":""},"count":-5}`,
		`{"status":{"conditions":[{"type":"Ready","status":"False","lastTransitionTime":"` + strings.Repeat("x", 2000) + `"}]}}`, "{}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if apijson.Unmarshal([]byte(text), &object) != nil || object == nil {
			return
		}
		api := &anyAPI{object: &unstructured.Unstructured{Object: object}}
		var image string
		p := New(Config{Name: "vault-0", Namespace: "security", Gate: "gate", Log: hclog.NewNullLogger(), OnImage: func(id string) { image = id }},
			&kubetest.API{})
		p.api, p.eventAPI = api, api
		p.observe(api.object.DeepCopy())
		p.Publish(unseal.Snapshot{Phase: unseal.Active, Message: "a", Last: &unseal.Recovery{Steps: []unseal.Step{{Phase: unseal.Unsealing}}}})
		c, _, _, _ := p.pending(&p.gate)
		require.NoError(t, p.write(t.Context(), c, p.gate.limiter))
		require.NoError(t, p.writeEvent(t.Context(), &pendingEvent{Event: <-p.events, count: 3, first: time.Now(), last: time.Now()}))
		safetexttest.RequireHarmless(t, image, 1003)
		for _, patch := range api.written {
			requireWritable(t, patch)
		}
	})
}

// requireWritable accepts what an API server and the policies take.
func requireWritable(t *testing.T, patch map[string]any) {
	t.Helper()
	conditions, _, _ := unstructured.NestedSlice(patch, "status", "conditions")
	for _, each := range conditions {
		c := each.(map[string]any)
		require.LessOrEqual(t, len(c["message"].(string)), 4096, "as the policy of manifests/gate has it")
		safetexttest.RequireHarmless(t, c["message"].(string), 4096)
	}
	if count, found, _ := unstructured.NestedInt64(patch, "count"); found {
		require.True(t, count > 0 && count <= math.MaxInt32, "%d", count)
		require.LessOrEqual(t, len(patch["message"].(string)), 1024, "as the policy of Events has it")
	}
}

// FuzzCondition says anything that Vault, its storage or the key's files say.
func FuzzCondition(f *testing.F) {
	f.Add(uint8(unseal.Failing), "answered 500: a\u009b2J.", "über alles", "x\n\n")
	f.Add(uint8(200), "", "\xff", ".")
	f.Fuzz(func(t *testing.T, phase uint8, message, reason, advice string) {
		s := unseal.Snapshot{Phase: unseal.Phase(phase), Message: message, Reason: reason, Advice: advice}
		for _, each := range []string{message, reason, advice} {
			if utf8.ValidString(each) {
				require.True(t, utf8.ValidString(Sentence(each)), "%q", each)
			}
		}
		p := New(Config{Name: "vault-0", Namespace: "security", Gate: "gate", Log: hclog.NewNullLogger()}, &kubetest.API{})
		p.Publish(s)
		c, _, _, _ := p.pending(&p.gate)
		safetexttest.RequireHarmless(t, c.Message, kube.MaxOwnText+3)
		safetexttest.RequireHarmless(t, c.Reason, 128)
		written, err := json.Marshal(c)
		require.NoError(t, err)
		var read kube.Condition
		require.NoError(t, json.Unmarshal(written, &read))
		require.True(t, equivalent(read, c), "what was written is there")
		select {
		case e := <-p.events:
			safetexttest.RequireHarmless(t, e.Message, kube.MaxOwnText+3)
		default:
		}
	})
}
