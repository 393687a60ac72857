//go:build linux && (amd64 || arm64)

// Command clockshift runs a program whose wall clock is another than the machine's,
// and moves it while the program runs:
//
//	clockshift SOCKET PROGRAM [ARGUMENT...]
//
// A duration written to SOCKET, one line a connection, is from then on added
// to what the program reads of CLOCK_REALTIME; the answer is how often it has
// read that clock. As with a real jump CLOCK_MONOTONIC goes on undisturbed,
// and so do all other processes. It ends when its program ends.
//
// It exists because a test must not set the clock of a shared machine. It
// knows nothing of the program, except that it is written in Go: one that
// reads the vDSO's data itself would not be reached.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: clockshift SOCKET PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "clockshift:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run returns the exit code of the program, or 128 and the number of the
// signal that ended it.
func run(socket string, program []string) (int, error) {
	// From here on, so that none is lost between the start and the passing on.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	_ = os.Remove(socket) // of an earlier run that was killed
	control, err := net.Listen("unix", socket)
	if err != nil {
		return 0, err
	}
	defer control.Close()
	var c clock
	go c.serve(control)

	t := newTracer(&c)
	if err := t.start(program); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(t.pid, s.(syscall.Signal))
		}
	}()
	return t.trace()
}

// clock is what the socket and the tracer share.
type clock struct {
	offset   atomic.Int64 // in nanoseconds
	readings atomic.Int64
}

// serve takes durations until the socket is closed.
func (c *clock) serve(control net.Listener) {
	for {
		conn, err := control.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if d, err := time.ParseDuration(strings.TrimSpace(line)); err != nil {
			fmt.Fprintln(conn, err)
		} else {
			c.offset.Store(int64(d))
			fmt.Fprintln(conn, c.readings.Load())
		}
		_ = conn.Close()
	}
}
