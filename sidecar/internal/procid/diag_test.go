//go:build linux

package procid

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProcess_ReadsTheTablesOnceNetlinkIsRefused(t *testing.T) {
	identity := listenerAt(t, "127.0.0.1:8200")
	identity.kernel.proc = fakeProc(t, map[string]string{"self/net/tcp": heading + socket("0100007F:2008", "0A", "11")})
	asked := 0
	identity.kernel.askListening = func([]netip.AddrPort) ([]tcpSocket, error) {
		s := tcpSocket{local: netip.MustParseAddrPort("127.0.0.1:8200"), state: stateListen, inode: 22}
		if asked++; asked <= 2 {
			return []tcpSocket{s}, nil
		}
		s.inode = 33
		return []tcpSocket{s}, syscall.ENOENT
	}
	for _, want := range []string{"boot/22", "boot/22", "boot/11", "boot/11"} {
		name, err := identity.Process()
		require.NoError(t, err)
		assert.Equal(t, want, name)
	}
	assert.Equal(t, 3, asked)
}

func TestParseAnswer_KeepsListenersAtTheAddress(t *testing.T) {
	identity := listenerAt(t, "127.0.0.1:8200")
	answer := func(family, state uint8, port uint16, addr ...byte) []byte {
		a := diagAnswer{Family: family, State: state, ID: diagID{LocalPort: networkOrder(port)}, UID: 100, Inode: 11}
		copy(a.ID.Local[:], addr)
		out, err := binary.Append(nil, binary.NativeEndian, a)
		require.NoError(t, err)
		return out
	}
	for _, row := range []struct {
		sentence string
		answer   []byte
		want     string // the address that it listens at; empty: it does not count
	}{
		{"our address", answer(syscall.AF_INET, stateListen, 8200, 127, 0, 0, 1), "127.0.0.1"},
		{"every IPv4 address", answer(syscall.AF_INET, stateListen, 8200), "0.0.0.0"},
		{"our address, in the family IPv6", answer(syscall.AF_INET6, stateListen, 8200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1), "127.0.0.1"},
		{"every address", answer(syscall.AF_INET6, stateListen, 8200), "::"},
		{"another address", answer(syscall.AF_INET, stateListen, 8200, 10, 0, 0, 1), ""},
		{"a port we did not ask for", answer(syscall.AF_INET, stateListen, 8201, 127, 0, 0, 1), ""},
		{"a state we did not ask for", answer(syscall.AF_INET, 1, 8200, 127, 0, 0, 1), ""},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			identity.kernel.askListening = func([]netip.AddrPort) ([]tcpSocket, error) {
				s, err := parseAnswer(row.answer)
				require.NoError(t, err)
				assert.Equal(t, []any{uint32(100), uint64(11)}, []any{s.uid, s.inode})
				return []tcpSocket{s}, nil
			}
			found, err := identity.kernel.listening(identity.at)
			require.NoError(t, err)
			if row.want == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Equal(t, row.want, found[0].local.Addr().String())
		})
	}
	_, err := parseAnswer(make([]byte, 71))
	require.EqualError(t, err, "an answer of 71 bytes, expected 72")
	assert.Equal(t, syscall.ENOENT, refusal(binary.NativeEndian.AppendUint32(nil, ^uint32(syscall.ENOENT)+1)))
	assert.NoError(t, refusal(make([]byte, 4)))
	assert.Error(t, refusal(nil))
}

// A kernel with inet_diag and without tcp_diag answers so (net/ipv4/inet_diag.c,
// __inet_diag_dump), and one that ran out of memory half-way: the number is in the last
// message (net/netlink/af_netlink.c, netlink_dump_done).
func TestExchange_ADumpThatFailedIsNoAnswer(t *testing.T) {
	for number, want := range map[syscall.Errno]error{0: nil, syscall.ENOENT: syscall.ENOENT, syscall.ENOMEM: syscall.ENOMEM} {
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0)
		require.NoError(t, err)
		defer syscall.Close(ends[0])
		defer syscall.Close(ends[1])
		done := binary.NativeEndian.AppendUint32(nil, 20)
		done = binary.NativeEndian.AppendUint16(done, syscall.NLMSG_DONE)
		done = binary.NativeEndian.AppendUint16(done, syscall.NLM_F_MULTI)
		done = append(done, make([]byte, 8)...)
		done = binary.NativeEndian.AppendUint32(done, -uint32(number))
		_, err = syscall.Write(ends[1], done)
		require.NoError(t, err)
		_, err = exchange(ends[0], diagRequest{Header: syscall.NlMsghdr{Flags: syscall.NLM_F_DUMP}, Family: syscall.AF_INET}, nil)
		assert.Equal(t, want, err)
	}
}
