package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// counted is how long requests are.
const counted = 3 * time.Minute

// requests prints what the sidecar asks of the API server while all is well.
func requests(ctx context.Context, _ rounds) (err error) {
	h, err := openHome(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.runESO(ctx, fewSecrets, refreshFew); err != nil {
		return err
	}
	proxy, err := h.startSidecarBehindProxy(ctx)
	if err != nil {
		return err
	}
	if err := h.awaitSaysReady(ctx); err != nil {
		return err
	}
	before := len(proxy.Requests())
	if err := pause(ctx, counted); err != nil {
		return err
	}
	made := proxy.Requests()[before:]
	fmt.Printf("What the sidecar asks of the API server, besides watches, with %d ExternalSecrets.\n\n", fewSecrets)
	tell("requests at the start", "%8d", before)
	tell("requests, all well", "%8.1f a minute, over %v%s", float64(len(made))/counted.Minutes(), counted, listed(made))
	return nil
}

// listed names each kind of request once; "" when there is none.
func listed(requests []string) string {
	if len(requests) == 0 {
		return ""
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(requests)))
	return ": " + strings.Join(kinds, ", ")
}

// startSidecarBehindProxy starts the sidecar of Vault's pod, with that pod's
// rights, so that its requests can be counted.
func (h *home) startSidecarBehindProxy(ctx context.Context) (*testenv.Faults, error) {
	proxy, err := h.lab.Faults(h.cluster)
	if err != nil {
		return nil, err
	}
	token, err := h.cluster.Token(ctx, "security", "vault", "vault-0")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(h.lab.Dir, "proxy.kubeconfig")
	if err := proxy.Kubeconfig(kubeconfig, token); err != nil {
		return nil, err
	}
	return proxy, h.startSidecarWith(ctx, testenv.SidecarArgs(kubeconfig, "vault-0"))
}
