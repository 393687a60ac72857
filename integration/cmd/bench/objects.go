package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	storeName = "home"
	appsName  = "apps" // the namespace of the ExternalSecrets
)

const appsNamespace = `
apiVersion: v1
kind: Namespace
metadata: {name: apps}
`

// createSecrets makes so many ExternalSecrets, several at a time, and gives
// each a condition unless that is left to ESO.
func (st *setup) createSecrets(ctx context.Context, size int, refresh time.Duration, ready *condition) error {
	if err := st.cluster.Apply(ctx, appsNamespace); err != nil {
		return err
	}
	st.secretCount = size
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(8)
	api := st.cluster.Client.Resource(externalSecrets).Namespace(appsName)
	for i := range size {
		work.Go(func() error {
			name := fmt.Sprintf("app-%05d", i)
			if err := st.cluster.Apply(ctx, testenv.ExternalSecret(appsName, name, storeName, "app", refresh.String())); err != nil {
				return err
			}
			if ready == nil {
				return nil
			}
			return setCondition(ctx, api, name, *ready)
		})
	}
	return work.Wait()
}

// condition is one as ESO writes it into a status.
type condition struct {
	Type    string      `json:"type"`
	Status  string      `json:"status"`
	Reason  string      `json:"reason"`
	Message string      `json:"message"`
	Since   metav1.Time `json:"lastTransitionTime"`
}

// setCondition writes an object's status, with this one condition.
func setCondition(ctx context.Context, api dynamic.ResourceInterface, name string, c condition) error {
	body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []condition{c}}})
	if err != nil {
		return err
	}
	_, err = api.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("writing the status of %s: %w", name, err)
	}
	return nil
}

// forceSyncStore has ESO look at its store at once.
func (st *setup) forceSyncStore(ctx context.Context) error {
	body := fmt.Sprintf(`{"metadata":{"annotations":{"touched":%q}}}`, time.Now().Format(time.RFC3339Nano))
	_, err := st.cluster.Client.Resource(clusterStores).Patch(ctx, storeName, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("annotating the store: %w", err)
	}
	return nil
}
