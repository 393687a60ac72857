package integration

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// standIn answers what the sidecar asks a Vault with a key of one share and file storage, as
// Vault 1.21.4 does (http/sys_seal.go and http/sys_health.go; of a token that there is not,
// vault/request_handling.go), and restarts in no time: a real one takes a second. The test below
// compares the two.
type standIn struct {
	addr string
	key  string      // in hex
	ca   *testenv.CA // of its certificate; nil: it speaks plain HTTP

	mu     sync.Mutex
	server *http.Server // nil: none runs
	sealed bool
}

const wrongKey = `{"errors":["unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: ` +
	`error decrypting seal wrapped value\nerror decrypting using seal shamir: cipher: message authentication failed"]}`

func newStandIn(t *testing.T, key string) *standIn {
	t.Helper()
	port, err := testenv.Port()
	require.NoError(t, err)
	s := &standIn{addr: "127.0.0.1:" + port, key: key}
	t.Cleanup(s.kill)
	return s
}

// begin listens, with a socket that is new as that of each process is, and is sealed.
func (s *standIn) begin(t *testing.T) {
	t.Helper()
	l, err := testenv.ListenAgain(t.Context(), s.addr)
	require.NoError(t, err)
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.sealed = server, true
	if s.ca == nil {
		go func() { _ = server.Serve(l) }()
		return
	}
	cert, err := tls.LoadX509KeyPair(s.ca.CertFile, s.ca.KeyFile) // as Vault does when it starts
	require.NoError(t, err)
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	go func() { _ = server.ServeTLS(l, "", "") }()
}

// kill ends the listener and all connections, as the kernel does with those of a process.
func (s *standIn) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = s.server.Close()
	}
	s.server = nil
}

// setKey rotates the key.
func (s *standIn) setKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	code, text := s.answer(r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1/"), body)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
}

// answer is called under the lock.
func (s *standIn) answer(request string, body []byte) (code int, text string) {
	switch request {
	case "PUT sys/unseal":
		var sent struct{ Key string }
		if json.Unmarshal(body, &sent) != nil || sent.Key != s.key {
			return http.StatusBadRequest, wrongKey
		}
		s.sealed = false
		return http.StatusOK, s.status()
	case "GET sys/seal-status":
		return http.StatusOK, s.status()
	case "GET sys/health":
		code = http.StatusOK
		if s.sealed {
			code = http.StatusServiceUnavailable
		}
		return code, fmt.Sprintf(`{"initialized":true,"sealed":%t,"standby":%t}`, s.sealed, s.sealed)
	case "GET auth/token/lookup-self":
		if s.sealed {
			return http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`
		}
		return http.StatusForbidden, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`
	}
	return http.StatusNotFound, `{"errors":[]}`
}

func (s *standIn) status() string {
	return fmt.Sprintf(`{"type":"shamir","initialized":true,"sealed":%t,"t":1,"n":1,"progress":0,"nonce":"",`+
		`"migration":false,"recovery_seal":false,"storage_type":"file"}`, s.sealed)
}

// Whatever the stand-in says, Vault says too.
func TestStandIn_AnswersAsVaultDoes(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	v, err := env.NewVault(testenv.VaultConfig{})
	require.NoError(t, err)
	require.NoError(t, v.StartAndWait(t.Context()))
	require.NoError(t, v.Init(t.Context(), 1, 1))
	s := newStandIn(t, hexKey(t, v.Keys[0]))
	s.begin(t)
	compare := func(sentence, request, body string) {
		method, path, _ := strings.Cut(request, " ")
		realCode, vaults := answerOf(t, method, v.Addr+"/v1/"+path, body)
		code, ours := answerOf(t, method, "http://"+s.addr+"/v1/"+path, body)
		assert.Equal(t, realCode, code, "%s: %s: %v", sentence, request, vaults)
		for field, value := range ours {
			assert.Equal(t, vaults[field], value, "%s: %s: %s", sentence, request, field)
		}
	}
	asked := []string{"GET sys/seal-status", "GET sys/health", "GET auth/token/lookup-self"}
	for _, request := range asked {
		compare("sealed", request, "")
	}
	compare("a wrong key", "PUT sys/unseal", `{"key":"`+strings.Repeat("ab", 32)+`"}`)
	compare("the key", "PUT sys/unseal", `{"key":"`+s.key+`"}`)
	require.NoError(t, v.AwaitActive(t.Context()))
	for _, request := range asked {
		compare("open", request, "")
	}
}

func answerOf(t *testing.T, method, url, body string) (code int, fields map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("X-Vault-Token", "s.there-is-no-such-token")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&fields))
	return resp.StatusCode, fields
}
