package testenv

import (
	"context"
	"strings"
	"sync"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// Closed is a Vault whose endpoints are closed as those of newer servers are.
type Closed struct {
	Addr string

	mu   sync.Mutex
	seen []proxy.Seen
}

// Closed starts it in front of v, which need not run yet.
func (l *Lab) Closed(v *Vault, r proxy.Rule) (*Closed, error) {
	port, err := Port()
	if err != nil {
		return nil, err
	}
	c := &Closed{Addr: "http://127.0.0.1:" + port}
	p := proxy.Proxy{Rule: r, Vault: v.Addr, Seen: func(s proxy.Seen) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, s)
	}}
	if _, err := p.Handler(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, "127.0.0.1:"+port) }()
	l.atEnd(func() error { cancel(); return <-ended })
	return c, nil
}

// Seen returns the requests so far whose path begins so.
func (c *Closed) Seen(path string) []proxy.Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []proxy.Seen
	for _, s := range c.seen {
		if strings.HasPrefix(s.Path, path) {
			out = append(out, s)
		}
	}
	return out
}
