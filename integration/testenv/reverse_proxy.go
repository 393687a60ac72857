package testenv

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// StartReverseProxy starts a reverse proxy in front of v and returns its URL. It
// listens throughout. While v does not answer, it responds with 502 and a page of
// HTML, or, with disconnect, closes the connection.
func (env *Env) StartReverseProxy(v *Vault, disconnect bool) (string, error) {
	target, err := url.Parse(v.Addr)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{ErrorLog: quiet, Handler: &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: quiet,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if disconnect {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><h1>502 Bad Gateway</h1></html>\n")
		},
	}}
	go func() { _ = server.Serve(listener) }()
	env.addCleanup(server.Close)
	return "http://" + listener.Addr().String(), nil
}
