package check

import (
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
		Containers          []container     `json:"containers"`
		InitContainers      []container     `json:"initContainers"`
		EphemeralContainers []container     `json:"ephemeralContainers"`
		ReadinessGates      []struct {
			ConditionType string `json:"conditionType"`
		} `json:"readinessGates"`
		Volumes []struct {
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

type container struct {
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

func (c container) isOurs() bool { return isOurs(c.Name, c.Image) }

// ours returns the sidecar's container; nil where there is none.
func (p *pod) ours() *container {
	for _, all := range [][]container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range all {
			if all[i].isOurs() {
				return &all[i]
			}
		}
	}
	return nil
}
