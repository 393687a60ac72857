package status

import (
	"sync"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// StuckAfter is the silence of the loop after which it is no longer well. It
// turns once a second.
const StuckAfter = 15 * time.Second

// Stuck tells whether a loop that turned so long ago is not well. Then nobody
// knows how Vault is: the newest state is an old one.
func Stuck(ago time.Duration) bool { return ago >= StuckAfter }

// Latest holds what was published last, for the pages and the metrics. Its methods
// may be called from any goroutine and do not block.
type Latest struct {
	Turned func() time.Duration // how long ago the loop last turned; set it before any goroutine starts
	mu     sync.Mutex
	known  Known
}

// NewLatest returns a Latest to which nothing was published yet.
func NewLatest(version string) *Latest {
	return &Latest{
		Turned: func() time.Duration { return 0 },
		known:  Known{Version: version, State: unseal.Snapshot{Since: time.Now()}},
	}
}

// Known returns what is known now.
func (l *Latest) Known() Known {
	l.mu.Lock()
	k := l.known
	l.mu.Unlock()
	if silent := l.Turned(); Stuck(silent) {
		k.Stuck = silent
	}
	return k
}

func (l *Latest) change(f func(*Known)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.known)
}

// Publish replaces the core's state.
func (l *Latest) Publish(s unseal.Snapshot) { l.change(func(k *Known) { k.State = s }) }

// PublishProof replaces the last proof of the key.
func (l *Latest) PublishProof(p unseal.Proof) { l.change(func(k *Known) { k.Proof = p }) }

// PublishImage tells which image the sidecar's container runs.
func (l *Latest) PublishImage(id string) { l.change(func(k *Known) { k.Image = id }) }

// PublishSecrets replaces what is known of External Secrets.
func (l *Latest) PublishSecrets(e ExternalSecrets) {
	ready := 0
	for _, store := range e.Stores {
		if store.Ready {
			ready++
		}
	}
	stores := len(e.Stores)
	e = e.bounded()
	l.change(func(k *Known) { k.Secrets, k.Ready, k.NotReady = e, ready, stores-ready })
}
