package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// namespacedAPI holds an object of each kind in each of some namespaces, and answers a
// dry run by what is said of the namespace.
func namespacedAPI(answers map[string]error) *kubetest.API {
	return &kubetest.API{
		OnList: func(_ context.Context, _ kubetest.At, o metav1.ListOptions) (objects []unstructured.Unstructured, _ string, _ error) {
			for _, name := range slices.Sorted(maps.Keys(answers)) {
				if len(objects) < int(o.Limit) && !slices.Contains(strings.Split(o.FieldSelector, ","), "metadata.namespace!="+name) {
					objects = append(objects, unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "one", "namespace": name}}})
				}
			}
			return objects, "", nil
		},
		OnPatch: func(_ context.Context, at kubetest.At, _ string, _ metav1.PatchOptions) error {
			return answers[at.Namespace]
		},
		OnCreate: func(kubetest.At, *unstructured.Unstructured, metav1.CreateOptions, []string) error {
			return errors.New("no")
		},
	}
}

// Who may grant rights in a namespace can have the policy spare us there, or no
// dry run come to a verdict.
func TestTrial_TriesSeveralNamespaces(t *testing.T) {
	denied := kubetest.DeniedBy("stores", "secretstores", "no")
	other := apierrors.NewInvalid(schema.GroupKind{Kind: "SecretStore"}, "one", nil)
	lacking := apierrors.NewForbidden(eso.NamespaceStores.GroupResource(), "one", errors.New(`User "x" cannot patch`))
	for sentence, row := range map[string]struct {
		answers map[string]error
		state   State
		on      string
	}{
		"one namespace spares us":   {map[string]error{"a": nil, "b": denied}, Enforced, ""},
		"two do":                    {map[string]error{"a": nil, "b": nil, "c": denied, "d": nil}, Enforced, ""},
		"each lets it through":      {map[string]error{"a": nil, "b": nil, "c": nil, "d": denied}, Missing, "secretstores a/one, b/one, c/one"},
		"there is only one":         {map[string]error{"a": nil}, Missing, "secretstores a/one"},
		"one comes to no verdict":   {map[string]error{"a": other, "b": denied}, Enforced, ""},
		"one does, another through": {map[string]error{"a": other, "b": nil}, Unknown, ""},
		"it is granted in one":      {map[string]error{"a": lacking, "b": nil}, Missing, "secretstores b/one"},
		"it is granted in none":     {map[string]error{"a": lacking, "b": lacking}, NotGranted, ""},
		"nothing is there":          {nil, Untried, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			n := Trial{API: namespacedAPI(row.answers)}.Run(t.Context())
			assert.Equal(t, row.state, n["stores"].State)
			assert.Equal(t, row.on, n["stores"].Admitted)
			r := New(Config{Log: hclog.NewNullLogger()}, nil)
			r.remember(n)
			if row.on != "" {
				assert.Contains(t, r.condition().Message, "admitted on "+row.on)
			}
		})
	}
}

// A tenant grants us all verbs in its namespaces, of which there are many, or somebody does so in all.
func TestTrial_SparedNamespacesAreNoMissingPolicy(t *testing.T) {
	denied := kubetest.DeniedBy("stores", "secretstores", "no")
	for sentence, row := range map[string]struct {
		spared  int
		last    map[string]error // in further namespaces
		granted string           // where we may do everything; empty: in all
		state   State
		on      string
	}{
		"in a tenant's, and it is denied elsewhere":   {10, map[string]error{"x": denied}, "tenant", Enforced, ""},
		"in a tenant's, and it is admitted elsewhere": {10, map[string]error{"x": nil}, "tenant", Missing, "secretstores x/one"},
		"in a tenant's, and there is no other":        {2, nil, "tenant", Unknown, ""},
		"in more than are tried":                      {50, map[string]error{"x": denied}, "tenant", Unknown, ""},
		"in all":                                      {4, nil, "", Missing, "secretstores tenant-10/one, tenant-11/one, tenant-12/one"},
	} {
		t.Run(sentence, func(t *testing.T) {
			answers := maps.Clone(row.last)
			if answers == nil {
				answers = map[string]error{}
			}
			for i := range row.spared {
				answers[fmt.Sprint("tenant-", 10+i)] = nil
			}
			api := namespacedAPI(answers)
			api.OnCreate = func(_ kubetest.At, o *unstructured.Unstructured, _ metav1.CreateOptions, _ []string) error {
				if o.GetKind() != "SelfSubjectAccessReview" {
					return errors.New("no")
				}
				attributes, _, _ := unstructured.NestedStringMap(o.Object, "spec", "resourceAttributes")
				assert.Equal(t, UnrestrictedVerb, attributes["verb"])
				allowed := strings.HasPrefix(attributes["namespace"], row.granted)
				return unstructured.SetNestedField(o.Object, allowed, "status", "allowed")
			}
			n := Trial{API: api}.Run(t.Context())
			assert.Equal(t, row.state, n["stores"].State)
			assert.Equal(t, row.on, n["stores"].Admitted)
		})
	}
}

// A policy is in force a moment after it was applied.
func TestTrial_RunTwice(t *testing.T) {
	for sentence, row := range map[string]struct {
		after time.Duration // the policy is in force
		state State
	}{
		"with policies in force":      {0, Enforced},
		"with policies just applied":  {3 * time.Second, Enforced},
		"with policies that are away": {time.Hour, Missing},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				applied := time.Now()
				api := namespacedAPI(map[string]error{"a": nil})
				api.OnPatch = func(context.Context, kubetest.At, string, metav1.PatchOptions) error {
					if time.Since(applied) >= row.after {
						return kubetest.DeniedBy("stores", "secretstores", "no")
					}
					return nil
				}
				assert.Equal(t, row.state, Trial{API: api}.RunTwice(t.Context(), 3*time.Second)["stores"].State)
			})
		})
	}
}

// Who may make pods beside ESO's can make one of a name that is known before.
func TestTrial_NobodyCanPrepareThePodOfTheEviction(t *testing.T) {
	prepared, asked := map[string]bool{}, []string{}
	api := &kubetest.API{OnCreate: func(at kubetest.At, o *unstructured.Unstructured, _ metav1.CreateOptions, sub []string) error {
		if !slices.Equal(sub, []string{"eviction"}) || prepared[o.GetName()] {
			return nil
		}
		asked = append(asked, o.GetName())
		return apierrors.NewNotFound(at.Resource.GroupResource(), o.GetName())
	}}
	for range 2 {
		assert.Equal(t, Missing, Trial{API: api}.Run(t.Context())["eviction"].State)
		for _, name := range asked {
			prepared[name] = true
		}
	}
}
