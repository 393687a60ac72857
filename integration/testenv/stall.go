package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Gate is a directory whose storage can hang, fail and be slow.
type Gate struct {
	Dir     string // the mount, where Vault keeps its data
	socket  string
	process *Process
}

// GateStatus is what the filesystem tells of itself.
type GateStatus struct {
	Mode    string `json:"mode"`
	Waiting int    `json:"waiting"` // operations at the gate now
	Passed  int    `json:"passed"`  // operations let through so far
	Error   string `json:"error"`
}

// Gate mounts a gated directory. The gate is open.
func (l *Lab) Gate(ctx context.Context) (*Gate, error) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, errors.New("/dev/fuse is missing: the gated storage needs the kernel's FUSE")
	}
	backing, err := l.Mkdir("backing")
	if err != nil {
		return nil, err
	}
	mount, err := l.Mkdir("data")
	if err != nil {
		return nil, err
	}
	g := &Gate{Dir: mount, socket: filepath.Join(l.Dir, "stallfs.sock")}
	g.process, err = l.start("stallfs", l.Binary("servers/stallfs"), nil,
		"serve", "--backing", backing, "--mount", mount, "--control", g.socket)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.gates = append(l.gates, g)
	l.mu.Unlock()
	l.atEnd(func() error {
		_, err := g.process.Stop(10 * time.Second)
		return err
	})
	return g, Await(ctx, 10*time.Second, "stallfs to serve", func() string {
		if strings.Contains(g.process.Output(), "serving") {
			return ""
		}
		return "it printed: " + g.process.Tail(3)
	})
}

// Set changes the mode: "open", "hang", "eio", or "slow 50ms".
func (g *Gate) Set(mode string) (GateStatus, error) { return g.ask(mode) }

// Open opens the gate for those who must not fail: in a cleanup.
func (g *Gate) Open() { _, _ = g.ask("open") }

// Status tells the mode and how many operations wait.
func (g *Gate) Status() (GateStatus, error) { return g.ask("status") }

func (g *Gate) ask(line string) (GateStatus, error) {
	var s GateStatus
	conn, err := net.DialTimeout("unix", g.socket, 5*time.Second)
	if err != nil {
		return s, fmt.Errorf("speaking to stallfs: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return s, fmt.Errorf("speaking to stallfs: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&s); err != nil {
		return s, fmt.Errorf("speaking to stallfs: %w", err)
	}
	if s.Error != "" {
		return s, fmt.Errorf("stallfs: %s", s.Error)
	}
	return s, nil
}
