package hardening

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func denyTracing() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the process not dumpable (PR_SET_DUMPABLE): %w", err)
	}
	return nil
}
