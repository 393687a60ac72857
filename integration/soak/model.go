package soak

import "time"

// event is something in a storm on which it depends how the storm ends.
type event struct {
	what eventKind
	at   time.Time
}

type eventKind string

const (
	sealed        eventKind = "an operator sealed Vault"
	perhapsSealed eventKind = "an operator tried to"
	vaultEnded    eventKind = "Vault's process ended"
	sidecarEnded  eventKind = "the sidecar's process ended"
	sidecarStood  eventKind = "the sidecar's process stood still"
	keysChanged   eventKind = "the mounted key changed"
	stateFull     eventKind = "the state could not be saved"
	stateLost     eventKind = "the state was deleted"
	sharesSent    eventKind = "strangers sent shares"
	rekeyBegun    eventKind = "somebody began a rekey"
	answered      eventKind = "the proxy answered for Vault, or broke connections"
)

// record takes an event as of now.
func (s *storm) record(what eventKind) { s.recordAt(what, time.Now()) }

// recordAt takes an event that is known only later.
func (s *storm) recordAt(what eventKind, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event{what, at})
}

// happened reports whether there was such an event, after a time.
func (s *storm) happened(after time.Time, what ...eventKind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		for _, w := range what {
			if e.what == w && !e.at.Before(after) {
				return true
			}
		}
	}
	return false
}

// sealedAt is when an operator sealed Vault; zero: nobody did.
func (s *storm) sealedAt() (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.what == sealed {
			at = e.at
		}
	}
	return at
}

// ending is how a storm may end.
type ending uint8

const (
	endsOpen   ending = iota // Vault is open
	endsHeld                 // Vault stays sealed, as an operator wanted
	endsEither               // the order of things decides, which nobody outside can know
)

// ending is the whole model:
//
//   - Without a seal by hand every storm ends open.
//   - A seal by hand is held as long as that process of Vault runs.
//   - It is released by a change of the mounted key, and, behind a proxy, by an answer
//     that is not Vault's or a broken connection: both can mean a restart. It is
//     forgotten by a sidecar that ended and could not save its state. And it is not
//     known by one that did not see the new process of Vault open before: it ended or
//     stood still, the proxy kept it from asking, or the unseal and the seal waited for
//     the same storage. Where one of these is in the storm too, either is right.
//   - A proxy that calls an open Vault sealed is believed, and has no effect once it
//     stops.
func (s *storm) ending() ending {
	var never time.Time
	at := s.sealedAt()
	switch {
	case s.happened(never, perhapsSealed):
		return endsEither
	case at.IsZero():
		return endsOpen
	case s.happened(at, vaultEnded):
		return endsOpen
	case s.happened(never, keysChanged, answered):
		return endsEither
	case s.happened(never, sidecarEnded) && s.happened(never, stateFull, stateLost, vaultEnded),
		(s.happened(never, sidecarStood) || s.has(onStorage) || s.has(onFront)) && s.happened(never, vaultEnded):
		return endsEither
	}
	return endsHeld
}

// rekeyGoesOn reports whether a rekey that somebody began has to be under way still.
func (s *storm) rekeyGoesOn() bool {
	var never time.Time
	return s.happened(never, rekeyBegun) && !s.happened(never, vaultEnded, sealed, perhapsSealed)
}
