//go:build linux

package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
		return statusError(answered)
	}
	var unwrapped *url.Error
	if errors.As(err, &unwrapped) {
		err = unwrapped.Err // without the method and the URL
	}
	if kept, ok := errors.AsType[worded](err); ok {
		return kept
	}
	if portless(err) {
		return errNoPort
	}
	if trouble := handshakeTrouble(err); trouble != nil {
		return trouble
	}
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connection refused: %w", unseal.ErrUnreachable)
	case errors.Is(err, errMoved):
		return fmt.Errorf("%w: %w", unseal.ErrUnreachable, errMoved)
	case errors.Is(err, errTrust):
		return err
	case errors.Is(err, errOwn):
		return errors.New(printable(err.Error()))
	case errors.As(err, &verify), errors.As(err, &authority):
		return fmt.Errorf("its certificate is not trusted (--vault-cacert, --vault-server-name): %s", printable(err.Error()))
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return notVault("it does not speak TLS, and --vault-addr says https")
	}
	var op *net.OpError
	switch dialed := errors.As(err, &op) && op.Op == "dial"; {
	case !dialed && broken(err):
		return fmt.Errorf("connection broken: %w", unseal.ErrBroken)
	case dialed:
		if op.Net == "unix" && errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("the socket may not be used, see its mode and its owner (socket_mode, socket_user in vault's listener): %w", err)
		}
		return fmt.Errorf("%w: %w", unseal.ErrUnreachable, err)
	}
	return notVault("no answer that is vault's: " + printable(err.Error()))
}

// worded is a sentinel in other words.
type worded struct {
	sentinel error
	text     string
}

func (w worded) Error() string { return w.text }

// Unwrap returns the sentinel.
func (w worded) Unwrap() error { return w.sentinel }

// withheld says why nothing was sent to whoever took the connection.
func withheld(why string) error { return worded{unseal.ErrWithheld, why} }

func notVault(why string) error { return worded{unseal.ErrNotVault, why} }

// untrusted withholds the key for that reason. A connection that has ended meanwhile
// is broken, as any other.
func untrusted(reason error) error {
	if reason == nil || errors.Is(reason, net.ErrClosed) {
		return reason
	}
	return withheld(reason.Error() + "; no key is sent")
}

// broken reports whether the connection ended before the answer did.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ETIMEDOUT) || // the other side is gone without a word
		// net/http has no name for this one: the server closed an idle
		// connection just as it was used again.
		strings.Contains(err.Error(), "server closed idle connection")
}

// statusError tells an HTTP error. Only 400 can be a verdict on a key; storage
// trouble comes as 400 with other texts, or as 500.
func statusError(e *api.ResponseError) error {
	text := printable(strings.Join(e.Errors, "; "))
	if e.StatusCode == http.StatusBadRequest && verdict(e) {
		return fmt.Errorf("%w", unseal.ErrInvalidKey)
	}
	// Vault's errors are JSON with a list of texts, be it an empty one
	// (sdk/logical/response_util.go, RespondError).
	switch foreign := e.RawError || e.Errors == nil; {
	case foreign && text == "":
		return fmt.Errorf("answered %d, %w", e.StatusCode, unseal.ErrNotVault)
	case foreign:
		return fmt.Errorf("answered %d, %w: %s", e.StatusCode, unseal.ErrNotVault, text)
	case text == "":
		return fmt.Errorf("answered %d", e.StatusCode)
	}
	return fmt.Errorf("answered %d: %s", e.StatusCode, text)
}

// printable keeps a text on one line and short, and takes out anything as
// long as a key: an answer can repeat what it was asked.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd") // a lone byte of 0x80 and above controls some terminals
	words := strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for i, w := range words {
		if keyLike(w) {
			words[i] = "[...]"
		}
	}
	s = strings.Join(words, " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// keyLike reports whether s holds a run of digits that could be a share in hex
// or in one of the two kinds of base64. A path with a dash in it is neither.
func keyLike(s string) bool {
	return longestRun(s, "abcdefABCDEF") >= 32 || longestRun(s, letters+"+/=") >= 40 || longestRun(s, letters+"-_=") >= 40
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// longestRun returns the length of the longest run of digits and of what else
// is in alphabet, in bytes.
func longestRun(s, alphabet string) int {
	longest := 0
	other := func(r rune) bool { return (r < '0' || r > '9') && !strings.ContainsRune(alphabet, r) }
	for _, run := range strings.FieldsFunc(s, other) {
		longest = max(longest, len(run))
	}
	return longest
}
