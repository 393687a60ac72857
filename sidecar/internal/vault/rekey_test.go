//go:build linux

package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// What Vault 1.21 answers.
const (
	idleBody    = `{"nonce":"","started":false,"t":0,"n":0,"progress":0,"required":3,"pgp_fingerprints":null,"backup":false,"verification_required":false}`
	theirsBody  = `{"nonce":"their-nonce","started":true,"t":3,"n":5,"progress":1,"required":3,"pgp_fingerprints":null,"backup":false,"verification_required":true}`
	oursBody    = `{"nonce":"our-nonce","started":true,"t":1,"n":1,"progress":0,"required":3,"pgp_fingerprints":["` + discardPGPFingerprint + `"],"backup":false,"verification_required":true}`
	partialBody = `{"nonce":"our-nonce","started":true,"t":1,"n":1,"progress":2,"required":3,"pgp_fingerprints":["` + discardPGPFingerprint + `"],"backup":false,"verification_required":true}`
	enoughBody  = `{"nonce":"our-nonce","complete":true,"keys":["00"],"keys_base64":["AA=="],"pgp_fingerprints":["` + discardPGPFingerprint + `"],"backup":false,"verification_required":true,"verification_nonce":"x"}`
)

// rekeyCalls are the calls of a proof.
var rekeyCalls = []string{"Rekey", "BeginRekey", "AuthorizeRekey", "CancelRekey"}

func TestRekey_DistinguishesOursFromOthers(t *testing.T) {
	notOurs := unseal.Rekey{Started: true, Nonce: "our-nonce", Cancel: "vault operator rekey -cancel -nonce=our-nonce"}
	for _, row := range []struct {
		sentence, body string
		want           unseal.Rekey
	}{
		{"none is under way", idleBody, unseal.Rekey{}},
		{"another client's is", theirsBody, unseal.Rekey{Started: true, Nonce: "their-nonce", Cancel: "vault operator rekey -cancel -nonce=their-nonce"}},
		{"ours is", oursBody, unseal.Rekey{Started: true, Nonce: "our-nonce", Ours: true, Cancel: "vault operator rekey -cancel -nonce=our-nonce"}},
		{"one of several shares, one of them for the discard key, is not ours",
			`{"nonce":"n","started":true,"pgp_fingerprints":["` + discardPGPFingerprint + `","ab"]}`, unseal.Rekey{Started: true, Nonce: "n", Cancel: "vault operator rekey -cancel -nonce=n"}},
		{"one with our key that takes effect at once is not ours", strings.Replace(oursBody, `"verification_required":true`, `"verification_required":false`, 1), notOurs},
		{"nor is one that does not say", strings.Replace(oursBody, `,"verification_required":true`, "", 1), notOurs},
		{"nor one of which a backup is kept", strings.Replace(oursBody, `"backup":false`, `"backup":true`, 1), notOurs},
		{"nor one of more shares", strings.Replace(oursBody, `"n":1`, `"n":2`, 1), notOurs},
		{"nor one with another threshold", strings.Replace(oursBody, `"t":1`, `"t":2`, 1), notOurs},
		{"nor one that has no nonce to go by", strings.Replace(oursBody, "our-nonce", "", 1), unseal.Rekey{Started: true, Cancel: "vault operator rekey -cancel -nonce=NONCE"}},
		{"a nonce that no shell should see is not shown", `{"nonce":"$(reboot)","started":true}`,
			unseal.Rekey{Started: true, Nonce: "$(reboot)", Cancel: "vault operator rekey -cancel -nonce=NONCE"}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			s := serve(t, responds(200, row.body))
			got, err := client(t, s.URL).Rekey(t.Context())
			require.NoError(t, err)
			assert.Equal(t, row.want, got)
			assert.Equal(t, "GET /v1/sys/rekey/init", s.requests[0].Method+" "+s.requests[0].URL.String())
		})
	}
}

// No client could finish it: its one share is encrypted to a key without a known
// private key and would have to be sent back.
func TestBeginRekey_EncryptsToTheDiscardPGPKey(t *testing.T) {
	s := serve(t, responds(200, oursBody))
	got, err := client(t, s.URL).BeginRekey(t.Context())
	require.NoError(t, err)
	assert.Equal(t, unseal.Rekey{Started: true, Nonce: "our-nonce", Ours: true, Cancel: "vault operator rekey -cancel -nonce=our-nonce"}, got)
	assert.Equal(t, "PUT /v1/sys/rekey/init", s.requests[0].Method+" "+s.requests[0].URL.String())
	var asked map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.bodies[0]), &asked))
	assert.Equal(t, map[string]any{"secret_shares": 1.0, "secret_threshold": 1.0, "stored_shares": 0.0,
		"pgp_keys": []any{discardPGPKey}, "Backup": false, "require_verification": true}, asked)
}

func TestAuthorizeRekey_SendsTheShareWithItsNonce(t *testing.T) {
	for body, want := range map[string]unseal.Progress{partialBody: {Shares: 2}, enoughBody: {Enough: true}} {
		t.Run(fmt.Sprintf("%+v", want), func(t *testing.T) {
			s := serve(t, responds(200, body))
			share := key()
			got, err := client(t, s.URL).AuthorizeRekey(t.Context(), share, "our-nonce")
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, "PUT /v1/sys/rekey/update", s.requests[0].Method+" "+s.requests[0].URL.String())
			assert.JSONEq(t, `{"key":"`+inHex(key())+`","nonce":"our-nonce"}`, s.bodies[0])
			assert.True(t, share.Equal(key()), "the share is the caller's")
		})
	}
}

func TestAuthorizeRekey_RejectsTheResponseOfAnotherRekey(t *testing.T) {
	s := serve(t, responds(200, enoughBody))
	got, err := client(t, s.URL).AuthorizeRekey(t.Context(), key(), `another-"nonce`)
	assert.ErrorContains(t, err, "of another rekey")
	assert.Zero(t, got)
	assert.JSONEq(t, `{"key":"`+inHex(key())+`","nonce":"another-\"nonce"}`, s.bodies[0])
}

func TestCancelRekey_SendsTheNonce(t *testing.T) {
	for _, code := range []int{200, 204} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := serve(t, responds(code, ""))
			require.NoError(t, client(t, s.URL).CancelRekey(t.Context(), "our-nonce"))
			assert.Equal(t, "DELETE /v1/sys/rekey/init", s.requests[0].Method+" "+s.requests[0].URL.String())
			assert.JSONEq(t, `{"nonce":"our-nonce"}`, s.bodies[0])
		})
	}
}

func TestRekey_ClassifiesErrorResponses(t *testing.T) {
	refused := map[string]error{"Rekey": unseal.ErrRefused, "BeginRekey": unseal.ErrRefused, "AuthorizeRekey": unseal.ErrRefused, "CancelRekey": unseal.ErrRefused}
	for _, row := range []struct {
		sentence, body, message string
		code                    int
		is                      map[string]error // by call
	}{
		{sentence: "a token is wanted", code: 401, body: `{"errors":["unauthorized"]}`, message: "answered 401: unauthorized", is: refused},
		{sentence: "it is forbidden", code: 403, body: `{"errors":["permission denied"]}`, message: "answered 403: permission denied", is: refused},
		{sentence: "there is no such endpoint", code: 404, body: `{"errors":[]}`, message: "answered 404", is: refused},
		{sentence: "it is not to be done so", code: 405, body: `{"errors":[]}`, message: "answered 405", is: refused},
		{sentence: "one is under way", code: 400, body: `{"errors":["rekey already in progress"]}`, message: "answered 400: rekey already in progress",
			is: map[string]error{"BeginRekey": unseal.ErrNotBegun}},
		{sentence: "it is asked what it does not take", code: 400, body: `{"errors":["incorrect number of PGP keys for rekey"]}`, message: "answered 400: incorrect number of PGP keys for rekey"},
		{sentence: "none is under way", code: 400, body: `{"errors":["no barrier rekey in progress"]}`, message: "answered 400: no barrier rekey in progress"},
		{sentence: "vault fails", code: 500, body: `{"errors":["internal error"]}`, message: "answered 500: internal error"},
		{sentence: "vault is sealed", code: 503, body: `{"errors":["Vault is sealed"]}`, message: "answered 503: Vault is sealed"},
	} {
		for _, name := range rekeyCalls {
			t.Run(row.sentence+", "+name, func(t *testing.T) {
				s := serve(t, responds(row.code, row.body))
				err := calls[name](client(t, s.URL), t.Context())
				require.Error(t, err)
				assert.ErrorContains(t, err, row.message)
				for _, sentinel := range []error{unseal.ErrRefused, unseal.ErrNotBegun, unseal.ErrInvalidKey, unseal.ErrUnreachable} {
					assert.Equal(t, row.is[name] == sentinel, errors.Is(err, sentinel), "%v is %v", err, sentinel)
				}
				assert.NotContains(t, err.Error(), s.URL)
				assert.Equal(t, 1, s.requestCount())
			})
		}
	}
}

// A verdict on the key comes as another code than that of an unseal does.
func TestAuthorizeRekey_RecognizesAnInvalidKey(t *testing.T) {
	for _, row := range []struct {
		code  int
		text  string
		wrong bool
	}{
		// Vault 1.21.4, at threshold 1 and above; OpenBao and older Vaults.
		{500, "failed to read root key: invalid key: failed to decrypt keys from storage: error decrypting seal wrapped value\nerror decrypting using seal : cipher: message authentication failed", true},
		{500, "failed to read master key: invalid key: failed to decrypt keys from storage", true},
		{400, "rootter key verification failed: Unseal failed, invalid key", true},
		{400, "root key verification failed: unseal failed, invalid key", true},
		// The key is too short or too long for a cipher, or a proxy answers.
		{500, "crypto/aes: invalid key size 0", false},
		{500, "failed to setup unseal key: crypto/aes: invalid key size 20", false},
		{500, "upstream: invalid key", false},
		{500, "failed to read root key: s3: AccessDenied: invalid key", false},
		{400, "invalid keys", false},
		{400, "rootter key verification failed: barrier is sealed", false},
		{500, "failed to read root key: input/output error", false},
	} {
		t.Run(fmt.Sprintf("%d %s", row.code, row.text), func(t *testing.T) {
			s := serve(t, responds(row.code, fmt.Sprintf(`{"errors":[%q]}`, row.text)))
			_, err := client(t, s.URL).AuthorizeRekey(t.Context(), key(), "n")
			require.Error(t, err)
			assert.Equal(t, row.wrong, errors.Is(err, unseal.ErrInvalidKey))
		})
	}
}

func TestRekey_RejectsResponsesThatAreNotVault(t *testing.T) {
	for _, body := range []string{"", "<!doctype html><p>Welcome", `{}`, `[]`, `"x"`, sealedBody, oursBody[:40]} {
		for _, name := range []string{"Rekey", "BeginRekey", "AuthorizeRekey"} {
			t.Run(fmt.Sprintf("%s of %q", name, body), func(t *testing.T) {
				err := calls[name](client(t, serve(t, responds(200, body)).URL), t.Context())
				assert.ErrorContains(t, err, "not vault")
			})
		}
	}
	for _, name := range rekeyCalls {
		t.Run(name+" with a broken connection", func(t *testing.T) {
			err := calls[name](client(t, serve(t, breaksConnection(func(*net.TCPConn) {})).URL), t.Context())
			assert.ErrorIs(t, err, unseal.ErrUnreachable)
		})
	}
}

func TestRekey_EndsWithItsDeadline(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := serve(t, hangsUntil(release))
	for _, name := range rekeyCalls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			assert.ErrorIs(t, calls[name](client(t, s.URL), ctx), context.DeadlineExceeded)
			cancel()
		})
	}
}
