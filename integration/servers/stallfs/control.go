package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	exchangeLimit = 5 * time.Second // for one request and its answer
	lineLimit     = 1024            // bytes of a request
)

// listen opens the control socket for its owner alone. A socket that a killed
// stallfs left behind is replaced; one that still answers, or a file that is no
// socket, is an error.
func listen(path string) (net.Listener, error) {
	if err := removeDeadSocket(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	before := syscall.Umask(0o177)
	defer syscall.Umask(before)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return listener, nil
}

func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, exchangeLimit); err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on %s", path)
	}
	return os.Remove(path)
}

// serveControl serves the control socket until the listener is closed.
func serveControl(listener net.Listener, s *stall) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go serveRequest(conn, s)
	}
}

func serveRequest(conn net.Conn, s *stall) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeLimit))
	line, err := bufio.NewReader(io.LimitReader(conn, lineLimit)).ReadString('\n')
	if err != nil {
		return // no whole line came: no request to answer
	}
	reply := struct {
		*status
		Error string `json:"error,omitempty"`
	}{}
	if current, err := handleRequest(line, s); err != nil {
		reply.Error = err.Error()
	} else {
		reply.status = &current
	}
	_ = json.NewEncoder(conn).Encode(reply)
}

// handleRequest executes a request line and returns the status after it.
func handleRequest(line string, s *stall) (status, error) {
	request := strings.TrimSpace(line)
	if request != "status" {
		m, err := parseMode(request)
		if err != nil {
			return status{}, err
		}
		if err := s.set(m); err != nil {
			return status{}, err
		}
	}
	return s.status(), nil
}

// sendRequest sends one request line and returns the answer, a line of JSON. An answer
// that says "error" is returned as an error.
func sendRequest(socket, request string) (string, error) {
	conn, err := net.DialTimeout("unix", socket, exchangeLimit)
	if err != nil {
		return "", fmt.Errorf("is stallfs serving? %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeLimit))
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return "", fmt.Errorf("asking stallfs: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("reading stallfs's answer: %w", err)
	}
	var reply struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(line), &reply); err != nil {
		return "", fmt.Errorf("reading stallfs's answer: %w", err)
	}
	if reply.Error != "" {
		return "", errors.New(reply.Error)
	}
	return line, nil
}
