package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// crowd is how many ExternalSecrets the sidecar meets at once.
const crowd = 10_000

// many prints what it takes the sidecar to wake a crowd. The objects are there
// alone, as an ESO would have left them that failed with each.
func many(ctx context.Context, _ rounds) (err error) {
	h, err := openHome(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.createCrowd(ctx); err != nil {
		return err
	}
	if h.tally, err = newTally(ctx, h.cluster, woken); err != nil {
		return err
	}
	if _, err := h.tally.await(ctx, time.Minute, "no", crowd); err != nil {
		return err
	}
	if err := h.startSidecar(ctx); err != nil {
		return err
	}
	rate, took, err := h.awaitWoken(ctx)
	if err != nil {
		return err
	}
	peak, err := memory(h.sidecar.Pid(), "VmHWM")
	if err != nil {
		return err
	}
	fmt.Printf("%d ExternalSecrets that are not Ready, with a store that is, and no ESO.\n\n", crowd)
	tell("all annotated", "%8.1f s after the first", took.Seconds())
	tell("rate, over the middle half", "%8.1f a second", rate)
	tell("memory, peak (RSS)", "%8.2f MiB", peak)
	return nil
}

// woken tells whether the sidecar has annotated an ExternalSecret.
func woken(o *unstructured.Unstructured) string {
	if _, found := o.GetAnnotations()["force-sync"]; found {
		return "yes"
	}
	return "no"
}

func (h *home) createCrowd(ctx context.Context) error {
	if err := h.cluster.InstallCRDs(ctx); err != nil {
		return err
	}
	if err := h.cluster.Apply(ctx, h.vault.ClusterStore(storeName)); err != nil {
		return err
	}
	valid := condition{"Ready", "True", "Valid", "store validated", metav1.Now()}
	if err := setCondition(ctx, h.cluster.Client.Resource(clusterStores), storeName, valid); err != nil {
		return err
	}
	failed := condition{"Ready", "False", "SecretSyncedError", "could not get secret data from provider", metav1.Now()}
	return h.createSecrets(ctx, crowd, time.Hour, &failed)
}

// awaitWoken waits until all are annotated, and returns the rate over the
// middle half and how long all took.
func (h *home) awaitWoken(ctx context.Context) (rate float64, took time.Duration, err error) {
	var reached [4]time.Time
	for i, n := range [...]int{1, crowd / 4, crowd * 3 / 4, crowd} {
		if reached[i], err = h.tally.await(ctx, 15*time.Minute, "yes", n); err != nil {
			return 0, 0, err
		}
	}
	return crowd / 2 / reached[2].Sub(reached[1]).Seconds(), reached[3].Sub(reached[0]), nil
}
