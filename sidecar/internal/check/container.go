package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// vaultWithin is how long Vault may take to answer a check. One that hangs is
// something to report, and nothing to wait for.
const vaultWithin = 5 * time.Second

// Container is what the container of the sidecar sees.
type Container struct {
	Vault       *vault.Client
	VaultUID    *uint32 // whose processes get the key; nil: whoever listens
	Keys        *keyfile.Source
	KeysPath    string
	SavedState  *statefile.File // of the sidecar that runs here
	SavedProofs *statefile.File
	ProveRole   string // of Vault's Kubernetes auth method; empty: none
	Login       func(context.Context) (*vault.Client, error)
	Prover      *unseal.Prover // nil: no proof is asked for
}

// Check looks at the mounted key, at the Vault beside us, and at what the sidecar
// that runs here has written down. It changes nothing, but for a proof.
func (h Container) Check(ctx context.Context) []Finding {
	c := &Checker{here: h, vault: h.readVault(ctx)}
	shares, remarks, err := h.Keys.Read()
	defer unseal.WipeAll(shares)
	c.key = h.readKey(shares, remarks, err)
	if err != nil {
		return c.run(ctx, container)
	}
	c.past = h.readSavedState(shares)
	return c.run(ctx, container|usableKey)
}

func (h Container) readVault(ctx context.Context) Vault {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	s, err := h.Vault.SealStatus(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it takes connections and gives no answer within %v", vaultWithin)
	}
	return Vault{s, err}
}

func (h Container) readKey(shares []unseal.Share, remarks []unseal.Remark, err error) Key {
	k := Key{Path: h.KeysPath, Err: err}
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
	if facts, err := h.Keys.Inspect(); err == nil {
		k.Facts = facts
	}
	return k
}

// readSavedState reads what the sidecar that runs here has written down.
func (h Container) readSavedState(shares []unseal.Share) Recovery {
	var m unseal.Memory
	if err := h.SavedState.Load(&m); err != nil {
		return Recovery{Err: errors.Unwrap(err)} // without what a start would make of it
	}
	r := Recovery{Same: m.Fits(shares), Refused: m.Refuses(shares)}
	if m.Opened != nil {
		r.Opened = m.Opened.At
	}
	if r.Refused {
		r.RefusedAt = m.Refused.At
	}
	var n unseal.ProofNotes
	if err := h.SavedProofs.Load(&n); err == nil {
		if p := n.Verdict(shares); p.Result == unseal.ProofValid && !p.At.Before(r.Opened) {
			r.Proved = p.At
		}
	}
	if len(m.History) > 0 && m.History[0] != nil {
		r.Took = m.History[0].Took
	}
	return r
}
