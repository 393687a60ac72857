//go:build linux

package vault

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext/safetexttest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// rawKey is the share that the calls send.
func rawKey() []byte { raw, _ := hex.DecodeString(inHex(key())); return raw }

// withKey puts the key where an input has @ and $: whoever answers can repeat it.
func withKey(text string) string {
	return strings.NewReplacer("@", inHex(key()), "$", base64.StdEncoding.EncodeToString(rawKey())).Replace(text)
}

// requireHarmless accepts an error that is short, on one line, and shows nothing of the key.
func requireHarmless(t *testing.T, err error, how string) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	require.NotEmpty(t, text, how)
	require.Less(t, len(text), 1000, how)
	safetexttest.RequireHarmless(t, text, len(text))
	lower, raw := strings.ToLower(text), rawKey()
	for i := 0; i+8 <= len(raw); i++ {
		require.NotContains(t, lower, hex.EncodeToString(raw[i:i+8]), how)
	}
	for i := 0; i+6 <= len(raw); i += 3 {
		require.NotContains(t, text, base64.StdEncoding.EncodeToString(raw[i:i+6]), how)
	}
}

// answers is a transport that has one answer for all requests.
type answers struct {
	code int
	body string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return &http.Response{
		StatusCode: a.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(a.body)), ContentLength: -1,
	}, nil
}

// FuzzAnswer has every call answered by anything.
func FuzzAnswer(f *testing.F) {
	for _, each := range []answers{
		{200, sealStatusBody(2, 3, 1)},
		{200, `{"initialized":true,"sealed":true,"standby":true}`},
		{200, `{"started":true,"nonce":"a-rekeys-nonce","t":1,"n":1,"pgp_fingerprints":["` + discardPGPFingerprint + `"],` +
			`"verification_required":true,"progress":1,"complete":false}`},
		{200, `{"auth":{"client_token":"hvs.a"},"data":{"sys/rekey/init":["read","update"],"started":false}}`},
		{400, `{"errors":["unable to retrieve stored keys: invalid key: @"]}`},
		{400, `{"errors":["rekey already in progress"]}`},
		{403, `{"errors":["permission denied"]}`}, {405, `{"errors":[]}`}, {429, `$`}, {500, "<html>@"}, {301, ""},
	} {
		f.Add(uint16(each.code), each.body)
	}
	login := Login{Mount: "kubernetes", Role: "r", TokenFile: f.TempDir() + "/token"}
	require.NoError(f, os.WriteFile(login.TokenFile, []byte("eyJ.a.b"), 0o600))
	f.Fuzz(func(t *testing.T, code uint16, body string) {
		if code < 200 || code > 599 {
			code = 200 + code%400
		}
		body = withKey(body)
		for _, loggedIn := range []bool{false, true} {
			c := client(t, "http://127.0.0.1:8200")
			c.web.Transport = short{answers{int(code), body}}
			c.loggedIn, c.rotates = loggedIn, loggedIn
			for _, name := range slices.Sorted(maps.Keys(calls)) {
				err := calls[name](c, t.Context())
				requireHarmless(t, err, name)
				if errors.Is(err, unseal.ErrInvalidKey) {
					require.GreaterOrEqual(t, code, uint16(400), name)
					require.Contains(t, strings.ToLower(body), "invalid", name)
				}
			}
			requireSound(t, c, body)
			_, err := c.Login(t.Context(), login)
			requireHarmless(t, err, "Login")
			requireHarmless(t, c.Logout(t.Context()), "Logout")
		}
	})
}

// requireSound holds what the core relies on in an answer that is no error.
func requireSound(t *testing.T, c *Client, body string) {
	t.Helper()
	if s, err := c.SealStatus(t.Context()); err == nil {
		require.True(t, s.Threshold >= 0 && s.Threshold <= 255 && s.Shares >= 0 && s.Shares <= 255 && s.Progress >= 0)
		requireHarmless(t, errors.New("x"+s.Type), "the type")
		written, err := json.Marshal(api.SealStatusResponse{
			Initialized: s.Initialized, Sealed: s.Sealed, Type: "x" + s.Type, T: s.Threshold, N: s.Shares,
			Progress: s.Progress, Nonce: s.Nonce, Migration: s.Migration, RecoverySeal: s.Recovery,
			StorageType: map[bool]string{true: "raft"}[s.Raft], RemovedFromCluster: &s.Removed,
		})
		require.NoError(t, err)
		c.web.Transport = short{answers{200, string(written)}}
		again, err := c.SealStatus(t.Context())
		require.NoError(t, err)
		s.Type = printable("x" + s.Type)
		require.Equal(t, s, again)
		c.web.Transport = short{answers{200, body}}
	}
	if r, err := c.Rekey(t.Context()); err == nil {
		other := strings.Trim(r.Cancel, letters+"0123456789- =")
		require.Empty(t, other, "what a person types into a shell")
		require.Equal(t, r.Started, r.Cancel != "")
	}
	if lacks, err := c.Lacks(t.Context()); err == nil {
		require.LessOrEqual(t, len(lacks), 4)
	}
}

// FuzzConnection has a call answered by any bytes, with TLS and without.
func FuzzConnection(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.0 400 @\r\n\r\n{\"errors\":[\"$\"]}", "@\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n@: $\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: /@\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n$: @\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: a\r\n\r\n@",
		"\x15\x03\x03\x00\x02\x02\x2a", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", "",
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, secure bool) {
		addr := map[bool]string{false: "unix:///nobody", true: "https://127.0.0.1:1"}[secure]
		for _, name := range []string{"SealStatus", "Unseal", "AuthorizeRekey"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			c := client(t, addr)
			ours, theirs := net.Pipe()
			c.dialer.keep(newTied(c.dialer, ours, ""))
			go func() {
				_, _ = theirs.Read(make([]byte, 64<<10))
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = io.WriteString(theirs, withKey(text))
				_ = theirs.Close()
			}()
			requireHarmless(t, calls[name](c, ctx), name)
			require.NoError(t, ctx.Err(), "%s hangs", name)
			cancel()
			c.web.CloseIdleConnections()
			_ = ours.Close()
		}
	})
}

// FuzzToken reads a token that goes into JSON as it is.
func FuzzToken(f *testing.F) {
	for _, text := range []string{"eyJ.a-b._c\n", "", "a b", "\"", "\xff"} {
		f.Add([]byte(text))
	}
	path := f.TempDir() + "/token"
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(path, text, 0o600))
		token, err := readToken(path)
		if err != nil {
			require.EqualError(t, err, path+" holds no token of a ServiceAccount")
			return
		}
		var read string
		require.NoError(t, json.Unmarshal(slices.Concat([]byte(`"`), token, []byte(`"`)), &read))
		assert.Equal(t, strings.TrimSpace(string(text)), read)
	})
}
