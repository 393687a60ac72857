package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
)

// countPeriod is how long requests are counted.
const countPeriod = 3 * time.Minute

// requests prints what the sidecar asks of the API server while all is well.
func requests(ctx context.Context, _ rounds) error {
	return withCluster(ctx, func(c *outage.Cluster) error { return countRequests(ctx, c) })
}

func countRequests(ctx context.Context, c *outage.Cluster) error {
	if err := startESO(ctx, c, fewSecrets, refreshFew); err != nil {
		return err
	}
	proxy, err := c.Vault.Env.StartAPIProxy(c.Cluster)
	if err != nil {
		return err
	}
	if c.Vault.SidecarArgs, err = c.SidecarArgs(ctx, proxy.Endpoint); err != nil {
		return err
	}
	if err := c.Vault.StartSidecarAndWait(ctx); err != nil {
		return err
	}
	if err := c.AwaitReported(ctx, reportLimit); err != nil {
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
