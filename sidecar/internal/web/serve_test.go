package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// start starts s and returns what ends it, and waits until it did.
func start(t *testing.T, s *testServer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(waitTimeout):
			t.Error("it does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// freePort returns an address without a listener.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func get(url string) (code int, body string) {
	client := http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw)
}

func TestServer_ServesAndStops(t *testing.T) {
	s := newServer(freePort(t))
	stop := start(t, s)
	require.Eventually(t, func() bool { code, _ := get("http://" + s.Bind + "/healthz"); return code == 200 }, waitTimeout, tick)
	code, body := get("http://" + s.Bind + "/status")
	assert.Equal(t, 200, code)
	assert.Contains(t, body, `"phase": "starting"`)

	// A peer that holds a connection open must not hold up the end.
	conn, err := net.Dial("tcp", s.Bind)
	require.NoError(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\n")
	began := time.Now()
	stop()
	assert.Less(t, time.Since(began), time.Second)
	code, _ = get("http://" + s.Bind + "/healthz")
	assert.Zero(t, code)
}

func TestServer_AnswersWhileAPeerIsSlow(t *testing.T) {
	s := newServer(freePort(t))
	start(t, s)
	require.Eventually(t, func() bool { code, _ := get("http://" + s.Bind + "/healthz"); return code == 200 }, waitTimeout, tick)
	for range maxOfPeer / 2 {
		conn, err := net.Dial("tcp", s.Bind)
		require.NoError(t, err)
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /status HTTP/1.1\r\nHost: ")
	}
	code, _ := get("http://" + s.Bind + "/healthz")
	assert.Equal(t, 200, code)
	conn, err := net.Dial("tcp", s.Bind)
	require.NoError(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	assert.NotContains(t, line, "200", "a head without end is not taken")
}

// openIdle opens connections that send nothing.
func openIdle(t *testing.T, addr string, count int) (conns []net.Conn) {
	t.Helper()
	for range count {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNRESET) { // turned away
			continue
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// countOpen counts the connections that the server has not closed after a while.
func countOpen(conns []net.Conn, while time.Duration) int {
	var open atomic.Int64
	var group sync.WaitGroup
	until := time.Now().Add(while)
	for _, conn := range conns {
		group.Go(func() {
			_ = conn.SetReadDeadline(until)
			if _, err := conn.Read(make([]byte, 1)); os.IsTimeout(err) {
				open.Add(1)
			}
		})
	}
	group.Wait()
	return int(open.Load())
}

// waitAnswered sends requests, each on a new connection, until one is answered.
func waitAnswered(t *testing.T, s *testServer) (took time.Duration) {
	t.Helper()
	began := time.Now()
	require.Eventually(t, func() bool { code, _ := get("http://" + s.Bind + "/healthz"); return code == 200 }, waitTimeout, 10*tick)
	return time.Since(began)
}

func TestServer_LimitsIdleConnections(t *testing.T) {
	const slack = 1500 * time.Millisecond // for a busy machine
	t.Run("those that stay are timed out", func(t *testing.T) {
		s := newServer(freePort(t))
		start(t, s)
		waitAnswered(t, s)
		conns := openIdle(t, s.Bind, 500)
		open := countOpen(conns, readTimeout/4)
		assert.LessOrEqual(t, open, maxOfPeer)
		assert.Positive(t, open, "the limit is no ban")
		assert.Less(t, waitAnswered(t, s), readTimeout+slack)
		assert.Zero(t, countOpen(conns, readTimeout+slack))
	})
	t.Run("those that go make room at once", func(t *testing.T) {
		s := newServer(freePort(t))
		start(t, s)
		waitAnswered(t, s)
		for range 3 { // room that was not given back would be missed
			for _, conn := range openIdle(t, s.Bind, 500) {
				require.NoError(t, conn.Close())
			}
			assert.Less(t, waitAnswered(t, s), readTimeout/2)
		}
	})
}

// A peer that opens connections without end, and replaces those that are closed,
// blocks only itself.
func TestServer_LimitsTheConnectionsOfOnePeer(t *testing.T) {
	s := newServer(freePort(t))
	start(t, s)
	waitAnswered(t, s)
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var renewed atomic.Int64
	for range maxOpen {
		group.Go(func() {
			for ctx.Err() == nil {
				conn, err := from.DialContext(ctx, "tcp", s.Bind)
				if err != nil {
					continue
				}
				renewed.Add(1)
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				_, _ = conn.Read(make([]byte, 1))
				stop()
				_ = conn.Close()
			}
		})
	}
	require.Eventually(t, func() bool { return renewed.Load() > 2*maxOpen }, waitTimeout, tick)
	for range 20 {
		code, text := get("http://" + s.Bind + "/healthz")
		assert.Equal(t, 200, code, text)
	}
}

// A peer that reads nothing has its part of the connections alone, and what it was to get
// is not kept for it.
func TestServer_KeepsNoAnswerForAPeerThatReadsNothing(t *testing.T) {
	s := newServer(freePort(t))
	answered := make(chan struct{}, maxOpen)
	s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 30<<10))
		answered <- struct{}{}
	})
	start(t, s)
	waitAnswered(t, s)
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 67)}, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	}}
	ask := func(path string) (net.Conn, error) {
		conn, err := from.DialContext(t.Context(), "tcp", s.Bind)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		return conn, err
	}
	isAnswered := func() bool {
		conn, err := ask("/healthz")
		if err != nil { // turned away
			return false
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.Contains(line, "200")
	}
	var conns []net.Conn
	for range maxOfPeer {
		conn, err := ask("/metrics")
		require.NoError(t, err)
		conns = append(conns, conn)
		<-answered
	}
	began := time.Now()
	assert.False(t, isAnswered(), "each answer that it leaves is one of its connections")
	require.Eventually(t, isAnswered, waitTimeout, tick)
	assert.Greater(t, time.Since(began), drainTimeout/2)
	broken := 0 // the others may have got it all just now
	for _, conn := range conns {
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, syscall.ECONNRESET) {
			broken++
		}
	}
	assert.Positive(t, broken)
}

// A peer may send without an end, and out of order, what nobody reads.
func TestServer_KeepsLittleOfWhatAPeerSends(t *testing.T) {
	s := newServer(freePort(t))
	asked, done := make(chan struct{}), make(chan struct{})
	s.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-done
	})
	start(t, s)
	defer close(done)
	waitAnswered(t, s)
	const sendBuffer = 4 << 10
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer) })
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Bind)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	require.NoError(t, err)
	<-asked
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(readTimeout/2)))
	sent, err := conn.Write(make([]byte, 1000000))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.LessOrEqual(t, sent, 4*receiveBuffer)
}

// Of Multipath TCP kernels before the spring of 2026 keep an answer whatever linger says,
// and one connection has any number of flows.
func TestServer_SpeaksNoMultipathTCP(t *testing.T) {
	s := newServer(freePort(t))
	start(t, s)
	waitAnswered(t, s)
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Bind)
	require.NoError(t, err)
	defer conn.Close()
	multipath, err := conn.(*net.TCPConn).MultipathTCP()
	require.NoError(t, err)
	assert.False(t, multipath)
}

func TestLimited_LimitsAllPeersTogether(t *testing.T) {
	l := &limited{open: map[string]int{}}
	in := 0
	for peer := range maxOpen {
		for range maxOfPeer {
			if l.enter(strconv.Itoa(peer)) {
				in++
			}
		}
	}
	assert.Equal(t, maxOpen, in)
	assert.Len(t, l.open, maxOpen/maxOfPeer, "peers that are not in are not kept")
}

func TestServer_ServesOneRequestPerConnection(t *testing.T) {
	s := newServer(freePort(t))
	start(t, s)
	waitAnswered(t, s)
	conn := openIdle(t, s.Bind, 1)[0]
	_ = conn.SetDeadline(time.Now().Add(readTimeout / 2))
	_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.True(t, resp.Close, "and announces it")
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	_, err = reader.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
}

// http.Server closes a connection twice when it ends in the midst of an answer.
func TestServer_CountsEachConnectionOnce(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	answering := make(chan struct{}, 8)
	s := newServer("")
	s.Metrics = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		answering <- struct{}{}
		<-r.Context().Done()
	})
	l := &limited{Listener: inner, open: map[string]int{}}
	counts := func() (all, peers int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.all, len(l.open)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	conns := openIdle(t, inner.Addr().String(), 8)
	for _, conn := range conns[:4] {
		_, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		<-answering
	}
	require.Eventually(t, func() bool { all, _ := counts(); return all == 8 }, waitTimeout, tick)
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool { all, _ := counts(); return all == 7 }, waitTimeout, tick)
	cancel()
	require.NoError(t, <-ended)
	require.Eventually(t, func() bool { all, _ := counts(); return all <= 0 }, waitTimeout, tick)
	all, peers := counts()
	assert.Zero(t, all)
	assert.Zero(t, peers)
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
