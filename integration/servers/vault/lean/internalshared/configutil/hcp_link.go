package configutil

import (
	"errors"

	"github.com/hashicorp/hcl/hcl/ast"
)

// HCPLinkConfig is never made: its block in the configuration is an error.
type HCPLinkConfig struct {
	UnusedKeys UnusedKeyMap
	Resource   *struct{ Organization, Project, ID string }
}

func parseCloud(*SharedConfig, *ast.ObjectList) error {
	return errors.New("cloud is left out of this Vault")
}
