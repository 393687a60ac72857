package unseal

import (
	"crypto/subtle"
	"encoding/hex"
)

const redacted = "[redacted]" // wherever a share would have been printed

// Share is one key share. Its bytes are in the keeping of a function, because
// that is the one thing which no printer looks into. fmt calls no methods on
// what lies in somebody's unexported field; a []byte with a String method leaks
// there and in hclog, and a pointer to one still leaks under a verb that does
// not fit, as %s: fmt reports that together with what the pointer leads to.
//
// The zero Share is empty. Copies of a Share share its bytes, so wiping one
// wipes all.
type Share struct {
	secret func() *[]byte
}

// NewShare takes b over: the caller must not keep or change it.
func NewShare(b []byte) Share { return Share{secret: func() *[]byte { return &b }} }

// Len returns the length in bytes: 16, 24 or 32 for the whole key of a seal
// with threshold 1, one more for a share of a split key.
func (s Share) Len() int { return len(s.bytes()) }

// Equal compares in constant time.
func (s Share) Equal(o Share) bool { return subtle.ConstantTimeCompare(s.bytes(), o.bytes()) == 1 }

// AppendHex appends the share in hexadecimal to dst. It is the only way to
// the content outside this package; the caller wipes what it appended to.
// Hex, not base64, because Vault tries hex first and would misread a base64
// text of hex digits alone (http/sys_seal.go, handleSysUnseal).
func (s Share) AppendHex(dst []byte) []byte { return hex.AppendEncode(dst, s.bytes()) }

// Wipe overwrites the bytes with zeros; the Share is empty afterwards.
func (s Share) Wipe() {
	if s.secret == nil {
		return
	}
	b := s.secret()
	clear(*b)
	*b = nil
}

func (s Share) clone() Share { return NewShare(append([]byte(nil), s.bytes()...)) }

func (s Share) bytes() []byte {
	if s.secret == nil {
		return nil
	}
	return *s.secret()
}

// What prints, encodes or logs a Share asks one of these. encoding/json and slog
// ask for the text.

func (Share) String() string               { return redacted }
func (Share) GoString() string             { return redacted }
func (Share) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// WipeAll wipes every share.
func WipeAll(shares []Share) {
	for _, s := range shares {
		s.Wipe()
	}
}
