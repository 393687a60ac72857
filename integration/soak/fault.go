package soak

import (
	"context"
	"math/rand/v2"
	"slices"
)

// What a fault acts on. A storm has at most one fault on each.
const (
	onVault   = "vault's process"
	onSidecar = "the sidecar's process"
	onStorage = "vault's storage"
	onKeys    = "the mounted Secret"
	onShares  = "vault's unseal progress"
	onFront   = "the proxy"
	onState   = "the state directory"
	onClock   = "the sidecar's clock"
	onSeal    = "vault's seal"
	onRekey   = "vault's rekey"
	onAPI     = "the sidecar's Kubernetes"
	onRights  = "the sidecar's rights"
	onESO     = "external secrets' process"
	onObjects = "external secrets' objects"
)

// trait is what a fault can need of a world.
type trait string

const (
	hasFront      trait = "a proxy before vault"
	hasThreshold1 trait = "threshold 1"
	hasThreshold3 trait = "threshold 3 of 5"
	hasClock      trait = "a clock of the sidecar's own"
	hasSignals    trait = "stops"        // a process below a tracer cannot be stopped from outside
	hasRestarts   trait = "restarts"     // a sidecar that lives long shows what grows
	hasState      trait = "a small disk" // takes root, for its mount
	hasKubernetes trait = "kubernetes"
)

// fault is one thing that can go wrong.
type fault struct {
	name  string
	on    string
	needs []trait
	often int // how many times as likely as others; zero: once
	begin begin
}

// begin makes it go wrong, and returns what ends it: nil when it is over by itself.
// What ends it returns when what was taken away is back.
type begin func(ctx context.Context, w *world, s *storm, r *rand.Rand) (end func() error, err error)

// faults are those that can happen in this world, each as often as it is likely.
func (w *world) faults() []fault {
	var out []fault
	for _, f := range slices.Concat(vaultFaults, sidecarFaults, peopleFaults, kubeFaults) {
		if !slices.ContainsFunc(f.needs, func(t trait) bool { return !slices.Contains(w.traits, t) }) {
			out = append(out, slices.Repeat([]fault{f}, max(1, f.often))...)
		}
	}
	return out
}
