package web

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

var update = flag.Bool("update", false, "write the golden texts again")

// night is the moment at which the scenes play.
var night = time.Date(2030, 2, 3, 1, 14, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return night.Add(-d) }

// outage is a recovery that began so long ago, with steps of these lengths.
func outage(began time.Time, done bool, steps ...Step) *Recovery {
	r := &Recovery{Began: began, Done: done}
	for _, s := range steps {
		s.Began = began.Add(seconds(r.Seconds))
		r.Seconds += s.Seconds
		r.Steps = append(r.Steps, s)
	}
	return r
}

func took(p unseal.Phase, seconds float64) Step { return Step{Name: p, Seconds: seconds} }

// scenes are what a person may find at night.
func scenes() map[string]Status {
	last := outage(ago(154*time.Second), true, took(unseal.Unreachable, 41.2), took(unseal.Unsealing, 0.052), took(unseal.Activating, 0.048))
	older := outage(ago(49*time.Hour), true, took(unseal.Unresponsive, 3), took(unseal.UnsealHanging, 301.5), took(unseal.Activating, 0.1))
	oldest := outage(ago(2000*time.Hour), true, took(unseal.Unreachable, 2.345), took(unseal.Unsealing, 0.1))
	recovered := []Recovery{*last, *older, *oldest}
	const image = "docker.io/alybadawy/vault-unseal-sidecar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	well := &ExternalSecrets{Status: "True", Reason: "Recovered",
		Message: "External Secrets has recovered: 20 objects were woken, all were synced within 845ms.",
		Stores:  []Store{{Name: "ClusterSecretStore home", Ready: true}}}
	noKey := outage(ago(250*time.Second), false, took(unseal.Unreachable, 20), took(unseal.NoKey, 230))
	return map[string]Status{
		"active": {
			Version: "v1", Image: image, Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, UnsealedAt: last.ended(),
			KeyProof: &KeyProof{At: ago(time.Minute), Result: unseal.ProofValid},
			Recovery: last, Recoveries: recovered, ExternalSecrets: well,
		},
		"waiting": {
			Version: "v1", Phase: unseal.Unreachable, Since: ago(20 * time.Second), Seconds: 20,
			Message: "waiting, vault does not accept connections", Reason: "connect: connection refused",
			Shares: 3, UnsealedAt: last.ended(), Recovery: outage(ago(20*time.Second), false, took(unseal.Unreachable, 20)),
			Recoveries: recovered, ExternalSecrets: &ExternalSecrets{Status: "Unknown", Reason: "WaitingForVault",
				Message: "Vault does not serve: External Secrets is looked after when it does."},
		},
		"no-key": {
			Version: "v1", Phase: unseal.NoKey, Since: ago(230 * time.Second), Seconds: 230,
			Message: "vault is sealed and there is no usable key", Reason: "/etc/vault-unseal-sidecar/keys: no key file is there",
			Advice: "mend the Secret; the change is seen without a restart", KeyError: "/etc/vault-unseal-sidecar/keys: no key file is there",
			Recovery: noKey,
		},
		"held": {
			Version: "v1", Phase: unseal.Held, Since: ago(26 * time.Hour), Seconds: 26 * 3600,
			Message: "vault was sealed manually and stays sealed",
			Advice:  "to end it: vault operator unseal, or delete the pod, or change the Secret",
			Shares:  1, UnsealedAt: ago(49 * time.Hour), Recovery: outage(ago(26*time.Hour), false, took(unseal.Held, 26*3600)),
		},
		"key-rejected": {
			Version: "v1", Phase: unseal.KeyRejected, Since: ago(time.Hour), Seconds: 3600,
			Message: "vault rejected the key, no more is sent", Reason: "vault refused all combinations of the 3 mounted shares",
			Advice: "put the right key into the Secret, or unseal by hand: vault operator unseal",
			Shares: 3, UnsealedAt: ago(49 * time.Hour), KeyChanged: true,
			KeyProof: &KeyProof{At: ago(3 * time.Hour), Result: unseal.ProofInvalid, Reason: "Vault refuses the mounted shares"},
			Recovery: outage(ago(time.Hour+2*time.Second), false, took(unseal.Unsealing, 2), took(unseal.KeyRejected, 3600)),
		},
		"too-few-shares": {
			Version: "v1", Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", KeyError: "1 of the 2 shares that the threshold needs are mounted", Shares: 1,
			Remarks:    []string{"root-token: looks like a token of Vault's"},
			UnsealedAt: ago(49 * time.Hour), KeyChanged: true, Recovery: last, Recoveries: recovered[:1],
		},
		"secrets-not-recovered": {
			Version: "v1", Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, UnsealedAt: last.ended(), Recovery: last, Recoveries: recovered[:1],
			ExternalSecrets: &ExternalSecrets{Status: "False", Reason: "NotSynced",
				Message: "3 objects are not synced, which is not the outage; the first: ExternalSecret app/db.",
				Stores: []Store{{Name: "ClusterSecretStore home", Ready: true},
					{"SecretStore app/other", false, "InvalidProviderConfig", "unable to log in with Kubernetes auth: <script>alert(1)</script> \x1b[31mpermission denied"}},
				LeftCount: 3, Left: []string{
					"ExternalSecret app/db: could not get secret data from provider: error retrieving secret at .data[0], key: app/db: Secret does not exist",
					"ExternalSecret app/web: " + strings.Repeat("endless", 20)}},
		},
		"fresh": {
			Version: "v1", Phase: unseal.Active, Since: ago(3 * time.Second), Seconds: 3, Serving: true,
			Message: "vault is unsealed, active", Shares: 1,
			Recovery: outage(ago(3*time.Second), true, took(unseal.Starting, 0.002), took(unseal.Activating, 0.003)),
		},
		"stuck": {
			Version: "v1", Stuck: 75, Phase: unseal.Active, Since: ago(75 * time.Hour), Seconds: 75 * 3600, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, Recovery: last, Recoveries: recovered,
		},
	}
}

func TestTextOfEachScene(t *testing.T) {
	for name, s := range scenes() {
		t.Run(name, func(t *testing.T) {
			got := s.Text(night, 80)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestTextFitsAndControlsNothing(t *testing.T) {
	for name, s := range scenes() {
		for _, width := range []int{-1, 0, 40, 60, 80, 200} {
			text := s.Text(night, width)
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				assert.LessOrEqual(t, len([]rune(line)), max(40, width), "%s in %d: %q", name, width, line)
				assert.Equal(t, strings.TrimRight(line, " "), line, "%s: blanks at the end", name)
			}
			for _, r := range text {
				if r != '\n' && (r < ' ' || r > '~') {
					assert.Fail(t, "it is not plain ASCII", "%s: %q", name, r)
				}
			}
		}
	}
}

// A Vault that flaps has as many steps as are kept.
func TestTextOfManySteps(t *testing.T) {
	var steps []Step
	for range 24 {
		steps = append(steps, took(unseal.Unreachable, 1), took(unseal.Failing, 1))
	}
	s := Status{Phase: unseal.Failing, Recovery: outage(night, false, steps...)}
	text := s.Text(night, 80)
	assert.Contains(t, text, "36 earlier steps")
	assert.Equal(t, 12, strings.Count(text, "Z |"), text)
}

func TestEveryPhaseHasItsWords(t *testing.T) {
	for _, phase := range unseal.Phases() {
		w := phase.Info()
		assert.NotEmpty(t, w.Title, phase.String())
		assert.Contains(t, shapes, w.Severity, phase.String())
		assert.Contains(t, icons, w.Severity, phase.String())
		assert.Equal(t, phase.Serving(), w.Severity == unseal.SeverityGood, phase.String())
		assert.Equal(t, phase.Serving(), w.Waits == "", "who is not served waits for something: %s", phase)
		assert.Equal(t, phase.Serving(), w.Step == "", phase.String())
		assert.NotEmpty(t, Status{Phase: phase}.Text(night, 80))
	}
}

func TestDurations(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "<1ms", 0.0004: "<1ms", 0.052: "52ms", 0.9996: "1s", 1.2345: "1.23s", 9.999: "10s", 41.23: "41.2s", 59.94: "59.9s",
		60: "1m00s", 192.9: "3m12s", 3600: "1h00m", 86399: "23h59m", 2*86400 - 1: "47h59m", 2 * 86400: "2 days", 3.9 * 86400: "3 days",
	} {
		assert.Equal(t, want, short(seconds), "%v", seconds)
	}
	assert.Equal(t, "0s", span(-1), "the clock was set back")
	assert.Equal(t, "41s", span(41.9))
}

func TestTimesHaveADateWhenItIsNotTodays(t *testing.T) {
	elsewhere := time.FixedZone("elsewhere", -7*3600)
	assert.Equal(t, "01:14:00Z", clock(night.In(elsewhere), night))
	assert.Equal(t, "2030-02-02 23:59:59Z", clock(time.Date(2030, 2, 2, 23, 59, 59, 0, time.UTC), night))
	assert.Equal(t, "2030-02-03 01:14:00Z", fmt.Sprint(dated(night.In(elsewhere))))
}
