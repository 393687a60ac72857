package keyfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// rewatch is how often the watches are set again. A mount that comes or
	// goes takes them away without an event.
	rewatch = 10 * time.Second
	// afterError keeps an error that repeats from spinning.
	afterError = time.Second
)

// Watch calls wake when the key may have changed, and once when it begins to
// watch, for what happened before. It calls from its own goroutine, so wake
// must not block. It returns nil when ctx is done, and an error when events
// cannot be had, for example at the limit of inotify instances: they are only
// a hint, so go on without and compare Revision from time to time, as is needed
// anyway.
func (s *Source) Watch(ctx context.Context, wake func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", shown(s.path), err)
	}
	defer watcher.Close()
	again := time.NewTicker(rewatch)
	defer again.Stop()

	for watched, due := "", true; ; {
		at, err := s.rearm(ctx, watcher)
		if err != nil {
			return fmt.Errorf("watching %s: %w", shown(s.path), err)
		}
		// Only now, so that whatever changes after the reader has looked
		// makes another event.
		if due || at != watched {
			wake()
		}
		watched = at
		if due, err = s.next(ctx, watcher, again.C); err != nil {
			return fmt.Errorf("watching %s: %w", shown(s.path), err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// next waits for something that is a reason to set the watches again, and
// tells whether it is one to wake too.
func (s *Source) next(ctx context.Context, watcher *fsnotify.Watcher, again <-chan time.Time) (due bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-again:
			return false, nil
		case event, open := <-watcher.Events:
			if !open {
				return false, fsnotify.ErrClosed
			}
			if s.matters(event.Name) {
				return true, nil
			}
		case _, open := <-watcher.Errors:
			if !open {
				return false, fsnotify.ErrClosed
			}
			// Events were lost; which ones does not matter.
			select {
			case <-ctx.Done():
			case <-time.After(afterError):
			}
			return true, nil
		}
	}
}

// rearm watches what is nearest to the path now, and nothing else. It returns
// the directory it came to.
func (s *Source) rearm(ctx context.Context, watcher *fsnotify.Watcher) (string, error) {
	var watched watchTarget
	defer func() { watched.close() }()
	// What is made, or put in the place of something, after the look and before
	// the watch gives no event: so look until nothing is left to watch. Whoever
	// would keep that from ending has to do as much all the time.
	for looks := 1; ctx.Err() == nil; looks++ {
		if looks > 8 { // a file system that shows no directory twice must not take the processor
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		found, err := s.nearest()
		if err != nil {
			return "", err
		}
		if found.same(watched) {
			found.close()
			break
		}
		watched.close()
		watched = found
		if err := watched.watch(watcher); err != nil {
			return "", err
		}
	}
	return watched.dir, nil
}

// watchTarget is the directory that is nearest to the path, and the one above it.
// They are held open: what is removed keeps its number as long, and cannot be
// taken for what comes in its place.
type watchTarget struct {
	dir       string
	at, above *os.File // above is nil when it cannot be read
}

// nearest finds the deepest directory, from the path upwards, that can be
// read. For a file that is its parent, because a file's own watch ends when
// another is renamed over it.
func (s *Source) nearest() (watchTarget, error) {
	for dir := s.path; ; dir = filepath.Dir(dir) {
		at, err := openDirectory(dir)
		switch {
		case err == nil:
			above, _ := openDirectory(filepath.Dir(dir))
			return watchTarget{dir, at, above}, nil
		case isShortage(err), dir == filepath.Dir(dir):
			return watchTarget{}, err
		}
	}
}

func openDirectory(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
}

// isShortage tells an error after which an ancestor might be accepted, and
// would tell nothing.
func isShortage(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// watch watches the place, and nothing else. The directory above tells at once
// when dir is removed or replaced, while dir itself says so only when nobody
// has it open any more, and never when it is a link that now points elsewhere.
func (p *watchTarget) watch(watcher *fsnotify.Watcher) error {
	above := filepath.Dir(p.dir)
	_ = watcher.Add(above)
	if err := watcher.Add(p.dir); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for _, name := range watcher.WatchList() {
		if name != p.dir && name != above {
			_ = watcher.Remove(name) // fails only when it is gone already
		}
	}
	return nil
}

// same tells whether two places are the same directories, and not only of the
// same names.
func (p watchTarget) same(o watchTarget) bool {
	return p.dir == o.dir && sameFile(p.at, o.at) && sameFile(p.above, o.above)
}

func sameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, err := a.Stat()
	if err != nil {
		return false
	}
	other, err := b.Stat()
	return err == nil && os.SameFile(one, other)
}

func (p *watchTarget) close() {
	for _, f := range []*os.File{p.at, p.above} {
		if f != nil {
			_ = f.Close()
		}
	}
	p.at, p.above = nil, nil
}

// matters tells whether an event at name can change what Read returns: at the
// path, above it, at a file in it, or at the kubelet's link in any directory
// on the way. The neighbors in a busy directory do not matter.
func (s *Source) matters(name string) bool {
	name = filepath.Clean(name) // fsnotify says //name for an entry of /
	dir, base := filepath.Dir(name), filepath.Base(name)
	switch {
	case isWithin(s.path, name):
		return true
	case base == dataLink:
		return isWithin(s.path, dir)
	default:
		return dir == s.path && !hidden(base)
	}
}

// isWithin tells whether path is dir or below it.
func isWithin(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
