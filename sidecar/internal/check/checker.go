package check

import (
	"context"
	"fmt"
	"slices"
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
)

// checkTimeout bounds all requests of a check.
const checkTimeout = 40 * time.Second

// Config says what is looked at, and by which options the sidecar there is
// judged.
type Config struct {
	Kubeconfig     string // path; empty: the pod's own service account
	Version        string // for the User-Agent
	Pod, Namespace string
	Gate           string // condition type of the readiness gate
	ESO            eso.Config
	PlainHTTP      bool    // the key goes to Vault over plain HTTP
	VaultUID       *uint32 // whose processes get the key; nil: whoever listens
}

func (c Config) policies() policy.Config {
	return policy.Config{Namespace: c.Namespace, ControllerNamespace: c.ESO.ControllerNamespace}
}

// Checker looks at Kubernetes once and changes nothing.
type Checker struct {
	config  Config
	api     dynamic.Interface
	outside bool // we are a person with a kubeconfig, and not the pod
	resolve OptionResolver
}

// OptionResolver tells what the options of a sidecar come to that is started so, whether
// it speaks to Kubernetes at all, and what is to be said of them.
type OptionResolver func(Start) (as Config, mute bool, said []Finding)

// NewChecker returns a Checker that has not connected yet. It speaks as the
// pod, or as whoever the kubeconfig names, whose own options are not those of
// the sidecar in the pod: it is judged by what there makes of its start.
func NewChecker(c Config, there OptionResolver) (*Checker, error) {
	// What is found is told by findings, and not by a log.
	api, err := kube.Connect(kube.Config{Kubeconfig: c.Kubeconfig, Version: c.Version, Log: hclog.NewNullLogger(), Whole: true})
	if err != nil {
		return nil, err
	}
	return &Checker{config: c, api: api, outside: c.Kubeconfig != "", resolve: there}, nil
}

// Check returns what was found. From outside it fails when the API server does
// not answer: nothing was found then.
func (c *Checker) Check(ctx context.Context) ([]Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	object, err := c.get(ctx, kube.Pods, c.config.Namespace, c.config.Pod)
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && err != nil || apierrors.IsUnauthorized(err) {
		if c.outside {
			return nil, fmt.Errorf("asking the Kubernetes API: %w", kube.DescribeError(err))
		}
		return []Finding{{About: AboutAPI, Level: Warning,
			Text:   "requests to the Kubernetes API fail: " + kube.DescribeError(err).Error(),
			Advice: "Vault is unsealed regardless, without conditions, Events and resyncs; check the API server and that the pod's token is mounted"}}, nil
	}
	var pod *pod
	if err == nil {
		pod, err = podOf(object)
	}
	var out []Finding
	var mute bool
	if c.outside && err == nil {
		if start, found := pod.start(); found {
			c.config, mute, out = c.resolve(start)
		}
	}
	home := c.scope(pod, mute)
	if err != nil {
		out = append(out, c.podNotVisible(err))
	} else {
		out = append(out, c.checkPod(ctx, pod, object, home)...)
	}
	out = append(out, c.checkRights(ctx, home, pod)...)
	return append(out, c.checkSecrets(ctx, home)...), nil
}

// scope is where the sidecar is; the pod is nil when it could not be read.
func (c *Checker) scope(pod *pod, mute bool) Scope {
	recovery := c.config.ESO.Recovery
	h := Scope{
		Namespace: c.config.Namespace, Pod: c.config.Pod, ESONamespace: c.config.ESO.ControllerNamespace,
		Secrets:          []string{keySecret},
		Gated:            c.config.Gate != "" && (pod == nil || pod.declares(c.config.Gate)),
		KubernetesOff:    mute,
		WritesConditions: c.config.Gate != "" || recovery != eso.RecoveryOff,
		WatchesStores:    recovery != eso.RecoveryOff,
		Resyncs:          recovery == eso.RecoveryBoth || recovery == eso.RecoveryNudge,
		Evicts:           recovery == eso.RecoveryBoth || recovery == eso.RecoveryRestart,
	}
	if pod != nil {
		h.Node = pod.Spec.NodeName
		if mounted := pod.secrets(); len(mounted) > 0 {
			h.Secrets = mounted
		}
	}
	return h
}

// keySecret is where the key is, as patches mounts it.
const keySecret = "vault-unseal-key"

// secrets returns the Secrets that the pod mounts.
func (p *pod) secrets() (out []string) {
	for _, volume := range p.Spec.Volumes {
		out = append(out, volume.Secret.SecretName)
		for _, source := range volume.Projected.Sources {
			out = append(out, source.Secret.Name)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(name string) bool { return name == "" })
}

func (c *Checker) podNotVisible(err error) Finding {
	name := c.config.Namespace + "/" + c.config.Pod
	if apierrors.IsNotFound(err) {
		return Finding{About: AboutPod, Level: Failure, Text: "there is no pod " + name,
			Advice: "name Vault's pod with --pod-name and --pod-namespace"}
	}
	return c.notVisible(AboutPod, "the pod "+name, kube.GrantsGate, err)
}

// notVisible is the finding that something could not be looked at. Grants names
// the manifests that would let us; in the container there are none for what
// only the check wants, by design.
func (c *Checker) notVisible(about, what, grants string, err error) Finding {
	f := Finding{About: about, Level: Unknown, Text: fmt.Sprintf("%s cannot be read: %v", what, kube.DescribeError(err))}
	if !apierrors.IsForbidden(err) {
		return f
	}
	f.Text = what + " may not be read from here"
	switch {
	case c.outside:
	case grants != "":
		f.Advice = "apply " + grants
	default:
		f.Advice = "run check --kubeconfig as an administrator; do not grant this to the sidecar"
	}
	return f
}

// grantHint names the manifests that would let us look, where the sidecar has a
// use for them beside the check.
func grantHint(used bool, grants string) string {
	if used {
		return grants
	}
	return ""
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
	_, err := kube.EachObject(ctx, api, o, func(o *unstructured.Unstructured) bool {
		f(o)
		return true
	})
	return err
}
