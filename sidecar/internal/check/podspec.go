package check

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// pod is Vault's pod, with types for what is read most. (Those of k8s.io/api would add megabytes.)
type pod struct {
	Whole *unstructured.Unstructured `json:"-"`

	Spec struct {
		NodeName            string          `json:"nodeName"`
		ServiceAccountName  string          `json:"serviceAccountName"`
		HostNetwork         bool            `json:"hostNetwork"`
		HostPID             bool            `json:"hostPID"`
		SharesProcesses     bool            `json:"shareProcessNamespace"`
		SecurityContext     securityContext `json:"securityContext"`
		Containers          []podContainer  `json:"containers"`
		InitContainers      []podContainer  `json:"initContainers"`
		EphemeralContainers []podContainer  `json:"ephemeralContainers"`
		ReadinessGates      []readinessGate `json:"readinessGates"`
	} `json:"spec"`

	Status struct {
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
	ImagePullPolicy string          `json:"imagePullPolicy"`
	RestartPolicy   string          `json:"restartPolicy"`
	Command         []string        `json:"command"`
	Args            []string        `json:"args"`
	EnvFrom         []any           `json:"envFrom"`
	SecurityContext securityContext `json:"securityContext"`
	LivenessProbe   *probe          `json:"livenessProbe"`
	StartupProbe    *probe          `json:"startupProbe"`
	Resources       struct {
		Limits map[string]any `json:"limits"`
	} `json:"resources"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
	} `json:"volumeMounts"`
	Env []struct {
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
	Name  string `json:"name"`
	Image string `json:"image"`
	State map[string]struct {
		Reason string `json:"reason"`
	} `json:"state"`
}

// podOf reads a pod. It fails where one is malformed.
func podOf(o *unstructured.Unstructured) (*pod, error) {
	p := &pod{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, p)
	p.Whole = o
	return p, err
}

func (p *pod) account() string { return cmp.Or(p.Spec.ServiceAccountName, "default") }

// isOurs reports whether a container, or its status, is the sidecar's.
func isOurs(name, image string) bool {
	return name == kube.Name || strings.Contains(image, kube.Name)
}

func (c podContainer) isOurs() bool { return isOurs(c.Name, c.Image) }

// ours returns the sidecar's container; not found where there is none.
func (p *pod) ours() (_ podContainer, found bool) {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.isOurs() {
			return c, true
		}
	}
	return podContainer{}, false
}

// keySecret is where the key is, as patches mounts it.
const keySecret = "vault-unseal-key"

// secrets returns the Secrets that the pod mounts, or else the key's.
func (p *pod) secrets() []string {
	var out []string
	add := func(object map[string]any, path ...string) {
		if name, _, _ := unstructured.NestedString(object, path...); name != "" {
			out = append(out, name)
		}
	}
	for _, volume := range kube.Entries(p.Whole.Object, "spec", "volumes") {
		add(volume, "secret", "secretName")
		for _, source := range kube.Entries(volume, "projected", "sources") {
			add(source, "secret", "name")
		}
	}
	if len(out) == 0 {
		return []string{keySecret}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Start is how the sidecar in a pod is started, as far as the pod itself says.
type Start struct {
	Args          []string
	Env           map[string]string
	UnresolvedEnv []string // variables whose values the pod does not say
	Unclear       []string // what else it does not say
}

// start reads it from our container; not found where the pod has none. Kubernetes puts
// variables into arguments and values that say $(NAME), which is left to it.
func (p *pod) start() (s Start, found bool) {
	ours, found := p.ours()
	if !found {
		return Start{}, false
	}
	args, command := ours.Args, ours.Command
	if len(command) > 0 {
		args = slices.Concat(command[1:], args)
	}
	switch {
	case len(command) > 0 && path.Base(command[0]) != kube.Name:
		s.Unclear = append(s.Unclear, "what its command starts")
	case strings.Contains(strings.Join(args, " "), "$("):
		s.Unclear = append(s.Unclear, "which variables its arguments hold")
	default:
		s.Args = args
	}
	if len(ours.EnvFrom) > 0 {
		s.Unclear = append(s.Unclear, "what envFrom brings")
	}
	s.Env = map[string]string{}
	for _, v := range ours.Env {
		if v.ValueFrom != nil || strings.Contains(v.Value, "$(") {
			delete(s.Env, v.Name)
			s.UnresolvedEnv = append(s.UnresolvedEnv, v.Name)
			continue
		}
		s.Env[v.Name] = v.Value
	}
	return s, true
}
