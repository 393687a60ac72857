package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running program and everything it has printed.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	code int
}

// startProcess starts a program. Close kills it, and so does the end of this process.
func (env *Env) startProcess(name, binary string, environ []string, args ...string) (*Process, error) {
	p := &Process{name: name, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = env.Dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + env.Dir}, environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := onStarterThread(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	env.addCleanup(p.Kill)
	return p, nil
}

// StartProgram starts any program with Dir as its working directory. Close kills it.
func (env *Env) StartProgram(name string, environ []string, program string, args ...string) (*Process, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return env.startProcess(name, path, environ, args...)
}

var startQueue = sync.OnceValue(func() chan func() {
	queue := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range queue {
			start()
		}
	}()
	return queue
})

// onStarterThread runs f on one thread that never ends: Pdeathsig is sent when the
// thread ends that started a process, not when the program ends.
func onStarterThread(f func() error) error {
	done := make(chan error)
	startQueue() <- func() { done <- f() }
	return <-done
}

// Signal sends a signal; to a process that has ended it is no error.
func (p *Process) Signal(s syscall.Signal) {
	_ = syscall.Kill(p.Pid(), s)
}

// Kill sends SIGKILL to the process and its children, and waits for its end.
func (p *Process) Kill() error {
	if p.Exited() {
		return nil
	}
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	_, err := p.ExitCode(20 * time.Second)
	return err
}

// Stop sends SIGTERM and returns the exit code.
func (p *Process) Stop(limit time.Duration) (int, error) {
	p.Signal(syscall.SIGTERM)
	return p.ExitCode(limit)
}

// PrintedAt returns when a text was first printed; zero when it was not. Only
// texts within one write are found, as a line of a log is.
func (p *Process) PrintedAt(text string) time.Time { return p.out.printedAt(text) }

// Exited reports whether the process is gone.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ExitCode waits for the end and returns the code, -1 after a signal.
func (p *Process) ExitCode(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.code, nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s did not end within %v", p.name, limit)
	}
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns all that was printed so far.
func (p *Process) Output() string { return p.out.String() }

// Tail returns the last lines of what was printed.
func (p *Process) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(p.Output(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// output collects what several writers print.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	writes []write
}

// write is where a write began in buf, and when.
type write struct {
	offset int
	at     time.Time
}

func (o *output) Write(b []byte) (int, error) {
	at := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, write{o.buf.Len(), at})
	return o.buf.Write(b)
}

func (o *output) printedAt(text string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := bytes.Index(o.buf.Bytes(), []byte(text))
	if at < 0 {
		return time.Time{}
	}
	i := sort.Search(len(o.writes), func(i int) bool { return o.writes[i].offset > at })
	return o.writes[i-1].at
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
