package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

const (
	// statusWithin is how long the sidecar may take to answer. It answers from
	// memory, however Vault is.
	statusWithin = 3 * time.Second
	// watchEvery is the time between two looks of status --watch.
	watchEvery = time.Second
	// maxStranger bounds what is repeated of an error, in characters: it may
	// quote whoever listens in the sidecar's place. maxHeader bounds the header
	// of an answer, in bytes.
	maxStranger = 500
	maxHeader   = 16 << 10
	// plainWidth is the width of the text where there is no terminal.
	plainWidth = 80
)

// showStatus prints what the sidecar that runs beside it tells of itself: with
// kubectl exec there is no curl.
func showStatus(c config, stdout, stderr io.Writer) int {
	if c.watch {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		w := watcher{look: func() (seen, error) { return askSidecar(ctx, c.httpBind) }, json: c.outputJSON, terminal: terminalOf(stdout)}
		return w.run(ctx, stdout)
	}
	s, err := askSidecar(context.Background(), c.httpBind)
	if err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: asking the sidecar for its status: %v\n", err)
		return exitFailed
	}
	if c.outputJSON {
		_, _ = stdout.Write(s.raw)
		return exitStopped
	}
	width, _, _ := size(terminalOf(stdout))
	fmt.Fprint(stdout, s.status.Text(time.Now(), width))
	return exitStopped
}

// seen is a status, and its JSON.
type seen struct {
	raw    []byte
	status status.Status
}

// askSidecar asks the sidecar that serves at this address, or whoever has taken
// its port: nothing that it returns controls a terminal.
func askSidecar(ctx context.Context, bind string) (s seen, err error) {
	defer func() { err = safetext.Error(err, maxStranger) }()
	raw, err := ask(ctx, bind)
	if err != nil {
		return seen{}, err
	}
	s.status, err = status.ReadStatus(raw)
	if err != nil {
		return seen{}, fmt.Errorf("what answers is not the sidecar, or another version of it: %w", err)
	}
	s.raw, err = s.status.JSON()
	return s, err
}

func ask(ctx context.Context, bind string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	conn, err := dialSidecar(ctx, bind)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := isSidecar(conn); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://localhost/status", nil)
	if err != nil {
		return nil, err
	}
	transport := http.Transport{ // no proxy
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		MaxResponseHeaderBytes: maxHeader,
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", conn.RemoteAddr(), resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, status.MaxStatus+1))
}

// dialSidecar connects to a sidecar with this --http-bind from a loopback address: it
// tells local peers alone, and the kernel would take a pod's own address for a way
// to that address.
func dialSidecar(ctx context.Context, bind string) (conn net.Conn, err error) {
	host, port, err := net.SplitHostPort(bind)
	if err != nil {
		return nil, err
	}
	for _, loopback := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
		to := host
		if host == "" || net.ParseIP(host).IsUnspecified() {
			to = loopback.String()
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: loopback}}
		conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(to, port))
		if _, ok := errors.AsType[*net.AddrError](err); !ok {
			break
		}
		// The host has no address of this family.
	}
	return conn, err
}

// terminalOf returns the terminal that w writes to, or nil.
func terminalOf(w io.Writer) *os.File {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// size returns how many characters and lines a terminal shows; one of 80
// characters and no bound to its lines where there is none that tells.
func size(terminal *os.File) (width, lines int, known bool) {
	if terminal != nil {
		if width, lines, err := term.GetSize(int(terminal.Fd())); err == nil && width > 0 && lines > 0 {
			return width, lines, true
		}
	}
	return plainWidth, 0, false
}
