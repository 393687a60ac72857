package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Vault is what was seen of Vault.
type Vault struct {
	unseal.SealStatus
	Err error // why nothing was seen; the rest is then empty
}

// evaluate reports what that means for the next recovery.
func (v Vault) evaluate() Finding {
	f := Finding{About: AboutVault, Level: Failure}
	switch {
	case v.Err != nil:
		f.Text = "vault does not answer as expected: " + v.Err.Error()
		f.Advice = "look at Vault's log and volume; the sidecar keeps trying"
	case !v.Initialized:
		f.Text = "vault is not initialized"
		f.Advice = "run scripts/bootstrap, or vault operator init, and put the shares into the Secret"
	case v.Removed:
		f.Text = "this node was removed from its raft cluster; no key opens it"
		f.Advice = "delete its data and let it join again"
	case v.Recovery || v.Type != "shamir":
		f.Level = Warning
		seal := v.Type + " and not Shamir's"
		if v.Recovery {
			seal = "an auto-unseal with recovery keys, which open nothing"
		}
		f.Text = fmt.Sprintf("vault's seal is %s: it unseals by itself, and the sidecar leaves it alone", seal)
		f.Advice = "make sure that what unseals it is reachable after a power cut before Vault starts"
	case v.Migration:
		f.Text = "a migration of vault's seal is under way, which the sidecar leaves alone"
		f.Advice = "finish it: vault operator unseal -migrate"
	case v.Sealed:
		f.Level = Warning
		f.Text = "vault is sealed now" + v.shape()
		f.Advice = "run status or read the sidecar's log for the reason; a Vault that was sealed by hand stays sealed until it restarts"
	default:
		f.Level = OK
		f.Text = "vault is unsealed" + v.shape()
	}
	return f
}

// Owner is what came of looking whose process listens at Vault's address, for
// --vault-uid.
type Owner struct {
	UID uint32
	Err error // why the key is not sent to it
}

// evaluate reports whether Vault will be sent the key.
func (o Owner) evaluate() Finding {
	if o.Err != nil {
		return Finding{AboutVault, Failure, "the sidecar would not send the key: " + o.Err.Error(),
			"set --vault-uid (VAULT_UID) to the uid that Vault's container runs as, and see who else is in the pod"}
	}
	return Finding{AboutVault, OK, fmt.Sprintf("the process at vault's address runs as uid %d, and the key goes to no other", o.UID), ""}
}

func (v Vault) shape() string {
	storage := ""
	if v.Raft {
		storage = ", with raft storage"
	}
	return fmt.Sprintf("; it takes %d of %d shares%s", v.Threshold, v.Shares, storage)
}

// threshold returns how many shares it takes, when that is known.
func (v Vault) threshold() (int, bool) {
	return v.Threshold, v.Err == nil && v.Initialized && v.Type == "shamir" && !v.Recovery && v.Threshold > 0
}

// Key is what was seen of the mounted key.
type Key struct {
	Path     string
	Err      error    // why it cannot be read
	Lengths  []int    // of the shares, each once, in bytes
	Repeated int      // shares that are there again
	Tokens   []string // entries that look like tokens of Vault's, and why
	Others   []string // entries that are no share, and what they look like
	Padded   int      // files with white space beside the newline at the end
	Loose    []string
	Writable bool // we may write where the key is
}

// evaluate reports whether the key could open such a Vault, by its form alone, and
// whether others could change it.
func (k Key) evaluate(v Vault) []Finding {
	out := []Finding{k.form(v)}
	if len(k.Tokens) > 0 {
		out = append(out, Finding{AboutKey, Warning,
			"a Vault token is mounted with the key, where an intruder in the pod finds it: " + strings.Join(k.Tokens, "; "),
			"revoke it and take it out of the Secret; until then mount the entries with shares alone, by items of the Secret's volume"})
	}
	if len(k.Others) > 0 && k.Err == nil { // or the error has said it
		out = append(out, Finding{AboutKey, Warning,
			"entries that are not key shares are mounted with the key and ignored: " + strings.Join(k.Others, "; "),
			"fix or remove them in the Secret, or mount the shares alone, by items of the Secret's volume"})
	}
	if len(k.Loose) > 0 {
		out = append(out, Finding{AboutKey, Warning,
			fmt.Sprintf("files of the key can be written by their group or by everybody: %s", enumerate(k.Loose)),
			"mount the Secret with defaultMode 0440 or 0444"})
	}
	if k.Writable {
		out = append(out, Finding{AboutKey, Warning,
			fmt.Sprintf("the sidecar may write in %s, which it never needs", k.Path),
			"mount the Secret with readOnly: true"})
	}
	return out
}

func (k Key) form(v Vault) Finding {
	f := Finding{About: AboutKey, Level: Failure, Advice: "put the shares of this Vault into the Secret: scripts/seed-key"}
	if k.Err != nil {
		f.Text = "the key cannot be used: " + k.Err.Error()
		return f
	}
	t, known := v.threshold()
	switch {
	case known && len(k.Lengths) < t:
		f.Text = fmt.Sprintf("%d of the %d shares that vault's threshold needs are mounted", len(k.Lengths), t)
		return f
	case known && t == 1 && !slices.ContainsFunc(k.Lengths, isWhole):
		f.Text = "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key"
		return f
	case known && mostAlike(k.Lengths) < t:
		f.Text = fmt.Sprintf("no %d of the %d mounted shares are of equal length: they are not of one key", t, len(k.Lengths))
		return f
	}
	f.Level, f.Advice = OK, ""
	f.Text = fmt.Sprintf("%s, well-formed", count(len(k.Lengths), "share is mounted", "shares are mounted"))
	if known {
		f.Text += fmt.Sprintf("; vault needs %d", t)
	} else {
		f.Level = Unknown
		f.Text += "; how many vault needs is not known"
	}
	if k.Repeated > 0 {
		f.Text += fmt.Sprintf("; %s again", count(k.Repeated, "share is there", "shares are there"))
	}
	if k.Padded > 0 {
		f.Text += fmt.Sprintf("; white space in %s is forgiven", count(k.Padded, "file", "files"))
	}
	return f
}

func isWhole(length int) bool { return length == 16 || length == 24 || length == 32 }

// mostAlike returns how many of the lengths are the same, at most.
func mostAlike(lengths []int) int {
	most, seen := 0, map[int]int{}
	for _, l := range lengths {
		seen[l]++
		most = max(most, seen[l])
	}
	return most
}
