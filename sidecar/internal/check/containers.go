package check

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkNetwork reports whether others than the pod's own containers can take the
// place of a Vault that is down.
func (c *Checker) checkNetwork(context.Context) {
	switch {
	case !c.pod.Spec.HostNetwork:
	case !c.PlainHTTP:
		c.ok("the pod shares the network of its node, and the key does not go over plain HTTP")
	default:
		c.fail("the pod shares the network of its node, and the key goes over plain HTTP: "+
			"while Vault is down every process of the node can take its port and is sent the key",
			"remove hostNetwork, or give Vault a listener with TLS (--vault-addr, --vault-cacert) or on a Unix socket")
	}
}

// checkUsers reports whether several containers run as the user that gets the key:
// one that says no user of its own has that of the pod.
func (c *Checker) checkUsers(context.Context) {
	if c.VaultUID == nil {
		return
	}
	var same []string
	for _, other := range c.pod.otherContainers() {
		user := c.pod.user(other.SecurityContext)
		if user != nil && *user == int64(*c.VaultUID) {
			same = append(same, other.Name)
		}
	}
	if len(same) > 1 {
		c.warn(fmt.Sprintf("the containers %s run as uid %d: --vault-uid does not distinguish them, and each may take Vault's place while it is down",
			strings.Join(same, ", "), *c.VaultUID), "give each container but Vault's a runAsUser of its own")
	}
}

// checkCapture tells which containers can read what goes to Vault over plain
// HTTP: loopback is the whole pod's, and the capability NET_RAW, which container
// runtimes give to root, reads it. No uid of who listens tells of that.
func (c *Checker) checkCapture(context.Context) {
	var able []string
	for _, other := range c.pod.containersBesideVault() {
		if why := c.pod.captures(other.SecurityContext); why != "" {
			able = append(able, other.Name+" ("+why+")")
		}
	}
	if c.PlainHTTP && len(able) > 0 {
		c.warn("the key goes over plain HTTP, and these containers can read it and all other requests to Vault, "+
			"which --vault-uid does not prevent: "+strings.Join(able, ", "),
			"drop the capability NET_RAW there (drop: [ALL]), or give Vault a listener on a Unix socket (--vault-addr unix:///PATH) or with TLS")
	}
}

// captures says why a container can read the pod's loopback; "" when it cannot.
// One that cannot run as root has no capabilities, other than from a file of its
// image: that is not seen here.
func (p *pod) captures(s securityContext) string {
	if s.Privileged {
		return "is privileged"
	}
	for _, name := range s.Capabilities.Add {
		if name = capability(name); name == "NET_RAW" || name == "NET_ADMIN" || name == "ALL" {
			return "adds " + name
		}
	}
	user := p.user(s)
	nonRoot := cmp.Or(s.RunAsNonRoot, p.Spec.SecurityContext.RunAsNonRoot)
	if s.drops("NET_RAW") || user != nil && *user > 0 || nonRoot != nil && *nonRoot {
		return ""
	}
	return "may run as root and does not drop NET_RAW"
}

// checkProcesses tells who reaches the sidecar's processes where others see them. Whoever has
// their user reads the mounted key through one that has just started, and ends them.
func (c *Checker) checkProcesses(context.Context) {
	ours, found := c.pod.ours()
	switch {
	case !found:
	case c.pod.Spec.HostPID:
		c.warn("the pod shares the processes of its node: one of the sidecar's user or of root's may read the key, and end the sidecar", "remove hostPID")
	case c.pod.Spec.SharesProcesses:
		own := cmp.Or(c.pod.user(ours.SecurityContext), new(imageUser))
		var able []string
		for _, other := range c.pod.containersBesideVault() {
			if why := c.pod.reaches(other.SecurityContext, *own); why != "" {
				able = append(able, other.Name+" ("+why+")")
			}
		}
		if len(able) > 0 {
			c.warn("the containers share their processes, and these may read the key through one of the sidecar's, and end the sidecar: "+strings.Join(able, ", "),
				"remove shareProcessNamespace, or give them a runAsUser of their own, without capabilities (drop: [ALL])")
		}
	}
}

// imageUser is who the sidecar is where the pod does not say it (Dockerfile).
const imageUser int64 = 65532

// reaches says why a container's processes may do what they like with those of a user; ""
// when they may not. A capability that is added is had even where all are dropped.
func (p *pod) reaches(s securityContext, user int64) string {
	own := p.user(s)
	switch {
	case s.Privileged:
		return "is privileged"
	case own == nil:
		return "says no user"
	case *own == user:
		return "has the sidecar's user"
	case *own == 0 && (!s.drops("ALL") || len(s.Capabilities.Add) > 0):
		return "is root, with capabilities"
	}
	return ""
}

// user returns the user of a container; nil where its image says it.
func (p *pod) user(s securityContext) *int64 {
	return cmp.Or(s.RunAsUser, p.Spec.SecurityContext.RunAsUser)
}

// drops tells whether a container drops a capability, by its name or with all.
func (s securityContext) drops(name string) bool {
	return slices.ContainsFunc(s.Capabilities.Drop, func(dropped string) bool {
		dropped = capability(dropped)
		return dropped == "ALL" || dropped == name
	})
}

// capability is a capability's name as the kernel has it. Runtimes take it in any
// case, and with a prefix.
func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// otherContainers are the containers that run while Vault does, but ours.
func (p *pod) otherContainers() []podContainer {
	out := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == "Always" { // the others have ended when Vault starts
			out = append(out, c)
		}
	}
	for _, c := range p.Spec.EphemeralContainers {
		ended := slices.ContainsFunc(p.Status.EphemeralContainerStatuses, func(s containerStatus) bool {
			_, ended := s.State["terminated"]
			return s.Name == c.Name && ended
		})
		if !ended { // and one that has is never started again
			out = append(out, c)
		}
	}
	return slices.DeleteFunc(out, podContainer.isOurs)
}

// containersBesideVault are those of them that are not Vault's. Vault's has the name
// that the charts give it, or else is the pod's first.
func (p *pod) containersBesideVault() []podContainer {
	all := p.otherContainers()
	named := func(c podContainer) bool { return c.Name == "vault" || c.Name == "openbao" }
	at := max(0, slices.IndexFunc(all, named))
	return slices.Delete(all, at, min(at+1, len(all)))
}

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
	before := len(c.findings)
	for _, other := range c.pod.Spec.Containers {
		for kind, probe := range other.probes() {
			switch why, known := killsSealed(probe); {
			case other.isOurs():
			case why != "":
				c.fail(fmt.Sprintf("the %s of the container %s fails while Vault is sealed (%s): it is killed while it waits for its storage", kind, other.Name, why),
					"take the probe away (server.livenessProbe.enabled=false in the chart)")
			case !known:
				c.unknown(fmt.Sprintf("whether the %s of the container %s fails while Vault is sealed cannot be told: it runs a command", kind, other.Name),
					"see that the command succeeds while Vault is sealed, or take the probe away")
			}
		}
	}
	if len(c.findings) == before {
		c.ok("no probe kills Vault for being sealed")
	}
}

// checkOwnProbe looks for a probe of our own container, which an earlier patches
// gave it: it asks a port that strangers can fill, and then the sidecar is killed.
func (c *Checker) checkOwnProbe(context.Context) {
	ours, _ := c.pod.ours()
	for kind := range ours.probes() {
		c.warn(fmt.Sprintf("the sidecar has a %s: a client that keeps its port busy has the sidecar killed", kind),
			"take it out, as patches has none: the sidecar ends by itself when its loop is stuck")
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
