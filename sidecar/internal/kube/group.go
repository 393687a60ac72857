package kube

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// maxWords bounds what is repeated of a panic's own words, in characters.
const maxWords = 200

// Group is goroutines that end together when one of them panics.
type Group struct {
	sync.WaitGroup
	End context.CancelCauseFunc
}

// Go starts one.
func (g *Group) Go(f func()) {
	g.WaitGroup.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				g.End(PanicOf(r))
			}
		}()
		f()
	})
}

// PanicOf makes an error of what was recovered: what it says, which may repeat
// what others wrote, and where it was.
func PanicOf(r any) error {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	frame, more := frames.Next()
	for more && frame.Function != "runtime.gopanic" {
		frame, more = frames.Next()
	}
	for more && strings.HasPrefix(frame.Function, "runtime.") {
		frame, more = frames.Next()
	}
	return fmt.Errorf("panic: %s (%s:%d)", safetext.Line(fmt.Sprint(r), maxWords), filepath.Base(frame.File), frame.Line)
}
