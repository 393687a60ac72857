package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

const (
	// glance bounds a request of a check: a person waits for it.
	glance = 5 * time.Second
	// looking bounds them all.
	looking = 40 * time.Second
)

// Checker looks at Kubernetes once and changes nothing.
type Checker struct {
	config  Config
	api     dynamic.Interface
	outside bool // we are a person with a kubeconfig, and not the pod
}

// NewChecker returns a Checker that has not connected yet. It speaks as the
// pod, or as whoever the kubeconfig names.
func NewChecker(c Config) (*Checker, error) {
	c.Log = hclog.NewNullLogger() // what is found is told by findings
	api, err := open(c)
	if err != nil {
		return nil, err
	}
	return &Checker{config: c, api: api, outside: c.Kubeconfig != ""}, nil
}

// Check returns what was found. From outside it fails when the API server does
// not answer: nothing was found then.
func (c *Checker) Check(ctx context.Context) ([]check.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	pod, err := c.get(ctx, pods, c.config.Namespace, c.config.Pod)
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && err != nil || apierrors.IsUnauthorized(err) {
		if c.outside {
			return nil, fmt.Errorf("asking the Kubernetes API: %w", plainly(err))
		}
		return []check.Finding{{About: check.AboutAPI, Level: check.Warning,
			Text:   "the Kubernetes API does not do what it is asked: " + plainly(err).Error(),
			Advice: "Vault is unsealed all the same, but nothing else is done; see that the API server is there and that the pod's token is mounted"}}, nil
	}
	home := check.Home{
		Namespace: c.config.Namespace, Pod: c.config.Pod, ESONamespace: c.config.ESONamespace,
		Gated:  c.config.Gate != "" && (err != nil || declares(pod, c.config.Gate)),
		Wakes:  c.config.Recovery != RecoveryOff,
		Evicts: c.config.Recovery == RecoveryBoth || c.config.Recovery == RecoveryRestart,
	}
	var out []check.Finding
	if err != nil {
		out = append(out, c.unseenPod(err))
	} else {
		out = append(out, c.checkPod(ctx, pod)...)
	}
	out = append(out, c.checkRights(ctx, home, pod)...)
	return append(out, c.checkSecrets(ctx)...), nil
}

func (c *Checker) unseenPod(err error) check.Finding {
	name := c.config.Namespace + "/" + c.config.Pod
	if apierrors.IsNotFound(err) {
		return check.Finding{About: check.AboutPod, Level: check.Failure, Text: "there is no pod " + name,
			Advice: "name Vault's pod with --pod-name and --pod-namespace"}
	}
	return c.unseen(check.AboutPod, "the pod "+name, grantsGate, err)
}

// unseen is the finding that something could not be looked at. Grants names
// the manifests that would let us; in the container there are none for what
// only the check wants, by design.
func (c *Checker) unseen(about, what, grants string, err error) check.Finding {
	f := check.Finding{About: about, Level: check.Unknown, Text: fmt.Sprintf("%s cannot be seen: %v", what, plainly(err))}
	if !apierrors.IsForbidden(err) {
		return f
	}
	f.Text = what + " may not be seen from here"
	switch {
	case c.outside:
	case grants != "":
		f.Advice = "apply " + grants
	default:
		f.Advice = "run check --kubeconfig as somebody who may; do not grant it to the sidecar"
	}
	return f
}

// plainly tells a deadline in words, and leaves every other error as it is.
func plainly(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", glance)
	}
	return err
}

func (c *Checker) get(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	return c.api.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// each lists in pages and calls f with each object.
func (c *Checker) each(ctx context.Context, api dynamic.ResourceInterface, o metav1.ListOptions, f func(*unstructured.Unstructured)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*glance)
	defer cancel()
	_, err := eachPage(ctx, api, o, func(page []unstructured.Unstructured) error {
		for i := range page {
			f(&page[i])
		}
		return nil
	})
	return err
}
