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

// need is what a check cannot do without.
type need uint8

const (
	container  need = 1 << iota // we are in the sidecar's container: the key and Vault are at hand
	usableKey                   // and the mounted key could be read
	kubernetes                  // the Kubernetes API answers, to the pod or to a person with a kubeconfig
	ourPod                      // and our pod could be read
	template                    // or a rendering has the template of our pod
)

// checks are all that is looked at, in the order of the findings: what they are about,
// what is needed, and what looks.
var checks = []struct {
	about string
	needs need
	look  func(*Checker, context.Context)
}{
	{AboutKey, container, (*Checker).checkKey},
	{AboutKey, usableKey, (*Checker).checkExpected},
	{AboutVault, container, (*Checker).checkVault},
	{AboutVault, container, (*Checker).checkListener},
	{AboutVault, container, (*Checker).checkCertificates},
	{AboutVault, usableKey, (*Checker).checkRole},
	{AboutKey, container, (*Checker).checkProof},
	{AboutRecovery, usableKey, (*Checker).checkRecovery},

	{AboutKey, template, (*Checker).checkKeyVolume},

	{AboutPod, ourPod, (*Checker).checkGate},
	{AboutPod, template, (*Checker).checkDeclaredGate},
	{AboutPod, ourPod | template, (*Checker).checkContainer},
	{AboutPod, ourPod | template, (*Checker).checkLiveness},
	{AboutPod, ourPod | template, (*Checker).checkOwnProbe},
	{AboutPod, ourPod | template, (*Checker).checkNetwork},
	{AboutPod, ourPod | template, (*Checker).checkUsers},
	{AboutPod, ourPod | template, (*Checker).checkCapture},
	{AboutPod, ourPod | template, (*Checker).checkProcesses},
	{AboutPod, template, (*Checker).checkMounts},
	{AboutPod, template, (*Checker).checkImage},
	{AboutPod, template, (*Checker).checkLimits},
	{AboutPod, template, (*Checker).checkVariables},
	{AboutPod, ourPod, (*Checker).checkStatefulSet},
	{AboutPod, template, (*Checker).checkUpdates},
	{AboutServices, ourPod | template, (*Checker).checkServices},
	{AboutNetwork, ourPod | template, (*Checker).checkSelectors},
	{AboutRights, kubernetes, (*Checker).checkRights},
	{AboutRights, template, (*Checker).checkRenderedRights},
	{AboutSecrets, kubernetes, (*Checker).checkSecrets},
}

// run does the checks that have what they need.
func (c *Checker) run(ctx context.Context, has need) []Finding {
	for _, check := range checks {
		if check.needs&has != 0 {
			c.about = check.about
			check.look(c, ctx)
		}
	}
	return c.findings
}

// add takes a finding of the check that runs.
func (c *Checker) add(level Level, text, advice string) {
	c.findings = append(c.findings, Finding{c.about, level, text, advice})
}

func (c *Checker) ok(text string)              { c.add(OK, text, "") }
func (c *Checker) unknown(text, advice string) { c.add(Unknown, text, advice) }
func (c *Checker) warn(text, advice string)    { c.add(Warning, text, advice) }
func (c *Checker) fail(text, advice string)    { c.add(Failure, text, advice) }

// notVisible is the finding that something could not be looked at. Component names the
// manifest that would let the sidecar look, of which checkRights says that it is missing;
// in the container there is none for what only the check wants, by design.
func (c *Checker) notVisible(what, component string, err error) {
	switch {
	case !apierrors.IsForbidden(err):
		c.unknown(fmt.Sprintf("%s cannot be read: %v", what, kube.DescribeError(err)), "")
	case c.outside:
		c.unknown(what+" may not be read from here", "")
	case c.uses(component):
		c.unknown(what+" may not be read from here", "see the finding on rights")
	default:
		c.unknown(what+" may not be read from here",
			"run check --kubeconfig as an administrator; do not grant this to the sidecar")
	}
}

// checkTimeout bounds all requests of a check.
const checkTimeout = 40 * time.Second

// Config says what is looked at, and by which options the sidecar there is judged.
type Config struct {
	Kubeconfig     string // paths; empty: the pod's own service account
	Context        string // of the kubeconfig; empty: its current one
	Version        string // for the User-Agent
	Pod, Namespace string
	KubernetesOff  bool   // the sidecar does not speak to Kubernetes
	Gate           string // condition type of the readiness gate
	ESO            eso.Config
	Keys           string   // path of the key in the container
	Variables      []string // that the sidecar reads
	PlainHTTP      bool     // the key goes to Vault over plain HTTP
	VaultUID       *uint32  // whose processes get the key; nil: whoever listens
}

// usedComponents are those of manifests/ that the sidecar uses, by its recovery option.
var usedComponents = map[eso.Recovery][]string{
	eso.RecoveryOff:     {"gate"},
	eso.RecoveryNudge:   {"gate", "stores", "externalsecrets", "more"},
	eso.RecoveryRestart: {"gate", "stores", "eviction"},
	eso.RecoveryBoth:    {"gate", "stores", "externalsecrets", "more", "eviction"},
}

// uses reports whether the sidecar has a use for what a component of manifests/ grants.
func (c Config) uses(component string) bool {
	return !c.KubernetesOff && slices.Contains(usedComponents[c.ESO.Recovery], component)
}

// Checker looks once, at what the sidecar's container sees or at Kubernetes, and changes nothing.
type Checker struct {
	Config
	here    Container // the zero one where it looks at Kubernetes
	api     dynamic.Interface
	outside bool // we are a person with a kubeconfig, and not the pod
	resolve OptionResolver

	rendering  *Rendering                 // nil: a cluster is looked at
	set        *unstructured.Unstructured // the StatefulSet there
	identified bool                       // and by its options the sidecar knows its pod
	replicas   []string                   // the further pods of the StatefulSet there

	vault Vault
	key   Key
	past  Recovery
	pod   *pod // nil: it could not be read

	who      string // whose rights are asked for, in words
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
	api, err := kube.Connect(kube.Config{Kubeconfig: c.Kubeconfig, Context: c.Context, Version: c.Version, Log: hclog.NewNullLogger(), Whole: true})
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
	if away && c.outside {
		return nil, fmt.Errorf("asking the Kubernetes API: %w", kube.DescribeError(err))
	}
	if err == nil {
		c.pod, err = podOf(object)
	}
	name := c.Namespace + "/" + c.Pod
	c.about = AboutPod
	switch {
	case away:
		c.about = AboutAPI
		c.warn("requests to the Kubernetes API fail: "+kube.DescribeError(err).Error(),
			"Vault is unsealed regardless, without conditions, Events and resyncs; check the API server and that the pod's token is mounted")
		return c.findings, nil
	case apierrors.IsNotFound(err):
		c.fail("there is no pod "+name, "name Vault's pod with --pod-name and --pod-namespace")
	case err != nil:
		c.notVisible("the pod "+name, "gate", err)
	default:
		if start, found := c.pod.start(); found && c.outside {
			c.Config, c.findings = c.resolve(start)
		}
		return c.run(ctx, kubernetes|ourPod), nil
	}
	return c.run(ctx, kubernetes), nil
}

// trial tries the policies as whoever we are, on our pod where it could be read.
func (c *Checker) trial() policy.Trial {
	t := policy.Trial{API: c.api, Namespace: c.Namespace, ControllerNamespace: c.ESO.ControllerNamespace}
	if c.pod != nil {
		t.Pod = c.pod.Whole.GetName()
	}
	return t
}

func (c *Checker) get(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	o, err := c.api.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil && (o.GetName() != name || o.GetNamespace() != namespace) {
		// Findings hold commands with these names, which people run.
		return nil, fmt.Errorf("the API server answered with another object than %s/%s", namespace, name)
	}
	return o, err
}

// list calls f with each object of a resource in a namespace, or in all of them: of the
// cluster, or of the rendering.
func (c *Checker) list(ctx context.Context, r schema.GroupVersionResource, namespace string, f func(*unstructured.Unstructured)) error {
	if c.rendering != nil {
		c.rendering.each(r, namespace, f)
		return nil
	}
	return c.each(ctx, c.api.Resource(r).Namespace(namespace), metav1.ListOptions{}, f)
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
