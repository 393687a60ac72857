//go:build linux

package procid

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// The columns of /proc/net/tcp and tcp6 (Linux net/ipv4/tcp_ipv4.c, get_tcp4_sock).
const (
	columnLocal  = 1
	columnRemote = 2
	columnState  = 3
	columnUID    = 7
	columnInode  = 9
	columns      = 10
)

// eachRow reads a table line by line: on a busy node it has 100,000 of them.
func eachRow(path string, see func(tcpSocket)) error {
	table, err := os.Open(path)
	if err != nil {
		return err
	}
	defer table.Close()
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		s, err := parseRow(lines.Bytes())
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		see(s)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parseRow(line []byte) (s tcpSocket, err error) {
	var column [columns][]byte
	n := 0
	for word := range bytes.FieldsSeq(line) {
		if n == columns {
			break
		}
		column[n] = word
		n++
	}
	if n < columns {
		return s, fmt.Errorf("a line with fewer than %d columns", columns)
	}
	local, okLocal := parseAddr(column[columnLocal])
	remote, okRemote := parseAddr(column[columnRemote])
	if !okLocal || !okRemote {
		return s, errors.New("an address in an unknown form")
	}
	state, err := strconv.ParseUint(string(column[columnState]), 16, 8)
	if err != nil {
		return s, errors.New("a state that is no number")
	}
	inode, err := strconv.ParseUint(string(column[columnInode]), 10, 64)
	if err != nil {
		return s, errors.New("an inode that is no number")
	}
	uid, err := strconv.ParseUint(string(column[columnUID]), 10, 32)
	if err != nil {
		return s, errors.New("a uid that is no number")
	}
	return tcpSocket{local: local, remote: remote, state: uint8(state), uid: uint32(uid), inode: inode}, nil
}

// parseAddr reads "0100007F:2008": the address as 32-bit words in the byte
// order of the machine, one for IPv4 and four for IPv6, and the port, which is
// a plain number. IPv4-mapped addresses come out as IPv4.
func parseAddr(text []byte) (at netip.AddrPort, ok bool) {
	digits, portDigits, ok := bytes.Cut(text, []byte(":"))
	if !ok || len(digits) != 8 && len(digits) != 32 || len(portDigits) != 4 {
		return at, false
	}
	port, err := strconv.ParseUint(string(portDigits), 16, 16)
	if err != nil {
		return at, false
	}
	var raw [16]byte
	if _, err := hex.Decode(raw[:], digits); err != nil {
		return at, false
	}
	for word := 0; word < len(raw); word += 4 {
		binary.NativeEndian.PutUint32(raw[word:], binary.BigEndian.Uint32(raw[word:]))
	}
	addr := netip.AddrFrom16(raw).Unmap()
	if len(digits) == 8 {
		addr = netip.AddrFrom4([4]byte(raw[:4]))
	}
	return netip.AddrPortFrom(addr, uint16(port)), true
}
