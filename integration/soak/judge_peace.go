package soak

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	window      = 3 * time.Second  // in which requests are counted
	settleLimit = 30 * time.Second // until there are no more requests, or descriptors, than in peace
	warmUp      = 2                // storms, after which nothing may grow
)

// maxState is more bytes than the newest recoveries take, each with as many steps as are kept.
const maxState = 64 << 10

// stateFiles are all that the sidecar ever writes.
var stateFiles = []string{"state.json", "proof.lock", "proof.json", "eviction.json"}

// peace is what a world does when all is well, and its plateau after the first storms.
type peace struct {
	requests requests
	storms   int
	fds, rss float64 // the most, after the first storms
}

// beginPeace waits until all is well and takes the measures.
func (w *world) beginPeace(ctx context.Context) error {
	if err := w.awaitOpen(ctx); err != nil {
		return err
	}
	if w.kube != nil {
		synced := func() string { return w.isSynced(ctx) }
		if err := w.await(ctx, 30*time.Second, "kubernetes to show it", synced); err != nil {
			return err
		}
	}
	// What follows a recovery, such as the question for the threshold, is over when
	// two windows have as much.
	last := w.countRequests(ctx)
	for range 10 {
		now := w.countRequests(ctx)
		more := requests{max(now.vault, last.vault), max(now.kubernetes, last.kubernetes), max(now.watches, last.watches)}
		if more.within(now) && more.within(last) {
			w.peace.requests = more
			return ctx.Err()
		}
		last = now
	}
	return fmt.Errorf("the sidecar's requests come to no rest: %+v in %v", last, window)
}

// requests are those of the sidecar in a window, as far as a proxy counts them.
type requests struct{ vault, kubernetes, watches int }

// within reports whether they are as few as others, or one more, which is where the window
// begins.
func (r requests) within(others requests) bool {
	return r.vault <= others.vault+1 && r.kubernetes <= others.kubernetes+1 && r.watches <= others.watches+1
}

func (w *world) countRequests(ctx context.Context) requests {
	count := func() (r requests) {
		r.vault = w.front.count()
		if w.kube != nil {
			r.kubernetes, r.watches = len(w.kube.proxy.Requests()), len(w.kube.proxy.Watches())
		}
		return r
	}
	before := count()
	select {
	case <-ctx.Done():
	case <-time.After(window):
	}
	after := count()
	return requests{after.vault - before.vault, after.kubernetes - before.kubernetes, after.watches - before.watches}
}

// judgeRequests returns an error when there are more requests than in peace.
func (w *world) judgeRequests(ctx context.Context) error {
	if w.front == nil && w.kube == nil {
		return nil
	}
	for until := time.Now().Add(settleLimit); ; {
		now := w.countRequests(ctx)
		if now.within(w.peace.requests) {
			return ctx.Err()
		}
		if time.Now().After(until) {
			return fmt.Errorf("%+v requests in %v, in peace %+v", now, window, w.peace.requests)
		}
	}
}

// judgeGrowth compares with the most there was after the first storms. Memory has slack:
// what the garbage collector has not collected yet is no leak.
func (w *world) judgeGrowth(ctx context.Context) error {
	const fdSlack, rssSlack = 4, 8 << 20
	// What a crash left beside a file is there until that file is written again.
	if err := w.await(ctx, settleLimit, "the state directory to be tidy", w.stateIsTidy); err != nil {
		return err
	}
	p := w.peace
	p.storms++
	return w.await(ctx, settleLimit, "descriptors and memory to be as after the first storms", func() string {
		m, err := w.metrics(ctx)
		if err != nil {
			return err.Error()
		}
		fds, rss := m["process_open_fds"], m["process_resident_memory_bytes"]
		if p.storms <= warmUp {
			p.fds, p.rss = max(p.fds, fds), max(p.rss, rss)
			return ""
		}
		if fds > p.fds+fdSlack || rss > p.rss+rssSlack {
			const mib = 1 << 20
			return fmt.Sprintf("%.0f descriptors, %.1f MiB; it was %.0f, %.1f", fds, rss/mib, p.fds, p.rss/mib)
		}
		return ""
	})
}

// stateIsTidy returns "" unless the state is more than the sidecar has to say: a file
// that a crash left behind, or one that grows.
func (w *world) stateIsTidy() string {
	entries, err := os.ReadDir(w.stateDir)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err.Error()
		}
		if !slices.Contains(stateFiles, e.Name()) || info.Size() > maxState {
			return fmt.Sprintf("it has %s, of %d bytes", e.Name(), info.Size())
		}
	}
	return ""
}

// metricsAre returns "" when these have these values.
func (w *world) metricsAre(ctx context.Context, want map[string]float64) string {
	m, err := w.metrics(ctx)
	if err != nil {
		return err.Error()
	}
	for name, value := range want {
		if now, found := m["vault_unseal_sidecar_"+name]; !found || now != value {
			return fmt.Sprintf("the metric %s is %v, not %v", name, now, value)
		}
	}
	return ""
}

// metrics returns the samples of /metrics by their names with labels.
func (w *world) metrics(ctx context.Context) (map[string]float64, error) {
	code, text, err := w.sidecar().Get(ctx, "/metrics")
	if err != nil || code != 200 {
		return nil, fmt.Errorf("/metrics: %d, %w", code, err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if number, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = number
		}
	}
	return out, nil
}
