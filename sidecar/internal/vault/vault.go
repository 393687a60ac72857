// Package vault speaks to Vault's HTTP API: seal status, health, unseal, and
// one lookup that makes it read its storage. It is the only user of
// hashicorp/vault/api. It knows nothing of phases, and it keeps no share.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Config says where Vault is and how it proves itself.
type Config struct {
	Addr       string // http or https URL; http only to loopback
	CACert     string // file of PEM certificates to trust; empty: the system's
	ServerName string // name expected in the certificate; empty: Addr's host
	// Broken is called when an open connection breaks, from any goroutine. It
	// must not block. May be nil.
	Broken func()
}

// Client is one Vault's address. Its calls may run side by side.
type Client struct {
	api    *api.Client
	reader *api.Client // holds a made-up token, for ReadStorage alone
}

// New returns a client that has not connected yet. It fails on an address
// that no key may be sent to and on a CA file that cannot be used.
func New(c Config) (*Client, error) {
	dialer := &dialer{config: c}
	if c.CACert != "" {
		if _, err := dialer.roots(); err != nil {
			return nil, err
		}
	}
	config := &api.Config{
		Address:          c.Addr,
		HttpClient:       &http.Client{Transport: dialer.transport()},
		MaxRetries:       0,    // the loop decides what is tried again
		DisableRedirects: true, // a key goes where it was told to go, or nowhere
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("making the vault client: %w", err)
	}
	client.SetMaxRetries(0)
	client.SetClientTimeout(0) // a call that hangs is the notice of a thaw
	client.ClearToken()
	client.ClearNamespace()
	reader, err := client.Clone()
	if err != nil {
		return nil, fmt.Errorf("making the vault client: %w", err)
	}
	return &Client{api: client, reader: reader}, nil
}

// CheckAddr refuses an address that no key may be sent to.
func CheckAddr(addr string) error {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return errors.New("not an address")
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("the key would cross a network in plain text")
	default:
		return errors.New("not an http or https address")
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// SealStatus asks GET sys/seal-status. It needs no token. It hangs while an
// unseal hangs (both want Vault's state lock).
func (c *Client) SealStatus(ctx context.Context) (unseal.SealStatus, error) {
	s, err := c.api.Sys().SealStatusWithContext(ctx)
	if err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	return status(s), nil
}

// Health asks GET sys/health and reads its status code
// (vault/http/sys_health.go).
func (c *Client) Health(ctx context.Context) (unseal.Health, error) {
	resp, err := c.api.Logical().ReadRawWithContext(ctx, "sys/health")
	var answered *api.ResponseError
	code := 0
	switch {
	case errors.As(err, &answered):
		code = answered.StatusCode
	case err != nil:
		return unseal.HealthOther, classify(ctx, err)
	case resp == nil: // how the api client tells a 404
		return unseal.HealthOther, errors.New("answered 404: this is not vault")
	default:
		code = resp.StatusCode
		drain(resp.Body)
	}
	switch code {
	case http.StatusOK:
		return unseal.HealthActive, nil
	case http.StatusTooManyRequests, 472, 473, 474: // standby, DR secondary, performance standby, standby without its active node
		return unseal.HealthStandby, nil
	case http.StatusServiceUnavailable, http.StatusNotImplemented, 530: // sealed, not initialised, removed
		return unseal.HealthSealed, nil
	default:
		return unseal.HealthOther, classify(ctx, err)
	}
}

// Unseal sends one share by PUT sys/unseal and returns the seal status after
// it. An unseal that reaches Vault is finished by Vault, whether or not
// anybody still waits for it.
func (c *Client) Unseal(ctx context.Context, s unseal.Share) (unseal.SealStatus, error) {
	const head, tail = `{"key":"`, `"}`
	body := make([]byte, 0, len(head)+2*s.Len()+len(tail))
	body = append(s.AppendHex(append(body, head...)), tail...)
	defer clear(body)
	resp, err := c.api.Logical().WriteRawWithContext(ctx, "sys/unseal", body)
	if err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	defer drain(resp.Body)
	var answer api.SealStatusResponse
	if err := resp.DecodeJSON(&answer); err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	return status(&answer), nil
}

// ReadStorage looks a made-up token up, which Vault can only refuse after it
// has looked for it in its storage. The token is new each time, so that no
// cache answers.
func (c *Client) ReadStorage(ctx context.Context) error {
	reader, err := c.reader.Clone()
	if err != nil {
		return fmt.Errorf("making the vault client: %w", err)
	}
	token := make([]byte, 12)
	_, _ = rand.Read(token) // never fails, crypto/rand
	reader.SetToken("s." + hex.EncodeToString(token))
	resp, err := reader.Logical().ReadRawWithContext(ctx, "auth/token/lookup-self")
	var answered *api.ResponseError
	switch {
	case errors.As(err, &answered) && answered.StatusCode == http.StatusForbidden:
		return nil
	case err != nil:
		return classify(ctx, err)
	case resp != nil:
		drain(resp.Body)
	}
	return errors.New("a made-up token was not refused: this is not vault")
}

func status(s *api.SealStatusResponse) unseal.SealStatus {
	return unseal.SealStatus{
		Initialized: s.Initialized,
		Sealed:      s.Sealed,
		Type:        s.Type,
		Threshold:   s.T,
		Shares:      s.N,
		Progress:    s.Progress,
		Nonce:       s.Nonce,
		Migration:   s.Migration,
		Removed:     s.RemovedFromCluster != nil && *s.RemovedFromCluster,
	}
}

// drain reads what is left, so that the connection can serve again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10))
	_ = body.Close()
}
