package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/procid"
)

// ownUID is the user of the container: kubectl exec runs a command as that user.
var ownUID = uint32(os.Getuid())

// isSidecar fails where a process of another user than this one's is at the other end.
// Where the kernel does not show whose process it is, nothing is held against it.
func isSidecar(conn net.Conn) error {
	other, found := errors.AsType[procid.OtherUserError](procid.NewOwner(ownUID).Check(conn))
	if !found {
		return nil
	}
	return fmt.Errorf("the process at %s runs as uid %d, and the sidecar as %d: see which container of the pod has taken its port",
		conn.RemoteAddr(), other.UID, other.Want)
}
