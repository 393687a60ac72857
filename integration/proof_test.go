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

// measures expects a sample of /metrics.
func measures(sample string) expectation {
	return expectation{"the metric " + sample, func(w *world) string {
		resp, err := http.Get(w.sidecar.HTTP + "/metrics")
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

// rekeyed expects whether a rekey is under way in Vault.
func rekeyed(started bool) expectation {
	return expectation{fmt.Sprintf("a rekey under way: %v", started), func(w *world) string {
		var status struct {
			Started bool `json:"started"`
		}
		if _, err := w.vault.Call(w.ctx, "GET", "sys/rekey/init", nil, &status); err != nil {
			return err.Error()
		}
		if status.Started != started {
			return fmt.Sprint(status.Started)
		}
		return ""
	}}
}

// leaveARekeyBehind kills a proof just before its rekey is canceled.
func leaveARekeyBehind(w *world) {
	target, err := url.Parse(w.vault.Addr)
	require.NoError(w, err)
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
	proof := exec.CommandContext(w.ctx, w.lab.Binary("vault-unseal-sidecar"), "check", "--prove-key", "--kubernetes", "off",
		"--vault-addr", between.URL, "--keys", w.secret.Dir, "--state-dir", w.state)
	require.NoError(w, proof.Start())
	select {
	case <-cancels:
	case <-time.After(patience):
		w.Error("it never came to cancel its rekey")
	}
	err = proof.Process.Kill()
	close(killed)
	require.NoError(w, err)
	require.Error(w, proof.Wait())
}

// swapped stands in front of Vault. When a proof begins its rekey, somebody
// cancels that and begins another with the same public key, before Vault says
// what is under way, which it asks itself after it has begun one.
func (w *world) swapped(change map[string]any) (addr string, updates func() int) {
	target, err := url.Parse(w.vault.Addr)
	require.NoError(w, err)
	through, sent := httputil.NewSingleHostReverseProxy(target), atomic.Int32{}
	begin := func(body map[string]any) {
		_, err := w.vault.Call(w.ctx, "PUT", "sys/rekey/init", body, nil)
		assert.NoError(w, err)
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
		assert.NoError(w, json.NewDecoder(r.Body).Decode(&body))
		begin(body)
		var ours, answer map[string]any
		_, err := w.vault.Call(w.ctx, "GET", "sys/rekey/init", nil, &ours)
		assert.NoError(w, err)
		_, err = w.vault.Call(w.ctx, "DELETE", "sys/rekey/init", map[string]any{"nonce": ours["nonce"]}, nil)
		assert.NoError(w, err)
		maps.Copy(body, change)
		begin(body)
		_, err = w.vault.Call(w.ctx, "GET", "sys/rekey/init", nil, &answer)
		assert.NoError(w, err)
		assert.NoError(w, json.NewEncoder(out).Encode(answer))
	}))
	w.Cleanup(between.Close)
	return between.URL, func() int { return int(sent.Load()) }
}

func TestProof_AuthorizesNoRekeyOfAStranger(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	unsealByHand(w)
	for name, change := range map[string]map[string]any{
		"one that takes effect at once":  {"require_verification": false},
		"one of which a backup is kept":  {"backup": true},
		"one for anybody, of two shares": {"pgp_keys": nil, "secret_shares": 2, "secret_threshold": 2},
	} {
		addr, updates := w.swapped(change)
		found := w.checkedBeside("--prove-key", "--vault-addr", addr)
		assert.True(t, found.has("unknown", "key", "put another in its place"), "%s: %s", name, found.output)
		assert.Zero(t, updates(), "%s: shares sent", name)
		var theirs map[string]any
		_, err := w.vault.Call(w.ctx, "GET", "sys/rekey/init", nil, &theirs)
		require.NoError(t, err)
		assert.Equal(t, true, theirs["started"], "%s: it is left to whoever began it", name)
		_, err = w.vault.Call(w.ctx, "DELETE", "sys/rekey/init", map[string]any{"nonce": theirs["nonce"]}, nil)
		require.NoError(t, err)
	}
	restartVaultAtOnce(w)
	require.NoError(t, w.vault.AwaitListening(w.ctx))
	require.NoError(t, w.vault.UnsealAll(w.ctx), "the key is what it was")
}

func TestTheKeyIsProvedWhileVaultIsOpen(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 3, threshold: 2, args: []string{"--prove-interval", "1m"}},
		phase{"an earlier proof was killed in its middle", func(w *world) {
			require.NoError(w, w.vault.UnsealAll(w.ctx))
			leaveARekeyBehind(w)
		}, []expectation{rekeyed(true)}},
		phase{"the sidecar starts", startSidecar, []expectation{
			serving(), logs("proved that the mounted key opens vault"), rekeyed(false),
			measures(`vault_unseal_sidecar_key_proof{result="valid"} 1`),
		}},
		phase{"another key is mounted", func(w *world) {
			shares := []string{garbage(33), garbage(33), garbage(33)}
			w.secrets = append(w.secrets, shares...)
			require.NoError(w, w.secret.WriteShares(shares...))
		}, []expectation{
			measures(`vault_unseal_sidecar_key_proof{result="none"} 1`),
			logs("the mounted key does not open vault any more"), rekeyed(false), serving(),
			measures(`vault_unseal_sidecar_key_proof{result="invalid"} 1`),
		}},
		phase{"vault restarts with the old key mounted again", all(mountVaultsShares, restartVaultAtOnce), []expectation{
			serving(), measures(`vault_unseal_sidecar_unseal_attempts_total{result="opened"} 1`),
			measures(`vault_unseal_sidecar_vault_state{state="active"} 1`),
		}},
	)
}
