// Command stallfs is storage that hangs, slows down or fails on request, for
// tests of what depends on storage.
//
// It shows one directory at another, through FUSE, and every operation on it
// is admitted according to a mode:
//
//	open            the operation goes on
//	hang            it waits until the mode changes; signals do not end the wait,
//	                SIGKILL included, as with a disk that does not answer
//	slow DURATION   it waits that long, counted from its arrival
//	eio             it fails with EIO
//
// A new mode holds at once for operations that wait already: hang, then eio,
// fails them, hang, then open, lets them go.
//
//	stallfs serve --backing DIR --mount DIR --control SOCKET [--mode MODE]
//	stallfs set --control SOCKET open|hang|eio|slow DURATION
//	stallfs status --control SOCKET
//
// serve prints "stallfs: serving" when the directory is mounted and the socket
// answers. SIGTERM and SIGINT set the mode open, unmount and end it with exit code
// 0. Exit code 1 is a failure, reported in one line, 2 is wrong usage.
//
// # Control protocol
//
// One connection to the Unix socket carries one request, a line, and one
// answer, a line of JSON. A request is "status" or the mode to change to:
//
//	status           {"mode":"hang","waiting":3,"passed":120}
//	open             {"mode":"open","waiting":0,"passed":120}
//	slow 1500ms      {"mode":"slow 1.5s","waiting":0,"passed":123}
//	anything else    {"error":"unknown mode ..."}
//
// waiting counts the operations held now, passed those let through
// since the start. The answer never depends on the storage. Some clients wait
// without being counted: an operation held on a directory keeps the others on
// the same directory in the kernel.
//
// # What is not held
//
// Pages that are in the page cache can be read through a memory map, as with a
// disk; read(2) asks for the file's size first and is held even then. Closing a
// file is held because the kernel says flush; the release after it is not. File
// locks are the kernel's own, and there are no extended attributes. Owners and
// modes are those of the backing files and the kernel enforces them; mounted by
// an ordinary user, only that user sees the files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage:
  stallfs serve --backing DIR --mount DIR --control SOCKET [--mode MODE]
  stallfs set --control SOCKET MODE
  stallfs status --control SOCKET
MODE is open, hang, eio or slow DURATION ("slow 200ms"); serve starts open.
`

// errUsage is wrong usage: reported with the usage text, exit code 2.
type errUsage struct{ reason string }

func (e errUsage) Error() string { return e.reason }

func main() {
	// No second signal kills: it would leave a dead mount. And it does come: a
	// process started with Pdeathsig gets one for each thread its parent loses.
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout)
	var bad errUsage
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "stallfs: %v\n%s", err, usage)
		return 2
	}
	fmt.Fprintln(stderr, "stallfs:", err)
	return 1
}

func dispatch(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errUsage{"no command"}
	}
	switch name, args := args[0], args[1:]; name {
	case "serve":
		return serveCommand(ctx, args, stdout)
	case "set":
		return setCommand(args)
	case "status":
		return statusCommand(args, stdout)
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	default:
		return errUsage{"unknown command " + name}
	}
}

func serveCommand(ctx context.Context, args []string, stdout io.Writer) error {
	var cfg serveConfig
	var initial string
	rest, err := parse(args, map[string]*string{
		"backing": &cfg.backing, "mount": &cfg.mount, "control": &cfg.control, "mode": &initial,
	}, "mode")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errUsage{"serve takes no argument: " + rest[0]}
	}
	cfg.mode = mode{name: modeOpen}
	if initial != "" {
		if cfg.mode, err = parseMode(initial); err != nil {
			return errUsage{err.Error()}
		}
	}
	return serve(ctx, cfg, stdout)
}

func setCommand(args []string) error {
	var control string
	rest, err := parse(args, map[string]*string{"control": &control})
	if err != nil {
		return err
	}
	m, err := parseMode(strings.Join(rest, " "))
	if err != nil {
		return errUsage{err.Error()}
	}
	_, err = sendRequest(control, m.String())
	return err
}

func statusCommand(args []string, stdout io.Writer) error {
	var control string
	rest, err := parse(args, map[string]*string{"control": &control})
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errUsage{"status takes no argument: " + rest[0]}
	}
	answer, err := sendRequest(control, "status")
	fmt.Fprint(stdout, answer)
	return err
}

// parse fills the flags from args and returns the arguments after them. Flags
// that are not among the optional ones must be given.
func parse(args []string, flags map[string]*string, optional ...string) ([]string, error) {
	set := flag.NewFlagSet("stallfs", flag.ContinueOnError)
	set.SetOutput(io.Discard) // the error is printed with our own usage text
	for name, value := range flags {
		set.StringVar(value, name, "", "")
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, errUsage{err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if *flags[name] == "" && !slices.Contains(optional, name) {
			return nil, errUsage{"--" + name + " is missing"}
		}
	}
	return set.Args(), nil
}
