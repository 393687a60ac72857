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

// request returns the status and the answer to one request, with a token or
// without.
func request(t *testing.T, method, url, token, body string) (int, string) {
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
func TestClosedProxy_ClosesEndpointsOfItsRule(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	require.NoError(t, sc.vault.UnsealAll(sc.ctx))
	_, err := sc.vault.Call(sc.ctx, "PUT", "sys/policies/acl/nothing", map[string]string{"policy": `path "sys/rekey/init" { capabilities = ["update"] }`}, nil)
	require.NoError(t, err)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	_, err = sc.vault.Call(sc.ctx, "POST", "auth/token/create", map[string]any{"policies": []string{"nothing"}}, &made)
	require.NoError(t, err)
	none, weak, root := "", made.Auth.Token, sc.vault.Token
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
			closed, err := sc.env.StartClosedProxy(sc.vault, row.rule)
			require.NoError(t, err)
			awaitClosedProxy(t, closed)
			code, text := request(t, "GET", closed.Addr+"/v1/"+row.path, row.token, "")
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
func TestClosedProxy_RotatesThroughOpenBaoEndpoints(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	require.NoError(t, sc.vault.UnsealAll(sc.ctx))
	closed, err := sc.env.StartClosedProxy(sc.vault, proxy.OpenBao)
	require.NoError(t, err)
	awaitClosedProxy(t, closed)
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
		code, text := request(t, method, closed.Addr+"/v1/sys/rotate/root/"+path, sc.vault.Token, string(raw))
		require.Less(t, code, 300, text)
		if code == http.StatusOK {
			require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		}
	}
	rotate("POST", "init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	rotate("POST", "update", map[string]any{"key": sc.vault.Keys[0], "nonce": got.Data.Nonce})
	assert.True(t, got.Data.Complete)
	require.Len(t, got.Data.Keys, 1)
	sc.secrets = append(sc.secrets, got.Data.Keys...)
	rotate("POST", "init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	rotate("DELETE", "init", map[string]any{"nonce": got.Data.Nonce})
	sc.vault.Keys = got.Data.Keys
	require.NoError(t, sc.vault.Seal(sc.ctx))
	require.NoError(t, sc.vault.UnsealAll(sc.ctx))
}

// It listens while Vault does, and what Vault does not answer is not answered.
func TestClosedProxy_ListensOnlyWhileVaultDoes(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	closed, err := sc.env.StartClosedProxy(sc.vault, proxy.Vault2)
	require.NoError(t, err)
	awaitClosedProxy(t, closed)
	seen := len(closed.Requests("sys/seal-status"))
	broken := make(chan int, 1)
	sc.vault.Pause()
	go func() {
		code := http.StatusOK
		for code == http.StatusOK { // a signal may come later than a request
			code = sealStatusCode(closed)
		}
		broken <- code
	}()
	require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "a request to arrive", func() string {
		if len(closed.Requests("sys/seal-status")) == seen {
			return "not yet"
		}
		return ""
	}))
	require.NoError(t, sc.vault.Kill())
	require.Zero(t, <-broken, "a broken connection is no answer")
	require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "the connection to be refused", func() string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(closed.Addr, "http://"))
		if err != nil {
			return ""
		}
		return fmt.Sprint("accepted, closed: ", conn.Close())
	}))
	require.NoError(t, sc.vault.StartAndWait(sc.ctx))
	awaitClosedProxy(t, closed)
}

func awaitClosedProxy(t *testing.T, c *testenv.ClosedProxy) {
	t.Helper()
	require.NoError(t, testenv.Await(t.Context(), waitTimeout, "the closed server", func() string {
		if code := sealStatusCode(c); code != http.StatusOK {
			return fmt.Sprint(code)
		}
		return ""
	}))
}

// sealStatusCode returns the status code, 0 without an answer.
func sealStatusCode(c *testenv.ClosedProxy) int {
	resp, err := http.Get(c.Addr + "/v1/sys/seal-status")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
