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

// Rekey asks GET sys/rekey/init for the rekey that is under way.
func (c *Client) Rekey(ctx context.Context) (unseal.Rekey, error) {
	resp, err := c.api.Logical().ReadRawWithContext(ctx, "sys/rekey/init")
	return rekey(ctx, resp, err)
}

// BeginRekey begins a rekey by PUT sys/rekey/init, which nobody can finish.
func (c *Client) BeginRekey(ctx context.Context) (unseal.Rekey, error) {
	body, err := json.Marshal(api.RekeyInitRequest{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{nobody}, RequireVerification: true})
	if err != nil {
		return unseal.Rekey{}, err
	}
	resp, err := c.api.Logical().WriteRawWithContext(ctx, "sys/rekey/init", body)
	var answered *api.ResponseError
	if errors.As(err, &answered) && answered.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(answered.Errors, " "), "already in progress") {
		return unseal.Rekey{}, fmt.Errorf("%w: %w", unseal.ErrNotBegun, refusal(answered))
	}
	return rekey(ctx, resp, err)
}

// CancelRekey cancels the rekey of that nonce, by DELETE sys/rekey/init. What
// was waiting for its verification is gone with it.
func (c *Client) CancelRekey(ctx context.Context, nonce string) error {
	code := 0
	look := func(r *api.Response) { // a redirect is no error to the api client
		if code = r.StatusCode; code < http.StatusBadRequest {
			drain(r.Body)
		}
	}
	err := c.copied.WithResponseCallbacks(look).Sys().RekeyCancelWithContextWithNonce(ctx, nonce)
	if err == nil && code != http.StatusOK && code != http.StatusNoContent {
		return fmt.Errorf("answered %d", code)
	}
	return denied(ctx, err)
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
	resp, err := c.api.Logical().WriteRawWithContext(ctx, "sys/rekey/update", body)
	var answered *api.ResponseError
	if errors.As(err, &answered) && strings.Contains(strings.Join(answered.Errors, " "), "invalid key") {
		return unseal.Progress{}, fmt.Errorf("%w", unseal.ErrInvalidKey) // a 500 here (vault/rekey.go, BarrierRekeyUpdate)
	}
	var answer struct {
		Nonce    string `json:"nonce"`
		Progress int    `json:"progress"`
		Complete bool   `json:"complete"`
	}
	if err := decode(ctx, resp, err, &answer); err != nil {
		return unseal.Progress{}, err
	}
	if answer.Nonce != nonce || answer.Progress == 0 && !answer.Complete {
		return unseal.Progress{}, errors.New("answered of another rekey, or this is not vault")
	}
	return unseal.Progress{Shares: answer.Progress, Enough: answer.Complete}, nil
}

func rekey(ctx context.Context, resp *api.Response, err error) (unseal.Rekey, error) {
	var s struct {
		Started      *bool    `json:"started"`
		Nonce        string   `json:"nonce"`
		Fingerprints []string `json:"pgp_fingerprints"`
	}
	if err := decode(ctx, resp, err, &s); err != nil {
		return unseal.Rekey{}, err
	}
	if s.Started == nil {
		return unseal.Rekey{}, errors.New("answered 200 without a rekey's status, this is not vault")
	}
	return unseal.Rekey{Started: *s.Started, Nonce: s.Nonce, Ours: slices.Equal(s.Fingerprints, []string{nobodysFingerprint})}, nil
}

// decode reads an answer into what into points to.
func decode(ctx context.Context, resp *api.Response, err error, into any) error {
	if err != nil {
		return denied(ctx, err)
	}
	defer drain(resp.Body)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return classify(ctx, err)
	}
	if err := json.Unmarshal(raw, into); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d without what was asked for, this is not vault", resp.StatusCode)
	}
	return nil
}

// denied marks the answers of a Vault that has the endpoint no more, or wants a
// token for it.
func denied(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var answered *api.ResponseError
	if errors.As(err, &answered) {
		switch answered.StatusCode {
		case http.StatusForbidden, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
			return fmt.Errorf("%w: %w", unseal.ErrRefused, refusal(answered))
		}
	}
	return classify(ctx, err)
}
