package check

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// checkTimeout bounds all requests of a check.
const checkTimeout = 40 * time.Second

// Config says what is looked at, and by which options the sidecar there is
// judged.
type Config struct {
	Kubeconfig     string // path; empty: the pod's own service account
	Version        string // for the User-Agent
	Pod, Namespace string
	KubernetesOff  bool   // the sidecar does not speak to Kubernetes
	Gate           string // condition type of the readiness gate
	ESO            eso.Config
	PlainHTTP      bool    // the key goes to Vault over plain HTTP
	VaultUID       *uint32 // whose processes get the key; nil: whoever listens
}

// uses reports whether the sidecar has a use for what a component of manifests/ grants.
func (c Config) uses(component string) bool {
	recovery := c.ESO.Recovery
	switch component {
	case "gate":
		return !c.KubernetesOff
	case "stores":
		return !c.KubernetesOff && recovery != eso.RecoveryOff
	case "externalsecrets", "more":
		return recovery == eso.RecoveryBoth || recovery == eso.RecoveryNudge
	case "eviction":
		return recovery == eso.RecoveryBoth || recovery == eso.RecoveryRestart
	}
	return false
}

// Checker looks once, at what the sidecar's container sees or at Kubernetes, and changes
// nothing.
type Checker struct {
	Config
	here    Container // the zero one where it looks at Kubernetes
	api     dynamic.Interface
	outside bool // we are a person with a kubeconfig, and not the pod
	resolve OptionResolver

	vault  Vault
	shares []unseal.Share
	key    Key
	past   Recovery
	pod    *pod                       // nil: it could not be read
	object *unstructured.Unstructured // the same

	account, who string // whose rights are asked for: the pod's ServiceAccount, and in words

	about    string // the part that is looked at now
	findings []Finding
}

// OptionResolver tells what the options of a sidecar come to that is started so, and
// what is to be said of them.
type OptionResolver func(Start) (as Config, said []Finding)

// NewChecker returns a Checker that has not connected yet. It speaks as the
// pod, or as whoever the kubeconfig names, whose own options are not those of
// the sidecar in the pod: it is judged by what there makes of its start.
func NewChecker(c Config, there OptionResolver) (*Checker, error) {
	// What is found is told by findings, and not by a log.
	api, err := kube.Connect(kube.Config{Kubeconfig: c.Kubeconfig, Version: c.Version, Log: hclog.NewNullLogger(), Whole: true})
	if err != nil {
		return nil, err
	}
	return &Checker{Config: c, api: api, outside: c.Kubeconfig != "", resolve: there}, nil
}

// Check returns what was found. From outside it fails when the API server does
// not answer: nothing was found then.
func (c *Checker) Check(ctx context.Context) ([]Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	object, err := c.get(ctx, kube.Pods, c.Namespace, c.Pod)
	away := err != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown || apierrors.IsUnauthorized(err)
	switch {
	case away && c.outside:
		return nil, fmt.Errorf("asking the Kubernetes API: %w", kube.DescribeError(err))
	case away:
		c.about = AboutAPI
		c.warn("requests to the Kubernetes API fail: "+kube.DescribeError(err).Error(),
			"Vault is unsealed regardless, without conditions, Events and resyncs; check the API server and that the pod's token is mounted")
		return c.findings, nil
	case err == nil:
		c.pod, err = podOf(object)
	}
	c.object = object
	if err != nil {
		c.about = AboutPod
		c.podNotVisible(err)
		return c.run(ctx, kubernetes), nil
	}
	if start, found := c.pod.start(); found && c.outside {
		c.Config, c.findings = c.resolve(start)
	}
	return c.run(ctx, kubernetes|ourPod), nil
}

func (c *Checker) podNotVisible(err error) {
	name := c.Namespace + "/" + c.Pod
	if apierrors.IsNotFound(err) {
		c.fail("there is no pod "+name, "name Vault's pod with --pod-name and --pod-namespace")
		return
	}
	c.notVisible("the pod "+name, "gate", err)
}

// trial tries the policies as whoever we are.
func (c *Checker) trial() policy.Trial {
	return policy.Trial{API: c.api, Namespace: c.Namespace, ControllerNamespace: c.ESO.ControllerNamespace}
}

func (c *Checker) get(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	return c.api.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// each lists in pages and calls f with each object.
func (c *Checker) each(ctx context.Context, api dynamic.ResourceInterface, o metav1.ListOptions, f func(*unstructured.Unstructured)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*kube.ShortTimeout)
	defer cancel()
	_, err := kube.EachPage(ctx, api, o, func(page []unstructured.Unstructured) error {
		for i := range page {
			f(&page[i])
		}
		return nil
	})
	return err
}
