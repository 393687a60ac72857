package statustest

import (
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Night is the moment at which the scenes play.
var Night = time.Date(2030, 2, 3, 1, 14, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return Night.Add(-d) }

// Outage is a recovery that began so long ago, with steps of these lengths.
func Outage(began time.Time, done bool, steps ...status.Step) *status.Recovery {
	r := &status.Recovery{Began: began, Done: done}
	for _, s := range steps {
		s.Began = began.Add(time.Duration(r.Seconds * float64(time.Second)))
		r.Seconds += s.Seconds
		r.Steps = append(r.Steps, s)
	}
	return r
}

func Took(p unseal.Phase, seconds float64) status.Step { return status.Step{Name: p, Seconds: seconds} }

// Scenes are what a person may find at night.
func Scenes() map[string]status.Status {
	last := Outage(ago(154*time.Second), true, Took(unseal.Unreachable, 41.2), Took(unseal.Unsealing, 0.052), Took(unseal.Activating, 0.048))
	older := Outage(ago(49*time.Hour), true, Took(unseal.Unresponsive, 3), Took(unseal.UnsealHanging, 301.5), Took(unseal.Activating, 0.1))
	oldest := Outage(ago(2000*time.Hour), true, Took(unseal.Unreachable, 2.345), Took(unseal.Unsealing, 0.1))
	recovered := []status.Recovery{*last, *older, *oldest}
	const image = "ghcr.io/alybadawy/vault-unseal-sidecar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	well := &status.ExternalSecrets{Status: "True", Reason: "Recovered",
		Message: "External Secrets has recovered: 20 objects were resynced within 845ms.",
		Stores:  []status.Store{{Name: "ClusterSecretStore home", Ready: true}}}
	noKey := Outage(ago(250*time.Second), false, Took(unseal.Unreachable, 20), Took(unseal.NoKey, 230))
	return map[string]status.Status{
		"active": {
			Version: "v1", Image: image, Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, UnsealedAt: last.Began.Add(41300 * time.Millisecond),
			KeyProof: &status.KeyProof{At: ago(time.Minute), Result: unseal.ProofValid},
			Recovery: last, Recoveries: recovered, ExternalSecrets: well,
		},
		"waiting": {
			Version: "v1", Phase: unseal.Unreachable, Since: ago(20 * time.Second), Seconds: 20,
			Message: "waiting, vault does not accept connections", Reason: "connect: connection refused",
			Shares: 3, UnsealedAt: last.Began.Add(41300 * time.Millisecond), Recovery: Outage(ago(20*time.Second), false, Took(unseal.Unreachable, 20)),
			Recoveries: recovered, ExternalSecrets: &status.ExternalSecrets{Status: "Unknown", Reason: "WaitingForVault",
				Message: "Vault does not serve yet: External Secrets is resynced once it does."},
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
			Shares:  1, UnsealedAt: ago(49 * time.Hour), Recovery: Outage(ago(26*time.Hour), false, Took(unseal.Held, 26*3600)),
		},
		"key-rejected": {
			Version: "v1", Phase: unseal.KeyRejected, Since: ago(time.Hour), Seconds: 3600,
			Message: "vault rejected the key", Reason: "vault refused all combinations of the 3 mounted shares",
			Advice: "put the right key into the Secret, or unseal by hand: vault operator unseal",
			Shares: 3, UnsealedAt: ago(49 * time.Hour), KeyChanged: true,
			KeyProof: &status.KeyProof{At: ago(3 * time.Hour), Result: unseal.ProofInvalid, Reason: "Vault refuses the mounted shares"},
			Recovery: Outage(ago(time.Hour+2*time.Second), false, Took(unseal.Unsealing, 2), Took(unseal.KeyRejected, 3600)),
		},
		"too-few-shares": {
			Version: "v1", Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", KeyError: "1 of the 2 shares that the threshold needs are mounted", Shares: 1,
			Remarks:    []string{"root-token: looks like a token of Vault's"},
			UnsealedAt: ago(49 * time.Hour), KeyChanged: true, Recovery: last, Recoveries: recovered[:1],
		},
		"secrets-not-recovered": {
			Version: "v1", Phase: unseal.Active, Since: ago(112700 * time.Millisecond), Seconds: 112.7, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, UnsealedAt: last.Began.Add(41300 * time.Millisecond), Recovery: last, Recoveries: recovered[:1],
			ExternalSecrets: &status.ExternalSecrets{Status: "False", Reason: "NotSynced",
				Message: "3 objects are not synced, which is not the outage; the first: ExternalSecret app/db.",
				Stores: []status.Store{{Name: "ClusterSecretStore home", Ready: true},
					{Name: "SecretStore app/other", Ready: false, Reason: "InvalidProviderConfig", Message: "unable to log in with Kubernetes auth: <script>alert(1)</script> \x1b[31mpermission denied"}},
				LeftCount: 3, Left: []string{
					"ExternalSecret app/db: could not get secret data from provider: error retrieving secret at .data[0], key: app/db: Secret does not exist",
					"ExternalSecret app/web: " + strings.Repeat("endless", 20)}},
		},
		"fresh": {
			Version: "v1", Phase: unseal.Active, Since: ago(3 * time.Second), Seconds: 3, Serving: true,
			Message: "vault is unsealed, active", Shares: 1,
			Recovery: Outage(ago(3*time.Second), true, Took(unseal.Starting, 0.002), Took(unseal.Activating, 0.003)),
		},
		"stuck": {
			Version: "v1", Stuck: 75, Phase: unseal.Active, Since: ago(75 * time.Hour), Seconds: 75 * 3600, Serving: true,
			Message: "vault is unsealed, active", Shares: 1, Recovery: last, Recoveries: recovered,
		},
	}
}
