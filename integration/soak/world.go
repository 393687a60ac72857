package soak

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// world is a Vault with a sidecar, and what surrounds them.
type world struct {
	env     *testenv.Env
	traits  []trait
	stall   *testenv.Stall
	vault   *testenv.Vault
	front   *proxy // nil without hasFront
	secret  *testenv.MountedSecret
	clock   *testenv.Clock // nil without hasClock
	kube    *kubernetes    // nil without hasKubernetes
	args    []string       // of the sidecar's
	shares  int            // of the key
	ended   context.CancelFunc
	keepers sync.WaitGroup

	stateDir                   string
	vaultKeeper, sidecarKeeper *keeper
	http                       *testenv.Sidecar // the newest sidecar, to be asked
	rekeyNonce                 string           // of the rekey that somebody began
	peace                      *peace

	mu         sync.Mutex
	unexpected []string // ends of processes that nothing explains
	secrets    []string // every share and token that must never be seen
	storm      *storm   // the newest; nil before the first
	journal    strings.Builder
	config     Config
	tally      *tally
	born       time.Time
}

// newWorld is one in which nothing runs yet.
func newWorld(c Config, t *tally, number int) (*world, error) {
	env, err := testenv.New()
	if err != nil {
		return nil, err
	}
	w := &world{env: env, config: c, tally: t, born: time.Now(), ended: func() {}, peace: &peace{}}
	w.chooseTraits(stormRand(c.Seed, number, -1))
	return w, nil
}

func (w *world) chooseTraits(r *rand.Rand) {
	one := func(a, b trait) {
		if r.IntN(2) == 0 {
			a = b
		}
		if a != "" {
			w.traits = append(w.traits, a)
		}
	}
	one(hasThreshold1, hasThreshold3)
	one(hasFront, "")
	one(hasRestarts, "")
	one(hasClock, hasSignals)
	if w.config.Kubernetes {
		w.traits = append(w.traits, hasKubernetes)
	}
	if os.Geteuid() == 0 {
		w.traits = append(w.traits, hasState)
	}
}

func (w *world) has(t trait) bool { return slices.Contains(w.traits, t) }

func (w *world) start(ctx context.Context) (err error) {
	if w.stall, err = w.env.MountStall(ctx); err != nil {
		return err
	}
	if w.vault, err = w.env.NewVault(testenv.VaultConfig{Data: w.stall.Dir}); err != nil {
		return err
	}
	if w.secret, err = w.env.NewSecret(); err != nil {
		return err
	}
	if w.has(hasFront) {
		if w.front, err = newFront(w.vault); err != nil {
			return err
		}
	}
	if w.has(hasClock) {
		if w.clock, err = w.env.NewClock(); err != nil {
			return err
		}
	}
	if err = w.makeStateDir(); err != nil {
		return err
	}
	if err = w.vault.StartAndWait(ctx); err != nil {
		return err
	}
	threshold := 1
	if w.shares = 1; w.has(hasThreshold3) {
		w.shares, threshold = 5, 3
	}
	if err = w.vault.Init(ctx, w.shares, threshold); err != nil {
		return err
	}
	w.secrets = append(w.secrets, w.vault.Keys...)
	if err = w.secret.WriteShares(w.mounted()...); err != nil {
		return err
	}
	if w.has(hasKubernetes) {
		if err = w.startKubernetes(ctx); err != nil {
			return err
		}
	}
	if err = w.vault.Kill(); err != nil {
		return err
	}
	return w.startKeepers(ctx)
}

// mounted are the shares that are mounted in peace.
func (w *world) mounted() []string { return w.vault.Keys[:min(len(w.vault.Keys), 3)] }

// randomShare is as long as the key's, and of no key. It must not be seen either.
func (w *world) randomShare(r *rand.Rand) string {
	raw, err := base64.StdEncoding.DecodeString(w.vault.Keys[0])
	if err != nil {
		panic(err) // Vault's own
	}
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	share := base64.StdEncoding.EncodeToString(raw)
	w.keepSecret(share)
	return share
}

// keepSecret has the judge search for what must never be seen.
func (w *world) keepSecret(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.secrets, text) {
		w.secrets = append(w.secrets, text)
	}
}

func (w *world) awaitOpen(ctx context.Context) error {
	return w.await(ctx, 30*time.Second, "vault to be open", func() string { return w.isOpen(ctx) })
}

func (w *world) await(ctx context.Context, limit time.Duration, what string, check func() string) error {
	return testenv.Await(ctx, limit, what, check)
}

func (w *world) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.mu.Lock()
	fmt.Fprintf(&w.journal, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), line)
	w.mu.Unlock()
	w.config.Log("%7.3f %s", time.Since(w.born).Seconds(), line)
}

func (w *world) close() error {
	w.ended()
	w.keepers.Wait()
	w.front.down()
	if w.has(hasState) {
		if w.sidecarKeeper != nil && w.sidecarKeeper.process() != nil {
			_ = w.sidecarKeeper.process().Kill()
		}
		_ = syscall.Unmount(w.stateDir, syscall.MNT_DETACH)
	}
	return w.env.Close()
}
