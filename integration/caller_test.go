package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// caller is a process of the pod that never listens. While Vault is down it binds
// sockets to Vault's port, and lets each of them call one of the ports that the
// kernel gives to clients. TCP then opens from both ends at once: who connects from
// such a port to Vault's has the caller at the other end, though Vault listens.
type caller struct {
	port   int
	fds    map[int]int // the client port that each calls
	by     map[int]int // which calls a client port
	keys   atomic.Int32
	answer func(line string) string
	ready  chan error
	end    atomic.Bool
	ended  chan struct{}
}

// minTTL makes a socket drop what has come further than so many routers let it:
// all, at 255, for the kernel sends with 64. That nobody listens where it calls it
// then does not see. It takes no capability.
func minTTL(fd, ttl int) { _ = syscall.SetsockoptInt(fd, syscall.SOL_IP, 21, ttl) }

// callBack lets those be reached that somebody calls from the port they call. His
// first SYN is lost, the next comes within a second.
func (c *caller) callBack() {
	table, _ := os.ReadFile("/proc/self/net/tcp")
	to := fmt.Sprintf("0100007F:%04X 02 ", c.port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.Contains(line, to) && len(f) > 2 && strings.HasPrefix(f[1], "0100007F:") {
			port, _ := strconv.ParseUint(f[1][9:], 16, 16)
			if fd, is := c.by[int(port)]; is {
				minTTL(fd, 0)
			}
		}
	}
}

func (c *caller) call(fd int) {
	_ = syscall.Connect(fd, &syscall.SockaddrInet4{Port: c.fds[fd], Addr: [4]byte{127, 0, 0, 1}})
}

func (c *caller) hangUp(fd int) { // it stays bound
	minTTL(fd, 255)
	raw := syscall.RawSockaddr{Family: syscall.AF_UNSPEC}
	_, _, _ = syscall.Syscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), 16)
}

// run makes the sockets as a user, who need not be Vault's.
func (c *caller) run(uid int) {
	defer close(c.ended)
	runtime.LockOSThread()
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0); e != 0 {
		c.ready <- e
		return
	}
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		c.ready <- err
		return
	}
	c.fds, c.by = map[int]int{}, map[int]int{}
	defer func() {
		for fd := range c.fds {
			_ = syscall.Close(fd)
		}
		_ = syscall.Close(poll)
	}()
	for p := 32768; p < 61000; p += 2 { // connect(2) takes the even ones first
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			c.ready <- err
			return
		}
		c.fds[fd], c.by[p] = p, fd
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		minTTL(fd, 255)
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: c.port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			c.ready <- fmt.Errorf("bind: %w", err)
			return
		}
		_ = syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<31, Fd: int32(fd)})
		c.call(fd)
	}
	c.ready <- nil
	events := make([]syscall.EpollEvent, 64)
	buf := make([]byte, 64<<10)
	for !c.end.Load() {
		c.callBack()
		n, _ := syscall.EpollWait(poll, events, 5)
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			k, err := syscall.Read(fd, buf)
			if err == syscall.EAGAIN {
				continue
			}
			if k <= 0 || err != nil {
				c.hangUp(fd)
				c.call(fd)
				continue
			}
			if strings.HasPrefix(string(buf[:k]), "PUT ") {
				c.keys.Add(1)
			}
			_, _ = syscall.Write(fd, []byte(c.answer(string(buf[:k]))))
		}
	}
}

func httpAnswer(code int, text string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", code, http.StatusText(code), len(text), text)
}

func claimsOpen(request string) string {
	if strings.Contains(request, "lookup-self") {
		return httpAnswer(http.StatusForbidden, `{"errors":["permission denied"]}`)
	}
	return httpAnswer(http.StatusOK, `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1}`)
}

func claimsSealed(request string) string {
	if strings.Contains(request, "sys/health") {
		return httpAnswer(http.StatusServiceUnavailable, sealedAnswer)
	}
	return httpAnswer(http.StatusOK, sealedAnswer)
}

func startCaller(w *world, uid int, answer func(string) string) *caller {
	port, _ := strconv.Atoi(w.vault.Port())
	c := &caller{port: port, answer: answer, ready: make(chan error, 1), ended: make(chan struct{})}
	go c.run(uid)
	require.NoError(w, <-c.ready)
	w.Cleanup(func() { c.end.Store(true); <-c.ended })
	return c
}

// asks asks Vault from an address, at the port that the caller calls if that is its.
func asks(w *world, from *net.TCPAddr) string {
	d := net.Dialer{LocalAddr: from}
	h := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}, Timeout: 5 * time.Second}
	r, err := h.Get(w.vault.Addr + "/v1/sys/seal-status")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	var s struct{ Sealed bool }
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("sealed=%v", s.Sealed)
}

// Who listens at Vault's port is Vault, and yet a connection to it could lead to
// another process of the pod.
func TestACallerAtVaultsPort_IsNotReached(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(string) string
		says   string // to who is not the sidecar
	}{
		"it claims to be an open vault":  {claimsOpen, "sealed=false"},
		"it claims to be a sealed vault": {claimsSealed, "sealed=true"},
		"it says nothing":                {func(string) string { return "" }, "Client.Timeout exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			w := play(t, home{}, phase{"vault is open", startSidecar, []expectation{serving()}})
			killVault(w)
			await(w, phaseIs("unreachable"))
			c := startCaller(w, 1000, row.answer)
			require.Contains(t, asks(w, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}), row.says, "whom it calls reaches it")
			startVault(w)
			require.NoError(t, testenv.Await(w.ctx, patience, "vault to be open in truth", func() string {
				return strings.TrimPrefix(asks(w, &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}), "sealed=false")
			}), w.vaultTail())
			await(w, phaseIs("active"))
			require.Zero(t, c.keys.Load(), "keys that the caller was sent")
		})
	}
}
