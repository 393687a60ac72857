package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// The columns of /proc/net/tcp and tcp6, and the state that means LISTEN
// (Linux net/ipv4/tcp_ipv4.c, get_tcp4_sock; include/net/tcp_states.h).
const (
	columnLocal = 1
	columnState = 3
	columnInode = 9
	columns     = 10
	listening   = "0A"
)

// scan adds the sockets in the table at path that listen for i. It reads line
// by line: on a busy node the table has 100,000 of them.
func (i *Identity) scan(path string, found *sockets) error {
	table, err := os.Open(path)
	if err != nil {
		return err
	}
	defer table.Close()

	// The heading passes for a socket in the state "st".
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		var column [columns][]byte
		if !split(lines.Bytes(), &column) {
			return fmt.Errorf("%s: a line with fewer than %d columns", path, columns)
		}
		if string(column[columnState]) != listening {
			continue
		}
		local, port, ok := parseAddr(column[columnLocal])
		if !ok {
			return fmt.Errorf("%s: an address in an unknown form", path)
		}
		if port != i.port || !i.serves(local) {
			continue
		}
		inode, err := strconv.ParseUint(string(column[columnInode]), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: an inode that is no number", path)
		}
		found.add(local, inode)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// split fills column with the first words of line.
func split(line []byte, column *[columns][]byte) bool {
	for n := range column {
		line = bytes.TrimLeft(line, " \t")
		end := bytes.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		if end == 0 {
			return false
		}
		column[n], line = line[:end], line[end:]
	}
	return true
}

// parseAddr reads "0100007F:2008": the address as 32-bit words in the byte
// order of the machine, one for IPv4 and four for IPv6, and the port, which is
// a plain number. IPv4-mapped addresses come out as IPv4.
func parseAddr(text []byte) (addr netip.Addr, port uint16, ok bool) {
	digits, portDigits, ok := bytes.Cut(text, []byte(":"))
	if !ok || len(digits) != 8 && len(digits) != 32 || len(portDigits) != 4 {
		return addr, 0, false
	}
	var raw [16]byte
	var portRaw [2]byte
	if _, err := hex.Decode(raw[:], digits); err != nil {
		return addr, 0, false
	}
	if _, err := hex.Decode(portRaw[:], portDigits); err != nil {
		return addr, 0, false
	}
	for word := 0; word < len(raw); word += 4 {
		binary.NativeEndian.PutUint32(raw[word:], binary.BigEndian.Uint32(raw[word:]))
	}
	port = binary.BigEndian.Uint16(portRaw[:])
	if len(digits) == 8 {
		return netip.AddrFrom4([4]byte(raw[:4])), port, true
	}
	return netip.AddrFrom16(raw).Unmap(), port, true
}
