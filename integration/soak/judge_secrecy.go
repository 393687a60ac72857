package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// judgeSecrecy searches all that the sidecar shows for every share there was.
func (w *world) judgeSecrecy(ctx context.Context) error {
	var all strings.Builder
	all.WriteString(w.sidecarKeeper.log())
	all.WriteString(readAll(w.stateDir))
	for _, path := range []string{"/status", "/", "/metrics", "/healthz", "/readyz"} {
		_, text, err := w.sidecar().Get(ctx, path)
		if err != nil {
			return err
		}
		all.WriteString(text)
	}
	for _, pid := range w.sidecarPids() {
		for _, file := range []string{"cmdline", "environ"} {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)) // not everybody may read it
			all.Write(b)
		}
	}
	if w.kube != nil {
		text, err := w.kube.objects(ctx)
		if err != nil {
			return err
		}
		all.WriteString(text)
	}
	return w.searchShares(all.String())
}

func (w *world) searchShares(text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, share := range w.secrets {
		for _, trace := range testenv.Encodings(share) {
			if strings.Contains(text, trace) {
				return fmt.Errorf("share %d was seen", i)
			}
		}
	}
	return nil
}

// judgeDump compares the goroutines of the sidecar with those of one that has seen no
// storm. A process that is asked for them ends.
func (w *world) judgeDump(ctx context.Context) error {
	after, err := w.dump(ctx)
	if err != nil {
		return err
	}
	if err := w.awaitOpen(ctx); err != nil {
		return err
	}
	fresh, err := w.dump(ctx)
	if err != nil {
		return err
	}
	const inFlight = 8 // a request has some of its own
	if after > fresh+inFlight {
		return fmt.Errorf("%d goroutines after the storms, %d before", after, fresh)
	}
	w.logf("%d goroutines after the storms, %d without", after, fresh)
	return nil
}

// dump returns how many goroutines the sidecar has.
func (w *world) dump(ctx context.Context) (int, error) {
	p := w.sidecarKeeper.process()
	w.sidecarKeeper.hold()
	for _, pid := range w.sidecarPids() {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
	if err := w.sidecarKeeper.awaitEnd(ctx, 5*time.Second); err != nil {
		return 0, err
	}
	n := strings.Count(p.Output(), "\ngoroutine ")
	if n == 0 {
		return 0, errors.New("SIGQUIT brought no dump")
	}
	if err := w.searchShares(p.Output()); err != nil {
		return 0, err
	}
	return n, w.sidecarKeeper.release(ctx)
}

// sidecarPids is the sidecar itself. Below a tracer, which would end without a dump, it
// is the tracer's child.
func (w *world) sidecarPids() []int {
	pid := w.sidecarKeeper.process().Pid()
	if w.clock != nil {
		return children(pid)
	}
	return []int{pid}
}

// children returns those that any thread of the process started.
func children(pid int) (out []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}
