package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// metricsContain expects a sample of /metrics.
func metricsContain(sample string) condition {
	return condition{"the metric " + sample, func(sc *scenario) string {
		resp, err := http.Get(sc.sidecar.HTTP + "/metrics")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		name, _, _ := strings.Cut(sample, " ")
		for line := range strings.Lines(string(body)) {
			if strings.TrimSpace(line) == sample {
				return ""
			}
			if strings.HasPrefix(line, name+" ") {
				return strings.TrimSpace(line)
			}
		}
		return "no such metric"
	}}
}

// rekeyStarted expects whether a rekey is under way in Vault.
func rekeyStarted(started bool) condition {
	return condition{fmt.Sprintf("a rekey under way: %v", started), func(sc *scenario) string {
		var status struct {
			Started bool `json:"started"`
		}
		if _, err := sc.vault.Call(sc.ctx, "GET", "sys/rekey/init", nil, &status); err != nil {
			return err.Error()
		}
		if status.Started != started {
			return fmt.Sprint(status.Started)
		}
		return ""
	}}
}

// abandonRekey kills a proof just before its rekey is canceled.
func abandonRekey(sc *scenario) {
	target, err := url.Parse(sc.vault.Addr)
	require.NoError(sc, err)
	through, cancels, killed := httputil.NewSingleHostReverseProxy(target), make(chan struct{}), make(chan struct{})
	between := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			close(cancels)
			<-killed
			return
		}
		through.ServeHTTP(out, r)
	}))
	defer between.Close()
	proof := exec.CommandContext(sc.ctx, sc.env.Binary("vault-unseal-sidecar"), "check", "--prove-key", "--kubernetes", "off",
		"--vault-addr", between.URL, "--keys", sc.secret.Dir, "--state-dir", sc.stateDir)
	require.NoError(sc, proof.Start())
	select {
	case <-cancels:
	case <-time.After(waitTimeout):
		sc.Error("it never came to cancel its rekey")
	}
	err = proof.Process.Kill()
	close(killed)
	require.NoError(sc, err)
	require.Error(sc, proof.Wait())
}

// startRekeySwapper starts a proxy in front of Vault. When a proof begins its rekey,
// the proxy cancels that and begins another with the same public key, before Vault says
// what is under way, which it asks itself after it has begun one.
func (sc *scenario) startRekeySwapper(change map[string]any) (addr string, updates func() int) {
	target, err := url.Parse(sc.vault.Addr)
	require.NoError(sc, err)
	through, sent := httputil.NewSingleHostReverseProxy(target), atomic.Int32{}
	begin := func(body map[string]any) {
		_, err := sc.vault.Call(sc.ctx, "PUT", "sys/rekey/init", body, nil)
		assert.NoError(sc, err)
	}
	between := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/rekey/update" {
			sent.Add(1)
		}
		if r.URL.Path != "/v1/sys/rekey/init" || r.Method != http.MethodPut {
			through.ServeHTTP(out, r)
			return
		}
		var body map[string]any
		assert.NoError(sc, json.NewDecoder(r.Body).Decode(&body))
		begin(body)
		var ours, answer map[string]any
		_, err := sc.vault.Call(sc.ctx, "GET", "sys/rekey/init", nil, &ours)
		assert.NoError(sc, err)
		_, err = sc.vault.Call(sc.ctx, "DELETE", "sys/rekey/init", map[string]any{"nonce": ours["nonce"]}, nil)
		assert.NoError(sc, err)
		maps.Copy(body, change)
		begin(body)
		_, err = sc.vault.Call(sc.ctx, "GET", "sys/rekey/init", nil, &answer)
		assert.NoError(sc, err)
		assert.NoError(sc, json.NewEncoder(out).Encode(answer))
	}))
	sc.Cleanup(between.Close)
	return between.URL, func() int { return int(sent.Load()) }
}

func TestProof_AuthorizesNoForeignRekey(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	unsealByHand(sc)
	for name, change := range map[string]map[string]any{
		"one that takes effect at once":  {"require_verification": false},
		"one of which a backup is kept":  {"backup": true},
		"one for anybody, of two shares": {"pgp_keys": nil, "secret_shares": 2, "secret_threshold": 2},
	} {
		sc.subtest(name, func(t *testing.T) {
			addr, updates := sc.startRekeySwapper(change)
			found := sc.checkWithoutKubernetes("--prove-key", "--vault-addr", addr)
			assert.True(t, found.hasFinding("unknown", "key", "put another in its place"), found.output)
			assert.Zero(t, updates(), "shares sent")
			var theirs map[string]any
			_, err := sc.vault.Call(sc.ctx, "GET", "sys/rekey/init", nil, &theirs)
			require.NoError(t, err)
			assert.Equal(t, true, theirs["started"], "the foreign rekey is not canceled")
			_, err = sc.vault.Call(sc.ctx, "DELETE", "sys/rekey/init", map[string]any{"nonce": theirs["nonce"]}, nil)
			require.NoError(t, err)
		})
	}
	restartVaultAtOnce(sc)
	require.NoError(t, sc.vault.AwaitListening(sc.ctx))
	require.NoError(t, sc.vault.UnsealAll(sc.ctx), "the key is what it was")
}

func TestProof_KeyIsVerifiedWhileUnsealed(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 3, threshold: 2, args: []string{"--prove-interval", "1m"}},
		phase{"an earlier proof was killed in its middle", func(sc *scenario) {
			require.NoError(sc, sc.vault.UnsealAll(sc.ctx))
			abandonRekey(sc)
		}, []condition{rekeyStarted(true)}},
		phase{"the sidecar starts", startSidecar, []condition{
			serving(), logContains("proved that the mounted key opens vault"), rekeyStarted(false),
			metricsContain(`vault_unseal_sidecar_key_proof{result="valid"} 1`),
		}},
		phase{"another key is mounted", func(sc *scenario) {
			shares := []string{randomShare(33), randomShare(33), randomShare(33)}
			sc.secrets = append(sc.secrets, shares...)
			require.NoError(sc, sc.secret.WriteShares(shares...))
		}, []condition{
			metricsContain(`vault_unseal_sidecar_key_proof{result="none"} 1`),
			logContains("the mounted key does not open vault any more"), rekeyStarted(false), serving(),
			metricsContain(`vault_unseal_sidecar_key_proof{result="invalid"} 1`),
		}},
		phase{"vault restarts with the old key mounted again", sequence(mountVaultShares, restartVaultAtOnce), []condition{
			serving(), metricsContain(`vault_unseal_sidecar_unseal_attempts_total{result="opened"} 1`),
			metricsContain(`vault_unseal_sidecar_vault_state{state="active"} 1`),
		}},
	)
}
