package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// refresh is how often External Secrets reads from Vault when all is well: so
// often that an outage makes it fail.
const refresh = "5s"

// apps are namespaces, and the names of their secrets.
var apps = []struct {
	name    string
	secrets []string
}{
	{"photos", []string{"database", "oauth"}},
	{"music", []string{"database", "api-key"}},
	{"mail", []string{"smtp", "imap", "dkim"}},
}

// secret is one secret of an app: in Vault, as an ExternalSecret, and as the
// Secret that the app mounts.
type secret struct{ app, name string }

// sampleSecret is the one whose values are shown.
var sampleSecret = secret{"photos", "database"}

// path is where Vault has it.
func (s secret) path() string { return s.app + "/" + s.name }

func secrets() []secret {
	var all []secret
	for _, app := range apps {
		for _, name := range app.secrets {
			all = append(all, secret{app.name, name})
		}
	}
	return all
}

func manifestsOfApps() string {
	var b strings.Builder
	for _, app := range apps {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", app.name)
	}
	for _, s := range secrets() {
		b.WriteString(testenv.ExternalSecret(s.app, s.name, store, s.path(), refresh))
	}
	return b.String()
}

// listOfApps names them, as in a sentence.
func listOfApps() string {
	var names []string
	for _, app := range apps {
		names = append(names, app.name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// writeValues gives every secret in Vault a new value, and returns them.
func (st *setup) writeValues(ctx context.Context) (map[secret]string, error) {
	values := map[secret]string{}
	for _, s := range secrets() {
		random := make([]byte, 6)
		_, _ = rand.Read(random)
		values[s] = hex.EncodeToString(random)
		if err := st.vault.WriteSecret(ctx, s.path(), values[s]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// appValue returns what an app finds in its Secret.
func (st *setup) appValue(ctx context.Context, s secret) (string, error) {
	o, err := st.cluster.Get(ctx, "v1", "Secret", s.app, s.name)
	if err != nil {
		return "", err
	}
	encoded, _, err := unstructured.NestedString(o.Object, "data", "value")
	if err != nil {
		return "", fmt.Errorf("the Secret %s: %w", s.path(), err)
	}
	plain, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("the Secret %s: %w", s.path(), err)
	}
	return string(plain), nil
}

// countSynced counts the apps' Secrets that hold these values. The error names
// one that does not.
func (st *setup) countSynced(ctx context.Context, values map[secret]string) (int, error) {
	count := 0
	var missing error
	for s, want := range values {
		got, err := st.appValue(ctx, s)
		switch {
		case err != nil:
			missing = err
		case got != want:
			missing = fmt.Errorf("the Secret %s holds %s, and Vault was given %s", s.path(), got, want)
		default:
			count++
		}
	}
	return count, missing
}

// awaitValues waits until every app has these values.
func (st *setup) awaitValues(ctx context.Context, values map[secret]string) error {
	return testenv.Await(ctx, 60*time.Second, "every app to have its secrets", func() string {
		if _, err := st.countSynced(ctx, values); err != nil {
			return err.Error()
		}
		return ""
	})
}
