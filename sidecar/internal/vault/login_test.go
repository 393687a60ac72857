//go:build linux

package vault

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	jwt         = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2YXVsdCJ9.c2lnbmF0dXJl"
	clientToken = "hvs.CAESIJs0-made-up"
	loginBody   = `{"auth":{"client_token":"` + clientToken + `","lease_duration":120}}`
)

func loginAs(t *testing.T, token string) Login {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
	return Login{Mount: "clusters/home", Role: "prover", TokenFile: path}
}

// rekeyClosed answers as a server that has closed sys/rekey answers requests
// with and without a token.
func rekeyClosed(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		authenticated := r.Header.Get("X-Vault-Token") == clientToken
		switch {
		case r.URL.Path == "/v1/auth/clusters/home/login":
			responds(200, loginBody)(w, r)
		case r.URL.Path == "/v1/auth/token/revoke-self" && authenticated:
			w.WriteHeader(http.StatusNoContent)
		case strings.HasPrefix(r.URL.Path, "/v1/sys/rekey/") && (code == 405 || !authenticated):
			responds(code, `{"errors":["no"]}`)(w, r)
		case strings.HasPrefix(r.URL.Path, "/v1/sys/rotate/root/") && code == 405 && authenticated:
			responds(200, `{"request_id":"x","data":`+oursBody+`}`)(w, r)
		case authenticated:
			responds(200, oursBody)(w, r)
		default:
			responds(403, `{"errors":["permission denied"]}`)(w, r)
		}
	}
}

func TestLogin_CarriesItsTokenUntilLogout(t *testing.T) {
	for code, path := range map[int]string{403: "/v1/sys/rekey/", 405: "/v1/sys/rotate/root/"} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := serve(t, rekeyClosed(code))
			c := client(t, s.URL)
			session, err := c.Login(t.Context(), loginAs(t, jwt+"\n"))
			require.NoError(t, err)
			assert.JSONEq(t, `{"role":"prover","jwt":"`+jwt+`"}`, s.bodies[0])
			assert.Empty(t, s.requests[0].Header.Get("X-Vault-Token"))

			got, err := session.Rekey(t.Context())
			require.NoError(t, err)
			assert.True(t, got.Ours)
			_, err = session.BeginRekey(t.Context())
			require.NoError(t, err)
			require.NoError(t, session.CancelRekey(t.Context(), "our-nonce"))
			last := s.requests[len(s.requests)-1]
			assert.Equal(t, "DELETE "+path+"init", last.Method+" "+last.URL.Path)
			assert.JSONEq(t, `{"nonce":"our-nonce"}`, s.bodies[len(s.bodies)-1])

			require.NoError(t, session.Logout(t.Context()))
			_, err = session.Rekey(t.Context())
			require.ErrorIs(t, err, unseal.ErrRefused, "the token is forgotten")

			asked := s.requestCount()
			_, err = c.Rekey(t.Context())
			require.ErrorIs(t, err, unseal.ErrRefused)
			assert.Contains(t, err.Error(), "set --prove-role")
			assert.Equal(t, asked+1, s.requestCount(), "without a login there is no other way to try")
			assert.Empty(t, s.requests[asked].Header.Get("X-Vault-Token"))
		})
	}
}

func TestLogin_ReportsWhyItFailed(t *testing.T) {
	for _, row := range []struct {
		name, token string
		answer      http.HandlerFunc
		refused     bool
		message     string
	}{
		{"another account's role", jwt, responds(403, `{"errors":["permission denied"]}`), true, `the role "prover" cannot log in at auth/clusters/home: answered 403: permission denied; look at --prove-role`},
		{"no such role", jwt, responds(400, `{"errors":["invalid role name \"prover\""]}`), true, "invalid role name"},
		{"no such mount", jwt, responds(404, `{"errors":["no handler for route"]}`), true, "answered 404"},
		{"the API server is away", jwt, responds(500, `{"errors":["lookup failed: connection refused"]}`), false, "answered 500: lookup failed"},
		{"too many at once", jwt, responds(429, `{"errors":["request path is rate limited"]}`), false, "answered 429"},
		{"not vault", jwt, responds(200, `{}`), false, "this is not vault"},
		{"an empty token", " \n", responds(200, loginBody), false, "holds no token of a ServiceAccount"},
		{"a token that is none", `x","role":"root`, responds(200, loginBody), false, "holds no token of a ServiceAccount"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t, row.answer)
			_, err := client(t, s.URL).Login(t.Context(), loginAs(t, row.token))
			require.Error(t, err)
			assert.Contains(t, err.Error(), row.message)
			assert.Equal(t, row.refused, errors.Is(err, unseal.ErrRefused))
			assert.NotContains(t, err.Error(), jwt)
			assert.NotContains(t, err.Error(), clientToken)
		})
	}
	_, err := client(t, "http://127.0.0.1:1").Login(t.Context(), Login{Mount: "kubernetes", Role: "prover", TokenFile: "/none"})
	assert.ErrorContains(t, err, "/none")
}

func TestLogin_ListsMissingCapabilities(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/capabilities-self" {
			responds(200, `{"data":{"sys/rekey/init":["read","delete"],"sys/rekey/update":["deny"]}}`)(w, r)
			return
		}
		rekeyClosed(403)(w, r)
	})
	session, err := client(t, s.URL).Login(t.Context(), loginAs(t, jwt))
	require.NoError(t, err)
	lacks, err := session.Lacks(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"update on sys/rekey/init", "update on sys/rekey/update"}, lacks)
}
