package listener

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheKernelIsAskedUntilItRefuses(t *testing.T) {
	identity, err := New("127.0.0.1:8200")
	require.NoError(t, err)
	identity.proc = canned(t, map[string]string{"self/net/tcp": heading + socket("0100007F:2008", "0A", "11")})
	asked := 0
	identity.ask = func() ([]uint64, error) {
		if asked++; asked <= 2 {
			return []uint64{22}, nil
		}
		return nil, syscall.ENOENT
	}
	for _, want := range []string{"boot/22", "boot/22", "boot/11", "boot/11"} {
		name, err := identity.Process()
		require.NoError(t, err)
		assert.Equal(t, want, name)
	}
	assert.Equal(t, 3, asked)
}

func TestUnderstandsTheKernelsAnswer(t *testing.T) {
	identity, err := New("127.0.0.1:8200")
	require.NoError(t, err)
	answer := func(family, state byte, port uint16, addr ...byte) []byte {
		out := make([]byte, answerSize)
		out[0], out[1] = family, state
		binary.BigEndian.PutUint16(out[4:], port)
		copy(out[atSource:], addr)
		binary.NativeEndian.PutUint32(out[atInode:], 11)
		return out
	}
	for _, row := range []struct {
		sentence string
		answer   []byte
		serves   bool
	}{
		{"our address", answer(syscall.AF_INET, stateListen, 8200, 127, 0, 0, 1), true},
		{"every IPv4 address", answer(syscall.AF_INET, stateListen, 8200), true},
		{"every address", answer(syscall.AF_INET6, stateListen, 8200), true},
		{"another address", answer(syscall.AF_INET, stateListen, 8200, 10, 0, 0, 1), false},
		{"a port we did not ask for", answer(syscall.AF_INET, stateListen, 8201, 127, 0, 0, 1), false},
		{"a state we did not ask for", answer(syscall.AF_INET, 1, 8200, 127, 0, 0, 1), false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			inode, serves, err := identity.parseAnswer(row.answer)
			require.NoError(t, err)
			assert.EqualValues(t, 11, inode)
			assert.Equal(t, row.serves, serves)
		})
	}
	_, _, err = identity.parseAnswer(make([]byte, answerSize-1))
	require.EqualError(t, err, "an answer of 71 bytes, expected 72")
	assert.Equal(t, syscall.ENOENT, refusal(binary.NativeEndian.AppendUint32(nil, ^uint32(syscall.ENOENT)+1)))
	assert.Error(t, refusal(nil))
}
