package integration

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// logBuffer is written by a process and read by the test.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Who answers in Vault's place sends more than was asked for, the key too. net/http prints
// that with the standard logger.
func TestLog_HoldsNothingThatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(37*i + 101)
	}
	keys := t.TempDir()
	require.NoError(t, os.WriteFile(keys+"/key", []byte(base64.StdEncoding.EncodeToString(raw)), 0o600))
	var answered atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answered.Add(1)
			go func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				said, _ := io.ReadAll(r.Body)
				text, status := `{"type":"shamir","initialized":true,"sealed":true,"t":1,"n":1}`, "200 OK"
				if r.Method == "PUT" {
					text, status = `{"errors":["busy"]}`, "500 Error"
				}
				fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(text), text)
				time.Sleep(time.Millisecond)
				fmt.Fprintf(conn, "%s%s", said, strings.Repeat("\x00", 4000-len(said)))
			}()
		}
	}()
	var log logBuffer
	cmd := exec.Command("../bin/vault-unseal-sidecar", "--vault-addr", "http://"+listener.Addr().String(), "--keys", keys, "--state-dir", t.TempDir(),
		"--kubernetes", "off", "--http-bind", "127.0.0.1:0", "--log-format", "json", "--log-level", "error")
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	require.NoError(t, testenv.Await(t.Context(), 20*time.Second, "fifty connections", func() string {
		if n := answered.Load(); n < 50 {
			return fmt.Sprint(n)
		}
		return ""
	}))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.NotContains(t, log.String(), hex.EncodeToString(raw), "the key is in the log")
	for line := range strings.Lines(log.String()) {
		assert.True(t, strings.HasPrefix(line, "{"), "%.100q", line)
	}
}
