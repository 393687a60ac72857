// Package testenv runs the real servers and the built sidecar as processes: for
// the integration tests, the demo and the benchmark. It returns errors and
// knows no testing package. It must not know what the sidecar ought to do.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Env is a directory and the processes that work in it.
type Env struct {
	Dir      string // temporary, removed by Close
	repoRoot string // of the repository
	programs Programs

	mu         sync.Mutex
	cleanups   []func() error
	stalls     []*Stall
	vaultCount int
}

// New makes an empty environment. It fails when a binary is not built; the error
// names the make target that builds it.
func New() (*Env, error) { return newEnv(Programs{}) }

func newEnv(p Programs) (*Env, error) {
	root, err := findRepo()
	if err != nil {
		return nil, err
	}
	env := &Env{repoRoot: root, programs: p}
	if err := env.requireBinaries("vault-unseal-sidecar", env.vault(), "servers/stallfs"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "unseal-") // short: Unix sockets live in it
	if err != nil {
		return nil, err
	}
	env.Dir = dir
	env.addCleanup(func() error { return os.RemoveAll(dir) })
	return env, nil
}

// Run makes an environment of these programs for f, and closes it.
func Run(p Programs, f func(env *Env) error) (err error) {
	env, err := newEnv(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	return f(env)
}

// requireBinaries fails when one of the binaries is not built.
func (env *Env) requireBinaries(binaries ...string) error {
	for _, binary := range binaries {
		if _, err := os.Stat(env.Binary(binary)); err != nil {
			target := "make build"
			switch {
			case strings.HasPrefix(binary, "servers/compat/"):
				target = "make compat"
			case strings.HasPrefix(binary, "servers/"):
				target = "make servers"
			}
			return fmt.Errorf("bin/%s is missing: run %q first", binary, target)
		}
	}
	return nil
}

// vaultBinary is the Vault that is run: that of make servers, or of those
// of make compat the one whose version VAULT_VERSION says.
func vaultBinary() string {
	if version := os.Getenv("VAULT_VERSION"); version != "" {
		return "servers/compat/" + version + "/vault"
	}
	return "servers/vault"
}

// findRepo finds the directory with go.mod and bin above this package.
func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "sidecar", "main.go")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("not inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

func (env *Env) addCleanup(f func() error) {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.cleanups = append(env.cleanups, f)
}

// Close ends everything in reverse order. It goes on after errors.
func (env *Env) Close() error {
	env.mu.Lock()
	defer env.mu.Unlock()
	for _, s := range env.stalls { // a process that hangs in storage cannot end before this
		_ = s.SetMode("open")
	}
	var errs []error
	for i := len(env.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, env.cleanups[i]())
	}
	env.cleanups = nil
	return errors.Join(errs...)
}

// Binary returns the path of a built binary, such as "servers/vault"; that of another
// program is its own.
func (env *Env) Binary(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(env.repoRoot, "bin", name)
}

// Source returns the path of a file or a directory of the repository.
func (env *Env) Source(name string) string { return filepath.Join(env.repoRoot, name) }

// Mkdir makes a directory below Dir and returns its path.
func (env *Env) Mkdir(name string) (string, error) {
	dir := filepath.Join(env.Dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

var portCounter atomic.Int32

// Port returns a TCP port on loopback without a listener, and without one on
// the port above it, which a Vault takes for its cluster. It lies below the
// range that connections take theirs from, so that none takes it before the
// server does.
func Port() (string, error) {
	const from, count = 18000, 10000
	offset := os.Getpid() * 74
	for range count {
		port := strconv.Itoa(from + (offset+int(portCounter.Add(2)))%count)
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			return port, ln.Close()
		}
	}
	return "", errors.New("no free port on loopback")
}

// ListenAgain listens at an address where another listener was just closed. A process that is
// being started has a copy of that until it runs its own program, so that the address stays
// taken for a moment.
func ListenAgain(ctx context.Context, addr string) (net.Listener, error) {
	var l net.Listener
	err := Await(ctx, 10*time.Second, "the address to be free", func() string {
		var err error
		if l, err = net.Listen("tcp", addr); err != nil {
			return err.Error()
		}
		return ""
	})
	return l, err
}

// ports returns such a port, and the one above it.
func ports() (port, next string, err error) {
	port, err = Port()
	if err != nil {
		return "", "", err
	}
	number, err := strconv.Atoi(port)
	return port, strconv.Itoa(number + 1), err
}

// Await calls check until it returns "", at first every 5 ms, then with pauses of a
// twentieth of the time it has taken so far, up to 300 ms. When that takes longer than
// limit, the error has what check returned last, and is a context.DeadlineExceeded.
func Await(ctx context.Context, limit time.Duration, what string, check func() string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for began := time.Now(); ; {
		last := check()
		if last == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s; last saw: %s (%w)", time.Since(began).Round(time.Millisecond), what, last, ctx.Err())
		case <-time.After(min(max(5*time.Millisecond, time.Since(began)/20), 300*time.Millisecond)):
		}
	}
}
