package unseal

import "time"

// The loop's times. Each was chosen against a measurement; the figures in
// integration/README.md tell of them.
const (
	hangThreshold        = 2 * time.Second        // silence longer than this is a phase of its own
	extraProbeInterval   = 1 * time.Second        // a further probe beside one that waits
	maxProbes            = 3                      // probes in flight
	renewAfter           = 1 * time.Minute        // the newest of them, where processes have no names
	hintDebounce         = 20 * time.Millisecond  // between probes that hints ask for
	idleInterval         = 900 * time.Millisecond // a Vault where nothing happens
	keysInterval         = 950 * time.Millisecond // the mounted key, with the probe of such a Vault if it can be:
	keysEarly            = 150 * time.Millisecond // each time that the process wakes costs more than what it does then
	joinTimeout          = 30 * time.Second       // a raft node that has accepted the key; sent it again it would unseal twice
	confirmationDelay    = 1 * time.Second        // nobody else may be seen for so long before a refusal is believed
	confirmationInterval = 50 * time.Millisecond  // between the probes that look
	thresholdEvery       = 1 * time.Minute        // between the questions for an open Vault's threshold
	thresholdHolds       = 3 * time.Minute        // its answer is believed: a rekey changes it
	saveRetryInterval    = 5 * time.Second        // between tries to keep the state
	logAfter             = 1 * time.Minute        // a phase that lasts so long is logged though Vault flaps
	foreignSharesPause   = 1 * time.Hour          // for a person who enters shares while ours are refused
	fastPollWindow       = 15 * time.Minute       // a refused Vault is hoped for this long
	fastRetries          = 1200                   // errors in a row that are followed by a retry within 1 s: 16 to 20 minutes
)

// pollInterval is how long after an answer the next probe starts, in a phase that has
// lasted for age. r in [0, 1) is the jitter.
func pollInterval(p Phase, age time.Duration, r float64) time.Duration {
	switch p {
	case Starting:
		return 0
	case Unreachable:
		if age < fastPollWindow { // the longer it is away, the less a few milliseconds add
			return jitter(clamp(age/1000, 10*time.Millisecond, 20*time.Millisecond), 10*time.Millisecond, r)
		}
		return jitter(900*time.Millisecond, 200*time.Millisecond, r)
	case Failing:
		return clamp(age/4, 50*time.Millisecond, time.Second)
	case Activating:
		return clamp(age/4, 0, time.Second)
	case Unsealing, UnsealHanging, Unresponsive:
		return extraProbeInterval
	default:
		return jitter(idleInterval-50*time.Millisecond, 50*time.Millisecond, r)
	}
}

// failureInterval is the wait before the nth retry (from 1) of an unseal or a storage
// lookup that was answered by an error. Storage that fails for some seconds may serve
// again at any moment: 50 ms, doubling, up to 1 s, and after fastRetries of them up to 5 s.
func failureInterval(n int, r float64) time.Duration {
	if n > fastRetries {
		return retryInterval(n, r)
	}
	return min(retryInterval(n, r), jitter(800*time.Millisecond, 200*time.Millisecond, r))
}

// retryInterval is the wait before the nth retry (from 1) of what need not be soon: 50 ms,
// doubling, up to 5 s.
func retryInterval(n int, r float64) time.Duration {
	base := clamp(50*time.Millisecond<<min(n-1, 10), 50*time.Millisecond, 4*time.Second)
	return jitter(base, base/4, r)
}

// recheckInterval is the wait before the nth recheck (from 0) of a key that was
// refused: 5 minutes, doubling, up to an hour.
func recheckInterval(n int, r float64) time.Duration {
	base := clamp(5*time.Minute<<min(n, 10), 5*time.Minute, time.Hour)
	return jitter(base, base/4, r)
}

// interferenceBackoff is the wait before an attempt that follows n others which
// somebody else's shares spoilt: nothing at first, then a random part of a
// growing span, so that two senders do not stay in step.
func interferenceBackoff(n int, r float64) time.Duration {
	if n <= 1 {
		return 0
	}
	return jitter(0, clamp(time.Millisecond<<min(n, 10), 0, 250*time.Millisecond), r)
}

func jitter(base, span time.Duration, r float64) time.Duration {
	return base + time.Duration(r*float64(span))
}

func clamp(d, low, high time.Duration) time.Duration {
	return min(max(d, low), high)
}
