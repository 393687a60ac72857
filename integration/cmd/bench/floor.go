package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
)

// floor measures how long External Secrets takes when all is well, from the first request
// to sync to the last ExternalSecret synced: no recovery is faster. So that nothing else
// is synced meanwhile, it has a cluster of its own, where none is due for an hour. Flags are
// for ESO's controller, after those of the environment.
func floor(ctx context.Context, size, rounds int, flags ...string) (took []time.Duration, err error) {
	err = withCluster(ctx, func(c *outage.Cluster) error {
		if err := startESO(ctx, c, size, time.Hour, flags...); err != nil {
			return err
		}
		for range rounds {
			d, err := syncAll(ctx, c)
			if err != nil {
				return err
			}
			took = append(took, d)
		}
		return nil
	})
	return took, err
}

func syncAll(ctx context.Context, c *outage.Cluster) (time.Duration, error) {
	list, err := c.Client.Resource(outage.ExternalSecrets).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("listing the ExternalSecrets: %w", err)
	}
	before := map[string]string{}
	for i := range list.Items {
		before[list.Items[i].GetName()] = syncedVersion(&list.Items[i])
	}
	watching, end := context.WithCancel(ctx)
	defer end()
	synced, err := c.Watch(watching, outage.ExternalSecrets, func(o *unstructured.Unstructured) string {
		if syncedVersion(o) == before[o.GetName()] {
			return "no"
		}
		return "yes"
	})
	if err != nil {
		return 0, err
	}
	if _, err := synced.Await(ctx, time.Minute, "no", len(before)); err != nil {
		return 0, err
	}
	began := time.Now()
	err = outage.ForEach(ctx, secrets(len(before)), func(ctx context.Context, s outage.Secret) error {
		return c.Annotate(ctx, outage.ExternalSecrets, s.App, s.Name, "force-sync", began.Format(time.RFC3339Nano))
	})
	if err != nil {
		return 0, fmt.Errorf("requesting the syncs: %w", err)
	}
	last, err := synced.Await(ctx, recoveryLimit, "yes", len(before))
	return last.Sub(began), err
}

// syncedVersion changes with each sync that was requested: a hash of the annotations is in it.
func syncedVersion(o *unstructured.Unstructured) string {
	version, _, _ := unstructured.NestedString(o.Object, "status", "syncedResourceVersion")
	return version
}
