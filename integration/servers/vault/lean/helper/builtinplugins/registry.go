// Package builtinplugins, in the place of Vault's own, knows the plugins that
// the tests use. The others are not compiled: they are a good part of Vault's
// build, and transit wants an sdk that was never published.
package builtinplugins

import (
	"maps"
	"slices"

	"github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// Registry is what Vault looks plugins up in.
var Registry = &registry{
	credentialBackends: map[string]logical.Factory{"userpass": userpass.Factory},
	logicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
}

type registry struct {
	credentialBackends, databasePlugins, logicalBackends map[string]logical.Factory
}

func (r *registry) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeCredential:
		return r.credentialBackends
	case consts.PluginTypeSecrets:
		return r.logicalBackends
	default:
		return r.databasePlugins
	}
}

// Get returns what makes the plugin's factory.
func (r *registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := r.of(kind)[name]
	if !ok {
		return nil, false
	}
	return func() (any, error) { return factory, nil }, true
}

// Contains reports whether there is such a plugin.
func (r *registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.of(kind)[name]
	return ok
}

// Keys returns the names of the plugins of that kind.
func (r *registry) Keys(kind consts.PluginType) []string {
	return slices.Collect(maps.Keys(r.of(kind)))
}

// DeprecationStatus says of every plugin that it is supported.
func (r *registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	if !r.Contains(name, kind) {
		return consts.Unknown, false
	}
	return consts.Supported, true
}
