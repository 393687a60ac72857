package check

import (
	"fmt"
	"time"
)

// Recovery is what the sidecar beside us has written down.
type Recovery struct {
	Err     error         // why it cannot be read
	Opened  time.Time     // when the mounted key last opened Vault; zero: it has not
	Took    time.Duration // the last recovery; zero: not known
	Same    bool          // the key that is mounted is still that one
	Refused bool          // Vault refused the one that is mounted when it was last sent
	// RefusedAt is when that was; zero: not known.
	RefusedAt time.Time
	Tried     bool      // Vault took or refused it just now, which says more
	Proved    time.Time // when it was last proved that Vault takes the mounted key, since Opened; zero: it was not
}

// evaluate reports what the past means for the next recovery, as of now.
func (r Recovery) evaluate(now time.Time) Finding {
	f := Finding{About: AboutRecovery}
	took := ""
	if r.Took > 0 {
		took = fmt.Sprintf("; the last recovery took %s", r.Took.Round(time.Millisecond))
	}
	at := func(t time.Time) string {
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), now.Sub(t).Round(time.Second))
	}
	when := func() string { return at(r.Opened) }
	switch {
	case r.Err != nil:
		f.Level = Unknown
		f.Text = "the saved state of the sidecar cannot be read: " + r.Err.Error()
	case r.Proved.After(r.RefusedAt) && !r.Tried && !(r.Same && !r.Opened.IsZero()):
		f.Text = fmt.Sprintf("vault took the mounted key in a proof at %s; it has not had to open vault yet%s", at(r.Proved), took)
	case r.Refused && !r.Tried:
		f.Level = Failure
		f.Text = "vault refused the mounted key when the sidecar last sent it" + took
		f.Advice = "put the right key into the Secret: scripts/seed-key"
	case r.Opened.IsZero() && r.Tried:
		f.Text = "the mounted key has not opened vault since the pod or its node started" + took
	case r.Opened.IsZero():
		f.Level = Unknown
		f.Text = "the mounted key has not opened vault since the pod or its node started, so it is not proven that it does" + took
		f.Advice = "run check --prove-key to have Vault verify it"
	case !r.Same && r.Tried:
		f.Text = fmt.Sprintf("the mounted key changed since it last opened vault, at %s%s", when(), took)
	case !r.Same:
		f.Level = Warning
		f.Text = fmt.Sprintf("the mounted key changed since it last opened vault, at %s; it is not proven that this one does%s", when(), took)
		f.Advice = "run check --prove-key to have Vault verify it"
	default:
		f.Text = fmt.Sprintf("the mounted key opened vault at %s%s", when(), took)
	}
	return f
}

// Proof is what came of having Vault try the mounted key.
type Proof struct {
	Valid, Invalid bool   // neither: it came to no answer
	Reason         string // when it is not valid, or not all is as before
}

// evaluate reports what that means for the next recovery.
func (p Proof) evaluate() Finding {
	switch {
	case p.Valid && p.Reason != "":
		return Finding{AboutKey, Warning, "proved: vault takes the mounted key; " + p.Reason,
			"the sidecar cancels a rekey that is left within a minute; a token that is left ends with the ttl of its role"}
	case p.Valid:
		return Finding{AboutKey, OK, "proved: vault takes the mounted key", ""}
	case p.Invalid:
		return Finding{AboutKey, Failure, "proved: vault would not open with the mounted key: " + p.Reason,
			"put the right key into the Secret before vault restarts: scripts/seed-key"}
	}
	return Finding{AboutKey, Unknown, "whether vault takes the mounted key could not be proved: " + p.Reason, ""}
}

// Role is what came of logging in with the role of --prove-role.
type Role struct {
	Name  string
	Err   error    // why it could not, or why what it may do is not known
	Lacks []string // what its policies leave out
}

// evaluate reports whether the role is enough for a proof.
func (r Role) evaluate() Finding {
	switch {
	case r.Err != nil:
		return Finding{AboutVault, Warning, "the role of --prove-role proves no key: " + r.Err.Error(),
			"make the role and its policy as the README shows, or take --prove-role out"}
	case len(r.Lacks) > 0:
		return Finding{AboutVault, Warning, fmt.Sprintf("the policies of the role %s do not allow a proof: they lack %s", r.Name, enumerate(r.Lacks)),
			"give it the policy in scripts/prove-key.hcl"}
	}
	return Finding{AboutVault, OK, "the role " + r.Name + " can log in and may prove the key", ""}
}
