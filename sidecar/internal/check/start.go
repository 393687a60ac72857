package check

import (
	"path"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

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
func (s *Start) command(c *container) {
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

func (s *Start) variables(c *container) {
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
