package check

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// probes yields those that have the kubelet kill a container, by their names.
func (c podContainer) probes() iter.Seq2[string, *probe] {
	return func(yield func(string, *probe) bool) {
		_ = (c.LivenessProbe == nil || yield("livenessProbe", c.LivenessProbe)) &&
			(c.StartupProbe == nil || yield("startupProbe", c.StartupProbe))
	}
}

// checkLiveness looks for a probe that would have the kubelet kill a Vault for
// being sealed: it then never stays up until its storage is back.
func (c *Checker) checkLiveness(context.Context) {
	fine := true
	for _, other := range c.pod.Spec.Containers {
		for kind, probe := range other.probes() {
			why, known := killsSealed(probe)
			if other.isOurs() || why == "" && known {
				continue
			}
			fine = false
			if !known {
				c.unknown(fmt.Sprintf("whether the %s of the container %s fails while Vault is sealed cannot be told: it runs a command", kind, other.Name),
					"see that the command succeeds while Vault is sealed, or take the probe away")
				continue
			}
			c.fail(fmt.Sprintf("the %s of the container %s fails while Vault is sealed (%s): it is killed while it waits for its storage", kind, other.Name, why),
				"take the probe away (server.livenessProbe.enabled=false in the chart)")
		}
	}
	if fine {
		c.ok("no probe kills Vault for being sealed")
	}
}

// checkOwnProbe looks for a probe of our own container, which an earlier patches
// gave it: it asks a port that strangers can fill, and then the sidecar is killed.
func (c *Checker) checkOwnProbe(context.Context) {
	ours := c.pod.ours()
	if ours == nil {
		return
	}
	for kind := range ours.probes() {
		c.warn(fmt.Sprintf("the sidecar has a %s: a client that keeps its port busy has the sidecar killed", kind),
			"apply patches anew, which has none: the sidecar ends by itself when its loop is stuck")
		return
	}
}

// healthURL is where a command asks Vault for its health.
var healthURL = regexp.MustCompile(`/v1/sys/health[^\s"']*`)

// killsSealed says why a probe fails while Vault is sealed or not initialized;
// "" when it does not, as far as is known. What a command of somebody's own does
// is not.
func killsSealed(p *probe) (why string, known bool) {
	if command := p.Exec.Command; len(command) > 0 {
		text := strings.Join(command, " ")
		if strings.Contains(text, "vault status") {
			return "vault status exits with 2", true
		}
		why := healthFails(healthURL.FindString(text))
		return why, why != ""
	}
	return healthFails(p.HTTPGet.Path), true
}

// healthFails says why a question to sys/health fails while Vault is sealed.
func healthFails(path string) string {
	asked, err := url.Parse(path)
	if err != nil || strings.TrimSuffix(asked.Path, "/") != "/v1/sys/health" {
		return ""
	}
	for _, state := range []struct {
		option string
		preset int // the status that Vault gives by itself (http/sys_health.go)
	}{{"sealedcode", 503}, {"uninitcode", 501}} {
		code := state.preset
		if text := asked.Query().Get(state.option); text != "" {
			code, _ = strconv.Atoi(text)
		}
		if code < 200 || code >= 400 { // what a kubelet takes for a success
			return fmt.Sprintf("%s is %d", state.option, code)
		}
	}
	return ""
}
