package outage

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Secret is one secret of an app: an ExternalSecret, and the Secret that it becomes.
type Secret struct {
	App  string // its namespace
	Name string
	Path string // in Vault
}

// CreateSecrets makes the apps' namespaces and ExternalSecrets.
func (c *Cluster) CreateSecrets(ctx context.Context, refresh time.Duration, secrets []Secret) error {
	c.Count = len(secrets)
	apps := map[string]bool{}
	for _, s := range secrets {
		if apps[s.App] {
			continue
		}
		apps[s.App] = true
		if err := c.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+s.App+"}\n"); err != nil {
			return err
		}
	}
	return ForEach(ctx, secrets, func(ctx context.Context, s Secret) error {
		return c.Apply(ctx, testenv.ExternalSecret(s.App, s.Name, StoreName, s.Path, refresh.String()))
	})
}

// ForEach runs f for each secret, several at a time, until one fails.
func ForEach(ctx context.Context, secrets []Secret, f func(ctx context.Context, s Secret) error) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(8)
	for _, s := range secrets {
		work.Go(func() error { return f(ctx, s) })
	}
	return work.Wait()
}
