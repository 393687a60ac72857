package soak

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStorm_EndsAsTheModelSays(t *testing.T) {
	for name, row := range map[string]struct {
		events []eventKind
		on     string // of a fault beside them
		ends   ending
	}{
		"nothing that matters":            {ends: endsOpen},
		"vault restarts":                  {events: []eventKind{vaultEnded}, ends: endsOpen},
		"an operator seals":               {events: []eventKind{sealed}, ends: endsHeld},
		"the sidecar restarts meanwhile":  {events: []eventKind{sealed, sidecarEnded}, ends: endsHeld},
		"strangers send shares meanwhile": {events: []eventKind{sharesSent, sealed}, ends: endsHeld},
		"vault restarts after the seal":   {events: []eventKind{sealed, vaultEnded}, ends: endsOpen},
		"and before it":                   {events: []eventKind{vaultEnded, sealed}, ends: endsHeld},
		"before it, and the sidecar too": {
			events: []eventKind{vaultEnded, sidecarEnded, sealed}, ends: endsEither,
		},
		"before it, and the sidecar stood still": {
			events: []eventKind{vaultEnded, sidecarStood, sealed}, ends: endsEither,
		},
		"before it, and storage hung":    {events: []eventKind{vaultEnded, sealed}, on: onStorage, ends: endsEither},
		"the sidecar stood still alone":  {events: []eventKind{sidecarStood, sealed}, ends: endsHeld},
		"the key changes about the seal": {events: []eventKind{keysChanged, sealed}, ends: endsEither},
		"it cannot be remembered": {
			events: []eventKind{stateFull, sealed, sidecarEnded}, ends: endsEither,
		},
		"it need not be without a restart":     {events: []eventKind{stateFull, sealed}, ends: endsHeld},
		"somebody answers for vault":           {events: []eventKind{answered, sealed}, on: onFront, ends: endsEither},
		"the proxy delays":                     {events: []eventKind{sealed}, on: onFront, ends: endsHeld},
		"before it, and the proxy delayed":     {events: []eventKind{vaultEnded, sealed}, on: onFront, ends: endsEither},
		"the operator got no answer":           {events: []eventKind{perhapsSealed}, ends: endsEither},
		"storage hangs about the seal":         {events: []eventKind{sealed}, on: onStorage, ends: endsHeld},
		"the API server fails about the seal":  {events: []eventKind{sealed}, on: onAPI, ends: endsHeld},
		"somebody answers, and nothing sealed": {events: []eventKind{answered}, on: onFront, ends: endsOpen},
	} {
		t.Run(name, func(t *testing.T) {
			s := &storm{}
			for _, e := range row.events {
				s.record(e)
			}
			if row.on != "" {
				s.faults = []planned{{fault: fault{on: row.on}}}
			}
			assert.Equal(t, row.ends, s.ending())
		})
	}
}

func TestStorm_FollowsFromTheSeed(t *testing.T) {
	w := &world{config: Config{Kubernetes: true}}
	w.chooseTraits(rand.New(rand.NewPCG(1, 0)))
	sizes := map[int]bool{}
	for i := range 100 {
		s := newStorm(stormRand(7, 1, i), w.faults())
		assert.Equal(t, s.String(), newStorm(stormRand(7, 1, i), w.faults()).String())
		on := map[string]bool{}
		for _, p := range s.faults {
			assert.False(t, on[p.on], "two faults on %s: %v", p.on, s)
			on[p.on] = true
		}
		sizes[len(s.faults)] = true
	}
	assert.Len(t, sizes, 5, "a storm has one to five faults")
}
