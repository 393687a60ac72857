// Package kubernetes, in the place of client-go's own, has the clients of two
// groups of Kubernetes' API: those of all groups, and what they are made of, are
// half of what is compiled.
package kubernetes

import (
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

type Interface interface {
	CoreV1() corev1.CoreV1Interface
	CoordinationV1() coordinationv1.CoordinationV1Interface
}

type Clientset struct {
	core         *corev1.CoreV1Client
	coordination *coordinationv1.CoordinationV1Client
}

func (c *Clientset) CoreV1() corev1.CoreV1Interface { return c.core }

func (c *Clientset) CoordinationV1() coordinationv1.CoordinationV1Interface { return c.coordination }

// NewForConfig makes clients that share one limit of requests.
func NewForConfig(config *rest.Config) (*Clientset, error) {
	shared := *config
	if shared.RateLimiter == nil && shared.QPS > 0 {
		shared.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(shared.QPS, shared.Burst)
	}
	core, err := corev1.NewForConfig(&shared)
	if err != nil {
		return nil, err
	}
	coordination, err := coordinationv1.NewForConfig(&shared)
	if err != nil {
		return nil, err
	}
	return &Clientset{core, coordination}, nil
}

func NewForConfigOrDie(config *rest.Config) *Clientset {
	clients, err := NewForConfig(config)
	if err != nil {
		panic(err)
	}
	return clients
}
