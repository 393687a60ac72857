package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Key is what was seen of the mounted key.
type Key struct {
	Path               string
	Shares             []unseal.Share  // each once
	Remarks            []unseal.Remark // on entries that are no shares
	Err                error           // why it cannot be read
	keyfile.Inspection                 // of its files
}

// checkKey reports whether the key could open such a Vault, by its form alone, and
// whether others could change it.
func (c *Checker) checkKey(context.Context) {
	k := c.key
	c.checkForm()
	var tokens, others []string
	for _, r := range k.Remarks {
		if r.Token {
			tokens = append(tokens, r.String())
		} else {
			others = append(others, r.String())
		}
	}
	if len(tokens) > 0 {
		c.warn("a Vault token is mounted with the key, where an intruder in the pod finds it: "+strings.Join(tokens, "; "),
			"revoke it and take it out of the Secret; until then mount the entries with shares alone, by items of the Secret's volume")
	}
	if len(others) > 0 && k.Err == nil { // or the error has said it
		c.warn("entries that are not key shares are mounted with the key and ignored: "+strings.Join(others, "; "),
			"fix or remove them in the Secret, or mount the shares alone, by items of the Secret's volume")
	}
	if len(k.WritableByOthers) > 0 {
		c.warn("files of the key can be written by their group or by everybody: "+enumerate(k.WritableByOthers),
			"mount the Secret with defaultMode 0440 or 0444")
	}
	if k.DirectoryWritable {
		c.warn(fmt.Sprintf("the sidecar may write in %s, which it never needs", k.Path), "mount the Secret with readOnly: true")
	}
}

func (c *Checker) checkForm() {
	k, misfit := c.key, ""
	t, known := c.vault.threshold()
	switch {
	case k.Err != nil:
		misfit = "the key cannot be used: " + k.Err.Error()
	case known && len(k.Shares) < t:
		misfit = fmt.Sprintf("%d of the %d shares that vault's threshold needs are mounted", len(k.Shares), t)
	case known && t == 1 && !slices.ContainsFunc(k.Shares, isWhole):
		misfit = "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key"
	case known && mostAlike(k.Shares) < t:
		misfit = fmt.Sprintf("no %d of the %d mounted shares are of equal length: they are not of one key", t, len(k.Shares))
	}
	if misfit != "" {
		c.fail(misfit, "put the shares of this Vault into the Secret: scripts/seed-key --replace")
		return
	}
	level, needed := OK, fmt.Sprintf("vault needs %d", t)
	if !known {
		level, needed = Unknown, "how many vault needs is not known"
	}
	text := count(len(k.Shares), "share is mounted", "shares are mounted") + ", well-formed; " + needed
	if k.Repeated > 0 {
		text += fmt.Sprintf("; %s again", count(k.Repeated, "share is there", "shares are there"))
	}
	if k.HaveWhitespace > 0 {
		text += fmt.Sprintf("; white space in %s is forgiven", count(k.HaveWhitespace, "file", "files"))
	}
	c.add(level, text, "")
}

// IsExpectation tells whether text is a salt, and after a colon digests of shares: the
// SHA-256 of the salt and a share in hexadecimal, which tells nothing of the share.
var IsExpectation = regexp.MustCompile(`^[0-9a-f]{32}:[0-9a-f]{64}(,[0-9a-f]{64})*$`).MatchString

// checkExpected reports whether what is mounted is what the Secret holds now.
func (c *Checker) checkExpected(context.Context) {
	salt, digests, known := strings.Cut(c.here.Expected, ":")
	if !known {
		return
	}
	for _, mounted := range c.key.Shares {
		buf := mounted.AppendHex(append(make([]byte, 0, len(salt)+2*mounted.Len()), salt...))
		digest := sha256.Sum256(buf)
		clear(buf)
		if !strings.Contains(digests, hex.EncodeToString(digest[:])) {
			c.fail("the mounted key is not what the Secret holds now", renewed+", or another Secret's")
			return
		}
	}
	if more := strings.Count(digests, ",") + 1 - len(c.key.Shares); more > 0 {
		c.unknown(count(more, "share of the Secret is", "shares of the Secret are")+" not mounted",
			renewed+", or one of some entries alone")
	}
}

// renewed is what to do about a mount that may be older than the Secret.
const renewed = "check again in a minute or two, for the kubelet renews the mount then; what stays is a mount with subPath, which changes with a new pod alone"

func isWhole(s unseal.Share) bool { return s.Len() == 16 || s.Len() == 24 || s.Len() == 32 }

// mostAlike returns how many of the shares are of the same length, at most.
func mostAlike(shares []unseal.Share) int {
	most, seen := 0, map[int]int{}
	for _, s := range shares {
		seen[s.Len()]++
		most = max(most, seen[s.Len()])
	}
	return most
}

// checkProof has Vault try the mounted key.
func (c *Checker) checkProof(ctx context.Context) {
	switch {
	case c.here.Prover == nil:
	case c.key.Err != nil:
		c.evaluateProof(unseal.Proof{Reason: "it cannot be used; mend it, and run check --prove-key again"})
	default:
		proof := c.here.Prover.Prove(ctx)
		c.past.Tried = proof.Result == unseal.ProofValid || proof.Result == unseal.ProofInvalid
		c.evaluateProof(proof)
	}
}

func (c *Checker) evaluateProof(p unseal.Proof) {
	switch {
	case p.Result == unseal.ProofValid && p.Reason != "":
		c.warn("proved: vault takes the mounted key; "+p.Reason,
			"the sidecar cancels a rekey that is left within a minute; a token that is left ends with the ttl of its role")
	case p.Result == unseal.ProofValid:
		c.ok("proved: vault takes the mounted key")
	case p.Result == unseal.ProofInvalid:
		c.fail("proved: vault would not open with the mounted key: "+p.Reason,
			"put the right key into the Secret before vault restarts: scripts/seed-key --replace")
	default:
		c.unknown("whether vault takes the mounted key could not be proved: "+p.Reason, "")
	}
}

// Recovery is what the sidecar beside us has written down.
type Recovery struct {
	Err       error         // why it cannot be read
	Opened    time.Time     // when the mounted key last opened Vault; zero: it has not
	Took      time.Duration // the last recovery; zero: not known
	Same      bool          // the key that is mounted is still that one
	Refused   bool          // Vault refused the one that is mounted when it was last sent
	RefusedAt time.Time     // when that was; zero: not known
	Tried     bool          // Vault took or refused it just now, which says more
	Proved    time.Time     // when it was last proved that Vault takes the mounted key, since Opened; zero: it was not
}

// checkRecovery reports what the past means for the next recovery.
func (c *Checker) checkRecovery(context.Context) {
	const prove = "run check --prove-key to have Vault verify it"
	r, took := c.past, ""
	if r.Took > 0 {
		took = fmt.Sprintf("; the last recovery took %s", r.Took.Round(time.Millisecond))
	}
	at := func(t time.Time) string {
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), time.Since(t).Round(time.Second))
	}
	switch {
	case r.Err != nil:
		c.unknown("the saved state of the sidecar cannot be read: "+r.Err.Error(), "")
	case r.Proved.After(r.RefusedAt) && !r.Tried && !(r.Same && !r.Opened.IsZero()):
		c.ok("vault took the mounted key in a proof at " + at(r.Proved) + "; it has not had to open vault yet" + took)
	case r.Refused && !r.Tried:
		c.fail("vault refused the mounted key when the sidecar last sent it"+took, "put the right key into the Secret: scripts/seed-key --replace")
	case r.Opened.IsZero() && r.Tried:
		c.ok("the mounted key has not opened vault since the pod or its node started" + took)
	case r.Opened.IsZero():
		c.unknown("the mounted key has not opened vault since the pod or its node started, so it is not proven that it does"+took, prove)
	case !r.Same && r.Tried:
		c.ok("the mounted key changed since it last opened vault, at " + at(r.Opened) + took)
	case !r.Same:
		c.warn("the mounted key changed since it last opened vault, at "+at(r.Opened)+"; it is not proven that this one does"+took, prove)
	default:
		c.ok("the mounted key opened vault at " + at(r.Opened) + took)
	}
}
