package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Init initializes the server and keeps its keys and its root token.
func (v *Vault) Init(ctx context.Context, shares, threshold int) error {
	var out struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	_, err := v.Call(ctx, "PUT", "sys/init", map[string]any{"secret_shares": shares, "secret_threshold": threshold}, &out)
	v.Keys, v.Token = out.Keys, out.Token
	return err
}

// SealStatus is the part of sys/seal-status that tests look at.
type SealStatus struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Threshold   int    `json:"t"`
	Shares      int    `json:"n"`
	Progress    int    `json:"progress"`
	Nonce       string `json:"nonce"`
	Version     string `json:"version"`
}

// SealStatus asks for at most two seconds.
func (v *Vault) SealStatus(ctx context.Context) (SealStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var s SealStatus
	_, err := v.Call(ctx, "GET", "sys/seal-status", nil, &s)
	return s, err
}

// Unseal sends one share, base64 or hex.
func (v *Vault) Unseal(ctx context.Context, key string) (SealStatus, error) {
	var s SealStatus
	_, err := v.Call(ctx, "PUT", "sys/unseal", map[string]any{"key": key}, &s)
	return s, err
}

// UnsealAll sends the first t shares.
func (v *Vault) UnsealAll(ctx context.Context) error {
	for _, key := range v.Keys {
		s, err := v.Unseal(ctx, key)
		if err != nil || !s.Sealed {
			return err
		}
	}
	return fmt.Errorf("still sealed after %d shares", len(v.Keys))
}

// Seal is what an operator does.
func (v *Vault) Seal(ctx context.Context) error {
	_, err := v.Call(ctx, "PUT", "sys/seal", nil, nil)
	return err
}

// Health returns the status code of sys/health.
func (v *Vault) Health(ctx context.Context) (int, error) {
	code, _, err := get(ctx, v.client, v.Addr+"/v1/sys/health", 2*time.Second)
	return code, err
}

// AwaitActive waits until the server is unsealed and serves.
func (v *Vault) AwaitActive(ctx context.Context) error {
	return Await(ctx, 40*time.Second, "vault to be active", func() string {
		if code, err := v.Health(ctx); err != nil || code != http.StatusOK {
			return fmt.Sprintf("health %d, %v", code, err)
		}
		return ""
	})
}

// MountKV mounts a KV v2 engine at secret/.
func (v *Vault) MountKV(ctx context.Context) error {
	_, err := v.Call(ctx, "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}, nil)
	if err != nil {
		return err
	}
	return Await(ctx, 10*time.Second, "the KV engine to be ready", func() string {
		if err := v.WriteSecret(ctx, "ready", "yes"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// WriteSecret writes one value to KV v2.
func (v *Vault) WriteSecret(ctx context.Context, path, value string) error {
	_, err := v.Call(ctx, "POST", "secret/data/"+path, map[string]any{"data": map[string]any{"value": value}}, nil)
	return err
}

// ReadSecret reads it back.
func (v *Vault) ReadSecret(ctx context.Context, path string) (string, error) {
	var out struct {
		Data struct {
			Data struct {
				Value string `json:"value"`
			} `json:"data"`
		} `json:"data"`
	}
	_, err := v.Call(ctx, "GET", "secret/data/"+path, nil, &out)
	return out.Data.Data.Value, err
}

// Call asks Vault as the root user. Into gets the answer's JSON; an answer
// that is no 2xx is an error with Vault's own words.
func (v *Vault) Call(ctx context.Context, method, path string, body, into any) (int, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.Addr+"/v1/"+path, payload)
	if err != nil {
		return 0, err
	}
	if v.Token != "" && path != "sys/unseal" && path != "sys/seal-status" {
		req.Header.Set("X-Vault-Token", v.Token)
	}
	code, text, err := do(v.client, req)
	if err != nil {
		return code, err
	}
	if code >= 300 {
		return code, fmt.Errorf("%s %s: %d %s", method, path, code, strings.TrimSpace(string(text)))
	}
	if into == nil || len(text) == 0 {
		return code, nil
	}
	return code, json.Unmarshal(text, into)
}
