package check

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

// each calls f with each object of a resource in a namespace, or in all of them.
func (r *Rendering) each(of schema.GroupVersionResource, namespace string, f func(*unstructured.Unstructured)) {
	for _, o := range r.objects {
		if isOfResource(o, of) && (namespace == "" || o.GetNamespace() == namespace) {
			f(o)
		}
	}
}

// isOfResource reports whether an object is of a resource, in whatever version.
func isOfResource(o *unstructured.Unstructured, of schema.GroupVersionResource) bool {
	plural := strings.ToLower(o.GetKind()) + "s"
	if stem, found := strings.CutSuffix(plural, "ys"); found {
		plural = stem + "ies"
	}
	return plural == of.Resource && o.GroupVersionKind().Group == of.Group
}

// allows reports whether the rendering grants a right to an account.
func (r *Rendering) allows(namespace, account string, right Right) bool {
	return slices.ContainsFunc(r.grants, func(g grant) bool { return g.binds(namespace, account) && g.allows(right) })
}

// grant is a binding with what its role allows.
type grant struct {
	binding
	namespace string // empty: all of them
	rules     []rule
}

type binding struct {
	Subjects []struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"subjects"`
	RoleRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"roleRef"`
}

// binds reports whether an account is among the subjects: by itself, or with all accounts.
func (g binding) binds(namespace, account string) bool {
	for _, s := range g.Subjects {
		switch name := s.Name; s.Kind {
		case "ServiceAccount":
			if name == account && s.Namespace == namespace {
				return true
			}
		case "User":
			if name == "system:serviceaccount:"+namespace+":"+account {
				return true
			}
		case "Group":
			if name == accounts || name == accounts+":"+namespace || name == authenticated {
				return true
			}
		}
	}
	return false
}

func (g grant) allows(right Right) bool {
	return (g.namespace == "" || g.namespace == right.Namespace) &&
		slices.ContainsFunc(g.rules, func(r rule) bool { return r.allows(right) })
}

// grantsIn reads the bindings. Of the roles that are there without being rendered the
// administrator's is known; what others of them grant is not seen.
func grantsIn(objects []*unstructured.Unstructured) (out []grant) {
	type role struct{ kind, namespace, name string }
	roles := map[role][]rule{{"ClusterRole", "", "cluster-admin"}: {{
		Verbs: []string{wildcard}, APIGroups: []string{wildcard}, Resources: []string{wildcard},
	}}}
	for _, o := range objects {
		var is struct {
			Rules []rule `json:"rules"`
		}
		if o.GroupVersionKind().Group != rbacGroup || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &is) != nil {
			continue
		}
		switch o.GetKind() {
		case "Role":
			roles[role{"Role", o.GetNamespace(), o.GetName()}] = is.Rules
		case "ClusterRole":
			roles[role{"ClusterRole", "", o.GetName()}] = is.Rules
		}
	}
	for _, o := range objects {
		var g grant
		kind := o.GetKind()
		if kind != "RoleBinding" && kind != "ClusterRoleBinding" || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &g.binding) != nil {
			continue
		}
		if kind == "RoleBinding" {
			g.namespace = o.GetNamespace()
		}
		of := role{g.RoleRef.Kind, "", g.RoleRef.Name}
		if of.kind == "Role" {
			of.namespace = g.namespace
		}
		g.rules = roles[of]
		out = append(out, g)
	}
	return out
}

// holdsRights reports whether any of what the manifests grant is there: their roles have a
// verb of their own, and their names.
func (r *Rendering) holdsRights() bool {
	return slices.ContainsFunc(r.objects, func(o *unstructured.Unstructured) bool {
		if o.GroupVersionKind().Group != rbacGroup {
			return false
		}
		return strings.Contains(o.GetName(), kube.Name) ||
			slices.ContainsFunc(kube.Entries(o.Object, "rules"), func(rule map[string]any) bool {
				verbs, _, _ := unstructured.NestedStringSlice(rule, "verbs")
				return slices.Contains(verbs, policy.RestrictedVerb)
			})
	})
}

// grantsTo reports whether a binding is there for an account of a namespace.
func (r *Rendering) grantsTo(namespace, account string) bool {
	return slices.ContainsFunc(r.grants, func(g grant) bool { return g.binds(namespace, account) })
}
