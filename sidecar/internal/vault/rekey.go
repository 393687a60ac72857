//go:build linux

package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Rekey asks GET sys/rekey/init for the rekey that is under way. A server that
// has closed it has sys/rotate/root/init instead, for those who are logged in
// (OpenBao from 2.5): from then on this client asks there.
func (c *Client) Rekey(ctx context.Context) (unseal.Rekey, error) {
	resp, err := c.api.Logical().ReadRawWithContext(ctx, c.rekeyPath("init"))
	var answered *api.ResponseError
	if errors.As(err, &answered) && answered.StatusCode == http.StatusMethodNotAllowed && c.loggedIn && !c.rotates {
		c.rotates = true
		resp, err = c.api.Logical().ReadRawWithContext(ctx, c.rekeyPath("init"))
	}
	return c.rekey(ctx, resp, err)
}

func (c *Client) rekeyPath(call string) string {
	if c.rotates {
		return "sys/rotate/root/" + call
	}
	return "sys/rekey/" + call
}

// BeginRekey begins a rekey by PUT sys/rekey/init, which nobody can finish.
func (c *Client) BeginRekey(ctx context.Context) (unseal.Rekey, error) {
	body, err := json.Marshal(api.RekeyInitRequest{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{discardPGPKey}, RequireVerification: true})
	if err != nil {
		return unseal.Rekey{}, err
	}
	resp, err := c.api.Logical().WriteRawWithContext(ctx, c.rekeyPath("init"), body)
	var answered *api.ResponseError
	if errors.As(err, &answered) && answered.StatusCode == http.StatusBadRequest && slices.ContainsFunc(answered.Errors, underWay) {
		return unseal.Rekey{}, fmt.Errorf("%w: %w", unseal.ErrNotBegun, statusError(answered))
	}
	return c.rekey(ctx, resp, err)
}

// underWay reports whether an error says "rekey already in progress"; OpenBao
// calls it a rotation.
func underWay(text string) bool { return strings.HasSuffix(text, "already in progress") }

// CancelRekey cancels the rekey of that nonce, by DELETE sys/rekey/init. What
// was waiting for its verification is gone with it.
func (c *Client) CancelRekey(ctx context.Context, nonce string) error {
	code := 0
	look := func(r *api.Response) { // a redirect is no error to the api client
		if code = r.StatusCode; code < http.StatusBadRequest {
			drain(r.Body)
		}
	}
	there := func(r *api.Request) { r.URL.Path = "/v1/" + c.rekeyPath("init") }
	err := c.copied.WithRequestCallbacks(there).WithResponseCallbacks(look).Sys().RekeyCancelWithContextWithNonce(ctx, nonce)
	if err == nil && code != http.StatusOK && code != http.StatusNoContent {
		return fmt.Errorf("answered %d", code)
	}
	return c.denied(ctx, err)
}

// AuthorizeRekey sends a share by PUT sys/rekey/update.
func (c *Client) AuthorizeRekey(ctx context.Context, s unseal.Share, nonce string) (unseal.Progress, error) {
	quoted, err := json.Marshal(nonce)
	if err != nil {
		return unseal.Progress{}, err
	}
	const head, tail = `{"key":"`, `","nonce":`
	body := make([]byte, 0, len(head)+2*s.Len()+len(tail)+len(quoted)+1)
	body = append(s.AppendHex(append(body, head...)), tail...)
	body = append(append(body, quoted...), '}')
	defer clear(body)
	resp, err := c.api.Logical().WriteRawWithContext(guarded(ctx), c.rekeyPath("update"), body)
	var answered *api.ResponseError
	if errors.As(err, &answered) && verdict(answered) {
		return unseal.Progress{}, fmt.Errorf("%w", unseal.ErrInvalidKey) // a 500 here (vault/rekey.go, BarrierRekeyUpdate)
	}
	var answer struct {
		Nonce    string `json:"nonce"`
		Progress int    `json:"progress"`
		Complete bool   `json:"complete"`
	}
	if err := c.decode(ctx, resp, err, &answer); err != nil {
		return unseal.Progress{}, err
	}
	if answer.Nonce != nonce || answer.Progress == 0 && !answer.Complete {
		return unseal.Progress{}, errors.New("answered of another rekey, or this is not vault")
	}
	return unseal.Progress{Shares: answer.Progress, Enough: answer.Complete}, nil
}

func (c *Client) rekey(ctx context.Context, resp *api.Response, err error) (unseal.Rekey, error) {
	var s struct {
		Started      *bool    `json:"started"`
		Nonce        string   `json:"nonce"`
		Shares       int      `json:"n"`
		Threshold    int      `json:"t"`
		Fingerprints []string `json:"pgp_fingerprints"`
		Backup       bool     `json:"backup"`
		Verified     bool     `json:"verification_required"`
	}
	if err := c.decode(ctx, resp, err, &s); err != nil {
		return unseal.Rekey{}, err
	}
	if s.Started == nil {
		return unseal.Rekey{}, errors.New("answered 200 without a rekey's status, this is not vault")
	}
	// The fingerprint alone would not do: the key is public, and a rekey with it
	// that wants no verification changes Vault's key at once, for nobody.
	ours := s.Verified && s.Shares == 1 && s.Threshold == 1 && !s.Backup && s.Nonce != "" &&
		slices.Equal(s.Fingerprints, []string{discardPGPFingerprint})
	r := unseal.Rekey{Started: *s.Started, Nonce: s.Nonce, Ours: ours}
	if r.Started {
		r.Cancel = c.cancelBy(r.Nonce)
	}
	return r, nil
}

// cancelBy is the command that cancels a rekey by hand. Within ten minutes of
// its start Vault wants the nonce (1.20 and later, CancelRekey).
func (c *Client) cancelBy(nonce string) string {
	if nonce == "" || len(nonce) > 64 || strings.Trim(nonce, letters+"0123456789-") != "" { // it is to be typed into a shell
		nonce = "NONCE"
	}
	if c.rotates {
		return "bao operator rotate-keys -cancel -nonce=" + nonce
	}
	return "vault operator rekey -cancel -nonce=" + nonce
}

// decode reads an answer into what into points to.
func (c *Client) decode(ctx context.Context, resp *api.Response, err error, into any) error {
	if err != nil {
		return c.denied(ctx, err)
	}
	defer drain(resp.Body)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return classify(ctx, err)
	}
	if c.rotates {
		var wrapped struct {
			Data json.RawMessage `json:"data"`
		}
		if err = json.Unmarshal(raw, &wrapped); err == nil {
			raw = wrapped.Data
		}
	}
	if err := json.Unmarshal(raw, into); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d without what was asked for, this is not vault", resp.StatusCode)
	}
	return nil
}

// denied marks the answers of a Vault that has the endpoint no more, or wants a
// token for it, and says what gives it.
func (c *Client) denied(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var answered *api.ResponseError
	if !errors.As(err, &answered) {
		return classify(ctx, err)
	}
	way := ""
	switch code := answered.StatusCode; {
	case code == http.StatusForbidden && c.loggedIn:
		way = "; the policy of --prove-role does not allow " + c.rekeyPath("*") + ": give it the policy in scripts/prove-key.hcl"
	case code == http.StatusForbidden:
		way = `; vault wants a token for it: set --prove-role, or enable_unauthenticated_access = ["rekey"] in vault's configuration`
	case code == http.StatusMethodNotAllowed && !c.loggedIn:
		way = "; this server has closed it: set --prove-role, or disable_unauthed_rekey_endpoints = false in its listener"
	case code == http.StatusUnauthorized, code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
	default:
		return classify(ctx, err)
	}
	return fmt.Errorf("%w: %w%s", unseal.ErrRefused, statusError(answered), way)
}
