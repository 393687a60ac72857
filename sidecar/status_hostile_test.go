package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const hostile = "\x1b]0;owned\x07\x1b[2J\x1b[HType the unseal key:\r\n\u009b2J\u202egnirts\u2066\u200f\x7f\u2028\ufeff"

// statusOutputs returns what the status command prints in each of its forms.
func statusOutputs(t *testing.T, bind string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, form := range []string{"text", "json"} {
		_, stdout, stderr := runCommand(map[string]string{"HTTP_BIND": bind}, "status", "--output", form)
		out[form] = stdout + stderr
		ctx, cancel := context.WithCancel(t.Context())
		w := watcher{json: form == "json", look: func() (seen, error) { defer cancel(); return askSidecar(t.Context(), bind) }}
		var watched strings.Builder
		w.turn(context.WithoutCancel(ctx), &watched)
		out["watch, "+form] = watched.String()
	}
	return out
}

// assertHarmless finds what a terminal would obey, or what fills it.
func assertHarmless(t *testing.T, outputs map[string]string, what string) {
	t.Helper()
	for form, text := range outputs {
		assert.NotEmpty(t, text, "%s, %s", what, form)
		assert.Less(t, len(text), 1<<20, "%s, %s", what, form)
		for _, r := range text {
			if r != '\n' && !unicode.IsPrint(r) {
				assert.Fail(t, "a character that is not printed", "%s, %s: %q in %.300q", what, form, r, text)
				break
			}
		}
	}
}

// hostileStatus has the text in each field that holds one.
func hostileStatus(text string, entries int) map[string]any {
	many := func(entry any) (list []any) {
		for range entries {
			list = append(list, entry)
		}
		return list
	}
	recovery := map[string]any{"steps": many(map[string]any{"name": "failing", "seconds": 1e300})}
	return map[string]any{
		"version": text, "image": text + "@" + text, "phase": "active", "message": text, "reason": text, "advice": text,
		"key_error": text, "key_remarks": many(text), "key_proof": map[string]any{"result": text, "reason": text}, text: text,
		"recovery": recovery, "recoveries": many(recovery), "seconds": -1e300,
		"external_secrets": map[string]any{
			"status": text, "reason": text, "message": text, "left_count": -1, "left": many(text),
			"stores": many(map[string]any{"name": text, "reason": text, "message": text}),
		},
	}
}

func TestStatusCommand_SanitizesAHostileStatus(t *testing.T) {
	encoded := func(text string, entries int) string {
		b, err := json.Marshal(hostileStatus(text, entries))
		require.NoError(t, err)
		return string(b)
	}
	for what, answer := range map[string]string{
		"each field":             encoded(hostile, 2),
		"each field, not quoted": strings.ReplaceAll(encoded("@", 2), "@", "\u009b2J\u202e"),
		"long lists":             encoded("x", 200),
		"long texts":             encoded(strings.Repeat("<", 9000), 1),
		"more than is read":      encoded(hostile, 1) + strings.Repeat(" ", 2<<20),
		"no JSON":                hostile,
		"another type":           `{"message": {"` + "\u009b2J" + `": 1}}`,
		"another phase":          `{"phase": "` + strings.Repeat("\u202e", 9000) + `"}`,
		"nothing":                "",
	} {
		t.Run(what, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
			assertHarmless(t, statusOutputs(t, server.Listener.Addr().String()), what)
			server.Close()
		})
	}
}

func TestStatusCommand_SanitizesAHostileHTTPResponse(t *testing.T) {
	for what, answer := range map[string]string{
		"a status":      "HTTP/1.1 500 " + strings.ReplaceAll(hostile, "\r\n", " ") + "\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":       hostile + "\n",
		"a long status": "HTTP/1.1 500 " + strings.Repeat("\u202e", 4000) + "\r\nContent-Length: 0\r\n\r\n",
		"a header":      "HTTP/1.1 200 OK\r\n" + hostile + ": x\r\n\r\n{}",
		"many headers":  "HTTP/1.1 200 OK\r\n" + strings.Repeat("a:\r\n", 1<<18) + "\r\n{}",
	} {
		t.Run(what, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = conn.Write([]byte(answer))
					_ = conn.Close()
				}
			}()
			out := statusOutputs(t, l.Addr().String())
			assertHarmless(t, out, what)
			for form, text := range out {
				assert.Less(t, len(text), 3000, form)
			}
			_ = l.Close()
		})
	}
}

// The container has room for two processes, and not for a third of that size.
func TestReadStatus_LimitsItsMemory(t *testing.T) {
	for list, entry := range map[string]string{"recoveries": "{}", "key_remarks": `""`} {
		t.Run(list, func(t *testing.T) {
			raw := []byte(`{"` + list + `": [` + entry + strings.Repeat(","+entry, status.MaxStatus/3-10) + `]}`)
			require.LessOrEqual(t, len(raw), status.MaxStatus)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = status.ReadStatus(raw) // or an error
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(30<<20))
		})
	}
}

// The sidecar's own status is printed unchanged.
func TestStatusCommand_PrintsAGenuineStatusUnchanged(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want := status.Status{Version: "v1", Phase: unseal.Active, Since: at, Seconds: 1.5, Message: "<Grüße> & 世界", Remarks: []string{"a"},
		Recoveries:      []status.Recovery{{Began: at, Steps: []status.Step{{Name: unseal.Failing, Began: at, Seconds: 1}}}},
		ExternalSecrets: &status.ExternalSecrets{Status: "True", Stores: []status.Store{{Name: "a", Ready: true}}}}
	raw, err := want.JSON()
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	defer server.Close()
	assert.Equal(t, string(raw), statusOutputs(t, server.Listener.Addr().String())["json"])
}
