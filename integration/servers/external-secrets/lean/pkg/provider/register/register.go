// Package register, in the place of the operator's own, registers the providers
// of the stores that the tests use.
package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/provider/fake"
	_ "github.com/external-secrets/external-secrets/pkg/provider/vault"
)
