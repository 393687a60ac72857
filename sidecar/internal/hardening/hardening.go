// Package hardening closes the ways by which a key share could leave the memory
// of this process without being sent. It exists because the containers of a
// pod may share a user id, and with shareProcessNamespace their processes see
// each other: the same user may read another's memory, unless it is not
// dumpable.
//
// It must not know what there is to protect, nor decide whether a failure
// ends the program.
package hardening

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Process keeps other processes of the same user from reading this one's
// memory and environment, and the kernel from writing either to a core file.
// It tries all of it; the error joins what failed. Root, or whoever has
// CAP_SYS_PTRACE, is not kept out.
//
// The kernel then gives /proc/PID to root (proc(5)), so this process loses
// some of its own files there, such as io and environ.
func Process() error {
	var errs []error
	if err := denyTracing(); err != nil {
		errs = append(errs, err)
	}
	// Both limits, so that nothing can raise it again. Not dumpable alone
	// would do, but an exec would undo it.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("forbidding core files (RLIMIT_CORE): %w", err))
	}
	return errors.Join(errs...)
}
