package soak

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// judge returns what is not as it should be after a storm.
func (w *world) judge(ctx context.Context, s *storm) error {
	since, err := w.judgeEnding(ctx, s)
	if err != nil {
		return err
	}
	if err := w.judgeKubernetes(ctx, s, since); err != nil {
		return err
	}
	if err := w.judgeRekey(ctx, s); err != nil {
		return err
	}
	if err := w.judgeRequests(ctx); err != nil {
		return err
	}
	if err := w.judgeGrowth(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	unexpected := w.unexpected
	w.mu.Unlock()
	if len(unexpected) > 0 {
		return fmt.Errorf("%v", unexpected)
	}
	return w.judgeSecrecy(ctx)
}

// judgeEnding waits until Vault is as the model says. Of a seal that is held it lets
// the operator make an end. It returns since when Vault had to be open.
func (w *world) judgeEnding(ctx context.Context, s *storm) (since time.Time, err error) {
	ending := s.ending()
	held := false
	err = w.within(ctx, s.calm, Limit, "the calm", func() string {
		open, kept := w.isOpen(ctx), w.isHeld(ctx)
		held = kept == ""
		switch ending {
		case endsOpen:
			return open
		case endsHeld:
			return kept
		default:
			if open == "" || kept == "" {
				return ""
			}
			return "neither open (" + open + ") nor held (" + kept + ")"
		}
	})
	if err != nil {
		return s.calm, err
	}
	w.tally.ended(held, ending == endsEither)
	if !held {
		return s.calm, nil
	}
	w.logf("held; the operator opens it")
	if err := w.judgeGate(ctx, s, s.calm, "False", "HeldByOperator"); err != nil {
		return s.calm, err
	}
	if err := w.staysHeld(ctx); err != nil {
		return s.calm, err
	}
	opened := time.Now()
	if err := w.openByHand(ctx); err != nil {
		return opened, fmt.Errorf("opening by hand: %w", err)
	}
	open := func() string { return w.isOpen(ctx) }
	return opened, w.within(ctx, opened, Limit, "vault to be open after a hold", open)
}

// within waits for what has to be so in time, and says how much later it came true if
// it did.
func (w *world) within(
	ctx context.Context, since time.Time, limit time.Duration, what string, check func() string,
) error {
	var took time.Duration // until the look that found it began
	err := w.await(ctx, time.Until(since.Add(limit)), what, func() string {
		took = time.Since(since)
		return check()
	})
	if err == nil && took > limit {
		return fmt.Errorf("%s came after %v", what, took.Round(time.Millisecond))
	}
	if err == nil {
		w.logf("%s: %v", what, took.Round(time.Millisecond))
		w.tally.took(what, took)
		return nil
	}
	if late := w.await(ctx, 30*time.Second, what, check); late == nil {
		return fmt.Errorf("%w; it came after %v", err, time.Since(since).Round(time.Millisecond))
	}
	return fmt.Errorf("%w; nor in the 30 s after", err)
}

// isOpen returns "" when Vault is open, and the sidecar says so wherever it can.
func (w *world) isOpen(ctx context.Context) string {
	if code, err := w.vault.Health(ctx); err != nil || code != http.StatusOK {
		return fmt.Sprintf("vault's health is %d, %v; the sidecar: %s", code, err, w.phase(ctx))
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _, err := w.sidecar().Get(ctx, path); err != nil || code != http.StatusOK {
			return fmt.Sprintf("%s is %d, %v; %s", path, code, err, w.phase(ctx))
		}
	}
	return w.reports(ctx, "active", "active")
}

// isHeld returns "" when Vault is sealed, and the sidecar says that it leaves it so.
func (w *world) isHeld(ctx context.Context) string {
	status, err := w.vault.SealStatus(ctx)
	if err != nil || !status.Sealed {
		return fmt.Sprintf("sealed: %v, %v", status.Sealed, err)
	}
	if code, _, err := w.sidecar().Get(ctx, "/readyz"); err != nil || code != http.StatusServiceUnavailable {
		return fmt.Sprintf("/readyz is %d, %v", code, err)
	}
	return w.reports(ctx, "held", "sealed")
}

// reports returns "" when the status and the metrics say this.
func (w *world) reports(ctx context.Context, phase, state string) string {
	status, err := w.sidecar().Status(ctx)
	switch {
	case err != nil:
		return err.Error()
	case status.Phase != phase:
		return fmt.Sprintf("the phase is %s: %s", status.Phase, status.Reason)
	case status.KeyError != "":
		return "key_error: " + status.KeyError
	}
	return w.metricsAre(ctx, map[string]float64{
		`vault_state{state="` + state + `"}`: 1, `phase{phase="` + phase + `"}`: 1,
		"key_usable": 1, "key_shares": float64(len(w.mounted())),
	})
}

func (w *world) phase(ctx context.Context) string {
	status, err := w.sidecar().Status(ctx)
	return fmt.Sprintf("%s %s %v", status.Phase, status.Reason, err)
}

// staysHeld watches for longer than the sidecar waits between two probes.
func (w *world) staysHeld(ctx context.Context) error {
	err := w.await(ctx, 3*time.Second, "", func() string {
		if status, err := w.vault.SealStatus(ctx); err == nil && !status.Sealed {
			return ""
		}
		return "sealed"
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return errors.New("a seal that was held is held no more")
}

// openByHand does what an operator does, who begins anew when strangers were there.
func (w *world) openByHand(ctx context.Context) error {
	if _, err := w.vault.Call(ctx, "PUT", "sys/unseal", map[string]any{"reset": true}, nil); err != nil {
		return err
	}
	return w.vault.UnsealAll(ctx)
}

// judgeRekey returns an error when a ceremony that should go on does not, and ends it.
func (w *world) judgeRekey(ctx context.Context, s *storm) error {
	var now struct {
		Started  bool
		Nonce    string
		Progress int
	}
	if _, err := w.vault.Call(ctx, "GET", "sys/rekey/init", nil, &now); err != nil {
		return err
	}
	if s.rekeyGoesOn() && (now.Nonce != w.rekeyNonce || now.Progress != 0) {
		return fmt.Errorf("somebody's rekey %s was disturbed, now it is %+v", w.rekeyNonce, now)
	}
	if !now.Started {
		return nil
	}
	_, err := w.vault.Call(ctx, "DELETE", "sys/rekey/init", map[string]any{"nonce": now.Nonce}, nil)
	return err
}
