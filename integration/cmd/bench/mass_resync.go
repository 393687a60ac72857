package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
)

// massSecrets is how many ExternalSecrets the sidecar meets at once.
const massSecrets = 10_000

// massResync prints what it costs the sidecar to resync many ExternalSecrets. No ESO
// runs: the objects are in the state in which a failing one would have left them.
func massResync(ctx context.Context, _ rounds) error {
	return withCluster(ctx, func(c *outage.Cluster) error { return resyncMany(ctx, c) })
}

func resyncMany(ctx context.Context, c *outage.Cluster) error {
	if err := createMany(ctx, c); err != nil {
		return err
	}
	annotated, err := c.Watch(ctx, outage.ExternalSecrets, forceSynced)
	if err != nil {
		return err
	}
	if _, err := annotated.Await(ctx, time.Minute, "no", massSecrets); err != nil {
		return err
	}
	if err := c.Vault.StartSidecarAndWait(ctx); err != nil {
		return err
	}
	rate, took, err := awaitForceSynced(ctx, annotated)
	if err != nil {
		return err
	}
	peak, err := memory(c.Vault.Sidecar.Pid(), "VmHWM")
	if err != nil {
		return err
	}
	fmt.Printf("%d ExternalSecrets that are not Ready, with a store that is, and no ESO.\n\n", massSecrets)
	printFigure("all annotated", "%8.1f s after the first", took.Seconds())
	printFigure("rate, over the middle half", "%8.1f a second", rate)
	printFigure("memory, peak (RSS)", "%8.2f MiB", peak)
	return nil
}

// forceSynced reports whether the sidecar has annotated an ExternalSecret.
func forceSynced(o *unstructured.Unstructured) string {
	if _, found := o.GetAnnotations()["force-sync"]; found {
		return "yes"
	}
	return "no"
}

func createMany(ctx context.Context, c *outage.Cluster) error {
	if err := c.InstallCRDs(ctx); err != nil {
		return err
	}
	if err := c.Apply(ctx, c.Vault.ClusterStore(outage.StoreName)); err != nil {
		return err
	}
	valid := conditionJSON("True", "Valid", "store validated")
	if err := c.SetCondition(ctx, outage.ClusterStores, "", outage.StoreName, valid); err != nil {
		return err
	}
	if err := c.CreateSecrets(ctx, time.Hour, secrets(massSecrets)); err != nil {
		return err
	}
	failed := conditionJSON("False", "SecretSyncedError", "could not get secret data from provider")
	return outage.ForEach(ctx, secrets(massSecrets), func(ctx context.Context, s outage.Secret) error {
		return c.SetCondition(ctx, outage.ExternalSecrets, s.App, s.Name, failed)
	})
}

// conditionJSON is a condition Ready as ESO writes it into a status.
func conditionJSON(status, reason, message string) string {
	return fmt.Sprintf(`{"type":"Ready","status":%q,"reason":%q,"message":%q,"lastTransitionTime":%q}`,
		status, reason, message, time.Now().UTC().Format(time.RFC3339))
}

// awaitForceSynced waits until all are annotated, and returns the rate over the
// middle half and how long all took.
func awaitForceSynced(
	ctx context.Context, annotated *outage.Watch,
) (rate float64, took time.Duration, err error) {
	var reached [4]time.Time
	for i, n := range [...]int{1, massSecrets / 4, massSecrets * 3 / 4, massSecrets} {
		if reached[i], err = annotated.Await(ctx, 15*time.Minute, "yes", n); err != nil {
			return 0, 0, err
		}
	}
	return massSecrets / 2 / reached[2].Sub(reached[1]).Seconds(), reached[3].Sub(reached[0]), nil
}
