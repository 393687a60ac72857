package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// vaultWithin is how long Vault may take to answer a check. One that hangs is
// something to tell, and nothing to wait for.
const vaultWithin = 5 * time.Second

// lookFromElsewhere tells what only the pod can see.
func lookFromElsewhere(context.Context, config) ([]check.Finding, error) {
	const text, advice = "not looked at from here: it is in the pod", "run check in the container too"
	return []check.Finding{
		{About: check.AboutKey, Level: check.Unknown, Text: text, Advice: advice},
		{About: check.AboutVault, Level: check.Unknown, Text: text, Advice: advice},
	}, nil
}

// lookHere looks at the mounted key, at the Vault beside us, and at what the
// sidecar that runs here has written down.
func lookHere(ctx context.Context, c config) ([]check.Finding, error) {
	client, err := vault.New(c.vault())
	if err != nil {
		return nil, fmt.Errorf("--vault-cacert, VAULT_CACERT: %w", err)
	}
	seen := lookAtVault(ctx, client)
	keys := keyfile.New(c.keys)
	shares, remarks, err := keys.Read()
	defer unseal.WipeAll(shares)
	out := append(lookAtKey(c, keys, shares, remarks, err).Judge(seen), seen.Judge())
	if c.vaultUID != nil && seen.Err == nil {
		out = append(out, lookAtOwner(ctx, *c.vaultUID, client).Judge())
	}
	var ends check.Certificates
	ends.Vault, ends.Client = client.Certificates()
	out = append(out, ends.Judge(time.Now())...)
	if err != nil {
		if c.proveKey {
			out = append(out, check.Proof{Reason: "it cannot be used; mend it, and run check --prove-key again"}.Judge())
		}
		return out, nil
	}
	past := lookBack(c, shares)
	if c.proveRole != "" && !c.proveKey && seen.Err == nil && !seen.Sealed {
		out = append(out, lookAtRole(ctx, c, client).Judge())
	}
	if c.proveKey {
		proof := newProver(c, client, keys).Prove(ctx)
		valid, invalid := proof.Result == unseal.ProofValid, proof.Result == unseal.ProofInvalid
		past.Tried = valid || invalid
		out = append(out, check.Proof{Valid: valid, Invalid: invalid, Reason: proof.Reason}.Judge())
	}
	return append(out, past.Judge(time.Now())), nil
}

func lookAtVault(ctx context.Context, client *vault.Client) check.Vault {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	s, err := client.SealStatus(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it takes connections and gives no answer within %v", vaultWithin)
	}
	return check.Vault{
		Err: err, Initialized: s.Initialized, Sealed: s.Sealed, Type: s.Type, Threshold: s.Threshold, Shares: s.Shares,
		Migration: s.Migration, Recovery: s.Recovery, Raft: s.Raft, Removed: s.Removed,
	}
}

func lookAtOwner(ctx context.Context, uid uint32, client *vault.Client) check.Owner {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	return check.Owner{UID: uid, Err: client.Trusted(ctx)}
}

// lookAtRole logs in as a proof does, and gives the token back.
func lookAtRole(ctx context.Context, c config, client *vault.Client) check.Role {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	r := check.Role{Name: c.proveRole}
	session, err := login(ctx, c, client)
	if err != nil {
		r.Err = err
		return r
	}
	_, asked := session.Rekey(ctx)
	if r.Lacks, err = session.Lacks(ctx); err != nil { // without the policy default, a token cannot ask what it may do
		r.Err = asked
	}
	end, ended := context.WithTimeout(context.WithoutCancel(ctx), vaultWithin) // whatever came of it
	defer ended()
	if err := session.Logout(end); err != nil && r.Err == nil {
		r.Err = fmt.Errorf("revoking its token: %w", err)
	}
	return r
}

func lookAtKey(c config, keys *keyfile.Source, shares []unseal.Share, remarks []unseal.Remark, err error) check.Key {
	k := check.Key{Path: c.keys, Err: err}
	for _, s := range shares {
		k.Lengths = append(k.Lengths, s.Len())
	}
	for _, r := range remarks {
		if r.Token {
			k.Tokens = append(k.Tokens, r.String())
		} else {
			k.Others = append(k.Others, r.String())
		}
	}
	if facts, err := keys.Inspect(); err == nil {
		k.Repeated, k.Padded, k.Loose, k.Writable = facts.Repeated, facts.Padded, facts.Loose, facts.Writable
	}
	return k
}

// lookBack reads what the sidecar that runs here has written down.
func lookBack(c config, shares []unseal.Share) check.Recovery {
	var m unseal.Memory
	if err := statefile.New(c.stateDir, stateName).Load(&m); err != nil {
		return check.Recovery{Err: errors.Unwrap(err)} // without what a start would make of it
	}
	r := check.Recovery{Same: m.Fits(shares), Refused: m.Refuses(shares)}
	if m.Opened != nil {
		r.Opened = m.Opened.At
	}
	if r.Refused {
		r.RefusedAt = m.Refused.At
	}
	var n unseal.ProofNotes
	if err := statefile.New(c.stateDir, proofName).Load(&n); err == nil {
		if p := n.Verdict(shares); p.Result == unseal.ProofValid && !p.At.Before(r.Opened) {
			r.Proved = p.At
		}
	}
	if len(m.History) > 0 && m.History[0] != nil {
		r.Took = m.History[0].Took
	}
	return r
}
