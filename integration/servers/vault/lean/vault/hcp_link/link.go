// Package hcp_link, in the place of Vault's connection to HashiCorp's cloud,
// connects to none.
package hcp_link

import (
	"github.com/hashicorp/go-hclog"

	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

type HCPLinkVault struct{}

func NewHCPLink(*configutil.HCPLinkConfig, *vault.Core, hclog.Logger) (*HCPLinkVault, error) {
	return nil, nil
}

func (*HCPLinkVault) Shutdown() error { return nil }
