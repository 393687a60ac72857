package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// The kernel's interface behind ss(8): sock_diag(7), and in the kernel's
// sources include/uapi/linux/inet_diag.h. Numbers are in the byte order of the
// machine, addresses and ports in that of the network.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	stateListen      = 10 // the table's 0A

	headerSize  = syscall.NLMSG_HDRLEN
	requestSize = headerSize + 8 + 48
	answerSize  = 4 + 48 + 20
	atSource    = 4 + 4 // in an answer, behind the two ports
	atInode     = answerSize - 4
)

// diagTimeout bounds the wait for an answer, which the kernel has ready as
// soon as it is asked.
var diagTimeout = syscall.Timeval{Sec: 1}

// askKernel returns the sockets that listen for i, by asking the kernel for
// those alone.
func (i *Identity) askKernel() (found sockets, err error) {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return sockets{}, err
	}
	defer syscall.Close(socket)
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &diagTimeout); err != nil {
		return sockets{}, err
	}
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
		if err := syscall.Sendto(socket, i.request(family), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
			return sockets{}, err
		}
		if err := i.answers(socket, &found); err != nil {
			return sockets{}, err
		}
	}
	return found, nil
}

// request asks for the listening TCP sockets of a family on the port.
func (i *Identity) request(family uint8) []byte {
	out := make([]byte, requestSize)
	order := binary.NativeEndian
	order.PutUint32(out[0:], requestSize)
	order.PutUint16(out[4:], sockDiagByFamily)
	order.PutUint16(out[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	out[headerSize] = family
	out[headerSize+1] = syscall.IPPROTO_TCP
	order.PutUint32(out[headerSize+4:], 1<<stateListen)
	binary.BigEndian.PutUint16(out[headerSize+8:], i.port)
	return out
}

// answers reads up to the end of one dump.
func (i *Identity) answers(socket int, found *sockets) error {
	buf := make([]byte, 32<<10) // netlink(7): the kernel never sends more at once
	for {
		n, _, err := syscall.Recvfrom(socket, buf, 0)
		if err == syscall.EINTR { // Go's own signals; with a timeout set, nothing restarts the call
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, message := range messages {
			switch {
			case message.Header.Type == syscall.NLMSG_DONE:
				return nil
			case message.Header.Type == syscall.NLMSG_ERROR:
				return refusal(message.Data)
			case message.Header.Type == sockDiagByFamily:
				if err := i.parseAnswer(message.Data, found); err != nil {
					return err
				}
			}
		}
	}
}

// parseAnswer adds the socket of one answer, if it listens for i.
func (i *Identity) parseAnswer(data []byte, found *sockets) error {
	if len(data) < answerSize {
		return fmt.Errorf("an answer of %d bytes, expected %d", len(data), answerSize)
	}
	var local netip.Addr
	if data[0] == syscall.AF_INET {
		local = netip.AddrFrom4([4]byte(data[atSource:]))
	} else {
		local = netip.AddrFrom16([16]byte(data[atSource:])).Unmap()
	}
	port := binary.BigEndian.Uint16(data[4:])
	if data[1] == stateListen && port == i.port && i.serves(local) {
		found.add(local, uint64(binary.NativeEndian.Uint32(data[atInode:])))
	}
	return nil
}

func refusal(data []byte) error {
	if len(data) < 4 {
		return errors.New("an error without a number")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
