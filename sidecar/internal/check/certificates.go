package check

import (
	"fmt"
	"time"
)

// Certificates are until when those last that TLS with Vault depends on; the zero
// time where there is none.
type Certificates struct {
	Vault  time.Time // Vault's own, or the first to end of those that vouch for it
	Client time.Time // that the sidecar shows to Vault
}

// renewBy is how long before its end a certificate is reported. Issuers renew
// earlier: cert-manager at two thirds of the time, Vault's agent sooner.
const renewBy = 21 * 24 * time.Hour

// evaluate reports those that end soon, and those that ended.
func (c Certificates) evaluate(now time.Time) (out []Finding) {
	for _, each := range []struct {
		what, advice string
		end          time.Time
	}{
		{"vault's certificate, or one that vouches for it,", "renew it; where Vault itself issues it, give Vault a second listener on loopback, which needs none", c.Vault},
		{"the client certificate that the sidecar shows to vault", "renew it: the files of --vault-client-cert and --vault-client-key are read again for each connection", c.Client},
	} {
		switch {
		case each.end.IsZero():
		case !now.Before(each.end):
			out = append(out, Finding{AboutVault, Failure, fmt.Sprintf("%s ran out on %s", each.what, each.end.UTC().Format(time.DateOnly)), each.advice})
		case now.Add(renewBy).After(each.end):
			out = append(out, Finding{AboutVault, Warning,
				fmt.Sprintf("%s runs out on %s: after that Vault is not unsealed any more", each.what, each.end.UTC().Format(time.DateOnly)), each.advice})
		}
	}
	return out
}
