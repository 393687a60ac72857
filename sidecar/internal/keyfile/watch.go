package keyfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
// a hint, so go on without and compare Stamp from time to time, as is needed
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
		at, err := s.settle(watcher)
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

// settle watches what is nearest to the path now, and nothing else. It returns
// the directory it came to.
func (s *Source) settle(watcher *fsnotify.Watcher) (string, error) {
	at := ""
	// A directory made after the look and before the watch gives no event, so
	// look until two looks agree; the number only bounds a race against
	// somebody who makes and removes it all the time.
	for range 8 {
		nearest, err := s.addNearest(watcher)
		if err != nil {
			return "", err
		}
		if nearest == at {
			break
		}
		at = nearest
	}
	wanted := []string{at, filepath.Dir(at)}
	for _, name := range watcher.WatchList() {
		if !slices.Contains(wanted, name) {
			_ = watcher.Remove(name) // fails only when it is gone already
		}
	}
	return at, nil
}

// addNearest watches the deepest directory, from the path upwards, that can be
// watched. For a file that is its parent, because a file's own watch ends when
// another is renamed over it.
func (s *Source) addNearest(watcher *fsnotify.Watcher) (string, error) {
	for dir := s.path; ; dir = filepath.Dir(dir) {
		err := addDir(watcher, dir)
		switch {
		case err == nil:
			// The parent as well: it tells at once when dir is removed or
			// replaced, while dir itself says so only when nobody has it
			// open any more, and never when it is a link that now points
			// elsewhere.
			_ = addDir(watcher, filepath.Dir(dir))
			return dir, nil
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.ENOMEM):
			return "", err // an ancestor would be accepted, and tell nothing
		case dir == filepath.Dir(dir):
			return "", err
		}
	}
}

func addDir(watcher *fsnotify.Watcher, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return syscall.ENOTDIR
	}
	return watcher.Add(dir)
}

// matters tells whether an event at name can change what Read returns: at the
// path, above it, at a file in it, or at the kubelet's link in any directory
// on the way. The neighbours in a busy directory do not matter.
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
