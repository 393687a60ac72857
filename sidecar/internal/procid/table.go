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

// The columns of /proc/net/tcp and tcp6, and the state that means LISTEN
// (Linux net/ipv4/tcp_ipv4.c, get_tcp4_sock; include/net/tcp_states.h).
const (
	columnLocal  = 1
	columnRemote = 2
	columnState  = 3
	columnUID    = 7
	columnInode  = 9
	columns      = 10
	open         = "01"
	opening      = "03"
	listening    = "0A"
)

// scan adds the sockets in the table at path that listen for i.
func (i *Listener) scan(path string, found *sockets) error {
	return eachRow(path, func(column *[columns][]byte) error {
		if string(column[columnState]) != listening {
			return nil
		}
		local, port, ok := parseAddr(column[columnLocal])
		if !ok {
			return errors.New("an address in an unknown form")
		}
		if port != i.port || !i.serves(local) {
			return nil
		}
		l, err := parseListed(column)
		if err != nil {
			return err
		}
		found.add(local, l)
		return nil
	})
}

// scanConnection looks for an end of a connection in the table at path.
func scanConnection(path string, local, remote netip.AddrPort) (found end, err error) {
	err = eachRow(path, func(column *[columns][]byte) error {
		if state := string(column[columnState]); state == listening || state == headingState {
			return nil
		}
		from, fromPort, ok := parseAddr(column[columnLocal])
		to, toPort, alsoOK := parseAddr(column[columnRemote])
		if !ok || !alsoOK {
			return errors.New("an address in an unknown form")
		}
		if netip.AddrPortFrom(from, fromPort) != local || netip.AddrPortFrom(to, toPort) != remote {
			return nil
		}
		l, err := parseListed(column)
		state := string(column[columnState])
		found = end{found: true, open: state == open || state == opening, taken: l.inode != 0, uid: l.uid}
		return err
	})
	return found, err
}

// headingState stands in the first line of a table.
const headingState = "st"

// eachRow reads a table line by line: on a busy node it has 100,000 of them. The
// heading passes for a socket in the state "st".
func eachRow(path string, see func(column *[columns][]byte) error) error {
	table, err := os.Open(path)
	if err != nil {
		return err
	}
	defer table.Close()
	var column [columns][]byte
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if !split(lines.Bytes(), &column) {
			return fmt.Errorf("%s: a line with fewer than %d columns", path, columns)
		}
		if err := see(&column); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parseListed(column *[columns][]byte) (listed, error) {
	inode, err := strconv.ParseUint(string(column[columnInode]), 10, 64)
	if err != nil {
		return listed{}, errors.New("an inode that is no number")
	}
	uid, err := strconv.ParseUint(string(column[columnUID]), 10, 32)
	if err != nil {
		return listed{}, errors.New("a uid that is no number")
	}
	return listed{inode, uint32(uid)}, nil
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
