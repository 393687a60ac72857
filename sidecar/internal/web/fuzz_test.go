package web

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// FuzzRequest asks for anything, from anywhere. What is for local peers goes to no others,
// and not to a page of another site in the browser of somebody who forwards the port.
func FuzzRequest(f *testing.F) {
	for _, path := range []string{"/", "/?part=main", "/status", "/healthz", "/readyz", "//status", "/./status", "/status/", "/\x00"} {
		f.Add("GET", path, "127.0.0.1:9810", "127.0.0.1:4711")
		f.Add("GET", path, "evil.example", "127.0.0.1:4711")
		f.Add("POST", path, "[::1]:80", "10.0.0.1:4711")
	}
	s := newServerOf("the version is for local peers", "")
	f.Fuzz(func(t *testing.T, method, path, host, peer string) {
		at, err := url.ParseRequestURI(path)
		if err != nil {
			return // net/http answers 400
		}
		r := &http.Request{Method: method, URL: at, RequestURI: path, Host: host, RemoteAddr: peer, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}}
		w := httptest.NewRecorder()
		s.routes().ServeHTTP(w, r)
		code := w.Code
		require.Contains(t, []int{200, 301, 307, 400, 404, 405, 503}, code)
		if strings.Contains(w.Body.String(), "the version is") {
			require.Equal(t, 200, code)
			require.Contains(t, []string{"GET", "HEAD"}, method)
			addr, err := netip.ParseAddrPort(peer)
			require.True(t, err == nil && addr.Addr().IsLoopback() || strings.HasPrefix(peer, "127.0.0.1:") || strings.HasPrefix(peer, "[::1]:"), peer)
			name := strings.TrimSuffix(host, hostPort(host))
			require.Contains(t, []string{"localhost", "127.0.0.1", "::1", "[::1]"}, name)
		}
		if code == 200 && method != "HEAD" {
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		}
	})
}

// hostPort is the colon and what follows it in a Host, where it has a port.
func hostPort(host string) string {
	if i := strings.LastIndex(host, ":"); i > 0 && host != "::1" && !strings.HasSuffix(host, "]") {
		return host[i:]
	}
	return ""
}

// tags are those that the page is made of.
var tags = []string{
	"main", "section", "svg", "path", "circle", "rect", "line", "g", "div", "h1", "h2", "p", "dl", "dt", "dd", "ol", "ul", "li", "b", "span", "time", "footer",
}

// FuzzPage shows a status with anything in it: the page is well-formed, of its own tags and
// attributes alone, and what others wrote is text.
func FuzzPage(f *testing.F) {
	f.Add(`{"phase":"failing","message":"</main><script>","reason":"\" onload=\"","advice":"'","version":"<!--","image":"a@<b@"}`)
	f.Add(`{"phase":"active","serving":true,"key_error":"]]>","recoveries":[{"began":"0001-01-01T00:00:00Z","seconds":1e308,"done":true,` +
		`"steps":[{"name":"failing","seconds":-5},{"name":"active","seconds":3}]},{"steps":null}],"stuck_seconds":1}`)
	f.Add(`{"phase":"held","external_secrets":{"status":"False","reason":"<","message":"&","left_count":9,"left":["<i>"],` +
		`"stores":[{"name":"<s>","ready":true},{"name":"\u2028"}]},"key_proof":{"result":"<"},"recovery":{"done":false,"steps":[{}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := status.ReadStatus([]byte(text))
		if err != nil {
			return
		}
		var m htmlWriter
		view{s}.writeMain(&m, time.Now())
		require.Less(t, m.Len(), 20*status.MaxStatus)
		decoder := xml.NewDecoder(strings.NewReader(m.String()))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, m.String())
			switch token := token.(type) {
			case xml.StartElement:
				require.True(t, slices.Contains(tags, token.Name.Local), "%v", token)
				for _, a := range token.Attr {
					assert.False(t, strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" || a.Name.Local == "src", "%v", token)
				}
			case xml.EndElement, xml.CharData:
			default:
				require.Fail(t, "neither a tag nor a text", "%T in %s", token, m.String())
			}
		}
	})
}
