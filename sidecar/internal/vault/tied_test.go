//go:build linux

package vault

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// processes returns the name of the listening process that a test sets.
type processes struct{ name atomic.Pointer[string] }

func (p *processes) set(name string) { p.name.Store(&name) }

func (p *processes) Process() (string, error) {
	if name := *p.name.Load(); name != "unknown" {
		return name, nil
	}
	return "", errors.New("not known here")
}

func TestTied_SendsNoRequestToAProcessThatStoppedListening(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", nil)
	for _, row := range []struct {
		sentence, first, then string
		opened                int32
	}{
		{"the same listens", "a", "a", 1},
		{"another does", "a", "b", 2},
		{"it cannot be known any more", "a", "unknown", 1},
		{"it never could be", "unknown", "b", 1},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			var p processes
			p.set(row.first)
			c, err := New(Config{Addr: s.URL, Process: p.Process})
			require.NoError(t, err)
			before := s.opened.Load()
			_, err = c.SealStatus(t.Context())
			require.NoError(t, err)
			p.set(row.then)
			_, err = c.SealStatus(t.Context())
			require.NoError(t, err)
			assert.Equal(t, row.opened, s.opened.Load()-before, "connections")
		})
	}
}

func TestTied_RejectsAConnectionWhenTheListenerChanges(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", nil)
	for _, row := range []struct {
		sentence string
		names    []string // each time that it is asked
		asked    bool
	}{
		{"the same", []string{"a", "a", "a"}, true},
		{"one that has just begun to", []string{"", "a", "a"}, true},
		{"another, after it", []string{"a", "b", "b"}, false},
		{"none, after it", []string{"a", "", ""}, false},
		{"none", []string{"", "", ""}, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			var asked atomic.Int32
			next := func() (string, error) {
				return row.names[min(int(asked.Add(1)), len(row.names))-1], nil
			}
			c, err := New(Config{Addr: s.URL, Process: next})
			require.NoError(t, err)
			_, err = c.SealStatus(t.Context())
			if row.asked {
				require.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, unseal.ErrUnreachable)
			assert.NotErrorIs(t, err, unseal.ErrBroken)
		})
	}
}

// A process that took the port while Vault was down holds what it has accepted
// and says nothing, in TLS not even hello.
func TestTied_CancelsARequestWhoseProcessStoppedListening(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			accepted := make(chan net.Conn, 1)
			go func() {
				if conn, err := l.Accept(); err == nil {
					accepted <- conn
				}
			}()
			var p processes
			p.set("a")
			c, err := New(Config{Addr: scheme + "://" + l.Addr().String(), Process: p.Process})
			require.NoError(t, err)
			c.dialer.lookAgain = 10 * tick
			ended := make(chan error, 1)
			go func() {
				_, err := c.SealStatus(t.Context())
				ended <- err
			}()
			conn := <-accepted
			defer conn.Close()
			select {
			case err := <-ended:
				t.Fatalf("it is waited for while it listens: %v", err)
			case <-time.After(20 * c.dialer.lookAgain):
			}
			p.set("b")
			select {
			case err := <-ended:
				assert.ErrorIs(t, err, unseal.ErrUnreachable)
			case <-time.After(waitTimeout):
				t.Fatal("it is waited for")
			}
		})
	}
}

func TestClient_LimitsTheResponseHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	sent := make(chan int64, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		n, _ := io.Copy(conn, io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), strings.NewReader(strings.Repeat("a:\r\n", 2<<20))))
		sent <- n
	}()
	c, err := New(Config{Addr: "http://" + l.Addr().String()})
	require.NoError(t, err)
	_, err = c.SealStatus(t.Context())
	assert.ErrorIs(t, err, unseal.ErrNotVault)
	assert.Less(t, <-sent, int64(8<<20), "the rest is not read")
}

// What a look opened led to whoever listened then: in the clear another may listen
// by the time a request is made.
func TestRefuses_ItsConnectionCarriesNoPlainRequest(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", nil)
	var p processes
	p.set("a")
	c, err := New(Config{Addr: s.URL, Process: p.Process})
	require.NoError(t, err)
	host := s.Listener.Addr().String()
	c.dialer.away.Store(&host)
	require.False(t, c.refuses())
	p.set("b")
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int32(2), s.opened.Load())
}

// An answer that goes on for ever, a byte at a time, is given up like one that
// does not come.
func TestTied_CancelsASlowResponseWhoseProcessStoppedListening(t *testing.T) {
	var p processes
	p.set("a")
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		p.set("b")
		for range time.Tick(tick) {
			if _, err := io.WriteString(out, " "); err != nil || r.Context().Err() != nil {
				return
			}
			_ = http.NewResponseController(out).Flush()
		}
	}))
	defer s.Close()
	c, err := New(Config{Addr: s.URL, Process: p.Process})
	require.NoError(t, err)
	c.dialer.lookAgain = 50 * tick
	_, err = c.SealStatus(t.Context())
	assert.ErrorIs(t, err, unseal.ErrUnreachable)
}

// One end connects to a port without a listener, and drops the reset; the other
// calls back.
func TestOpenedFromBothEnds_DetectsASimultaneousOpen(t *testing.T) {
	socket := func() (fd int, at *syscall.SockaddrInet4) {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		name, err := syscall.Getsockname(fd)
		require.NoError(t, err)
		return fd, name.(*syscall.SockaddrInet4)
	}
	ours, at := socket()
	theirs, to := socket()
	require.NoError(t, syscall.SetsockoptInt(ours, syscall.SOL_IP, unix.IP_MINTTL, 255))
	require.ErrorIs(t, syscall.Connect(ours, to), syscall.EINPROGRESS)
	require.NoError(t, syscall.SetsockoptInt(ours, syscall.SOL_IP, unix.IP_MINTTL, 0))
	require.ErrorIs(t, syscall.Connect(theirs, at), syscall.EINPROGRESS)
	conn := func(fd int) net.Conn {
		file := os.NewFile(uintptr(fd), "socket")
		defer file.Close()
		conn, err := net.FileConn(file)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	a, b := conn(ours), conn(theirs)
	assert.True(t, openedFromBothEnds(a))
	_, err := b.Write([]byte("answer"))
	require.NoError(t, err, "they are connected")
	_, err = io.ReadFull(a, make([]byte, 6))
	require.NoError(t, err)

	s := listenAt(t, "127.0.0.1:0", nil)
	for range 100 {
		plain, err := net.Dial("tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		require.False(t, openedFromBothEnds(plain), "by who listens")
		require.NoError(t, plain.Close())
	}
}

// A connection that was begun before Vault listened, and has been opened after, can
// be to whom it pleased.
func TestTied_DropsAConnectionBegunBeforeVaultListened(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", nil)
	var asked atomic.Int32
	c, err := New(Config{Addr: s.URL, Process: func() (string, error) {
		if asked.Add(1) == 1 {
			return "", nil
		}
		return "vault", nil
	}})
	require.NoError(t, err)
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int32(2), s.opened.Load())
}
