package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// vaultWithin is how long Vault may take to answer a check. One that hangs is
// something to report, and nothing to wait for.
const vaultWithin = 5 * time.Second

// VaultClient is the Vault beside us, of which nothing is asked for but its state.
type VaultClient interface {
	SealStatus(context.Context) (unseal.SealStatus, error)
	// Trusted returns why the key would not be sent to whoever answers.
	Trusted(context.Context) error
	// Certificates returns when the server's and our own end; the zero time for none.
	Certificates() (server, client time.Time)
}

// Session is a login for a proof.
type Session interface {
	Rekey(context.Context) (unseal.Rekey, error)
	// Lacks returns what its policies leave out of what a proof asks for. Rekey has to
	// have been asked before.
	Lacks(context.Context) ([]string, error)
	Logout(context.Context) error
}

// Container is what the container of the sidecar sees.
type Container struct {
	Vault       VaultClient
	VaultUID    *uint32 // whose processes get the key; nil: whoever listens
	Keys        *keyfile.Source
	KeysPath    string
	SavedState  *statefile.File // of the sidecar that runs here
	SavedProofs *statefile.File
	ProveRole   string // of Vault's Kubernetes auth method; empty: none
	Login       func(context.Context) (Session, error)
	Prover      *unseal.Prover // nil: no proof is asked for
	Expected    string         // the expectation of the Secret's shares; empty: not known
}

// Check looks at the mounted key, at the Vault beside us, and at what the sidecar
// that runs here has written down. It changes nothing, but for a proof.
func (h Container) Check(ctx context.Context) []Finding {
	c := &Checker{here: h, vault: h.readVault(ctx)}
	c.key.Path = h.KeysPath
	c.key.Shares, c.key.Remarks, c.key.Err = h.Keys.Read()
	defer unseal.WipeAll(c.key.Shares)
	c.key.Inspection, _ = h.Keys.Inspect() // of what can be read
	if c.key.Err != nil {
		return c.run(ctx, container)
	}
	c.past = h.readSavedState(c.key.Shares)
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

// readSavedState reads what the sidecar that runs here has written down.
func (h Container) readSavedState(shares []unseal.Share) Recovery {
	var m unseal.SavedState
	if err := h.SavedState.Load(&m); err != nil {
		return Recovery{Err: errors.Unwrap(err)} // without what a start would make of it
	}
	r := Recovery{Same: m.Fits(shares), Refused: m.Rejects(shares)}
	if m.LastUnseal != nil {
		r.Opened = m.LastUnseal.At
	}
	if r.Refused {
		r.RefusedAt = m.Rejected.At
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

// Vault is what was seen of Vault.
type Vault struct {
	unseal.SealStatus
	Err error // why nothing was seen; the rest is then empty
}

// threshold returns how many shares it takes, when that is known.
func (v Vault) threshold() (int, bool) {
	return v.Threshold, v.Err == nil && v.Initialized && v.Type == "shamir" && !v.Recovery && v.Threshold > 0
}

// checkVault reports what Vault's state means for the next recovery.
func (c *Checker) checkVault(context.Context) {
	v := c.vault
	shape := fmt.Sprintf("; it takes %d of %d shares", v.Threshold, v.Shares)
	if v.Raft {
		shape += ", with raft storage"
	}
	seal := v.Type + " and not Shamir's"
	if v.Recovery {
		seal = "an auto-unseal with recovery keys, which open nothing"
	}
	switch {
	case v.Err != nil:
		c.fail("vault does not answer as expected: "+v.Err.Error(), "look at Vault's log and volume; the sidecar keeps trying")
	case !v.Initialized:
		c.fail("vault is not initialized", "run scripts/bootstrap, or vault operator init, and put the shares into the Secret")
	case v.Removed:
		c.fail("this node was removed from its raft cluster; no key opens it", "delete its data and let it join again")
	case v.Recovery || v.Type != "shamir":
		c.warn(fmt.Sprintf("vault's seal is %s: it unseals by itself, and the sidecar leaves it alone", seal),
			"make sure that what unseals it is reachable after a power cut before Vault starts")
	case v.Migration:
		c.fail("a migration of vault's seal is under way, which the sidecar leaves alone", "finish it: vault operator unseal -migrate")
	case v.Sealed:
		c.warn("vault is sealed now"+shape,
			"run status or read the sidecar's log for the reason; a Vault that was sealed by hand stays sealed until it restarts")
	default:
		c.ok("vault is unsealed" + shape)
	}
}

// checkListener looks whose process listens at Vault's address, for --vault-uid.
func (c *Checker) checkListener(ctx context.Context) {
	uid := c.here.VaultUID
	if uid == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	err := c.here.Vault.Trusted(ctx)
	switch {
	case err == nil:
		c.ok(fmt.Sprintf("the process at vault's address runs as uid %d, and the key goes to no other", *uid))
	case errors.Is(err, unseal.ErrWithheld) && c.vault.Err == nil:
		c.fail("the sidecar would not send the key: "+err.Error(),
			"set --vault-uid (VAULT_UID) to the uid that Vault's container runs as, and see who else is in the pod")
	default: // the cause was told, or nobody listens just now; the scripts want to know
		c.unknown("the sidecar would not send the key: "+err.Error(), "")
	}
}

// checkCertificates looks at those that TLS with Vault depends on: Vault's own, or the
// first to end of those that vouch for it, and the one that the sidecar shows to Vault.
func (c *Checker) checkCertificates(context.Context) {
	server, client := c.here.Vault.Certificates()
	c.evaluateCertificate("vault's certificate, or one that vouches for it,", server,
		"renew it; where Vault itself issues it, give Vault a second listener on loopback, which needs none")
	c.evaluateCertificate("the client certificate that the sidecar shows to vault", client,
		"renew it: the files of --vault-client-cert and --vault-client-key are read again for each connection")
}

// renewBy is how long before its end a certificate is reported. Issuers renew
// earlier: cert-manager at two thirds of the time, Vault's agent sooner.
const renewBy = 21 * 24 * time.Hour

// evaluateCertificate reports one that ends soon, or ended; the zero time where there
// is none.
func (c *Checker) evaluateCertificate(what string, end time.Time, advice string) {
	date := end.UTC().Format(time.DateOnly)
	switch left := time.Until(end); {
	case end.IsZero():
	case left <= 0:
		c.fail(what+" ran out on "+date, advice)
	case left < renewBy:
		c.warn(what+" runs out on "+date+": after that Vault is not unsealed any more", advice)
	}
}

// checkRole looks whether the role of --prove-role is enough for a proof: it logs in as
// a proof does, and gives the token back.
func (c *Checker) checkRole(ctx context.Context) {
	if c.here.ProveRole == "" || c.here.Prover != nil || c.vault.Err != nil || c.vault.Sealed {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	session, err := c.here.Login(ctx)
	if err != nil {
		c.evaluateRole(nil, err)
		return
	}
	_, asked := session.Rekey(ctx)
	lacks, err := session.Lacks(ctx)
	if err != nil { // without the policy default, a token cannot ask what it may do
		err = asked
	}
	end, ended := context.WithTimeout(context.WithoutCancel(ctx), vaultWithin) // whatever came of it
	defer ended()
	if left := session.Logout(end); left != nil && err == nil {
		err = fmt.Errorf("revoking its token: %w", left)
	}
	c.evaluateRole(lacks, err)
}

// evaluateRole takes what the role's policies leave out, or why that is not known.
func (c *Checker) evaluateRole(lacks []string, err error) {
	switch {
	case err != nil:
		c.warn("the role of --prove-role proves no key: "+err.Error(),
			"make the role and its policy as the README shows, or take --prove-role out")
	case len(lacks) > 0:
		c.warn(fmt.Sprintf("the policies of the role %s do not allow a proof: they lack %s", c.here.ProveRole, enumerate(lacks)),
			"give it the policy in scripts/prove-key.hcl")
	default:
		c.ok("the role " + c.here.ProveRole + " can log in and may prove the key")
	}
}
