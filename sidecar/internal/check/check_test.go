package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

func TestExitCode_FollowsTheWorstFinding(t *testing.T) {
	for _, row := range []struct {
		levels []Level
		worst  Level
		code   int
	}{
		{nil, OK, 0},
		{[]Level{OK, OK}, OK, 0},
		{[]Level{OK, Unknown}, Unknown, 0},
		{[]Level{Warning, OK, Unknown}, Warning, 3},
		{[]Level{OK, Failure, Warning}, Failure, 4},
	} {
		t.Run(fmt.Sprint(row.levels), func(t *testing.T) {
			var all []Finding
			for _, l := range row.levels {
				all = append(all, Finding{Level: l})
			}
			assert.Equal(t, row.worst, Worst(all))
			assert.Equal(t, row.code, ExitCode(Worst(all)))
		})
	}
}

var some = []Finding{
	{AboutKey, OK, "1 share is mounted", ""},
	{AboutPod, Unknown, "not seen", ""},
	{AboutVault, Failure, "vault does not answer", "look at its log"},
	{AboutRights, OK, "none too many", ""},
	{AboutSecrets, Warning, strings.Repeat("long words ", 20), strings.Repeat("much advice ", 20)},
	{AboutRights, Failure, "may do everything", "take it away"},
}

func TestSort_OrdersByLevelAndIsStable(t *testing.T) {
	all := append([]Finding(nil), some...)
	Sort(all)
	var abouts []string
	for _, f := range all {
		abouts = append(abouts, f.About)
	}
	assert.Equal(t, []string{AboutVault, AboutRights, AboutSecrets, AboutPod, AboutKey, AboutRights}, abouts)
}

func TestTable_FitsATerminal(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Table(&b, some))
	column := strings.Index(b.String(), "FINDING")
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		assert.LessOrEqual(t, utf8.RuneCountInString(line), width)
		if strings.HasPrefix(line, " ") {
			assert.Empty(t, strings.TrimSpace(line[:column]), "%q", line)
		}
	}
	assert.Equal(t, 1, strings.Count(b.String(), "warning  external-secrets"), "said once, however many lines it has")
	assert.Equal(t, 3, strings.Count(b.String(), "-> "), "each advice begins once")
	assert.True(t, strings.HasSuffix(b.String(),
		"\n\n2 failures, 1 warning, 1 unknown, 2 ok. See the failures: do not count on the next recovery.\n"), b.String())
}

func TestTable_ContainsNoControlCharacters(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Table(&b, []Finding{{AboutSecrets, OK, "a\x1b[2Jb\u009bc\rd\ne", "\x1b]0;x\a"}}))
	assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}]`, b.String())
}

func TestJSON_WritesLevelsAsWords(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, JSON(&b, some))
	var out struct {
		Worst    string
		Findings []map[string]string
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &out))
	assert.Equal(t, "failure", out.Worst)
	require.Len(t, out.Findings, len(some))
	assert.Equal(t, map[string]string{"about": "key", "level": "ok", "text": "1 share is mounted"}, out.Findings[0])
	assert.Equal(t, map[string]string{"about": "vault", "level": "failure", "text": "vault does not answer", "advice": "look at its log"}, out.Findings[2])
}

// shares are of these lengths, in bytes.
func shares(lengths ...int) (out []unseal.Share) {
	for _, n := range lengths {
		out = append(out, unseal.NewShare(make([]byte, n)))
	}
	return out
}

// open is a Vault that takes t of n shares.
func open(t, n int) Vault {
	return Vault{SealStatus: unseal.SealStatus{Initialized: true, Type: "shamir", Threshold: t, Shares: n}}
}

func TestVault_LevelFollowsTheSealStatus(t *testing.T) {
	with := func(change func(v *Vault)) Vault {
		v := open(3, 5)
		change(&v)
		return v
	}
	for sentence, row := range map[string]struct {
		vault Vault
		level Level
		text  string
	}{
		"one that serves":                   {open(3, 5), OK, "3 of 5 shares"},
		"with raft":                         {with(func(v *Vault) { v.Raft = true }), OK, "raft"},
		"one that does not answer":          {Vault{Err: errors.New("no answer")}, Failure, "no answer"},
		"one that is new":                   {Vault{SealStatus: unseal.SealStatus{Type: "shamir"}}, Failure, "not initialized"},
		"one that is sealed":                {with(func(v *Vault) { v.Sealed = true }), Warning, "sealed now"},
		"one that unseals by itself":        {with(func(v *Vault) { v.Type = "awskms" }), Warning, "awskms"},
		"one whose shares open nothing":     {with(func(v *Vault) { v.Recovery = true }), Warning, "recovery keys"},
		"one whose seal migrates":           {with(func(v *Vault) { v.Sealed, v.Migration = true, true }), Failure, "migration"},
		"one that was removed from cluster": {with(func(v *Vault) { v.Removed = true }), Failure, "removed"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out := findings(t, &Checker{vault: row.vault}, (*Checker).checkVault)
			require.Len(t, out, 1)
			f := out[0]
			assert.Equal(t, row.level, f.Level)
			assert.Contains(t, f.Text, row.text)
			assert.Equal(t, f.Level > Unknown, f.Advice != "")
		})
	}
}

func TestKey_LevelFollowsTheLengthsOfTheShares(t *testing.T) {
	whole := shares(32)
	for sentence, row := range map[string]struct {
		key   Key
		vault Vault
		level Level
		text  string
	}{
		"a whole key":                  {Key{Shares: whole}, open(1, 1), OK, "vault needs 1"},
		"two keys, in a rotation":      {Key{Shares: shares(32, 32)}, open(1, 1), OK, "2 shares are mounted"},
		"as many shares as are needed": {Key{Shares: shares(33, 33, 33)}, open(3, 5), OK, "vault needs 3"},
		"with others among them":       {Key{Shares: shares(33, 17, 33, 33)}, open(3, 5), OK, "4 shares are mounted"},
		"none":                         {Key{Err: errors.New("/keys: no unseal key there")}, open(1, 1), Failure, "no unseal key there"},
		"too few":                      {Key{Shares: shares(33, 33)}, open(3, 5), Failure, "2 of the 3 shares"},
		"shares of a split key at 1":   {Key{Shares: shares(33, 33)}, open(1, 1), Failure, "shares of a split key"},
		"of several keys":              {Key{Shares: shares(33, 17, 33, 17)}, open(3, 5), Failure, "not of one key"},
		"a vault that was not seen":    {Key{Shares: whole}, Vault{Err: errors.New("hangs")}, Unknown, "not known"},
		"a vault that is new":          {Key{Shares: whole}, Vault{}, Unknown, "not known"},
		"one that is there twice":      {Key{Shares: whole, Inspection: keyfile.Inspection{Repeated: 1}}, open(1, 1), OK, "1 share is there again"},
		"with blanks":                  {Key{Shares: whole, Inspection: keyfile.Inspection{HaveWhitespace: 2}}, open(1, 1), OK, "white space in 2 files is forgiven"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out := findings(t, &Checker{key: row.key, vault: row.vault}, (*Checker).checkKey)
			require.Len(t, out, 1)
			assert.Equal(t, row.level, out[0].Level)
			assert.Contains(t, out[0].Text, row.text)
		})
	}
}

func TestKey_FailsUnlessTheSecretHoldsIt(t *testing.T) {
	share := func(b byte) unseal.Share { return unseal.NewShare(bytes.Repeat([]byte{b}, 33)) }
	expect := func(secret ...byte) string {
		salt := strings.Repeat("a", 32)
		var digests []string
		for _, b := range secret {
			digests = append(digests, fmt.Sprintf("%x", sha256.Sum256([]byte(salt+strings.Repeat(fmt.Sprintf("%02x", b), 33)))))
		}
		return salt + ":" + strings.Join(digests, ",")
	}
	for sentence, row := range map[string]struct {
		expected string
		level    Level
		text     string // empty: nothing is found
	}{
		"what the Secret holds is not known": {"", OK, ""},
		"the Secret holds them":              {expect(2, 1), OK, ""},
		"it holds more":                      {expect(1, 2, 3), Unknown, "1 share of the Secret is not mounted"},
		"it holds others":                    {expect(3), Failure, "not what the Secret holds"},
		"it holds one of them":               {expect(1), Failure, "not what the Secret holds"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out := findings(t, &Checker{key: Key{Shares: []unseal.Share{share(1), share(2)}}, here: Container{Expected: row.expected}}, (*Checker).checkExpected)
			assert.Equal(t, row.expected != "", IsExpectation(row.expected))
			if row.text == "" {
				assert.Empty(t, out)
				return
			}
			require.Len(t, out, 1)
			assert.Equal(t, row.level, out[0].Level)
			assert.Contains(t, out[0].Text, row.text)
		})
	}
}

func TestKey_WarnsOfFilesThatOthersCanWrite(t *testing.T) {
	k := Key{Path: "/keys", Shares: shares(32), Inspection: keyfile.Inspection{WritableByOthers: []string{"a", "b"}, DirectoryWritable: true}}
	out := findings(t, &Checker{key: k, vault: open(1, 1)}, (*Checker).checkKey)
	require.Len(t, out, 3)
	assert.Equal(t, Warning, out[1].Level)
	assert.Contains(t, out[1].Text, "a, b")
	assert.Equal(t, Warning, out[2].Level)
	assert.Contains(t, out[2].Text, "/keys")
}

func TestKey_WarnsOfFilesThatAreNoShares(t *testing.T) {
	k := Key{Shares: shares(32), Remarks: []unseal.Remark{{Entry: "a", What: "empty"}, {Entry: "root", What: "a token", Token: true}, {Entry: "b", What: "empty"}}}
	out := findings(t, &Checker{key: k, vault: open(1, 1)}, (*Checker).checkKey)
	require.Len(t, out, 3)
	assert.Equal(t, OK, out[0].Level)
	assert.Equal(t, Warning, out[1].Level)
	assert.Contains(t, out[1].Text, "root: a token")
	assert.Contains(t, out[1].Advice, "revoke")
	assert.Contains(t, out[1].Advice, "items")
	assert.Equal(t, Warning, out[2].Level)
	assert.Contains(t, out[2].Text, "a: empty; b: empty")

	k.Err = errors.New("root: a token; a: empty; b: empty")
	out = findings(t, &Checker{key: k, vault: open(1, 1)}, (*Checker).checkKey)
	require.Len(t, out, 2, "the error has said the rest")
	assert.Contains(t, out[1].Text, "root: a token")
}

// now is when a synctest bubble begins.
var now = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestRecovery_LevelFollowsTheSavedState(t *testing.T) {
	for sentence, row := range map[string]struct {
		past  Recovery
		level Level
		text  string
	}{
		"the same key":           {Recovery{Opened: now.Add(-time.Hour), Same: true, Took: 845 * time.Millisecond}, OK, "1999-12-31T23:00:00Z (1h0m0s ago); the last recovery took 845ms"},
		"another key":            {Recovery{Opened: now.Add(-time.Hour)}, Warning, "changed since"},
		"another that is proved": {Recovery{Opened: now.Add(-time.Hour), Proved: now.Add(-time.Minute)}, OK, "vault took the mounted key in a proof at 1999-12-31T23:59:00Z (1m0s ago)"},
		"proved after a refusal": {Recovery{Refused: true, Proved: now.Add(-time.Minute)}, OK, "vault took the mounted key in a proof"},
		"refused after a proof":  {Recovery{Opened: now.Add(-time.Hour), Refused: true, RefusedAt: now.Add(-time.Minute), Proved: now.Add(-2 * time.Minute)}, Failure, "vault refused the mounted key"},
		"proved and opened":      {Recovery{Opened: now.Add(-time.Hour), Same: true, Proved: now}, OK, "the mounted key opened vault"},
		"nothing yet":            {Recovery{}, Unknown, "has not opened vault"},
		"what cannot be read":    {Recovery{Err: errors.New("corrupt")}, Unknown, "corrupt"},
		"one that was refused":   {Recovery{Opened: now.Add(-time.Hour), Refused: true}, Failure, "vault refused the mounted key"},
		"refused and tried":      {Recovery{Opened: now.Add(-time.Hour), Refused: true, Tried: true}, OK, "changed since"},
		"another that was tried": {Recovery{Opened: now.Add(-time.Hour), Tried: true}, OK, "changed since"},
		"nothing but a try":      {Recovery{Tried: true}, OK, "has not opened vault"},
		"never opened by this":   {Recovery{Took: time.Second}, Unknown, "took 1s"},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := findings(t, &Checker{past: row.past}, (*Checker).checkRecovery)
				require.Len(t, out, 1)
				assert.Equal(t, row.level, out[0].Level)
				assert.Contains(t, out[0].Text, row.text)
			})
		})
	}
}

func TestRole_WarnsOfMissingPermissions(t *testing.T) {
	for name, row := range map[string]struct {
		lacks []string
		err   error
		level Level
		text  string
	}{
		"enough":        {nil, nil, OK, "the role prover can log in and may prove the key"},
		"no login":      {nil, errors.New("cannot log in"), Warning, "cannot log in"},
		"not permitted": {[]string{"read on a", "update on b"}, nil, Warning, "role prover do not allow a proof: they lack read on a, update on b"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Checker{here: Container{ProveRole: "prover"}}
			c.evaluateRole(row.lacks, row.err)
			require.Len(t, c.findings, 1)
			f := c.findings[0]
			assert.Equal(t, row.level, f.Level)
			assert.Contains(t, f.Text, row.text)
			assert.Equal(t, f.Level > Unknown, f.Advice != "")
		})
	}
}

func TestProof_LevelFollowsTheVerdict(t *testing.T) {
	for sentence, row := range map[string]struct {
		proof unseal.Proof
		level Level
	}{
		"valid":                  {unseal.Proof{Result: unseal.ProofValid}, OK},
		"valid, and a rest left": {unseal.Proof{Result: unseal.ProofValid, Reason: "its token could not be revoked"}, Warning},
		"invalid":                {unseal.Proof{Result: unseal.ProofInvalid, Reason: "it was rekeyed"}, Failure},
		"busy":                   {unseal.Proof{Result: unseal.ProofBusy, Reason: "a rekey is under way"}, Unknown},
		"failed":                 {unseal.Proof{Result: unseal.ProofFailed, Reason: "no answer"}, Unknown},
		"not begun":              {unseal.Proof{Reason: "it cannot be used"}, Unknown},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{}
			c.evaluateProof(row.proof)
			require.Len(t, c.findings, 1)
			assert.Equal(t, row.level, c.findings[0].Level)
			assert.Contains(t, c.findings[0].Text, row.proof.Reason)
		})
	}
}

func TestCertificates_WarnBeforeTheyExpire(t *testing.T) {
	day := 24 * time.Hour
	for _, row := range []struct {
		sentence string
		end      time.Time
		level    Level
		text     string
	}{
		{"there is none", time.Time{}, OK, ""},
		{"it lasts", now.Add(22 * day), OK, ""},
		{"it ends within three weeks", now.Add(20 * day), Warning, "its certificate runs out on 2000-01-21"},
		{"it ended", now.Add(-day), Failure, "its certificate ran out on 1999-12-31"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &Checker{}
				c.evaluateCertificate("its certificate", row.end, "renew it")
				if row.level == OK {
					assert.Empty(t, c.findings)
					return
				}
				require.Len(t, c.findings, 1)
				assert.Equal(t, row.level, c.findings[0].Level)
				assert.Contains(t, c.findings[0].Text, row.text)
				assert.Equal(t, "renew it", c.findings[0].Advice)
			})
		})
	}
}
