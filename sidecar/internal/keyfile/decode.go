package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// The length of a share in bytes. Vault's barrier key is an AES key of 16, 24
// or 32; a share of a split key has one byte more, its x coordinate
// (vault/shamir/shamir.go).
const (
	minShare = 16
	maxShare = 33
)

// decode returns the share that one word stands for.
func decode(text []byte) (unseal.Share, error) {
	raw := decodeOnce(text)
	if err := checkShare(text, raw); err != nil {
		clear(raw)
		return unseal.Share{}, err
	}
	return unseal.NewShare(raw), nil
}

// checkShare tells why raw, which was decoded from text, is no share.
func checkShare(text, raw []byte) error {
	switch {
	case raw == nil:
		return errors.New("neither base64 nor hex")
	case isHex(text) && len(text)%2 == 1 && !inRange(len(raw)):
		return errors.New("hex with an odd number of digits")
	case encodedTwice(raw):
		return errors.New("encoded twice, like base64 of base64: decode it once and store the result, " +
			"`kubectl create secret` and stringData encode by themselves")
	case len(raw) < minShare:
		return fmt.Errorf("too short for a share: %d bytes decoded, expected %d to %d", len(raw), minShare, maxShare)
	case len(raw) > maxShare:
		return fmt.Errorf("too long for a share: %d bytes decoded, expected %d to %d", len(raw), minShare, maxShare)
	}
	return nil
}

// decodeOnce takes one round of encoding off; nil when there is none. Hex comes
// first, as in Vault (http/sys_seal.go, handleSysUnseal), unless only base64
// gives a length that a share can have.
func decodeOnce(text []byte) []byte {
	if isHex(text) && len(text)%2 == 0 &&
		(inRange(hex.DecodedLen(len(text))) || !inRange(base64.RawStdEncoding.DecodedLen(len(text)))) {
		raw := make([]byte, hex.DecodedLen(len(text)))
		_, _ = hex.Decode(raw, text) // digits alone, and an even number of them
		return raw
	}
	return unwrapBase64(text)
}

func unwrapBase64(text []byte) []byte {
	digits := bytes.TrimRight(text, "=")
	padding := len(text) - len(digits)
	if len(digits) == 0 || padding > (4-len(digits)%4)%4 {
		return nil
	}
	// The decoder skips these wherever they are.
	if bytes.ContainsAny(digits, "\r\n") {
		return nil
	}
	raw := make([]byte, base64.RawStdEncoding.DecodedLen(len(digits)))
	if _, err := base64.RawStdEncoding.Decode(raw, digits); err != nil {
		clear(raw)
		return nil
	}
	return raw
}

// encodedTwice tells whether raw, decoded once, is still the text of a share.
// A random key looks like that by chance less than once in 10^13: at least 22
// of its bytes would have to be base64 digits.
func encodedTwice(raw []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimSpace(raw), []byte("\n"))
	inner := decodeOnce(bytes.TrimSpace(line))
	defer clear(inner)
	return inRange(len(inner))
}

// LooksLikeShare tells whether text is, or contains between blanks, what would
// be read as a share, encoded once or twice. It is there to keep a key that
// was pasted in the place of a path out of messages. A long path of letters,
// digits and slashes looks like base64 too: let it decide what is echoed, not
// what is refused.
func LooksLikeShare(text string) bool {
	for word := range strings.FieldsSeq(text) {
		copied := []byte(word)
		raw := decodeOnce(copied)
		looks := inRange(len(raw)) || encodedTwice(raw)
		clear(copied)
		clear(raw)
		if looks {
			return true
		}
	}
	return false
}

func isHex(text []byte) bool {
	return len(text) > 0 && len(bytes.Trim(text, "0123456789abcdefABCDEF")) == 0
}

func inRange(length int) bool { return length >= minShare && length <= maxShare }
