package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Clock is the wall clock of one process, which can be another than the
// machine's.
type Clock struct {
	binary string
	socket string
}

// NewClock builds the program that keeps it: see integration/cmd/clockshift.
func (env *Env) NewClock() (*Clock, error) {
	c := &Clock{binary: filepath.Join(env.Dir, "clockshift"), socket: filepath.Join(env.Dir, "clock.sock")}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", c.binary, "./integration/cmd/clockshift")
	build.Dir, build.Env = env.repoRoot, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building clockshift: %w: %s", err, out)
	}
	return c, nil
}

// Wrap is what goes before the command line of the process.
func (c *Clock) Wrap() []string { return []string{c.binary, c.socket} }

// Set lets the clock of the running process be ahead of the machine's by so
// much, or behind. It returns how often the process has read it so far.
func (c *Clock) Set(ahead time.Duration) (readings int, err error) {
	answer, err := askSocket(c.socket, ahead.String())
	if err != nil {
		return 0, fmt.Errorf("setting the clock: %w", err)
	}
	readings, err = strconv.Atoi(strings.TrimSpace(string(answer)))
	if err != nil {
		return 0, fmt.Errorf("setting the clock: clockshift says %q", answer)
	}
	return readings, nil
}
