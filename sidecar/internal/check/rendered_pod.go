package check

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// keyVolume returns the volume that the sidecar reads the key from; nil where none is
// mounted there.
func (c *Checker) keyVolume() map[string]any {
	ours, _ := c.pod.ours()
	at, name := -1, ""
	for _, mount := range ours.VolumeMounts {
		path := strings.TrimSuffix(mount.MountPath, "/")
		if (c.Keys == path || strings.HasPrefix(c.Keys, path+"/")) && len(path) > at {
			at, name = len(path), mount.Name
		}
	}
	for _, volume := range kube.Entries(c.pod.Whole.Object, "spec", "volumes") {
		if at >= 0 && volume["name"] == name {
			return volume
		}
	}
	return nil
}

// keySecret returns the name of the Secret that the key is mounted from; "" when it is
// from something else.
func (c *Checker) keySecret() string {
	if c.pod == nil {
		return ""
	}
	name, _, _ := unstructured.NestedString(c.keyVolume(), "secret", "secretName")
	return name
}

// checkKeyVolume looks whether the key will be mounted, and the pod start without it.
func (c *Checker) checkKeyVolume(context.Context) {
	volume, name := c.keyVolume(), c.keySecret()
	optional, _, _ := unstructured.NestedBool(volume, "secret", "optional")
	mode, _, _ := unstructured.NestedInt64(volume, "secret", "defaultMode")
	switch {
	case volume == nil:
		c.fail(fmt.Sprintf("the sidecar has no volume with the key at %s: Vault stays sealed", c.Keys),
			"mount the Secret "+keySecret+" there, as patches does, or set --keys (UNSEAL_KEYS_PATH)")
		return
	case name == "":
		c.unknown(fmt.Sprintf("the volume with the key, %v, is not of a Secret", volume["name"]), "see that the key is in it")
		return
	case !optional:
		c.warn(fmt.Sprintf("the volume of the Secret %s is not optional: without the Secret the pod does not start, and Vault neither", name),
			"set optional: true in the volume, as patches does")
	case !c.rendering.named("Secret", c.Namespace, name):
		c.unknown(fmt.Sprintf("the Secret %s, with the key, is not in the rendering, as it should be: whether the cluster has it is not seen", name),
			"run scripts/seed-key, unless it has been run")
	}
	if mode&int64(writableByOthers) != 0 {
		c.warn("files of the key can be written by their group or by everybody", "mount the Secret with defaultMode 0440 or 0444")
	}
}

// writableByOthers are the bits of a mode that let a file's group or everybody write.
const writableByOthers = 0o022

// checkMounts looks for what Kubernetes refuses the pod for: Helm replaces a list of
// volumes, and leaves the mounts.
func (c *Checker) checkMounts(context.Context) {
	volumes := map[any]bool{}
	for _, volume := range kube.Entries(c.pod.Whole.Object, "spec", "volumes") {
		volumes[volume["name"]] = true
	}
	for _, container := range slices.Concat(c.pod.Spec.InitContainers, c.pod.Spec.Containers) {
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				c.fail(fmt.Sprintf("the container %s mounts the volume %s, which the pod does not have: Kubernetes refuses the pod",
					container.Name, mount.Name),
					"add the volume; with Helm, which replaces lists, have yours and those of patches/helm/values.yaml in one list")
			}
		}
	}
}

// checkImage looks whether the sidecar's image says its version.
func (c *Checker) checkImage(context.Context) {
	ours, _ := c.pod.ours()
	name, digest, _ := strings.Cut(ours.Image, "@")
	_, tag, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	const advice = "name a version, as patches does, or a digest"
	switch {
	case digest != "":
	case tag == "":
		c.warn(fmt.Sprintf("the sidecar's image %s has no tag: it changes without you, in what gets the key", quote(ours.Image)), advice)
	case tag == "latest":
		c.warn(fmt.Sprintf("the sidecar's image %s has the tag latest: it changes without you, in what gets the key", quote(ours.Image)), advice)
	}
}

// leastMemory is what patches requests: the sidecar and a check beside it take less.
const leastMemory = "32Mi"

// checkLimits looks at the memory and the security context of our container.
func (c *Checker) checkLimits(context.Context) {
	ours, _ := c.pod.ours()
	if is, set := ours.Resources.Limits["memory"]; set {
		limit, err := resource.ParseQuantity(fmt.Sprint(is))
		least := resource.MustParse(leastMemory)
		if err != nil || limit.Cmp(least) < 0 {
			c.warn(fmt.Sprintf("the sidecar has the memory limit %s: the kernel may kill it", quote(fmt.Sprint(is))),
				"set a limit of 64Mi, as patches does, and "+leastMemory+" at least")
		}
	}
	if why := c.pod.captures(ours.SecurityContext); why != "" {
		c.warn("the sidecar's container "+why+", which it does not need", "give it the securityContext that patches has")
	}
}

// checkVariables looks for variables that the sidecar does not read, and for those without
// which it does not know its pod.
func (c *Checker) checkVariables(context.Context) {
	var unknown, keys []string
	known := func(name string) bool { return slices.Contains(c.Variables, name) }
	ours, _ := c.pod.ours()
	for _, v := range ours.Env {
		if !known(v.Name) && c.looksLikeOption(v.Name) {
			unknown = append(unknown, v.Name)
		}
		if holdsShare(v.Value) {
			keys = append(keys, v.Name)
		}
	}
	if len(unknown) > 0 {
		c.warn("the sidecar does not read the variables "+quote(enumerate(unknown)), "correct their names, or take them out: --help lists the options")
	}
	if len(keys) > 0 {
		c.warn("what looks like a key is in the variables "+quote(enumerate(keys))+", which everybody sees who may see the pod or its manifest",
			"take it out, put the key into the Secret (scripts/seed-key), and consider the key known: vault operator rekey")
	}
	if !c.identified && !c.KubernetesOff {
		level, what := Warning, "it writes no condition and no Events"
		if c.gated() {
			level, what = Failure, "it writes no readiness gate, and the pod is never Ready"
		}
		c.add(level, "the sidecar does not know its own pod: "+what, "set POD_NAME and POD_NAMESPACE from the downward API")
	}
}

// looksLikeOption reports whether a variable begins as one of the sidecar's, of which
// there may be others for a pod.
func (c *Checker) looksLikeOption(name string) bool {
	first, _, _ := strings.Cut(name, "_")
	return first != "POD" && !strings.HasSuffix(name, "_PROXY") && !strings.HasPrefix(name, "KUBERNETES_SERVICE_") &&
		slices.ContainsFunc(c.Variables, func(known string) bool {
			is, _, more := strings.Cut(known, "_")
			return more && is == first
		})
}

// plainKeys reports the objects that hold a key: of the Secrets that the key is mounted
// from, and what is called after unsealing. Other Secrets hold what looks the same.
func (r *Rendering) plainKeys(secrets []string) (out []Finding) {
	for _, o := range r.objects {
		if kind := o.GetKind(); kind != "Secret" && kind != "ConfigMap" || o.GetAPIVersion() != "v1" {
			continue
		}
		of := slices.Contains(secrets, o.GetName()) || strings.Contains(o.GetName(), "unseal")
		var entries []string
		for _, field := range []string{"data", "stringData"} {
			values, _ := o.Object[field].(map[string]any)
			for name, value := range values {
				text, _ := value.(string)
				if raw, err := base64.StdEncoding.DecodeString(text); err == nil && field == "data" && o.GetKind() == "Secret" {
					text = string(raw)
				}
				if (of || strings.Contains(name, "unseal")) && holdsShare(text) {
					entries = append(entries, name)
				}
			}
		}
		if slices.Sort(entries); len(entries) > 0 {
			out = append(out, Finding{AboutKey, Warning,
				fmt.Sprintf("the %s %s holds what looks like a key, in plain, in %s: who reads the repository, or the log of a pipeline, opens Vault",
					o.GetKind(), quote(o.GetName()), quote(enumerate(entries))),
				"take it out of the repository and its history, have scripts/seed-key put it into the cluster, " +
					"and consider the key known: vault operator rekey"})
		}
	}
	return out
}

// holdsShare reports whether a text has what would be read as a share: one that is random,
// where a path is not, and not encrypted, as by SOPS.
func holdsShare(text string) bool {
	const capitals, small, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !strings.ContainsRune(capitals+small+digits+"+/=", r) }) {
		mixed := strings.ContainsAny(word, capitals) && strings.ContainsAny(word, small) && strings.ContainsAny(word, digits)
		hex := strings.Trim(strings.ToLower(word), digits+"abcdef") == ""
		if (mixed || hex) && !strings.HasPrefix(text, "ENC[") && keyfile.LooksLikeShare(word) {
			return true
		}
	}
	return false
}
