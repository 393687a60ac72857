package integration

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Another process of the pod pretends to be a sealed Vault and waits for the key.

// sealStatusJSON is Vault's, of a key of one share.
const sealStatusJSON = `{"type":"shamir","initialized":true,"sealed":true,"t":1,"n":1,"progress":0,"nonce":"","version":"1.21.4","storage_type":"file"}`

// serveFakeVault listens at addr and counts what it is sent of keys.
func serveFakeVault(t *testing.T, addr string) (asked, keys *atomic.Int32) {
	t.Helper()
	asked, keys = &atomic.Int32{}, &atomic.Int32{}
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method == http.MethodPut {
			keys.Add(1)
		}
		_, _ = w.Write([]byte(sealStatusJSON))
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return asked, keys
}

// serveFakeVaultAs does it with the sockets of another user's process.
func serveFakeVaultAs(t *testing.T, uid int, network, addr string) (keys *atomic.Int32, end func()) {
	t.Helper()
	keys = &atomic.Int32{}
	s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			keys.Add(1)
		}
		if r.URL.Path == "/v1/sys/health" {
			w.WriteHeader(http.StatusServiceUnavailable) // or it would seem to serve
		}
		_, _ = w.Write([]byte(sealStatusJSON))
	})}
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // its sockets are made on this thread, which ends with it
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0); errno != 0 {
			began <- errno
			return
		}
		l, err := net.Listen(network, addr)
		began <- err
		if err == nil {
			_ = s.Serve(l)
		}
	}()
	require.NoError(t, <-began)
	end = sync.OnceFunc(func() { _ = s.Close() })
	t.Cleanup(end)
	return keys, end
}

// While Vault is down, a process of another user has its port. Only root can start
// one: for other users --vault-uid is changed instead.
func TestVaultUID_OtherUsersProcessGetsNoKey(t *testing.T) {
	t.Parallel()
	own := os.Geteuid() // Vault's, here
	for name, more := range map[string][]string{"proofs off": nil, "proofs on": {"--prove-interval", "1m"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with := func(uid int) []string { return append([]string{"--vault-uid", strconv.Itoa(uid)}, more...) }
			sc := run(t, setup{args: with(own)},
				phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}},
				phase{"vault restarts", restartVaultAtOnce, []condition{serving(), sharesSent(1)}},
			)
			again := func(uid int) {
				killSidecar(sc)
				sc.setup.args = with(uid)
				sc.startSidecar()
			}
			killVault(sc)
			other, wanted := 1000, own
			if own != 0 {
				other, wanted = own, own+1
				again(wanted)
			}
			keys, end := serveFakeVaultAs(t, other, "tcp4", sc.vault.HostPort())
			says := fmt.Sprintf("the process at vault's address runs as uid %d and --vault-uid says %d: see whether another container", other, wanted)
			await(sc, phaseIs("failing"))
			await(sc, logContains(says))
			check := func(uid int) checkResult {
				return sc.checkWithoutKubernetes("--vault-addr", sc.vault.Addr, "--vault-uid", strconv.Itoa(uid))
			}
			found := check(wanted)
			assert.True(t, found.hasFinding("failure", "vault", "the sidecar would not send the key: "+says), found.output)
			assert.Zero(t, keys.Load(), "keys that it was sent")
			end()
			gone := check(wanted)
			assert.True(t, gone.hasFinding("unknown", "vault", "the sidecar would not send the key: "), gone.output)
			startVaultAndWait(sc)
			if own != 0 {
				again(own)
			}
			await(sc, serving())
			assert.Zero(t, keys.Load())
			found = check(own)
			assert.True(t, found.hasFinding("ok", "vault", fmt.Sprintf("runs as uid %d, and the key goes to no other", own)), found.output)
		})
	}
}

func TestVaultUID_IsCheckedOverUnixSocketAndTLS(t *testing.T) {
	t.Parallel()
	uid := strconv.Itoa(os.Geteuid())
	env := newEnv(t)
	path := filepath.Join(env.Dir, "vault.sock")
	a, err := env.NewCA("right")
	require.NoError(t, err)
	secure, secureAddr := tlsListener(t, a, "")
	socket := fmt.Sprintf("listener \"unix\" {\n  address = %q\n  socket_mode = \"0666\"\n}\n", path)
	for name, at := range map[string][]string{
		"socket": {"--vault-addr", "unix://" + path}, "TLS": {"--vault-addr", secureAddr, "--vault-cacert", a.CAFile},
	} {
		t.Run(name, func(t *testing.T) {
			sc := run(t, setup{listeners: socket + secure, args: append(at, "--vault-uid", uid)},
				phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}})
			killSidecar(sc)
			killVault(sc)
			startVaultAndWait(sc)
			sc.sharesAtPhaseStart = sc.vault.SharesSent()
			sc.setup.args = append(at, "--vault-uid", "4321")
			sc.startSidecar()
			await(sc, logContains("runs as uid "+uid+" and --vault-uid says 4321"))
			await(sc, phaseIs("failing"))
			assert.Equal(t, sc.sharesAtPhaseStart, sc.vault.SharesSent())
		})
	}
}

// nonLoopbackAddress is an address of this machine that is not loopback.
func nonLoopbackAddress(t *testing.T) string {
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

// withHostsFile runs a program whose /etc/hosts is another file, as every container
// of a pod does in which one of them has written it.
const withHostsFile = `set -e; mount --bind "$1" /etc/hosts; shift; exec "$@"`

func TestLocalhost_IgnoresHostsFile(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(newEnv(t).Dir, "hosts")
	elsewhere := nonLoopbackAddress(t)
	require.NoError(t, os.WriteFile(hosts, []byte(elsewhere+" localhost\n"), 0o644))
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	sc := newScenario(t, setup{})
	_, keys := serveFakeVault(t, net.JoinHostPort(elsewhere, sc.vault.Port()))
	defer func() { assert.Zero(t, keys.Load(), "the key went to the address that /etc/hosts gives localhost") }()
	sc.setup.args = []string{"--vault-addr", strings.Replace(sc.vault.Addr, "127.0.0.1", "localhost", 1)}
	sc.startSidecar("unshare", namespace, "sh", "-c", withHostsFile, "sh", hosts)
	await(sc, serving())
	killVault(sc)
	await(sc, phaseIs("unreachable"))
	startVaultAndWait(sc)
	await(sc, serving())
}
