package check

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// need is what a check cannot do without.
type need uint8

const (
	container  need = 1 << iota // we are in the sidecar's container: the key and Vault are at hand
	usableKey                   // and the mounted key could be read
	kubernetes                  // the Kubernetes API answers, to the pod or to a person with a kubeconfig
	ourPod                      // and our pod could be read
)

// checks are all that is looked at, in the order of the findings: what they are about,
// what is needed, and what looks.
var checks = []struct {
	about string
	needs need
	look  func(*Checker, context.Context)
}{
	{AboutKey, container, (*Checker).checkKey},
	{AboutVault, container, (*Checker).checkVault},
	{AboutVault, container, (*Checker).checkListener},
	{AboutVault, container, (*Checker).checkCertificates},
	{AboutVault, usableKey, (*Checker).checkRole},
	{AboutKey, container, (*Checker).checkProof},
	{AboutRecovery, usableKey, (*Checker).checkRecovery},

	{AboutPod, ourPod, (*Checker).checkGate},
	{AboutPod, ourPod, (*Checker).checkContainer},
	{AboutPod, ourPod, (*Checker).checkLiveness},
	{AboutPod, ourPod, (*Checker).checkOwnProbe},
	{AboutPod, ourPod, (*Checker).checkNetwork},
	{AboutPod, ourPod, (*Checker).checkUsers},
	{AboutPod, ourPod, (*Checker).checkCapture},
	{AboutPod, ourPod, (*Checker).checkStatefulSet},
	{AboutServices, ourPod, (*Checker).checkServices},
	{AboutRights, kubernetes, (*Checker).checkRights},
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
// manifest that would let the sidecar look; in the container there is none for what
// only the check wants, by design.
func (c *Checker) notVisible(what, component string, err error) {
	switch {
	case !apierrors.IsForbidden(err):
		c.unknown(fmt.Sprintf("%s cannot be read: %v", what, kube.DescribeError(err)), "")
	case c.outside:
		c.unknown(what+" may not be read from here", "")
	case c.uses(component):
		c.unknown(what+" may not be read from here", "apply manifests/"+component)
	default:
		c.unknown(what+" may not be read from here",
			"run check --kubeconfig as an administrator; do not grant this to the sidecar")
	}
}
