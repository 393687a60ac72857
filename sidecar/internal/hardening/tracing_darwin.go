package hardening

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func denyTracing() error {
	if err := unix.PtraceDenyAttach(); err != nil {
		return fmt.Errorf("refusing debuggers (PT_DENY_ATTACH): %w", err)
	}
	return nil
}
