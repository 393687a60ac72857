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

// playVaultAs does it with the sockets of another user's process.
func playVaultAs(t *testing.T, uid int, network, addr string) (keys *atomic.Int32, end func()) {
	t.Helper()
	keys = &atomic.Int32{}
	s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			keys.Add(1)
		}
		if r.URL.Path == "/v1/sys/health" {
			w.WriteHeader(http.StatusServiceUnavailable) // or it would seem to serve
		}
		_, _ = w.Write([]byte(sealedAnswer))
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

// While Vault is down, a process of another user has its port. Only root can be
// another: for anybody else the sidecar is told then that Vault is.
func TestVaultUID_AnotherUsersProcessGetsNoKey(t *testing.T) {
	t.Parallel()
	own := os.Geteuid() // Vault's, here
	for name, more := range map[string][]string{"proofs off": nil, "proofs on": {"--prove-interval", "1m"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with := func(uid int) []string { return append([]string{"--vault-uid", strconv.Itoa(uid)}, more...) }
			w := play(t, home{args: with(own)},
				phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}},
				phase{"vault restarts", restartVaultAtOnce, []expectation{serving(), sent(1)}},
			)
			again := func(uid int) {
				killSidecar(w)
				w.home.args = with(uid)
				w.startSidecar()
			}
			killVault(w)
			stranger, wanted := 1000, own
			if own != 0 {
				stranger, wanted = own, own+1
				again(wanted)
			}
			keys, end := playVaultAs(t, stranger, "tcp4", w.vault.HostPort())
			says := fmt.Sprintf("the process at vault's address runs as uid %d and --vault-uid says %d: see whether another container", stranger, wanted)
			await(w, phaseIs("failing"))
			await(w, logs(says))
			check := func(uid int) checked {
				return w.checkedBeside("--vault-addr", w.vault.Addr, "--vault-uid", strconv.Itoa(uid))
			}
			found := check(wanted)
			assert.True(t, found.has("failure", "vault", "the sidecar would not send the key: "+says), found.output)
			assert.Zero(t, keys.Load(), "keys that it was sent")
			end()
			startVaultAndWait(w)
			if own != 0 {
				again(own)
			}
			await(w, serving())
			assert.Zero(t, keys.Load())
			found = check(own)
			assert.True(t, found.has("ok", "vault", fmt.Sprintf("runs as uid %d, and the key goes to no other", own)), found.output)
		})
	}
}

func TestVaultUID_OverAUnixSocketAndTLS(t *testing.T) {
	t.Parallel()
	uid := strconv.Itoa(os.Geteuid())
	l := beside(t)
	path := filepath.Join(l.Dir, "vault.sock")
	a, err := l.Authority("right")
	require.NoError(t, err)
	secure, secureAddr := secureListener(t, a, "")
	socket := fmt.Sprintf("listener \"unix\" {\n  address = %q\n  socket_mode = \"0666\"\n}\n", path)
	for name, at := range map[string][]string{
		"socket": {"--vault-addr", "unix://" + path}, "TLS": {"--vault-addr", secureAddr, "--vault-cacert", a.CAFile},
	} {
		t.Run(name, func(t *testing.T) {
			w := play(t, home{listeners: socket + secure, args: append(at, "--vault-uid", uid)},
				phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}})
			killSidecar(w)
			killVault(w)
			startVaultAndWait(w)
			w.mark = w.vault.SharesSent()
			w.home.args = append(at, "--vault-uid", "4321")
			w.startSidecar()
			await(w, logs("runs as uid "+uid+" and --vault-uid says 4321"))
			await(w, phaseIs("failing"))
			assert.Equal(t, w.mark, w.vault.SharesSent())
		})
	}
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
