package soak

import (
	"context"
	"errors"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// startKeepers starts Vault and the sidecar, and keeps them.
func (w *world) startKeepers(ctx context.Context) error {
	address := w.vault.Addr
	if w.front != nil {
		address = w.front.URL
	}
	w.vaultKeeper = &keeper{name: "vault", start: func() (*testenv.Process, error) {
		err := w.vault.Start()
		return w.vault.Process, err
	}, back: w.vaultListens}
	w.sidecarKeeper = &keeper{name: "sidecar", start: func() (*testenv.Process, error) {
		var wrap []string
		if w.clock != nil {
			wrap = w.clock.Wrap()
		}
		s, err := w.env.StartSidecar(testenv.SidecarConfig{
			Vault: address, Keys: w.secret.Dir, State: w.stateDir, Wrap: wrap,
			Args: append([]string{"--log-level", "trace"}, w.args...),
		})
		if err != nil {
			return nil, err
		}
		w.setHTTP(s)
		return s.Process, nil
	}, back: w.sidecarAnswers}
	keeping, ended := context.WithCancel(context.WithoutCancel(ctx)) // for longer than the start
	w.ended = ended
	w.keepers.Go(func() { w.vaultKeeper.run(keeping, w.vaultEnded) })
	w.keepers.Go(func() { w.sidecarKeeper.run(keeping, w.sidecarEnded) })
	return errors.Join(w.vaultKeeper.awaitBack(ctx), w.sidecarKeeper.awaitBack(ctx))
}

// vaultEnded need not be wanted: on storage that fails a Vault that starts ends by itself.
func (w *world) vaultEnded(*testenv.Process, bool) {
	w.front.down()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.storm != nil {
		w.storm.record(vaultEnded)
	}
}

func (w *world) sidecarEnded(p *testenv.Process, wanted bool) {
	if wanted {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unexpected = append(w.unexpected, "the sidecar ended by itself: "+p.Tail(5))
}

func (w *world) vaultListens(ctx context.Context) string {
	if _, err := w.vault.SealStatus(ctx); err != nil {
		return err.Error()
	}
	if err := w.front.up(); err != nil {
		return err.Error()
	}
	return ""
}

func (w *world) sidecarAnswers(ctx context.Context) string {
	if _, _, err := w.sidecar().Get(ctx, "/healthz"); err != nil {
		return err.Error()
	}
	return ""
}

func (w *world) sidecar() *testenv.Sidecar {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.http
}

func (w *world) setHTTP(s *testenv.Sidecar) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.http = s
}
