package testenv

import (
	"context"
	"strings"
	"sync"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// ClosedProxy is a proxy that closes endpoints of a Vault as newer servers do.
type ClosedProxy struct {
	Addr string

	mu       sync.Mutex
	requests []proxy.Request
}

// StartClosedProxy starts one in front of v, which need not run yet.
func (env *Env) StartClosedProxy(v *Vault, r proxy.Rule) (*ClosedProxy, error) {
	port, err := Port()
	if err != nil {
		return nil, err
	}
	c := &ClosedProxy{Addr: "http://127.0.0.1:" + port}
	p := proxy.Proxy{Rule: r, Vault: v.Addr, OnRequest: func(s proxy.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests = append(c.requests, s)
	}}
	if _, err := p.Handler(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, "127.0.0.1:"+port) }()
	env.addCleanup(func() error { cancel(); return <-ended })
	return c, nil
}

// Requests returns the requests so far whose path has the prefix.
func (c *ClosedProxy) Requests(pathPrefix string) []proxy.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []proxy.Request
	for _, s := range c.requests {
		if strings.HasPrefix(s.Path, pathPrefix) {
			out = append(out, s)
		}
	}
	return out
}
