// Package discover, in the place of the library that asks clouds for the
// addresses of a raft cluster, asks none: the tests name each member.
package discover

import (
	"errors"
	"log"
)

// ErrLeftOut is what every use of auto_join ends in.
var ErrLeftOut = errors.New("auto_join is left out of this Vault")

type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers are none.
var Providers map[string]Provider

type Discover struct{}

type Option func(*Discover) error

func New(...Option) (*Discover, error) { return &Discover{}, nil }

func WithProviders(map[string]Provider) Option { return nil }

func (*Discover) Addrs(string, *log.Logger) ([]string, error) { return nil, ErrLeftOut }

type Config map[string]string

func (Config) String() string { return "" }

func Parse(string) (Config, error) { return nil, ErrLeftOut }
