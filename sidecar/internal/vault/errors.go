package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// maxText bounds what of Vault's own words goes into an error, in bytes.
const maxText = 200

// classify turns an error of the api client into one that says in few words
// what happened, wrapped in a sentinel where the core decides by it.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var answered *api.ResponseError
	if errors.As(err, &answered) {
		return refusal(answered)
	}
	var unwrapped *url.Error
	if errors.As(err, &unwrapped) {
		err = unwrapped.Err // without the method and the URL
	}
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connection refused: %w", unseal.ErrUnreachable)
	case errors.As(err, &verify), errors.As(err, &authority):
		return fmt.Errorf("its certificate is not trusted (--vault-cacert, --vault-server-name): %w", err)
	case errors.As(err, &record):
		return errors.New("it does not speak TLS, and --vault-addr says https")
	case broken(err):
		return fmt.Errorf("connection broken: %w", unseal.ErrUnreachable)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: %w", unseal.ErrUnreachable, err)
	}
	return fmt.Errorf("no answer that is vault's: %s", printable(err.Error()))
}

// broken reports whether the connection ended before the answer did.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		// net/http has no name for this one: the server closed an idle
		// connection just as it was used again.
		strings.Contains(err.Error(), "server closed idle connection")
}

// refusal tells an HTTP error. Only 400 with "invalid key" is a verdict on a
// key; storage trouble comes as 400 with other texts, or as 500.
func refusal(e *api.ResponseError) error {
	text := printable(strings.Join(e.Errors, "; "))
	if e.StatusCode == http.StatusBadRequest && strings.Contains(text, "invalid key") {
		return fmt.Errorf("%w", unseal.ErrInvalidKey)
	}
	if text == "" {
		return fmt.Errorf("answered %d", e.StatusCode)
	}
	return fmt.Errorf("answered %d: %s", e.StatusCode, text)
}

// printable keeps a text on one line and short, and takes out anything as
// long as a key: an answer can repeat what it was asked.
func printable(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for i, w := range words {
		if longestToken(w) >= 40 {
			words[i] = "[...]"
		}
	}
	s = strings.Join(words, " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// longestToken returns the length of the longest run of characters of base64
// and hex in s.
func longestToken(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("+/=-_", r) {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}
