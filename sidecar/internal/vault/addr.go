package vault

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Config says where Vault is and how it proves itself.
type Config struct {
	Addr       string // http, https or unix URL; http only to loopback
	CACert     string // file of PEM certificates to trust; empty: the system's
	ServerName string // name expected in the certificate; empty: Addr's host
	// ClientCert and ClientKey are PEM files of the certificate that is shown to
	// a Vault that asks for one. Both or none.
	ClientCert, ClientKey string
	// Broken is called when an open connection breaks, from any goroutine. It
	// must not block. May be nil.
	Broken func()
	// Process names the process that listens at Addr; it is empty when nobody
	// does, and an error says that it cannot be known. May be nil.
	Process func() (string, error)
	// Trusts is called with a connection just before a key or a token is written
	// to it. With an error nothing is. May be nil.
	Trusts func(net.Conn) error
}

// unixScheme begins the address of a Unix socket.
const unixScheme = "unix://"

// SocketPath returns the path of the Unix socket that addr names, and whether it
// names one.
func SocketPath(addr string) (string, bool) { return strings.CutPrefix(addr, unixScheme) }

// CheckAddr refuses an address that no key may be sent to.
func CheckAddr(addr string) error {
	if path, found := SocketPath(addr); found {
		if !filepath.IsAbs(path) {
			return errors.New("not an absolute path")
		}
		return nil
	}
	u, err := url.Parse(addr)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || strings.ContainsAny(addr, "?#") {
		return errors.New("not an address")
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return errors.New("not a port")
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && len(Loopback(addr)) > 0:
		return nil
	case u.Scheme == "http":
		return errors.New("the key would cross a network in plain text")
	default:
		return errors.New("not an http, https or unix address")
	}
}

// hostPort splits an http or https address that CheckAddr accepts.
func hostPort(addr string) (host, port string) {
	u, err := url.Parse(addr)
	if err != nil {
		return "", ""
	}
	if port = u.Port(); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname(), port
}

// Loopback returns the loopback addresses behind an address that CheckAddr accepts,
// and none for one that lies, or may lie, elsewhere. localhost is two.
func Loopback(addr string) (at []netip.AddrPort) {
	host, service := hostPort(addr)
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil
	}
	hosts := []string{host}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for _, host := range hosts {
		ip, err := netip.ParseAddr(host)
		if ip = ip.WithZone("").Unmap(); err == nil && ip.IsLoopback() {
			at = append(at, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	return at
}
