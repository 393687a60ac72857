// Package hcpvlib, in the place of the login to HashiCorp's cloud, has none.
package hcpvlib

import (
	"time"

	"github.com/hashicorp/cli"
)

type HCPToken struct {
	AccessToken, ProxyAddr string
	AccessTokenExpiry      time.Time
}

type HCPTokenHelper interface {
	GetHCPToken(path string) (*HCPToken, error)
}

type InternalHCPTokenHelper struct{}

func (*InternalHCPTokenHelper) GetHCPToken(string) (*HCPToken, error) { return nil, nil }

func InitHCPCommand(cli.Ui) map[string]cli.CommandFactory { return nil }
