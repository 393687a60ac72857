package testenv

import "strings"

// Server is a program that can be started again.
type Server struct {
	*Process // the last run; nil before the first

	env     *Env
	name    string
	binary  string // as Env.Binary takes it
	environ []string
	args    []string
	runs    []*Process
}

// Start starts the server and does not wait until it serves.
func (s *Server) Start() error {
	p, err := s.env.startProcess(s.name, s.env.Binary(s.binary), s.environ, s.args...)
	if err != nil {
		return err
	}
	s.Process = p
	s.runs = append(s.runs, p)
	return nil
}

// Log returns what all runs of the server printed.
func (s *Server) Log() string {
	var b strings.Builder
	for _, p := range s.runs {
		b.WriteString(p.Output())
	}
	return b.String()
}
