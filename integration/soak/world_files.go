package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// makeStateDir makes a directory for the sidecar's state: on a disk of its own, which
// can be full, where that may be mounted.
func (w *world) makeStateDir() (err error) {
	if w.stateDir, err = w.env.Mkdir("state"); err != nil || !w.has(hasState) {
		return err
	}
	return syscall.Mount("tmpfs", w.stateDir, "tmpfs", 0, "size=128k")
}

// forgetState empties the state directory, as a new pod's is.
func (w *world) forgetState() error {
	entries, err := os.ReadDir(w.stateDir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(w.stateDir, e.Name())))
	}
	return err
}

// keep writes all logs into a folder of this run, and returns its name.
func (w *world) keep(folder string, cause error) string {
	dir := filepath.Join(folder, fmt.Sprintf("seed-%d", w.config.Seed))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	w.logf("%v", cause)
	w.mu.Lock()
	files := map[string]string{"storms.log": w.journal.String()}
	w.mu.Unlock()
	for _, k := range []*keeper{w.vaultKeeper, w.sidecarKeeper} {
		if k != nil {
			files[k.name+".log"] = k.log()
		}
	}
	if w.vaultKeeper == nil && w.vault != nil && w.vault.Process != nil { // it failed before the first storm
		files["vault.log"] = w.vault.Process.Output()
	}
	files["state"] = readAll(w.stateDir)
	if w.kube != nil {
		w.kube.keep(files)
	}
	if s := w.sidecar(); s != nil {
		for _, path := range []string{"/status", "/metrics"} {
			_, text, err := s.Get(context.Background(), path)
			files["sidecar"+strings.ReplaceAll(path, "/", ".")] = fmt.Sprint(text, err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err.Error()
		}
	}
	return dir
}

// readAll returns the content of all files in a directory.
func readAll(dir string) string {
	var all strings.Builder
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			all.Write(b)
		}
		return nil
	})
	return all.String()
}
