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

// countPeriod is how long requests are counted.
const countPeriod = 3 * time.Minute

// requests prints what the sidecar asks of the API server while all is well.
func requests(ctx context.Context, _ rounds) (err error) {
	st, err := newSetup(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.runESO(ctx, fewSecrets, refreshFew); err != nil {
		return err
	}
	proxy, err := st.startSidecarBehindProxy(ctx)
	if err != nil {
		return err
	}
	if err := st.awaitReadyCondition(ctx); err != nil {
		return err
	}
	before := len(proxy.Requests())
	if err := sleep(ctx, countPeriod); err != nil {
		return err
	}
	made := proxy.Requests()[before:]
	fmt.Printf("What the sidecar asks of the API server, besides watches, with %d ExternalSecrets.\n\n", fewSecrets)
	printFigure("requests at the start", "%8d", before)
	printFigure("requests, all well", "%8.1f a minute, over %v%s", float64(len(made))/countPeriod.Minutes(), countPeriod, listRequests(made))
	return nil
}

// listRequests names each kind of request once; "" when there is none.
func listRequests(requests []string) string {
	if len(requests) == 0 {
		return ""
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(requests)))
	return ": " + strings.Join(kinds, ", ")
}

// startSidecarBehindProxy starts the sidecar of Vault's pod, with that pod's
// rights, so that its requests can be counted.
func (st *setup) startSidecarBehindProxy(ctx context.Context) (*testenv.APIProxy, error) {
	proxy, err := st.env.StartAPIProxy(st.cluster)
	if err != nil {
		return nil, err
	}
	token, err := st.cluster.Token(ctx, "security", "vault", "vault-0")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(st.env.Dir, "proxy.kubeconfig")
	if err := proxy.WriteKubeconfig(kubeconfig, token); err != nil {
		return nil, err
	}
	return proxy, st.startSidecarWith(ctx, testenv.SidecarArgs(kubeconfig, "vault-0"))
}
