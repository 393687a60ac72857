package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
)

// watched is how long the cost of doing nothing is measured.
const watched = 60 * time.Second

// footprint prints what the sidecar costs beside a Vault that is well, and
// while it waits for one that refuses.
func footprint(ctx context.Context) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	_, vault, secret, err := sealedVault(ctx, l)
	if err != nil {
		return err
	}
	sidecar, err := l.Sidecar(lab.SidecarConfig{Vault: vault.Addr, Keys: secret.Dir, State: filepath.Join(l.Dir, "state")})
	if err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	well, err := cpuShare(ctx, sidecar.Pid())
	if err != nil {
		return err
	}
	rss, err := memory(sidecar.Pid(), "VmRSS")
	if err != nil {
		return err
	}
	if err := vault.Kill(); err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 10*time.Second, "unreachable"); err != nil {
		return err
	}
	waiting, err := cpuShare(ctx, sidecar.Pid())
	if err != nil {
		return err
	}
	peak, err := memory(sidecar.Pid(), "VmHWM")
	if err != nil {
		return err
	}
	binary, err := os.Stat(l.Binary("vault-unseal-sidecar"))
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %8.2f MiB (peak %.2f MiB)\n", "memory, all well (RSS)", rss, peak)
	fmt.Printf("%-34s %8.3f %% of a core, over %v\n", "processor, all well", well, watched)
	fmt.Printf("%-34s %8.3f %% of a core, over %v\n", "processor, vault refusing", waiting, watched)
	fmt.Printf("%-34s %8.2f MB\n", "binary", float64(binary.Size())/1e6)
	return nil
}

// cpuShare measures a process's processor time over a while, as a percentage
// of one core. It reads the scheduler's own count, in nanoseconds, of every
// thread.
func cpuShare(ctx context.Context, pid int) (float64, error) {
	before, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(watched):
	}
	after, err := cpuTime(pid)
	return 100 * float64(after-before) / float64(time.Since(began)), err
}

func cpuTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("reading the processor time of %d: no threads, %w", pid, err)
	}
	var sum int64
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", file, err)
		}
		sum += n
	}
	return time.Duration(sum), nil
}

// memory reads a line of /proc/PID/status, in MiB.
func memory(pid int, line string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(l, line+":"); found {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", line, pid)
}

// summary is what is told of many rounds.
type summary struct{ min, median, max time.Duration }

func summarise(d []time.Duration) summary {
	d = slices.Sorted(slices.Values(d))
	n := len(d)
	return summary{d[0], (d[(n-1)/2] + d[n/2]) / 2, d[n-1]}
}

func show(d time.Duration) string { return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond)) }
