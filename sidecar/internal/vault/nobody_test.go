//go:build linux

package vault

import (
	"bytes"
	"crypto/sha1" // the fingerprint of a key of version 4 is one
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rsa2048 is the number of the RSA Factoring Challenge, as it was published.
const rsa2048 = "" +
	"2519590847565789349402718324004839857142928212620403202777713783604366202070759555626401852588078440" +
	"6918290641249515082189298559149176184502808489120072844992687392807287776735971418347270261896375014" +
	"9718246911650776133798590957000973304597488084284017974291006424586918171951187461215151726546322822" +
	"1686998754918242243363725908514186546204357679842338718477444792073993423658482382428119816381501067" +
	"4810451660377306056201619676256133844143603833904414952634432190114657544454178424020924616515723350" +
	"7787077498171257724679629263863563732899121548314381678998850404453640235273819513786365643912120103" +
	"97122822120720357"

// packetsOf splits an OpenPGP key into its packets, by their tags (RFC 9580, 4.2).
func packetsOf(t *testing.T, raw []byte) (tags []byte, bodies [][]byte) {
	t.Helper()
	for len(raw) > 0 {
		require.Equal(t, byte(0xc0), raw[0]&0xc0, "a packet of the new format")
		tag, size, head := raw[0]&0x3f, int(raw[1]), 2
		if size >= 192 {
			require.Less(t, size, 224)
			size, head = (size-192)<<8+int(raw[2])+192, 3
		}
		tags, bodies = append(tags, tag), append(bodies, raw[head:head+size])
		raw = raw[head+size:]
	}
	return tags, bodies
}

func TestDiscardPGPKey_HasNoKnownPrivateKey(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(discardPGPKey)
	require.NoError(t, err)
	tags, bodies := packetsOf(t, raw)
	require.Equal(t, []byte{6, 13, 2, 14, 2}, tags, "a key, a name, its signature, one subkey, its signature")

	primary := bodies[0]
	assert.Equal(t, byte(22), primary[5], "EdDSA, which cannot encrypt")
	sum := sha1.Sum(append([]byte{0x99, byte(len(primary) >> 8), byte(len(primary))}, primary...))
	assert.Equal(t, discardPGPFingerprint, hex.EncodeToString(sum[:]))

	subkey := bodies[3]
	assert.Equal(t, byte(1), subkey[5], "RSA")
	bits := int(subkey[6])<<8 + int(subkey[7])
	modulus := subkey[8 : 8+(bits+7)/8]
	want, ok := new(big.Int).SetString(rsa2048, 10)
	require.True(t, ok)
	assert.Equal(t, want, new(big.Int).SetBytes(modulus))
	assert.True(t, bytes.HasSuffix(subkey, []byte{0, 17, 1, 0, 1}), "with the exponent 65537")
}
