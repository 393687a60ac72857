package soak

import (
	"context"
	"fmt"
	"time"
)

// Without a fault of Kubernetes' own the gate is as soon as the rest. After one, and for
// External Secrets, it takes as long as those who try wait between two tries, each time
// longer: at most as long as the fault lasted, and a quarter more. ESO does not know
// that its store is back before it is told or asks again. And it syncs nothing before its
// watches are back: client-go (tools/cache/reflector.go) waits up to twice 30 s between two
// tries, and forgets earlier failures after two minutes.
const (
	gateLimitAfterFault = 10 * time.Second
	syncLimit           = 20 * time.Second
	watchLimit          = 60 * time.Second
	watchesForget       = 2*time.Minute + watchLimit
)

// judgeKubernetes returns what Kubernetes does not show of an open Vault in time.
func (w *world) judgeKubernetes(ctx context.Context, s *storm, since time.Time) error {
	if w.kube == nil {
		return nil
	}
	if err := w.judgeGate(ctx, s, since, "True", "Unsealed"); err != nil {
		return err
	}
	limit := syncLimit
	if time.Since(w.kube.stopped) < watchesForget {
		limit += watchLimit
	}
	err := w.within(ctx, since, limit, "external secrets to be synced and so reported", func() string {
		return w.isSynced(ctx)
	})
	if err != nil {
		return err
	}
	// They may say so since before the storm.
	value, written := fmt.Sprint(s.began.UnixNano()), time.Now()
	if err := w.vault.WriteSecret(ctx, "app", value); err != nil {
		return err
	}
	return w.within(ctx, written, limit, "the apps to have what is new in vault", func() string {
		return w.kube.lacking(ctx, value)
	})
}

// judgeGate waits for the condition that makes the pod Ready.
func (w *world) judgeGate(ctx context.Context, s *storm, since time.Time, status, reason string) error {
	if w.kube == nil {
		return nil
	}
	limit := Limit
	if s.has(onAPI) || s.has(onRights) {
		limit = gateLimitAfterFault
	}
	return w.within(ctx, since, limit, "the gate to be "+status, func() string {
		return w.conditionIs(ctx, gateType, status, reason)
	})
}

func (w *world) conditionIs(ctx context.Context, kind, status, reason string) string {
	c, err := w.kube.condition(ctx, kind)
	if err != nil {
		return err.Error()
	}
	if c["status"] == status && c["reason"] == reason {
		return ""
	}
	return fmt.Sprintf("%s is %s, %s: %s", kind, c["status"], c["reason"], c["message"])
}

// isSynced returns "" when every ExternalSecret is Ready and both conditions say so.
func (w *world) isSynced(ctx context.Context) string {
	if not := w.kube.unsynced(ctx); not != "" {
		return not
	}
	if c, err := w.kube.condition(ctx, secretsType); err != nil || c["status"] != "True" {
		return fmt.Sprintf("%s is %s, %s: %s, %v", secretsType, c["status"], c["reason"], c["message"], err)
	}
	if not := w.metricsAre(ctx, map[string]float64{
		`eso_stores{ready="true"}`: 1, `eso_stores{ready="false"}`: 0, "eso_unsynced_objects": 0,
	}); not != "" {
		return not
	}
	return w.conditionIs(ctx, gateType, "True", "Unsealed")
}
