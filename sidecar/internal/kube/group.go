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
	where, panicking := "", false
	for more := true; more && where == ""; {
		var frame runtime.Frame
		frame, more = frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !inRuntime {
			where = fmt.Sprintf(" (%s:%d)", filepath.Base(frame.File), frame.Line)
		}
		panicking = panicking || frame.Function == "runtime.gopanic"
	}
	return fmt.Errorf("panic: %s%s", safetext.Line(fmt.Sprint(r), maxWords), where)
}
