package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Sidecar is the built binary, running.
type Sidecar struct {
	*Process
	HTTP string // base URL of its HTTP server
}

// SidecarConfig is how it is run. Vault, Keys and State are paths and URLs as
// the options take them.
type SidecarConfig struct {
	Vault string
	Keys  string
	State string
	Port  string   // of its HTTP server; "": one that is free
	Args  []string // more options
	Env   []string // NAME=value
	// Wrap runs the binary through another program: its arguments come first.
	Wrap []string
}

// StartSidecar starts the binary.
func (env *Env) StartSidecar(c SidecarConfig) (*Sidecar, error) {
	port := c.Port
	if port == "" {
		var err error
		if port, err = Port(); err != nil {
			return nil, err
		}
	}
	args := append([]string{"--vault-addr", c.Vault, "--keys", c.Keys, "--state-dir", c.State, "--http-bind", "127.0.0.1:" + port}, c.Args...)
	command := append(append([]string{}, c.Wrap...), env.Binary("vault-unseal-sidecar"))
	command = append(command, args...)
	p, err := env.startProcess("sidecar", command[0], c.Env, command[1:]...)
	if err != nil {
		return nil, err
	}
	return &Sidecar{Process: p, HTTP: "http://127.0.0.1:" + port}, nil
}

// Status is the JSON of /status as people and programs read it.
type Status struct {
	Phase    string  `json:"phase"`
	Seconds  float64 `json:"seconds"`
	Serving  bool    `json:"serving"`
	Reason   string  `json:"reason"`
	KeyError string  `json:"key_error"`
	Recovery *struct {
		Seconds float64 `json:"seconds"`
		Done    bool    `json:"done"`
		Steps   []Step  `json:"steps"`
	} `json:"recovery"`
}

// Step is one step of a recovery.
type Step struct {
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
}

// Status asks /status.
func (s *Sidecar) Status(ctx context.Context) (Status, error) {
	var out Status
	code, text, err := s.Get(ctx, "/status")
	if err != nil {
		return out, err
	}
	if code != http.StatusOK {
		return out, fmt.Errorf("/status: %d", code)
	}
	return out, json.Unmarshal([]byte(text), &out)
}

// Get asks one path and gives up after a second.
func (s *Sidecar) Get(ctx context.Context, path string) (code int, text string, err error) {
	code, body, err := get(ctx, http.DefaultClient, s.HTTP+path, time.Second)
	return code, string(body), err
}

// AwaitPhase waits until /status reports one of the phases.
func (s *Sidecar) AwaitPhase(ctx context.Context, limit time.Duration, phases ...string) error {
	return Await(ctx, limit, "phase "+strings.Join(phases, " or "), func() string {
		st, err := s.Status(ctx)
		if err != nil {
			return fmt.Sprintf("%v; log: %s", err, s.Tail(2))
		}
		for _, p := range phases {
			if st.Phase == p {
				return ""
			}
		}
		return st.Phase + " " + st.Reason
	})
}
