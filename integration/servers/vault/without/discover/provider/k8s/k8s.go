// Package k8s is left out as all of auto_join is.
package k8s

import (
	"log"

	"github.com/hashicorp/go-discover"
)

type Provider struct{}

func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, discover.ErrLeftOut
}

func (*Provider) Help() string { return "" }
