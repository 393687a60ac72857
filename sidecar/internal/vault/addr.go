package vault

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

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
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("the key would cross a network in plain text")
	default:
		return errors.New("not an http, https or unix address")
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
