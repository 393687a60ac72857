package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// build builds servers while something else is shown, one at a time.
type build struct {
	done chan struct{}
	err  error // once done

	mu    sync.Mutex
	lines bytes.Buffer // that were not shown yet
	shown bool         // from now on they are, as they come
	end   context.CancelFunc
}

// startBuild starts it, as gently as it goes: what is shown has figures. It ends with ctx.
func startBuild(ctx context.Context, servers ...string) (*build, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &build{done: make(chan struct{}), end: cancel}
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "19", "integration/servers/build.sh"}, servers...)...)
	cmd.Stdout, cmd.Stderr = b, b
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // the compilers, too
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("building %s: %w", strings.Join(servers, " and "), err)
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			b.err = fmt.Errorf("building %s: %w", strings.Join(servers, " and "), err)
		}
		close(b.done)
	}()
	return b, nil
}

// Write takes what the build prints.
func (b *build) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		return os.Stdout.Write(text)
	}
	return b.lines.Write(text)
}

// wait waits until all is built, and shows how far that is unless it is already.
func (b *build) wait(ctx context.Context) error {
	select {
	case <-b.done:
		if b.err == nil {
			return nil
		}
	default:
	}
	heading("Between the acts: the servers of act two are built")
	b.mu.Lock()
	b.shown = true
	_, err := os.Stdout.WriteString(latestLines(b.lines.String()))
	b.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latestLines leaves out what a server's next line replaces: how far its build was.
func latestLines(printed string) string {
	var shown strings.Builder
	lines := strings.SplitAfter(printed, "\n")
	for i, line := range lines[:len(lines)-1] {
		server, isServer := serverOf(line)
		if next, _ := serverOf(lines[i+1]); !isServer || next != server {
			shown.WriteString(line)
		}
	}
	return shown.String() + lines[len(lines)-1]
}

// serverOf returns the name in a line of the build script: "servers: NAME: text".
func serverOf(line string) (name string, ok bool) {
	line, ok = strings.CutPrefix(line, "servers: ")
	if !ok {
		return "", false
	}
	name, _, ok = strings.Cut(line, ": ")
	return name, ok
}

// stop ends the build, and waits for its end.
func (b *build) stop() {
	b.end()
	<-b.done
}
