//go:build linux

package procid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The kernel's interface behind ss(8): sock_diag(7), and in the kernel's
// sources include/uapi/linux/inet_diag.h. Numbers are in the byte order of the
// machine, addresses and ports in that of the network.
type (
	diagRequest struct {
		Header                          syscall.NlMsghdr
		Family, Protocol, Extensions, _ uint8
		States                          uint32
		ID                              diagID
	}
	diagAnswer struct {
		Family, State, Timer, Retransmits          uint8
		ID                                         diagID
		Expires, ReadQueue, WriteQueue, UID, Inode uint32
	}
	diagID struct {
		LocalPort, RemotePort [2]byte
		Local, Remote         [16]byte
		Interface             uint32
		Cookie                uint64
	}
)

// anyCookie stands for a socket whose cookie is not known.
const anyCookie = ^uint64(0)

// askListening asks the kernel for the sockets that listen at one of these addresses, whose
// port is the same, or at every address: of others anybody in the pod may have thousands. Where
// one on IPv4 takes the connections, it does not ask for those on IPv6 either.
func askListening(at []netip.AddrPort) (found []tcpSocket, err error) {
	request := diagRequest{
		Header: syscall.NlMsghdr{Flags: syscall.NLM_F_DUMP},
		States: 1 << stateListen,
		ID:     diagID{LocalPort: networkOrder(at[0].Port())},
	}
	addrs := []netip.Addr{netip.IPv6Unspecified()}
	for _, to := range at {
		addrs = append(addrs, to.Addr())
	}
	if slices.ContainsFunc(addrs, netip.Addr.Is4) {
		addrs = append(addrs, netip.IPv4Unspecified())
		if found, err = ask(request, localIs(addrs), syscall.AF_INET); err != nil || len(found) > 0 {
			return found, err
		}
	}
	return ask(request, localIs(addrs), syscall.AF_INET6)
}

// localIs returns the attribute that filters sockets by their local address: a program for the
// kernel (include/uapi/linux/inet_diag.h, inet_diag_bc_op), each step with how many bytes to
// go on where it holds and where not. At its end a socket is taken, and beyond it left out.
func localIs(addrs []netip.Addr) []byte {
	const attribute, jump, local, opSize, hostSize = 1, 1, 7, 4, 8
	number := binary.NativeEndian.AppendUint16
	var program []byte
	for _, addr := range slices.Backward(addrs) {
		raw, family := addr.AsSlice(), byte(syscall.AF_INET6)
		if addr.Is4() {
			family = syscall.AF_INET
		}
		size := byte(opSize + hostSize + len(raw))
		step := number([]byte{local, size}, uint16(size)+opSize)
		step = append(step, family, byte(8*len(raw)), 0, 0)
		step = binary.NativeEndian.AppendUint32(step, ^uint32(0)) // any port
		step = append(step, raw...)
		if len(program) > 0 {
			step = number(append(step, jump, opSize), uint16(opSize+len(program)))
		}
		program = append(step, program...)
	}
	return append(number(number(nil, uint16(syscall.SizeofNlAttr+len(program))), attribute), program...)
}

// askConnection asks the kernel for one end of a connection. Where there is none,
// the kernel answers with who listens, or with an error that may as well say that
// it does not answer such questions: one to which there always is an answer tells
// them apart.
func askConnection(local, remote netip.AddrPort) ([]tcpSocket, error) {
	request := diagRequest{
		Header: syscall.NlMsghdr{Flags: syscall.NLM_F_ACK},
		States: ^uint32(0),
		ID:     diagID{LocalPort: networkOrder(local.Port()), RemotePort: networkOrder(remote.Port()), Cookie: anyCookie},
	}
	copy(request.ID.Local[:], local.Addr().AsSlice())
	copy(request.ID.Remote[:], remote.Addr().AsSlice())
	family := uint8(syscall.AF_INET)
	if local.Addr().Is6() {
		family = syscall.AF_INET6
	}
	found, err := ask(request, nil, family)
	if errors.Is(err, syscall.ENOENT) {
		_, err = askListening([]netip.AddrPort{local})
	}
	return found, err
}

func networkOrder(port uint16) (raw [2]byte) {
	binary.BigEndian.PutUint16(raw[:], port)
	return raw
}

// diagTimeout bounds the wait for an answer, which the kernel has ready as
// soon as it is asked.
var diagTimeout = syscall.Timeval{Sec: 1}

// ask sends the kernel a request for a family of addresses and returns the sockets of its
// answers, of a dump those that the filter is for.
func ask(request diagRequest, filter []byte, family uint8) ([]tcpSocket, error) {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(socket)
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &diagTimeout); err != nil {
		return nil, err
	}
	request.Family = family
	return exchange(socket, request, filter)
}

// buffers are for answers, of which the kernel never sends more at once
// (netlink(7)). It is asked each second or so: what is kept need not be collected.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// exchange sends a request and returns the sockets of the answers. A dump ends with
// NLMSG_DONE, and what is acknowledged with the error 0.
func exchange(socket int, request diagRequest, filter []byte) (found []tcpSocket, err error) {
	request.Header.Len = uint32(binary.Size(request) + len(filter))
	request.Header.Type = unix.SOCK_DIAG_BY_FAMILY
	request.Header.Flags |= syscall.NLM_F_REQUEST
	request.Protocol = syscall.IPPROTO_TCP
	raw, err := binary.Append(nil, binary.NativeEndian, request)
	if err != nil {
		return nil, err
	}
	if err := syscall.Sendto(socket, append(raw, filter...), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return nil, err
	}
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, _, err := syscall.Recvfrom(socket, buf[:], 0)
		if err == syscall.EINTR { // Go's own signals; with a timeout set, nothing restarts the call
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, message := range messages {
			switch message.Header.Type {
			case syscall.NLMSG_DONE: // with the number of the error that ended it (net/netlink, netlink_dump_done)
				return found, refusal(message.Data)
			case syscall.NLMSG_ERROR:
				return found, refusal(message.Data)
			case unix.SOCK_DIAG_BY_FAMILY:
				s, err := parseAnswer(message.Data)
				if err != nil {
					return nil, err
				}
				found = append(found, s)
			}
		}
	}
}

// parseAnswer reads the socket of one answer.
func parseAnswer(data []byte) (tcpSocket, error) {
	var a diagAnswer
	if _, err := binary.Decode(data, binary.NativeEndian, &a); err != nil {
		return tcpSocket{}, fmt.Errorf("an answer of %d bytes, expected %d", len(data), binary.Size(a))
	}
	at := func(raw [16]byte, port [2]byte) netip.AddrPort {
		addr := netip.AddrFrom16(raw).Unmap()
		if a.Family == syscall.AF_INET {
			addr = netip.AddrFrom4([4]byte(raw[:4]))
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:]))
	}
	return tcpSocket{
		local:  at(a.ID.Local, a.ID.LocalPort),
		remote: at(a.ID.Remote, a.ID.RemotePort),
		state:  a.State,
		uid:    a.UID,
		inode:  uint64(a.Inode),
	}, nil
}

// refusal returns the error of an NLMSG_ERROR, nil for 0.
func refusal(data []byte) error {
	if len(data) < 4 {
		return errors.New("an error without a number")
	}
	if number := -int32(binary.NativeEndian.Uint32(data)); number != 0 {
		return syscall.Errno(number)
	}
	return nil
}
