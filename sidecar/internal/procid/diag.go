package procid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
)

// The kernel's interface behind ss(8): sock_diag(7), and in the kernel's
// sources include/uapi/linux/inet_diag.h. Numbers are in the byte order of the
// machine, addresses and ports in that of the network.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	stateOpen        = 1  // the table's 01, ESTABLISHED
	stateOpening     = 3  // the table's 03, SYN_RECV: the other side may take it for open
	stateListen      = 10 // the table's 0A

	headerSize  = syscall.NLMSG_HDRLEN
	requestSize = headerSize + 8 + 48
	answerSize  = 4 + 48 + 20
	atSocket    = headerSize + 8 // in a request: ports, addresses, an interface, a cookie
	atCookie    = requestSize - 8
	atSource    = 4 + 4 // in an answer, behind the two ports
	atUID       = answerSize - 8
	atInode     = answerSize - 4
)

// diagTimeout bounds the wait for an answer, which the kernel has ready as
// soon as it is asked.
var diagTimeout = syscall.Timeval{Sec: 1}

// askKernel returns the sockets that listen for i, by asking the kernel for
// those alone.
func (i *Listener) askKernel() (found sockets, err error) {
	err = withKernel(func(socket int) error {
		for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
			if err := exchange(socket, i.request(family), func(data []byte) error { return i.parseAnswer(data, &found) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return sockets{}, err
	}
	return found, nil
}

// withKernel calls f with a socket to the kernel.
func withKernel(f func(socket int) error) error {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &diagTimeout); err != nil {
		return err
	}
	return f(socket)
}

// newRequest is a request about TCP sockets of a family.
func newRequest(family uint8, flags uint16, states uint32) []byte {
	out := make([]byte, requestSize)
	order := binary.NativeEndian
	order.PutUint32(out[0:], requestSize)
	order.PutUint16(out[4:], sockDiagByFamily)
	order.PutUint16(out[6:], syscall.NLM_F_REQUEST|flags)
	out[headerSize] = family
	out[headerSize+1] = syscall.IPPROTO_TCP
	order.PutUint32(out[headerSize+4:], states)
	return out
}

// request asks for the listening sockets of a family on the port.
func (i *Listener) request(family uint8) []byte {
	out := newRequest(family, syscall.NLM_F_DUMP, 1<<stateListen)
	binary.BigEndian.PutUint16(out[atSocket:], i.port)
	return out
}

// buffers are for answers, of which the kernel never sends more at once
// (netlink(7)). It is asked each second or so: what is kept need not be collected.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// exchange sends a request and takes the answers, one or up to the end of a dump.
func exchange(socket int, request []byte, take func(data []byte) error) error {
	if err := syscall.Sendto(socket, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	dump := binary.NativeEndian.Uint16(request[6:])&syscall.NLM_F_DUMP == syscall.NLM_F_DUMP
	kept := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(kept)
	buf := kept[:]
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
				if err := take(message.Data); err != nil || !dump {
					return err
				}
			}
		}
	}
}

// parseAnswer adds the socket of one answer, if it listens for i.
func (i *Listener) parseAnswer(data []byte, found *sockets) error {
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
		found.add(local, listed{uint64(binary.NativeEndian.Uint32(data[atInode:])), binary.NativeEndian.Uint32(data[atUID:])})
	}
	return nil
}

// askConnection asks the kernel for one end of a connection. That there is none,
// and that the kernel does not answer such questions, are the same error: a
// question to which there always is an answer tells them apart.
func askConnection(local, remote netip.AddrPort) (found end, err error) {
	family := uint8(syscall.AF_INET)
	if local.Addr().Is6() {
		family = syscall.AF_INET6
	}
	request := newRequest(family, 0, ^uint32(0))
	binary.BigEndian.PutUint16(request[atSocket:], local.Port())
	binary.BigEndian.PutUint16(request[atSocket+2:], remote.Port())
	copy(request[atSocket+4:], local.Addr().AsSlice())
	copy(request[atSocket+20:], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(request[atCookie:], ^uint64(0)) // of any
	err = withKernel(func(socket int) error {
		return exchange(socket, request, func(data []byte) error { return found.parse(data, remote.Port()) })
	})
	if errors.Is(err, syscall.ENOENT) {
		_, err = (&Listener{port: local.Port()}).askKernel()
	}
	return found, err
}

// parse takes an answer. Where there is no such connection, the kernel answers
// with who listens, whose remote port is none.
func (e *end) parse(data []byte, remotePort uint16) error {
	if len(data) < answerSize {
		return fmt.Errorf("an answer of %d bytes, expected %d", len(data), answerSize)
	}
	if binary.BigEndian.Uint16(data[6:]) != remotePort {
		return nil
	}
	e.found, e.open = true, data[1] == stateOpen || data[1] == stateOpening
	e.taken, e.uid = binary.NativeEndian.Uint32(data[atInode:]) != 0, binary.NativeEndian.Uint32(data[atUID:])
	return nil
}

func refusal(data []byte) error {
	if len(data) < 4 {
		return errors.New("an error without a number")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
