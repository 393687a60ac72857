package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
)

// refresh is how often External Secrets reads from Vault when all is well: so
// often that an outage makes it fail.
const refresh = 5 * time.Second

// listOfApps names those that have secrets.
const listOfApps = "photos, music and mail"

var secrets = []outage.Secret{
	sampleSecret,
	{App: "photos", Name: "oauth", Path: "photos/oauth"},
	{App: "music", Name: "database", Path: "music/database"},
	{App: "music", Name: "api-key", Path: "music/api-key"},
	{App: "mail", Name: "smtp", Path: "mail/smtp"},
	{App: "mail", Name: "imap", Path: "mail/imap"},
	{App: "mail", Name: "dkim", Path: "mail/dkim"},
}

// sampleSecret is the one whose values are shown.
var sampleSecret = outage.Secret{App: "photos", Name: "database", Path: "photos/database"}

// newCluster starts Kubernetes and External Secrets beside Vault, and waits until every app
// has its secrets.
func newCluster(ctx context.Context, v *outage.Vault) (*outage.Cluster, error) {
	if err := v.KillSidecar(); err != nil { // the next knows Kubernetes
		return nil, err
	}
	c, err := outage.StartCluster(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := v.StartSidecarAndWait(ctx); err != nil {
		return nil, err
	}
	if err := v.MountKV(ctx); err != nil {
		return nil, fmt.Errorf("mounting the KV engine: %w", err)
	}
	values, err := writeValues(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := c.StartESO(ctx, refresh, secrets); err != nil {
		return nil, err
	}
	_, err = countSynced(ctx, c, values)
	return c, err
}

// writeValues gives every secret in Vault a new value, and returns them.
func writeValues(ctx context.Context, v *outage.Vault) (map[outage.Secret]string, error) {
	values := map[outage.Secret]string{}
	for _, s := range secrets {
		random := make([]byte, 6)
		_, _ = rand.Read(random)
		values[s] = hex.EncodeToString(random)
		if err := v.WriteSecret(ctx, s.Path, values[s]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// countSynced counts the apps' Secrets that hold these values. The error names
// one that does not.
func countSynced(ctx context.Context, c *outage.Cluster, values map[outage.Secret]string) (count int, missing error) {
	for s, want := range values {
		got, err := c.SecretValue(ctx, s.App, s.Name)
		switch {
		case err != nil:
			missing = fmt.Errorf("the Secret %s: %w", s.Path, err)
		case got != want:
			missing = fmt.Errorf("the Secret %s holds %s, and Vault was given %s", s.Path, got, want)
		default:
			count++
		}
	}
	return count, missing
}
