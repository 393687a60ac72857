package unseal

import (
	"context"
	"errors"
	"time"
)

// storageProbe is whether an active Vault's storage serves, as far as it was looked.
type storageProbe struct {
	state     StorageState
	call      *call     // in flight
	notBefore time.Time // the next
	failures  int       // calls in a row that ended in an error
	due       time.Time // when to look again, with Config.StorageProbe
}

func (l *Loop) storageState(now time.Time) StorageState {
	switch {
	case l.prober.answer != AnswerActive:
		l.dropLookup()
	case l.storage.call.overdue(now):
		l.storage.state = StorageSilent
	case l.storage.state == StorageServes && l.StorageProbe > 0 && !now.Before(l.storage.due):
		l.storage.state = StorageUnknown
	}
	return l.storage.state
}

// checkStorage makes Vault read its storage.
func (l *Loop) checkStorage(now time.Time) {
	l.storage.call = l.start(now, func(ctx context.Context) func() {
		err := l.Vault.ReadStorage(ctx)
		return func() { l.handleLookup(err) }
	})
}

func (l *Loop) handleLookup(err error) {
	l.storage.call = nil
	if errors.Is(err, ErrNotVault) {
		l.forgetProcess()
	}
	now := time.Now()
	switch {
	case err == nil:
		l.storage.state, l.storage.failures = StorageServes, 0
		l.storage.due = now.Add(jitter(l.StorageProbe-l.StorageProbe/10, l.StorageProbe/5, random()))
	case errors.Is(err, ErrUnreachable):
		l.storage.state, l.storage.notBefore, l.prober.next = StorageUnknown, now.Add(extraProbeInterval), now
	default:
		l.storage.failures++
		l.storage.state, l.trouble, l.withheld = StorageErrors, err.Error(), errors.Is(err, ErrWithheld)
		l.storage.notBefore = now.Add(retryInterval(l.storage.failures, random()))
	}
}

// dropLookup forgets what is known of the storage.
func (l *Loop) dropLookup() {
	l.storage.call.drop()
	l.storage = storageProbe{}
}
