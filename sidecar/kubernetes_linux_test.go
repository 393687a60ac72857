package main

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
)

func TestKubernetesHalf_RunsWithNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := &restarted{
			first: &kubernetesHalf{},
			log:   hclog.New(&hclog.LoggerOptions{Output: &log}),
			start: func() (component, error) {
				assert.Fail(t, "it has ended")
				return &kubernetesHalf{}, nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		g.Run(ctx)
		assert.Empty(t, log.String())
	})
}

func TestKubernetesHalf_PanicOfOneGoroutineStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kubernetesHalf{}
		k.controller = eso.New(eso.Config{Recovery: eso.RecoveryBoth, Log: hclog.NewNullLogger()}, panickingClient{}, nil)
		err := k.Run(t.Context())
		require.ErrorContains(t, err, "panic: broken (kubernetes_linux_test.go:")
	})
}

// panickingClient panics at a request.
type panickingClient struct {
	dynamic.NamespaceableResourceInterface
}

func (c panickingClient) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return c
}

func (panickingClient) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	panic("broken")
}
