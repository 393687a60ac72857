package testenv

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	watchapi "k8s.io/apimachinery/pkg/watch"
)

// Apply creates the objects of the YAML manifests, in order, or changes them
// to what is said there. It is a server-side apply that wins every conflict.
func (c *Cluster) Apply(ctx context.Context, manifests ...string) error {
	for _, m := range manifests {
		objects, err := parse(m)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := c.apply(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get returns an object as the administrator sees it. Objects without a
// namespace have "".
func (c *Cluster) Get(ctx context.Context, apiVersion, kind, namespace, name string) (*unstructured.Unstructured, error) {
	objects, err := c.resourceInterface(ctx, schema.FromAPIVersionAndKind(apiVersion, kind), namespace)
	if err != nil {
		return nil, err
	}
	return objects.Get(ctx, name, metav1.GetOptions{})
}

// Follow calls f with an object as it is and after each change, until ctx is done.
func (c *Cluster) Follow(
	ctx context.Context, r schema.GroupVersionResource, namespace, name string, f func(*unstructured.Unstructured),
) {
	options := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	for ctx.Err() == nil {
		watch, err := c.Client.Resource(r).Namespace(namespace).Watch(ctx, options)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // the API server may come back
			}
			continue
		}
		for event := range watch.ResultChan() {
			if o, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watchapi.Deleted && o.GetName() == name {
				f(o)
			}
		}
	}
}

// SecretValue returns the field "value" of a Secret.
func (c *Cluster) SecretValue(ctx context.Context, namespace, name string) (string, error) {
	o, err := c.Get(ctx, "v1", "Secret", namespace, name)
	if err != nil {
		return "", err
	}
	encoded, _, _ := unstructured.NestedString(o.Object, "data", "value")
	plain, err := base64.StdEncoding.DecodeString(encoded)
	return string(plain), err
}

// AwaitReady waits until the object's condition Ready is true.
func (c *Cluster) AwaitReady(ctx context.Context, limit time.Duration, apiVersion, kind, namespace, name string) error {
	return Await(ctx, limit, fmt.Sprintf("%s %s to be ready", kind, name), func() string {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		o, err := c.Get(ctx, apiVersion, kind, namespace, name)
		if err != nil {
			return err.Error()
		}
		ready := Condition(o, "Ready")
		if ready["status"] == "True" {
			return ""
		}
		return fmt.Sprintf("Ready is %q, %s: %s", ready["status"], ready["reason"], ready["message"])
	})
}

// SetCondition gives an object a condition, in JSON, in the place of all that it has.
func (c *Cluster) SetCondition(
	ctx context.Context, r schema.GroupVersionResource, namespace, name, condition string,
) error {
	patch := []byte(`{"status":{"conditions":[` + condition + `]}}`)
	objects := c.Client.Resource(r).Namespace(namespace)
	_, err := objects.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// Annotate gives an object an annotation.
func (c *Cluster) Annotate(
	ctx context.Context, r schema.GroupVersionResource, namespace, name, key, value string,
) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
	objects := c.Client.Resource(r).Namespace(namespace)
	_, err := objects.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// Condition returns the fields of a condition: status, reason, message and so
// on; none when the object does not have it.
func Condition(o *unstructured.Unstructured, kind string) map[string]string {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, each := range conditions {
		fields := map[string]string{}
		condition, _ := each.(map[string]any)
		for name, value := range condition {
			fields[name], _ = value.(string)
		}
		if fields["type"] == kind {
			return fields
		}
	}
	return nil
}

func parse(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		var content map[string]any
		err := d.Decode(&content)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parsing a manifest: %w", err)
		}
		if len(content) > 0 { // between two "---" may be nothing but a comment
			objects = append(objects, &unstructured.Unstructured{Object: content})
		}
	}
}

func (c *Cluster) apply(ctx context.Context, o *unstructured.Unstructured) error {
	objects, err := c.resourceInterface(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	_, err = objects.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "testenv", Force: true})
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}
