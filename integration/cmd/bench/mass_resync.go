package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// massSecrets is how many ExternalSecrets the sidecar meets at once.
const massSecrets = 10_000

// massResync prints what it costs the sidecar to resync many ExternalSecrets. No ESO
// runs: the objects are in the state in which a failing one would have left them.
func massResync(ctx context.Context, _ rounds) (err error) {
	st, err := newSetup(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.createMany(ctx); err != nil {
		return err
	}
	if st.readyCounter, err = newSecretCounter(ctx, st.cluster, forceSynced); err != nil {
		return err
	}
	if _, err := st.readyCounter.await(ctx, time.Minute, "no", massSecrets); err != nil {
		return err
	}
	if err := st.startSidecar(ctx); err != nil {
		return err
	}
	rate, took, err := st.awaitForceSynced(ctx)
	if err != nil {
		return err
	}
	peak, err := memory(st.sidecar.Pid(), "VmHWM")
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

func (st *setup) createMany(ctx context.Context) error {
	if err := st.cluster.InstallCRDs(ctx); err != nil {
		return err
	}
	if err := st.cluster.Apply(ctx, st.vault.ClusterStore(storeName)); err != nil {
		return err
	}
	valid := condition{"Ready", "True", "Valid", "store validated", metav1.Now()}
	if err := setCondition(ctx, st.cluster.Client.Resource(clusterStores), storeName, valid); err != nil {
		return err
	}
	failed := condition{"Ready", "False", "SecretSyncedError", "could not get secret data from provider", metav1.Now()}
	return st.createSecrets(ctx, massSecrets, time.Hour, &failed)
}

// awaitForceSynced waits until all are annotated, and returns the rate over the
// middle half and how long all took.
func (st *setup) awaitForceSynced(ctx context.Context) (rate float64, took time.Duration, err error) {
	var reached [4]time.Time
	for i, n := range [...]int{1, massSecrets / 4, massSecrets * 3 / 4, massSecrets} {
		if reached[i], err = st.readyCounter.await(ctx, 15*time.Minute, "yes", n); err != nil {
			return 0, 0, err
		}
	}
	return massSecrets / 2 / reached[2].Sub(reached[1]).Seconds(), reached[3].Sub(reached[0]), nil
}
