package integration

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stranger in the pod plays a sealed Vault, and waits for the key.

// sealedAnswer is Vault's, of a key of one share.
const sealedAnswer = `{"type":"shamir","initialized":true,"sealed":true,"t":1,"n":1,"progress":0,"nonce":"","version":"1.21.4","storage_type":"file"}`

// playVault listens at addr and counts what it is sent of keys.
func playVault(t *testing.T, addr string) (asked, keys *atomic.Int32) {
	t.Helper()
	asked, keys = &atomic.Int32{}, &atomic.Int32{}
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method == http.MethodPut {
			keys.Add(1)
		}
		_, _ = w.Write([]byte(sealedAnswer))
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return asked, keys
}

// ownAddress is an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	require.Fail(t, "this machine has no address beside loopback")
	return ""
}

// withHosts runs a program whose /etc/hosts is another file, as every container
// of a pod does in which one of them has written it.
const withHosts = `set -e; mount --bind "$1" /etc/hosts; shift; exec "$@"`

func TestLocalhost_NoHostsFileLeadsTheKeyAstray(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(beside(t).Dir, "hosts")
	elsewhere := ownAddress(t)
	require.NoError(t, os.WriteFile(hosts, []byte(elsewhere+" localhost\n"), 0o644))
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	w := furnish(t, home{})
	_, keys := playVault(t, net.JoinHostPort(elsewhere, w.vault.Port()))
	defer func() { assert.Zero(t, keys.Load(), "the key went to whoever /etc/hosts calls localhost") }()
	w.home.args = []string{"--vault-addr", strings.Replace(w.vault.Addr, "127.0.0.1", "localhost", 1)}
	w.startSidecar("unshare", namespace, "sh", "-c", withHosts, "sh", hosts)
	await(w, serving())
	killVault(w)
	await(w, phaseIs("unreachable"))
	startVaultAndWait(w)
	await(w, serving())
}
