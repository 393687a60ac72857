package unseal

import (
	"slices"
	"time"
)

// savedState is the memory that a restart of the sidecar alone does not lose.
type savedState struct {
	memory  Memory
	failed  bool      // to be saved; it was logged
	retryAt time.Time // if it failed
}

// loadSaved loads the memory of an earlier run.
func (l *Loop) loadSaved() {
	if err := l.Store.Load(&l.saved.memory); err != nil {
		l.saved.memory = Memory{}
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	if l.saved.memory.Unsealed == "" {
		l.Log.Info(msgNoMemory)
	}
	l.saved.memory.History = slices.DeleteFunc(l.saved.memory.History, func(r *Recovery) bool { return r == nil || len(r.Steps) == 0 })
	l.timeline.history = l.saved.memory.History[:min(len(l.saved.memory.History), maxHistory)]
}

// save keeps the memory, and says once when it cannot.
func (l *Loop) save() {
	err := l.Store.Save(l.saved.memory.persistable())
	if err != nil && !l.saved.failed {
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	l.saved.failed, l.saved.retryAt = err != nil, time.Now().Add(saveEvery)
}

// opened takes note that these keys opened Vault. It is saved with the process
// that they opened.
func (l *Loop) opened(keys string) {
	l.saved.memory.Opened, l.sender.undecided = &Opened{At: time.Now().UTC(), Keys: keys}, ""
}
