package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

func (c *yearCluster) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return yearKind{cluster: c, kind: r}
}

type yearKind struct {
	dynamic.NamespaceableResourceInterface
	cluster   *yearCluster
	kind      schema.GroupVersionResource
	namespace string
}

func (k yearKind) Namespace(name string) dynamic.ResourceInterface { k.namespace = name; return k }

// locked calls f unless the API server is away.
func (k yearKind) locked(f func(c *yearCluster) error) error {
	k.cluster.mu.Lock()
	defer k.cluster.mu.Unlock()
	if k.cluster.away != nil {
		return k.cluster.away
	}
	return f(k.cluster)
}

func (k yearKind) find(c *yearCluster, name string) (*unstructured.Unstructured, error) {
	if o := c.objects[k.kind][k.namespace+"/"+name]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.kind.GroupResource(), name)
}

func (k yearKind) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (
	o *unstructured.Unstructured, err error) {
	err = k.locked(func(c *yearCluster) error { o, err = k.find(c, name); return err })
	return o, err
}

func (k yearKind) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	err := k.locked(func(c *yearCluster) error {
		list.SetResourceVersion(fmt.Sprint(c.version))
		for _, key := range slices.Sorted(maps.Keys(c.objects[k.kind])) {
			if o := c.objects[k.kind][key]; k.namespace == "" || o.GetNamespace() == k.namespace {
				list.Items = append(list.Items, *o.DeepCopy())
			}
		}
		return nil
	})
	return list, err
}

func (k yearKind) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	since, err := strconv.ParseInt(o.ResourceVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	var w *watch.RaceFreeFakeWatcher
	if err := k.locked(func(c *yearCluster) error { w = c.watch(k.kind, since); return nil }); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, w.Stop)
	return w, nil
}

// policies are those that refuse a dry run of each kind.
var policies = map[string]string{
	"pods": "gate", "events": "events", "clustersecretstores": "stores", "secretstores": "stores",
	"externalsecrets": "externalsecrets", "pushsecrets": "more"}

func (k yearKind) Patch(_ context.Context, name string, _ types.PatchType, body []byte,
	o metav1.PatchOptions, _ ...string) (out *unstructured.Unstructured, err error) {
	var patch struct {
		Status struct{ Conditions []any }
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, err
	}
	err = k.locked(func(c *yearCluster) error {
		if len(o.DryRun) > 0 {
			return kubetest.DeniedBy(policies[k.kind.Resource], k.kind.Resource, "no")
		}
		there, err := k.find(c, name)
		if err != nil {
			return err
		}
		c.writes++
		out = there
		switch {
		case k.kind == kube.Pods:
			out = withConditions(there, patch.Status.Conditions)
			c.store(k.kind, out)
		case k.kind.Group == kube.ESOGroup && !c.sealed && !c.stuck: // ESO syncs what is annotated
			c.setReady(k.kind, there, "")
		}
		return nil
	})
	return out.DeepCopy(), err
}

// withConditions merges conditions by their type, as the API server does those of a pod.
func withConditions(o *unstructured.Unstructured, more []any) *unstructured.Unstructured {
	changed := o.DeepCopy()
	list, _, _ := unstructured.NestedSlice(changed.Object, "status", "conditions")
	for _, each := range more {
		of := each.(map[string]any)["type"]
		list = slices.DeleteFunc(list, func(c any) bool { return c.(map[string]any)["type"] == of })
		list = append(list, each)
	}
	_ = unstructured.SetNestedSlice(changed.Object, list, "status", "conditions")
	return changed
}

func (k yearKind) Create(_ context.Context, o *unstructured.Unstructured, options metav1.CreateOptions,
	sub ...string) (*unstructured.Unstructured, error) {
	return o, k.locked(func(c *yearCluster) error {
		switch {
		case len(options.DryRun) > 0 && len(sub) > 0:
			return kubetest.DeniedBy("eviction", k.kind.Resource, "no")
		case len(options.DryRun) > 0:
			return kubetest.DeniedBy(policies[k.kind.Resource], k.kind.Resource, "no")
		case len(sub) > 0: // another controller takes its place, which looks at everything
			c.stuck = false
			c.sayOfAll(func(schema.GroupVersionResource) string { return "" })
		case c.objects[k.kind][k.namespace+"/"+o.GetName()] != nil:
			return apierrors.NewAlreadyExists(k.kind.GroupResource(), o.GetName())
		default:
			c.store(k.kind, o.DeepCopy())
		}
		return nil
	})
}
