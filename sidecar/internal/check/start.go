package check

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// Start is how the sidecar in a pod is started, as far as the pod itself says.
type Start struct {
	Args          []string
	Env           map[string]string
	UnresolvedEnv []string // variables whose values the pod does not say
	Unclear       []string // what else it does not say
}

// startOf reads it from our container; not found where the pod has none.
func startOf(pod *unstructured.Unstructured) (s Start, found bool) {
	for _, field := range []string{"initContainers", "containers"} {
		for _, container := range kube.Entries(pod.Object, "spec", field) {
			if isOurs(container) {
				s.command(container)
				s.variables(container)
				return s, true
			}
		}
	}
	return Start{}, false
}

// command takes the arguments. Kubernetes puts variables into them where it
// says $(NAME), which is left to it.
func (s *Start) command(container map[string]any) {
	command, _, _ := unstructured.NestedStringSlice(container, "command")
	args, _, _ := unstructured.NestedStringSlice(container, "args")
	if len(command) > 0 {
		if path.Base(command[0]) != kube.Name {
			s.Unclear = append(s.Unclear, "what its command starts")
			return
		}
		args = append(command[1:], args...)
	}
	if strings.Contains(strings.Join(args, " "), "$(") {
		s.Unclear = append(s.Unclear, "which variables its arguments hold")
		return
	}
	s.Args = args
}

func (s *Start) variables(container map[string]any) {
	if len(kube.Entries(container, "envFrom")) > 0 {
		s.Unclear = append(s.Unclear, "what envFrom brings")
	}
	s.Env = map[string]string{}
	for _, entry := range kube.Entries(container, "env") {
		name, _ := entry["name"].(string)
		value, _ := entry["value"].(string)
		if entry["valueFrom"] != nil || strings.Contains(value, "$(") {
			delete(s.Env, name)
			s.UnresolvedEnv = append(s.UnresolvedEnv, name)
			continue
		}
		s.Env[name] = value
	}
}
