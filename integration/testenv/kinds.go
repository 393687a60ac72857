package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// InstallCRDs applies the CRDs of the External Secrets Operator, and waits
// until their kinds can be used.
func (c *Cluster) InstallCRDs(ctx context.Context) error {
	if c.hasCRDs {
		return nil
	}
	dir := c.env.Binary("servers/external-secrets-crds")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no CRDs in %s", dir)
	}
	work, workCtx := errgroup.WithContext(ctx)
	kinds := make([]schema.GroupVersionKind, len(files))
	for i, file := range files {
		work.Go(func() error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			kinds[i], err = c.applyCRD(workCtx, string(b))
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	return Await(ctx, 60*time.Second, "the CRDs to be established", func() string {
		for _, kind := range kinds { // the API server lists a kind no sooner
			if _, err := c.apiResource(ctx, kind); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}

// applyCRD returns the kind it brings.
func (c *Cluster) applyCRD(ctx context.Context, manifest string) (schema.GroupVersionKind, error) {
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Served bool
			}
		}
	}
	if err := yaml.Unmarshal([]byte(manifest), &crd); err != nil {
		return schema.GroupVersionKind{}, err
	}
	kind := schema.GroupVersionKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	for _, v := range crd.Spec.Versions {
		if v.Served {
			kind.Version = v.Name
		}
	}
	return kind, c.Apply(ctx, manifest)
}

func (c *Cluster) resourceInterface(ctx context.Context, kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	r, err := c.apiResource(ctx, kind)
	if err != nil {
		return nil, err
	}
	all := c.Client.Resource(kind.GroupVersion().WithResource(r.Name))
	if r.Namespaced {
		return all.Namespace(namespace), nil
	}
	return all, nil
}

// apiResource asks the API server under which name it serves a kind. This is
// done by hand because client-go's own discovery brings all the typed clients
// with it.
func (c *Cluster) apiResource(ctx context.Context, kind schema.GroupVersionKind) (metav1.APIResource, error) {
	c.mu.Lock()
	known, ok := c.resources[kind]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	path := "/apis/" + kind.GroupVersion().String()
	if kind.Group == "" {
		path = "/api/" + kind.Version
	}
	body, err := c.get(ctx, path)
	if err != nil {
		return known, err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		return known, fmt.Errorf("GET %s: %w", path, err)
	}
	for _, r := range list.APIResources {
		if r.Kind == kind.Kind && !strings.Contains(r.Name, "/") {
			c.mu.Lock()
			c.resources[kind] = r
			c.mu.Unlock()
			return r, nil
		}
	}
	return known, fmt.Errorf("%s is not served", kind)
}
