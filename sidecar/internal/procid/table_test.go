//go:build linux

package procid

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// socket is a line as the kernel writes it, with the columns that count.
func socket(local, state, inode string) string {
	remote := strings.Repeat("0", len(local)-5) + ":0000"
	return fmt.Sprintf("   0: %s %s %s 00000000:00000000 00:00000000 00000000   100        0 %s 1 00000000a6c5e5b0 100 0 0 10 0\n",
		local, remote, state, inode)
}

// fakeProc is a /proc of these files, with a boot id unless they say otherwise.
func fakeProc(t *testing.T, files map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	require.NoError(t, os.MkdirAll(proc+"/self/net", 0o755))
	require.NoError(t, os.MkdirAll(proc+"/sys/kernel/random", 0o755))
	if _, given := files["sys/kernel/random/boot_id"]; !given {
		require.NoError(t, os.WriteFile(proc+"/sys/kernel/random/boot_id", []byte("boot\n"), 0o444))
	}
	for name, content := range files {
		if content != "" {
			require.NoError(t, os.WriteFile(filepath.Join(proc, name), []byte(content), 0o444))
		}
	}
	return proc
}

// The tables are of a little-endian machine, as amd64 and arm64 are. Port
// 8200 is 2008 in hex.
func TestProcess_ReadsTheKernelTables(t *testing.T) {
	const (
		any4      = "00000000:2008"
		loop4     = "0100007F:2008"
		pod4      = "0A00020A:2008"
		any6      = "00000000000000000000000000000000:2008"
		loop6     = "00000000000000000000000001000000:2008"
		mapped    = "0000000000000000FFFF00000100007F:2008"
		mappedAny = "0000000000000000FFFF000000000000:2008"
		pod6      = "B80D0120000000000000000001000000:2008"
	)
	for _, row := range []struct {
		sentence   string
		host       string
		tcp4, tcp6 string
		want       string
	}{
		{"no listener", "127.0.0.1", "", "", ""},
		{"the very address", "127.0.0.1", socket(loop4, "0A", "11"), "", "boot/11"},
		{"every IPv4 address", "127.0.0.1", socket(any4, "0A", "11"), "", "boot/11"},
		{"every address of both families", "127.0.0.1", "", socket(any6, "0A", "11"), "boot/11"},
		{"an IPv4 address in the table of IPv6", "127.0.0.1", "", socket(mapped, "0A", "11"), "boot/11"},
		{"every IPv4 address in the table of IPv6", "127.0.0.1", "", socket(mappedAny, "0A", "11"), "boot/11"},
		{"which is none of IPv6", "[::1]", "", socket(mappedAny, "0A", "11"), ""},
		{"the very IPv6 address", "[::1]", "", socket(loop6, "0A", "11"), "boot/11"},
		{"every IPv6 address", "[::1]", "", socket(any6, "0A", "11"), "boot/11"},
		{"another address", "127.0.0.1", socket(pod4, "0A", "11"), socket(pod6, "0A", "12") + socket(loop6, "0A", "13"), ""},
		{"localhost on IPv4 before IPv6", "localhost", socket(loop4, "0A", "12"), socket(loop6, "0A", "11"), "boot/12"},
		{"localhost on every IPv4 address before IPv6", "localhost", socket(any4, "0A", "12"), socket(any6, "0A", "11"), "boot/12"},
		{"localhost on IPv6 alone", "localhost", "", socket(loop6, "0A", "11"), "boot/11"},
		{"our address before every IPv6 address", "127.0.0.1", socket(loop4, "0A", "12"), socket(any6, "0A", "11"), "boot/12"},
		{"every IPv4 address before every IPv6 address", "127.0.0.1", socket(any4, "0A", "12"), socket(any6, "0A", "11"), "boot/12"},
		{"an IPv4 address in the table of IPv6 before every IPv6 address", "127.0.0.1", "", socket(any6, "0A", "11") + socket(mapped, "0A", "12"), "boot/12"},
		{"another IPv4 address before none", "127.0.0.1", socket(pod4, "0A", "12"), socket(any6, "0A", "11"), "boot/11"},
		{"an IPv4 connection before none", "127.0.0.1", socket(loop4, "01", "12"), socket(any6, "0A", "11"), "boot/11"},
		{"every IPv4 address is none of IPv6", "[::1]", socket(any4, "0A", "12"), socket(any6, "0A", "11"), "boot/11"},
		{"another port", "127.0.0.1", socket("0100007F:2009", "0A", "11"), "", ""},
		{"a port that has the number in hex", "127.0.0.1", socket("0100007F:8200", "0A", "11"), "", ""},
		{"a connection, closing or not", "127.0.0.1", socket(loop4, "01", "11") + socket(loop4, "06", "0") + socket(loop4, "08", "12"), "", ""},
		{"several, by number and not by digit", "127.0.0.1", socket(loop4, "0A", "100") + socket(any4, "0A", "99") + socket(loop4, "0A", "9"), "", "boot/9,99,100"},
		{"one line that comes twice", "127.0.0.1", socket(loop4, "0A", "11") + socket(loop4, "0A", "11"), "", "boot/11"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			identity := listenerAt(t, row.host+":8200")
			identity.kernel.onlyTables.Store(true)
			identity.kernel.proc = fakeProc(t, map[string]string{
				"self/net/tcp": heading + row.tcp4, "self/net/tcp6": heading + row.tcp6})
			name, err := identity.Process()
			require.NoError(t, err)
			assert.Equal(t, row.want, name)
		})
	}
}

func TestProcess_ReportsUnreadableTables(t *testing.T) {
	good := heading + socket("0100007F:2008", "0A", "11")
	for _, row := range []struct {
		sentence string
		files    map[string]string // empty: missing
		want     string            // empty: known all the same
	}{
		{"a kernel without IPv6", map[string]string{"self/net/tcp": good}, ""},
		{"no table", map[string]string{"self/net/tcp6": good},
			"reading the listening sockets: open PROC/self/net/tcp: no such file or directory"},
		{"no boot id", map[string]string{"self/net/tcp": good, "sys/kernel/random/boot_id": ""},
			"reading the boot id: open PROC/sys/kernel/random/boot_id: no such file or directory"},
		{"too few columns", map[string]string{"self/net/tcp": heading + "   0: 0100007F:2008 0A\n"},
			"reading the listening sockets: PROC/self/net/tcp: a line with fewer than 10 columns"},
		{"an address that is none", map[string]string{"self/net/tcp": heading + socket("0100007X:2008", "0A", "11")},
			"reading the listening sockets: PROC/self/net/tcp: an address in an unknown form"},
		{"a short address", map[string]string{"self/net/tcp": good, "self/net/tcp6": heading + socket("01:2008", "0A", "11")},
			"reading the listening sockets: PROC/self/net/tcp6: an address in an unknown form"},
		{"an inode that is none", map[string]string{"self/net/tcp": heading + socket("0100007F:2008", "0A", "x")},
			"reading the listening sockets: PROC/self/net/tcp: an inode that is no number"},
		{"a line without end", map[string]string{"self/net/tcp": heading + strings.Repeat("x", 1<<20)},
			"reading the listening sockets: PROC/self/net/tcp: bufio.Scanner: token too long"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			identity := listenerAt(t, "127.0.0.1:8200")
			identity.kernel.onlyTables.Store(true)
			identity.kernel.proc = fakeProc(t, row.files)
			name, err := identity.Process()
			if row.want == "" {
				require.NoError(t, err)
				assert.Equal(t, "boot/11", name)
				return
			}
			require.EqualError(t, err, strings.ReplaceAll(row.want, "PROC", identity.kernel.proc))
			assert.Empty(t, name)
		})
	}
}

func TestProcess_LargeTableAllocatesLittle(t *testing.T) {
	identity := listenerAt(t, "127.0.0.1:8200")
	identity.kernel.onlyTables.Store(true)
	identity.kernel.proc = fakeProc(t, map[string]string{"self/net/tcp": heading +
		strings.Repeat(socket("0A00020A:2008", "01", "7"), 100_000) + socket("0100007F:2008", "0A", "11")})
	name, err := identity.Process()
	require.NoError(t, err)
	require.Equal(t, "boot/11", name)
	allocations := testing.AllocsPerRun(1, func() { _, _ = identity.Process() })
	assert.Less(t, allocations, 100.0)
}

// FuzzScan reads any table: a row that was read and is written is read the same.
func FuzzScan(f *testing.F) {
	f.Add([]byte(heading + socket("0100007F:2008", "0A", "11")))
	f.Add([]byte(heading + socket("00000000000000000000000001000000:2008", "0A", "11")))
	f.Add([]byte(heading + " 0: : 0 0A"))
	path := filepath.Join(f.TempDir(), "tcp")
	f.Fuzz(func(t *testing.T, table []byte) {
		require.NoError(t, os.WriteFile(path, table, 0o600))
		err := eachRow(path, func(s tcpSocket) {
			again, err := parseRow([]byte(inTable(s)))
			require.NoError(t, err, inTable(s))
			require.Equal(t, s, again)
		})
		if err != nil {
			require.Less(t, len(err.Error()), len(path)+100, "it repeats nothing of the table")
		}
	})
}

// inTable writes a row as the kernel does.
func inTable(s tcpSocket) string {
	address := func(at netip.AddrPort) string {
		raw, text := at.Addr().AsSlice(), ""
		for ; len(raw) > 0; raw = raw[4:] {
			text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(raw))
		}
		return fmt.Sprintf("%s:%04X", text, at.Port())
	}
	return fmt.Sprintf("0: %s %s %02X 0:0 0:0 0 %d 0 %d", address(s.local), address(s.remote), s.state, s.uid, s.inode)
}
