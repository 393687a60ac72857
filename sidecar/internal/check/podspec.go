package check

import (
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// pod is what is read of Vault's pod. (The types of k8s.io/api would add megabytes.)
type pod struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		NodeName            string          `json:"nodeName"`
		ServiceAccountName  string          `json:"serviceAccountName"`
		HostNetwork         bool            `json:"hostNetwork"`
		SecurityContext     securityContext `json:"securityContext"`
		Containers          []podContainer  `json:"containers"`
		InitContainers      []podContainer  `json:"initContainers"`
		EphemeralContainers []podContainer  `json:"ephemeralContainers"`
		ReadinessGates      []readinessGate `json:"readinessGates"`
		Volumes             []struct {
			Secret struct {
				SecretName string `json:"secretName"`
			} `json:"secret"`
			Projected struct {
				Sources []struct {
					Secret struct {
						Name string `json:"name"`
					} `json:"secret"`
				} `json:"sources"`
			} `json:"projected"`
		} `json:"volumes"`
	} `json:"spec"`

	Status struct {
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
			Reason string `json:"reason"`
		} `json:"conditions"`
		ContainerStatuses          []containerStatus `json:"containerStatuses"`
		InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
		EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type readinessGate struct {
	ConditionType string `json:"conditionType"`
}

type podContainer struct {
	Name            string          `json:"name"`
	Image           string          `json:"image"`
	RestartPolicy   string          `json:"restartPolicy"`
	Command         []string        `json:"command"`
	Args            []string        `json:"args"`
	EnvFrom         []any           `json:"envFrom"`
	SecurityContext securityContext `json:"securityContext"`
	LivenessProbe   *probe          `json:"livenessProbe"`
	StartupProbe    *probe          `json:"startupProbe"`
	Env             []struct {
		Name      string `json:"name"`
		Value     string `json:"value"`
		ValueFrom any    `json:"valueFrom"`
	} `json:"env"`
}

type securityContext struct {
	RunAsUser    *int64 `json:"runAsUser"`
	RunAsNonRoot *bool  `json:"runAsNonRoot"`
	Privileged   bool   `json:"privileged"`
	Capabilities struct {
		Add  []string `json:"add"`
		Drop []string `json:"drop"`
	} `json:"capabilities"`
}

type probe struct {
	Exec struct {
		Command []string `json:"command"`
	} `json:"exec"`
	HTTPGet struct {
		Path string `json:"path"`
	} `json:"httpGet"`
}

type containerStatus struct {
	Name  string           `json:"name"`
	Image string           `json:"image"`
	State map[string]state `json:"state"`
}

type state struct {
	Reason string `json:"reason"`
}

// podOf reads a pod. It fails where one is malformed.
func podOf(o *unstructured.Unstructured) (*pod, error) {
	p := &pod{}
	return p, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, p)
}

// isOurs reports whether a container, or its status, is the sidecar's.
func isOurs(name, image string) bool {
	return name == kube.Name || strings.Contains(image, kube.Name)
}

func (c podContainer) isOurs() bool { return isOurs(c.Name, c.Image) }

// ours returns the sidecar's container; nil where there is none.
func (p *pod) ours() *podContainer {
	for _, all := range [][]podContainer{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range all {
			if all[i].isOurs() {
				return &all[i]
			}
		}
	}
	return nil
}

// keySecret is where the key is, as patches mounts it.
const keySecret = "vault-unseal-key"

// secrets returns the Secrets that the pod mounts, or else the key's.
func (p *pod) secrets() (out []string) {
	for _, volume := range p.Spec.Volumes {
		out = append(out, volume.Secret.SecretName)
		for _, source := range volume.Projected.Sources {
			out = append(out, source.Secret.Name)
		}
	}
	slices.Sort(out)
	out = slices.DeleteFunc(slices.Compact(out), func(name string) bool { return name == "" })
	if len(out) == 0 {
		return []string{keySecret}
	}
	return out
}

// Start is how the sidecar in a pod is started, as far as the pod itself says.
type Start struct {
	Args          []string
	Env           map[string]string
	UnresolvedEnv []string // variables whose values the pod does not say
	Unclear       []string // what else it does not say
}

// start reads it from our container; not found where the pod has none.
func (p *pod) start() (s Start, found bool) {
	ours := p.ours()
	if ours == nil {
		return Start{}, false
	}
	s.command(ours)
	s.variables(ours)
	return s, true
}

// command takes the arguments. Kubernetes puts variables into them where it
// says $(NAME), which is left to it.
func (s *Start) command(c *podContainer) {
	command, args := c.Command, c.Args
	if len(command) > 0 {
		if path.Base(command[0]) != kube.Name {
			s.Unclear = append(s.Unclear, "what its command starts")
			return
		}
		args = slices.Concat(command[1:], args)
	}
	if strings.Contains(strings.Join(args, " "), "$(") {
		s.Unclear = append(s.Unclear, "which variables its arguments hold")
		return
	}
	s.Args = args
}

func (s *Start) variables(c *podContainer) {
	if len(c.EnvFrom) > 0 {
		s.Unclear = append(s.Unclear, "what envFrom brings")
	}
	s.Env = map[string]string{}
	for _, v := range c.Env {
		if v.ValueFrom != nil || strings.Contains(v.Value, "$(") {
			delete(s.Env, v.Name)
			s.UnresolvedEnv = append(s.UnresolvedEnv, v.Name)
			continue
		}
		s.Env[v.Name] = v.Value
	}
}
