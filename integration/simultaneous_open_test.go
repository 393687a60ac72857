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

// simultaneousOpener is a process of the pod that never listens. While Vault is down it
// binds sockets to Vault's port, and connects each of them to one of the ports that the
// kernel gives to clients. TCP then opens from both ends at once: a client that connects
// from such a port to Vault's reaches the opener, though Vault listens.
type simultaneousOpener struct {
	port         int
	fds          map[int]int // the client port that each connects to
	fdOfPort     map[int]int // which connects to a client port
	keysReceived atomic.Int32
	answer       func(line string) string
	ready        chan error
	stop         atomic.Bool
	stopped      chan struct{}
}

// setMinTTL makes a socket drop packets with a lower TTL: all, at 255, for the kernel
// sends with 64. The socket then does not see that the port it connects to is closed.
// It takes no capability.
func setMinTTL(fd, ttl int) { _ = syscall.SetsockoptInt(fd, syscall.SOL_IP, 21, ttl) }

// acceptCallers makes the sockets reachable to whose port a client connects from the
// port that they connect to. Its first SYN is lost, the next comes within a second. A
// client that has seen the socket's own SYN is in SYN_RECV by then, else in SYN_SENT.
func (c *simultaneousOpener) acceptCallers() {
	table, _ := os.ReadFile("/proc/self/net/tcp")
	to := fmt.Sprintf(" 0100007F:%04X 0", c.port)
	for line := range strings.Lines(string(table)) {
		if !strings.Contains(line, to) {
			continue
		}
		if f := strings.Fields(line); len(f) > 3 && (f[3] == "02" || f[3] == "03") && strings.HasPrefix(f[1], "0100007F:") {
			port, _ := strconv.ParseUint(f[1][9:], 16, 16)
			if fd, is := c.fdOfPort[int(port)]; is {
				setMinTTL(fd, 0)
			}
		}
	}
}

func (c *simultaneousOpener) connect(fd int) {
	_ = syscall.Connect(fd, &syscall.SockaddrInet4{Port: c.fds[fd], Addr: [4]byte{127, 0, 0, 1}})
}

func (c *simultaneousOpener) disconnect(fd int) { // it stays bound
	setMinTTL(fd, 255)
	raw := syscall.RawSockaddr{Family: syscall.AF_UNSPEC}
	_, _, _ = syscall.Syscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), 16)
}

// run makes the sockets as a user, who need not be Vault's.
func (c *simultaneousOpener) run(uid int) {
	defer close(c.stopped)
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
	c.fds, c.fdOfPort = map[int]int{}, map[int]int{}
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
		c.fds[fd], c.fdOfPort[p] = p, fd
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		setMinTTL(fd, 255)
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: c.port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			c.ready <- fmt.Errorf("bind: %w", err)
			return
		}
		_ = syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<31, Fd: int32(fd)})
		c.connect(fd)
	}
	c.ready <- nil
	events := make([]syscall.EpollEvent, 64)
	buf := make([]byte, 64<<10)
	for !c.stop.Load() {
		c.acceptCallers()
		n, _ := syscall.EpollWait(poll, events, 5)
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			k, err := syscall.Read(fd, buf)
			if err == syscall.EAGAIN {
				continue
			}
			if k <= 0 || err != nil {
				c.disconnect(fd)
				c.connect(fd)
				continue
			}
			if strings.HasPrefix(string(buf[:k]), "PUT ") {
				c.keysReceived.Add(1)
			}
			_, _ = syscall.Write(fd, []byte(c.answer(string(buf[:k]))))
		}
	}
}

func rawHTTPResponse(code int, text string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", code, http.StatusText(code), len(text), text)
}

func rawUnsealedResponse(request string) string {
	if strings.Contains(request, "lookup-self") {
		return rawHTTPResponse(http.StatusForbidden, `{"errors":["permission denied"]}`)
	}
	return rawHTTPResponse(http.StatusOK, `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1}`)
}

func rawSealedResponse(request string) string {
	if strings.Contains(request, "sys/health") {
		return rawHTTPResponse(http.StatusServiceUnavailable, sealStatusJSON)
	}
	return rawHTTPResponse(http.StatusOK, sealStatusJSON)
}

func startSimultaneousOpener(sc *scenario, uid int, answer func(string) string) *simultaneousOpener {
	port, _ := strconv.Atoi(sc.vault.Port())
	c := &simultaneousOpener{port: port, answer: answer, ready: make(chan error, 1), stopped: make(chan struct{})}
	go c.run(uid)
	require.NoError(sc, <-c.ready)
	sc.Cleanup(func() { c.stop.Store(true); <-c.stopped })
	return c
}

// sealStatusThroughOpener asks from a port that the opener connects to: the first that no
// connection of another test has.
func sealStatusThroughOpener(sc *scenario) (status string) {
	for port := 40000; port < 41000; port += 2 {
		status = sealStatusFrom(sc, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if !strings.Contains(status, syscall.EADDRINUSE.Error()) {
			break
		}
	}
	return status
}

// sealStatusFrom asks Vault from an address; the opener answers if it connects to that.
func sealStatusFrom(sc *scenario, from *net.TCPAddr) string {
	d := net.Dialer{LocalAddr: from}
	h := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}, Timeout: 5 * time.Second}
	r, err := h.Get(sc.vault.Addr + "/v1/sys/seal-status")
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

// Vault listens at its port, and yet a connection to it could lead to another process
// of the pod.
func TestSimultaneousOpen_GetsNoKey(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(string) string
		says   string // to a client that is not the sidecar
	}{
		"it claims to be an open vault":  {rawUnsealedResponse, "sealed=false"},
		"it claims to be a sealed vault": {rawSealedResponse, "sealed=true"},
		"it says nothing":                {func(string) string { return "" }, "Client.Timeout exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			sc := run(t, setup{}, phase{"vault is open", startSidecar, []condition{serving()}})
			killVault(sc)
			await(sc, phaseIs("unreachable"))
			c := startSimultaneousOpener(sc, 1000, row.answer)
			require.Contains(t, sealStatusThroughOpener(sc), row.says, "a client that it connects to reaches it")
			startVault(sc)
			require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "vault to be open in truth", func() string {
				return strings.TrimPrefix(sealStatusFrom(sc, &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}), "sealed=false")
			}), sc.vaultLogTail())
			await(sc, phaseIs("active"))
			require.Zero(t, c.keysReceived.Load(), "keys that the opener was sent")
		})
	}
}
