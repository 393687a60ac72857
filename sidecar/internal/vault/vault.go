//go:build linux

// Package vault speaks to Vault's HTTP API: seal status, health, unseal, and
// one lookup that makes it read its storage. It is the only user of
// hashicorp/vault/api. It knows nothing of phases, and it keeps no share.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 64 << 10

// Client is one Vault's address. Its calls may run side by side.
type Client struct {
	web    *http.Client
	dialer *dialer
	api    *api.Client
	copied *api.Client // for each call that needs callbacks, and not used itself
	addr   string      // that the api clients were made with

	loggedIn bool // its calls carry a token
	rotates  bool // sys/rotate/root is asked instead of sys/rekey
}

// New returns a client that has not connected yet. It fails on an address
// that no key may be sent to and on a CA file that cannot be used.
func New(c Config) (*Client, error) {
	if err := CheckAddr(c.Addr); err != nil {
		return nil, fmt.Errorf("making the vault client: %w", err)
	}
	dialer := &dialer{config: c, expiries: &expiries{}, near: Loopback(c.Addr), lookAgain: lookAgain, secure: strings.HasPrefix(c.Addr, "https:")}
	dialer.refused = make([]reusable, len(dialer.near))
	if path, found := SocketPath(c.Addr); found {
		dialer.socket, c.Addr = path, "http://localhost" // a host that no request goes to
	}
	if c.CACert != "" {
		if _, err := dialer.roots(); err != nil {
			return nil, err
		}
	}
	// A key goes where it was told to go, or nowhere. Both follow redirects
	// by themselves: net/http, and the api client after it.
	web := &http.Client{Transport: short{dialer.transport()}, CheckRedirect: noRedirect}
	caller, err := newAPI(c.Addr, web)
	if err != nil {
		return nil, err
	}
	copied, err := newAPI(c.Addr, web)
	if err != nil {
		return nil, err
	}
	return &Client{web: web, dialer: dialer, api: caller, copied: copied, addr: c.Addr}, nil
}

func newAPI(addr string, web *http.Client) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:          addr,
		HttpClient:       web,
		DisableRedirects: true,
		MaxRetries:       0, // the loop decides what is tried again
		Timeout:          0, // a call that hangs is the notice of a thaw
	})
	if err != nil {
		return nil, fmt.Errorf("making the vault client: %w", err)
	}
	// Nothing of VAULT_TOKEN, VAULT_NAMESPACE, VAULT_HEADERS, VAULT_WRAP_TTL.
	client.ClearToken()
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	return client, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// SealStatus asks GET sys/seal-status. It needs no token. It hangs while an
// unseal hangs (both want Vault's state lock).
func (c *Client) SealStatus(ctx context.Context) (unseal.SealStatus, error) {
	c.refresh()
	defer c.dialer.keep(nil) // what no request has taken
	if err := c.dialer.reach(ctx); err != nil {
		return unseal.SealStatus{}, classify(ctx, err)
	}
	resp, err := c.api.Logical().ReadRawWithContext(ctx, "sys/seal-status")
	return sealStatus(ctx, resp, err)
}

// Trusted asks for the seal status as if it were a secret. An error that is
// unseal.ErrWithheld says why the key would not be sent to whoever answers; after any
// other it is not known who would get it.
func (c *Client) Trusted(ctx context.Context) error {
	_, err := c.SealStatus(guarded(ctx))
	return err
}

// Health asks GET sys/health and reads its status code
// (vault/http/sys_health.go).
func (c *Client) Health(ctx context.Context) (unseal.Answer, error) {
	c.refresh()
	resp, err := c.api.Logical().ReadRawWithContext(ctx, "sys/health")
	var answered *api.ResponseError
	if err != nil && !errors.As(err, &answered) {
		return unseal.NoAnswer, classify(ctx, err)
	}
	defer drain(resp.Body)
	raw, readErr := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if readErr != nil {
		return unseal.NoAnswer, classify(ctx, readErr)
	}
	// The same statuses come from a proxy. Vault says this with each of them.
	var h struct{ Initialized, Sealed *bool }
	if json.Unmarshal(raw, &h) != nil || h.Initialized == nil || h.Sealed == nil {
		if err != nil {
			return unseal.NoAnswer, classify(ctx, err)
		}
		return unseal.NoAnswer, fmt.Errorf("answered %d without its health, %w", resp.StatusCode, unseal.ErrNotVault)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return unseal.AnswerActive, nil
	case http.StatusTooManyRequests, 472, 473, 474: // standby, DR secondary, performance standby, standby without its active node
		return unseal.AnswerStandby, nil
	case http.StatusServiceUnavailable, http.StatusNotImplemented, 530: // sealed, not initialized, removed
		return unseal.AnswerSealed, nil
	default:
		return unseal.NoAnswer, fmt.Errorf("answered %d", resp.StatusCode)
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
	resp, err := c.api.Logical().WriteRawWithContext(guarded(ctx), "sys/unseal", body)
	return sealStatus(ctx, resp, err)
}

// ReadStorage looks a made-up token up, which Vault can only refuse after it
// has looked for it in its storage. The token is new each time, so that no
// cache answers.
func (c *Client) ReadStorage(ctx context.Context) error {
	token := make([]byte, 12)
	_, _ = rand.Read(token) // never fails, crypto/rand
	show := func(r *api.Request) { r.ClientToken = "s." + hex.EncodeToString(token) }
	resp, err := c.copied.WithRequestCallbacks(show).Logical().ReadRawWithContext(ctx, "auth/token/lookup-self")
	var answered *api.ResponseError
	switch {
	case errors.As(err, &answered) && answered.StatusCode == http.StatusForbidden:
		return nil
	case err != nil:
		return classify(ctx, err)
	}
	drain(resp.Body)
	return fmt.Errorf("answered %d to a made-up token, this is not vault", resp.StatusCode)
}

// short is a transport whose answers end after maxBody, for those too that the
// api client reads by itself: errors.
type short struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxBody), resp.Body}
	}
	return resp, err
}

// drain reads what is left, so that the connection can serve again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, maxBody))
	_ = body.Close()
}
