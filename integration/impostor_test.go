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

// impostor takes Vault's port while Vault is down. It keeps the connections that
// it has accepted once it gives the port back.
type impostor struct {
	net.Listener
	asked atomic.Int32
	back  atomic.Bool // the port is Vault's again
}

func (i *impostor) Accept() (net.Conn, error) {
	conn, err := i.Listener.Accept()
	if err == nil {
		i.asked.Add(1)
	}
	return conn, err
}

// takePort begins to listen at Vault's address.
func takePort(w *world, answer func(i *impostor) http.HandlerFunc) *impostor {
	l, err := net.Listen("tcp", w.vault.HostPort())
	require.NoError(w, err)
	i := &impostor{Listener: l}
	server := &http.Server{Handler: answer(i)}
	w.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(i) }()
	return i
}

// silent never answers.
func silent(w *world) func(*impostor) http.HandlerFunc {
	return func(*impostor) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) { <-w.ctx.Done() }
	}
}

func says(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// active claims to be a Vault that is open.
func active(*impostor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			says(w, http.StatusForbidden, `{"errors":["permission denied"]}`)
			return
		}
		says(w, http.StatusOK, `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1}`)
	}
}

// framing claims that too, and once Vault is back, on the connection that it
// kept, that Vault was sealed, which no restart does.
func framing(i *impostor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if i.back.Load() && r.URL.Path == "/v1/sys/health" {
			says(w, http.StatusServiceUnavailable, `{"initialized":true,"sealed":true}`)
			return
		}
		active(i)(w, r)
	}
}

// Another container of the pod may take Vault's port for a moment. Who held it
// then speaks for no Vault that listens there afterwards, and keeps none sealed.
func TestAProcessThatHadVaultsPort_KeepsNoVaultSealed(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answer func(w *world) func(*impostor) http.HandlerFunc
		asked  int32       // so many connections does it hold
		seen   expectation // before it gives the port back
	}{
		"it answers nothing":                        {silent, 3, phaseIs("unresponsive")},
		"it says that it is an open vault":          {func(*world) func(*impostor) http.HandlerFunc { return active }, 1, phaseIs("active")},
		"it says so, and then that vault is sealed": {func(*world) func(*impostor) http.HandlerFunc { return framing }, 1, phaseIs("active")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := play(t, home{}, phase{"vault is open", startSidecar, []expectation{serving()}})
			killVault(w)
			i := takePort(w, row.answer(w))
			await(w, expectation{"the intruder to be asked", func(*world) string {
				if i.asked.Load() >= row.asked {
					return ""
				}
				return "not yet"
			}})
			await(w, row.seen)
			require.NoError(w, i.Close())
			i.back.Store(true)
			startVault(w)
			require.NoError(w, testenv.Await(w.ctx, patience, "vault itself to be open", func() string {
				s, err := w.vault.SealStatus(w.ctx)
				if err != nil {
					return err.Error()
				}
				if s.Sealed {
					return "sealed"
				}
				return ""
			}))
			await(w, serving())
			assert.NotContains(w, w.sidecar.Output(), "sealed manually")
		})
	}
}
