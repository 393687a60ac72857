package procid

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProcess_ReadsTheTablesOnceNetlinkIsRefused(t *testing.T) {
	identity, err := New("127.0.0.1:8200")
	require.NoError(t, err)
	identity.proc = fakeProc(t, map[string]string{"self/net/tcp": heading + socket("0100007F:2008", "0A", "11")})
	asked := 0
	identity.ask = func() (sockets, error) {
		if asked++; asked <= 2 {
			return sockets{ipv4: []listed{{inode: 22}}}, nil
		}
		return sockets{ipv4: []listed{{inode: 33}}}, syscall.ENOENT
	}
	for _, want := range []string{"boot/22", "boot/22", "boot/11", "boot/11"} {
		name, err := identity.Process()
		require.NoError(t, err)
		assert.Equal(t, want, name)
	}
	assert.Equal(t, 3, asked)
}

func TestParseAnswer_KeepsListenersAtTheAddress(t *testing.T) {
	identity, err := New("127.0.0.1:8200")
	require.NoError(t, err)
	answer := func(family, state byte, port uint16, addr ...byte) []byte {
		out := make([]byte, answerSize)
		out[0], out[1] = family, state
		binary.BigEndian.PutUint16(out[4:], port)
		copy(out[atSource:], addr)
		binary.NativeEndian.PutUint32(out[atUID:], 100)
		binary.NativeEndian.PutUint32(out[atInode:], 11)
		return out
	}
	ipv4, none := sockets{ipv4: []listed{{11, 100}}}, sockets{}
	for _, row := range []struct {
		sentence string
		answer   []byte
		want     sockets
	}{
		{"our address", answer(syscall.AF_INET, stateListen, 8200, 127, 0, 0, 1), ipv4},
		{"every IPv4 address", answer(syscall.AF_INET, stateListen, 8200), ipv4},
		{"our address, in the family IPv6", answer(syscall.AF_INET6, stateListen, 8200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1), ipv4},
		{"every address", answer(syscall.AF_INET6, stateListen, 8200), sockets{ipv6: []listed{{11, 100}}}},
		{"another address", answer(syscall.AF_INET, stateListen, 8200, 10, 0, 0, 1), none},
		{"a port we did not ask for", answer(syscall.AF_INET, stateListen, 8201, 127, 0, 0, 1), none},
		{"a state we did not ask for", answer(syscall.AF_INET, 1, 8200, 127, 0, 0, 1), none},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			var found sockets
			require.NoError(t, identity.parseAnswer(row.answer, &found))
			assert.Equal(t, row.want, found)
		})
	}
	err = identity.parseAnswer(make([]byte, answerSize-1), &sockets{})
	require.EqualError(t, err, "an answer of 71 bytes, expected 72")
	assert.Equal(t, syscall.ENOENT, refusal(binary.NativeEndian.AppendUint32(nil, ^uint32(syscall.ENOENT)+1)))
	assert.Error(t, refusal(nil))
}
