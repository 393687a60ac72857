package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// ask returns the status and the answer to one request, with a token or
// without.
func ask(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// The stand-in closes what the newer servers close, and nothing else.
func TestClosedServerFollowsItsRule(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	require.NoError(t, w.vault.UnsealAll(w.ctx))
	_, err := w.vault.Call(w.ctx, "PUT", "sys/policies/acl/nothing", map[string]string{"policy": `path "sys/rekey/init" { capabilities = ["update"] }`}, nil)
	require.NoError(t, err)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	_, err = w.vault.Call(w.ctx, "POST", "auth/token/create", map[string]any{"policies": []string{"nothing"}}, &made)
	require.NoError(t, err)
	none, weak, root := "", made.Auth.Token, w.vault.Token
	const denied, unsupported = `{"errors":["permission denied"]}`, `{"errors":["unsupported operation"]}`
	for _, row := range []struct {
		rule        proxy.Rule
		name, path  string
		token       string
		code        int
		answer      string // the whole one, or
		field, data string // a field of it, and one of its data
	}{
		{proxy.Open, "rekey", "sys/rekey/init", none, 200, "", "started", ""},
		{proxy.Open, "generate-root", "sys/generate-root/attempt", none, 200, "", "started", ""},
		{proxy.Vault2, "rekey", "sys/rekey/init", none, 403, denied, "", ""},
		{proxy.Vault2, "rekey with a token that may not", "sys/rekey/init", weak, 403, denied, "", ""},
		{proxy.Vault2, "rekey with a made-up token", "sys/rekey/init", "hvs.made-up", 403, denied, "", ""},
		{proxy.Vault2, "rekey with a token that may", "sys/rekey/init", root, 200, "", "started", ""},
		{proxy.Vault2, "generate-root", "sys/generate-root/attempt", none, 403, denied, "", ""},
		{proxy.Vault2, "generate-root with a token that may", "sys/generate-root/attempt", root, 200, "", "started", ""},
		{proxy.Vault2, "seal-status", "sys/seal-status", none, 200, "", "sealed", ""},
		{proxy.OpenBao, "rekey with a token that may", "sys/rekey/init", root, 405, unsupported, "", ""},
		{proxy.OpenBao, "generate-root with a token that may", "sys/generate-root/attempt", root, 405, unsupported, "", ""},
		{proxy.OpenBao, "rotate", "sys/rotate/root/init", none, 403, denied, "", ""},
		{proxy.OpenBao, "rotate with a token that may not", "sys/rotate/root/init", weak, 403, denied, "", ""},
		{proxy.OpenBao, "rotate with a token that may", "sys/rotate/root/init", root, 200, "", "request_id", "started"},
		{proxy.OpenBao, "seal-status", "sys/seal-status", none, 200, "", "sealed", ""},
	} {
		t.Run(string(row.rule)+": "+row.name, func(t *testing.T) {
			closed, err := w.lab.Closed(w.vault, row.rule)
			require.NoError(t, err)
			awaitClosed(t, closed)
			code, text := ask(t, "GET", closed.Addr+"/v1/"+row.path, row.token, "")
			assert.Equal(t, row.code, code, text)
			if row.answer != "" {
				assert.JSONEq(t, row.answer, text)
				return
			}
			var got map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &got))
			assert.Contains(t, got, row.field)
			if row.data != "" {
				assert.Contains(t, got["data"], row.data)
			}
		})
	}
}

// A whole rotation of the key, by OpenBao's calls: begun with a verification,
// then canceled, without a body to wrap.
func TestClosedServerRotatesByOpenBaosCalls(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	require.NoError(t, w.vault.UnsealAll(w.ctx))
	closed, err := w.lab.Closed(w.vault, proxy.OpenBao)
	require.NoError(t, err)
	awaitClosed(t, closed)
	var got struct {
		Data struct {
			Nonce    string   `json:"nonce"`
			Complete bool     `json:"complete"`
			Keys     []string `json:"keys_base64"`
		} `json:"data"`
	}
	rotate := func(method, path string, body any) {
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		code, text := ask(t, method, closed.Addr+"/v1/sys/rotate/root/"+path, w.vault.Token, string(raw))
		require.Less(t, code, 300, text)
		if code == http.StatusOK {
			require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		}
	}
	rotate("POST", "init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	rotate("POST", "update", map[string]any{"key": w.vault.Keys[0], "nonce": got.Data.Nonce})
	assert.True(t, got.Data.Complete)
	require.Len(t, got.Data.Keys, 1)
	w.secrets = append(w.secrets, got.Data.Keys...)
	rotate("POST", "init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	rotate("DELETE", "init", map[string]any{"nonce": got.Data.Nonce})
	w.vault.Keys = got.Data.Keys
	require.NoError(t, w.vault.Seal(w.ctx))
	require.NoError(t, w.vault.UnsealAll(w.ctx))
}

// It listens while Vault does, and what Vault does not answer is not answered.
func TestClosedServerIsAwayWhenVaultIs(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	closed, err := w.lab.Closed(w.vault, proxy.Vault2)
	require.NoError(t, err)
	awaitClosed(t, closed)
	seen := len(closed.Seen("sys/seal-status"))
	broken := make(chan int, 1)
	w.vault.Pause()
	go func() {
		code := http.StatusOK
		for code == http.StatusOK { // a signal may come later than a request
			code = sealStatusOf(closed)
		}
		broken <- code
	}()
	require.NoError(t, testenv.Await(w.ctx, patience, "a request to arrive", func() string {
		if len(closed.Seen("sys/seal-status")) == seen {
			return "not yet"
		}
		return ""
	}))
	require.NoError(t, w.vault.Kill())
	require.Zero(t, <-broken, "a broken connection is no answer")
	require.NoError(t, testenv.Await(w.ctx, patience, "the connection to be refused", func() string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(closed.Addr, "http://"))
		if err != nil {
			return ""
		}
		return fmt.Sprint("accepted, closed: ", conn.Close())
	}))
	require.NoError(t, w.vault.StartAndWait(w.ctx))
	awaitClosed(t, closed)
}

func awaitClosed(t *testing.T, c *testenv.Closed) {
	t.Helper()
	require.NoError(t, testenv.Await(t.Context(), patience, "the closed server", func() string {
		if code := sealStatusOf(c); code != http.StatusOK {
			return fmt.Sprint(code)
		}
		return ""
	}))
}

// sealStatusOf returns the status code, 0 without an answer.
func sealStatusOf(c *testenv.Closed) int {
	resp, err := http.Get(c.Addr + "/v1/sys/seal-status")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
