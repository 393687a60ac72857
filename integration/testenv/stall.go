package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Stall is a directory on stallfs: its storage can hang, fail and be slow.
type Stall struct {
	Dir     string // the mount, where Vault keeps its data
	socket  string
	process *Process
}

// StallStatus is the answer of the control socket of stallfs.
type StallStatus struct {
	Mode    string `json:"mode"`
	Waiting int    `json:"waiting"` // operations held now
	Passed  int    `json:"passed"`  // operations let through so far
	Error   string `json:"error"`
}

// MountStall mounts a directory on stallfs in the mode "open".
func (env *Env) MountStall(ctx context.Context) (*Stall, error) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, errors.New("/dev/fuse is missing: stallfs needs the kernel's FUSE")
	}
	backing, err := env.Mkdir("backing")
	if err != nil {
		return nil, err
	}
	mount, err := env.Mkdir("data")
	if err != nil {
		return nil, err
	}
	s := &Stall{Dir: mount, socket: filepath.Join(env.Dir, "stallfs.sock")}
	s.process, err = env.startProcess("stallfs", env.Binary("servers/stallfs"), nil,
		"serve", "--backing", backing, "--mount", mount, "--control", s.socket)
	if err != nil {
		return nil, err
	}
	env.mu.Lock()
	env.stalls = append(env.stalls, s)
	env.mu.Unlock()
	env.addCleanup(func() error {
		_, err := s.process.Stop(10 * time.Second)
		return err
	})
	return s, Await(ctx, 10*time.Second, "stallfs to serve", func() string {
		if strings.Contains(s.process.Output(), "serving") {
			return ""
		}
		return "it printed: " + s.process.Tail(3)
	})
}

// SetMode changes the mode: "open", "hang", "eio" or "slow 50ms".
func (s *Stall) SetMode(mode string) error {
	_, err := s.request(mode)
	return err
}

// Status returns the mode and how many operations wait.
func (s *Stall) Status() (StallStatus, error) { return s.request("status") }

func (s *Stall) request(line string) (StallStatus, error) {
	var status StallStatus
	answer, err := askSocket(s.socket, line)
	if err != nil {
		return status, fmt.Errorf("asking stallfs: %w", err)
	}
	if err := json.Unmarshal(answer, &status); err != nil {
		return status, fmt.Errorf("asking stallfs: %w", err)
	}
	if status.Error != "" {
		return status, fmt.Errorf("stallfs: %s", status.Error)
	}
	return status, nil
}
