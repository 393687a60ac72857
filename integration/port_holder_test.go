package integration

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// portHolder takes Vault's port while Vault is down. It keeps the connections that
// it has accepted once it gives the port back.
type portHolder struct {
	net.Listener
	accepted atomic.Int32
	released atomic.Bool // the port is Vault's again
}

func (i *portHolder) Accept() (net.Conn, error) {
	conn, err := i.Listener.Accept()
	if err == nil {
		i.accepted.Add(1)
	}
	return conn, err
}

// listenOnVaultPort begins to listen at Vault's address.
func listenOnVaultPort(sc *scenario, answer func(i *portHolder) http.HandlerFunc) *portHolder {
	l, err := testenv.ListenAgain(sc.ctx, sc.vault.HostPort())
	require.NoError(sc, err)
	i := &portHolder{Listener: l}
	server := &http.Server{Handler: answer(i)}
	sc.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(i) }()
	return i
}

// neverRespond never answers.
func neverRespond(sc *scenario) func(*portHolder) http.HandlerFunc {
	return func(*portHolder) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) { <-sc.ctx.Done() }
	}
}

func writeJSON(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// respondUnsealed claims to be a Vault that is open.
func respondUnsealed(*portHolder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			writeJSON(w, http.StatusForbidden, `{"errors":["permission denied"]}`)
			return
		}
		writeJSON(w, http.StatusOK, `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1}`)
	}
}

// respondSealedAfterRelease claims that too, and once Vault is back, on the connection that it
// kept, that Vault was sealed, which no restart does.
func respondSealedAfterRelease(i *portHolder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if i.released.Load() && r.URL.Path == "/v1/sys/health" {
			writeJSON(w, http.StatusServiceUnavailable, `{"initialized":true,"sealed":true}`)
			return
		}
		respondUnsealed(i)(w, r)
	}
}

// Another container of the pod may take Vault's port for a moment. Its responses are
// not taken for those of the Vault that listens afterwards, and keep none sealed.
func TestPortHolder_DoesNotKeepVaultSealed(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answer func(sc *scenario) func(*portHolder) http.HandlerFunc
		asked  int32     // so many connections does it hold
		seen   condition // before it gives the port back
	}{
		"it answers nothing":                        {neverRespond, 3, phaseIs("unresponsive")},
		"it says that it is an open vault":          {func(*scenario) func(*portHolder) http.HandlerFunc { return respondUnsealed }, 1, phaseIs("active")},
		"it says so, and then that vault is sealed": {func(*scenario) func(*portHolder) http.HandlerFunc { return respondSealedAfterRelease }, 1, phaseIs("active")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := run(t, setup{}, phase{"vault is open", startSidecar, []condition{serving()}})
			killVault(sc)
			i := listenOnVaultPort(sc, row.answer(sc))
			await(sc, condition{"the port holder to be asked", func(*scenario) string {
				if i.accepted.Load() >= row.asked {
					return ""
				}
				return "not yet"
			}})
			await(sc, row.seen)
			require.NoError(sc, i.Close())
			i.released.Store(true)
			startVault(sc)
			await(sc, vaultIsOpen)
			await(sc, serving())
			assert.NotContains(sc, sc.sidecar.Output(), "sealed manually")
		})
	}
}
