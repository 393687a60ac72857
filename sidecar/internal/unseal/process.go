package unseal

import "strconv"

// processTracker is which process of Vault answers.
type processTracker struct {
	current       string // as of the newest answer; "" unknown yet
	recorded      bool   // it was recorded as unsealed since it last broke off
	epoch         int    // counts the times Vault was away, where processes have no names
	seenIn        int    // the epoch in which current was seen
	unknownLogged bool   // that processes have no names
}

// recordProcess notes which process gave the answer, and remembers it once it was
// seen unsealed.
func (l *Loop) recordProcess(s probeResult) {
	process := s.process
	switch {
	case s.answer == AnswerRefused:
		l.process.epoch++
		l.process.recorded = false
		return
	case s.unknown != nil:
		process = l.process.current // it was not away since it was placed
		if process == "" || l.process.seenIn != l.process.epoch {
			process = unknownProcess + strconv.Itoa(l.process.epoch)
		}
		if !l.process.unknownLogged {
			l.process.unknownLogged = true
			l.Log.Warn(msgNoProcess, keyReason, s.unknown)
		}
	}
	if process == "" {
		return
	}
	if process != l.process.current {
		l.process.current = process
		l.resetAttempt()
	}
	l.process.seenIn, l.process.recorded = l.process.epoch, s.answer.unsealed()
	if l.process.recorded && (l.memory.Unsealed != process || l.memory.Held != nil) {
		l.memory.Unsealed, l.memory.Held = process, nil
		l.save()
	}
}

// forgetProcess forgets which process answered: behind a proxy, which listens
// throughout, Vault may have restarted. What was unsealed before proves no seal
// by hand any more. That the key was refused stays: a proxy that fails now and
// then must not have it sent again and again. (Whoever can fake such an answer
// listens in Vault's place, and would be sent the key anyway.)
func (l *Loop) forgetProcess() {
	l.process.epoch++
	l.process.current, l.process.recorded = "", false
	if l.memory.Unsealed != "" || l.memory.Held != nil {
		l.memory.Unsealed, l.memory.Held = "", nil
		l.save()
	}
}
