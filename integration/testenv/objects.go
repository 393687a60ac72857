package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
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

// ApplyFiles applies what the files hold.
func (c *Cluster) ApplyFiles(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := c.Apply(ctx, string(b)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
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
