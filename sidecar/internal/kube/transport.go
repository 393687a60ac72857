package kube

import (
	"io"
	"mime"
	"net/http"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/transport"
)

const (
	// maxWhole bounds an answer that a check keeps as it is, in bytes: our own pod,
	// or what is answered to a review.
	maxWhole = 1 << 20
	// maxPlain bounds an answer that is no JSON.
	maxPlain = 64 << 10
	// maxWaiting bounds what the server may send of one answer before it is
	// read, in bytes. By default that is 4 MiB, for each watch too.
	maxWaiting = 256 << 10
	// maxHeaders bounds the headers of one answer, in bytes. By default that is
	// 10 MiB.
	maxHeaders = 32 << 10
)

// bounded is a transport whose answers take little memory, whatever the objects
// hold that they tell of. Anybody who may write a SecretStore can fill 1.5 MiB,
// as often as he likes.
type bounded struct {
	http.RoundTripper
	whole bool // Config.Whole
}

func bound(whole bool) transport.WrapperFunc {
	return func(inner http.RoundTripper) http.RoundTripper {
		at := inner
		for {
			wrapper, wraps := at.(utilnet.RoundTripperWrapper)
			if !wraps {
				break
			}
			at = wrapper.WrappedRoundTripper()
		}
		if t, is := at.(*http.Transport); is && t.HTTP2 == nil { // client-go keeps its transports: it may be in use
			t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: maxWaiting}
			t.MaxResponseHeaderBytes = maxHeaders // of HTTP/2 as well
		}
		return bounded{inner, whole}
	}
}

// RoundTrip implements http.RoundTripper.
func (t bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil || resp.Body == nil {
		return resp, err
	}
	var read io.Reader = newFilter(resp.Body, answerFields)
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		read = io.LimitReader(resp.Body, maxPlain)
	} else if resp.StatusCode < http.StatusBadRequest && t.keepsWhole(r) {
		read = &limited{resp.Body, maxWhole}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{read, resp.Body}
	resp.ContentLength = -1
	resp.Header.Del("Content-Length")
	return resp, nil
}

// WrappedRoundTripper returns the transport that is bounded.
func (t bounded) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// keepsWhole reports whether all is kept of the answer to a request: of what a check asks
// for, but of no list of what tenants make.
func (t bounded) keepsWhole(r *http.Request) bool {
	path := r.URL.Path
	return t.whole && r.Method != http.MethodPatch && !strings.HasPrefix(path, "/apis/"+ESOGroup+"/") &&
		!strings.HasSuffix(path, "/pods") && !strings.HasSuffix(path, "/services")
}

// limited fails where more is read than left.
type limited struct {
	io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errTooLarge
	}
	n, err := l.Reader.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
