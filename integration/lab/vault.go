package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// VaultConfig is how a Vault is set up. The zero value is a Vault with file
// storage in the lab's own directory, speaking plain HTTP.
type VaultConfig struct {
	Data string // storage directory; empty: a new one
	Raft bool   // raft storage instead of file
	Join *Vault // the first node of the raft cluster that this one is to join
	TLS  *Authority
	// RequestLimit is how long Vault lets a request last; zero: 90 seconds.
	RequestLimit time.Duration
}

// Vault is one server and what is needed to start it again.
type Vault struct {
	Addr    string
	lab     *Lab
	config  string
	client  *http.Client
	Process *Process
	runs    []*Process

	Keys  []string // base64, as init printed them
	Token string
}

// Vault writes the configuration of a Vault on a free port. It is not started.
func (l *Lab) Vault(c VaultConfig) (*Vault, error) {
	port, err := Port()
	if err != nil {
		return nil, err
	}
	name := l.vaultName()
	if c.Data == "" {
		if c.Data, err = l.Mkdir(name + "-data"); err != nil {
			return nil, err
		}
	}
	v := &Vault{Addr: "http://127.0.0.1:" + port, lab: l, config: filepath.Join(l.Dir, name+".hcl")}
	listener := "tls_disable = true"
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	if c.TLS != nil {
		v.Addr = "https://127.0.0.1:" + port
		listener = fmt.Sprintf("tls_cert_file = %q\ntls_key_file = %q", c.TLS.CertFile, c.TLS.KeyFile)
		transport.TLSClientConfig = &tls.Config{RootCAs: c.TLS.Pool}
	}
	v.client = &http.Client{Transport: transport}
	number, _ := strconv.Atoi(port)
	next := strconv.Itoa(number + 1)
	storage, cluster, member := "file", "", ""
	if c.Raft {
		storage = "raft"
		cluster = fmt.Sprintf("cluster_addr = %q", "https://127.0.0.1:"+next)
		member = fmt.Sprintf("node_id = %q", name)
	}
	if c.Join != nil {
		member += fmt.Sprintf("\n  retry_join {\n    leader_api_addr = %q\n  }", c.Join.Addr)
	}
	if c.RequestLimit > 0 {
		cluster += fmt.Sprintf("\ndefault_max_request_duration = %q", c.RequestLimit)
	}
	hcl := fmt.Sprintf(`disable_mlock = true
log_level = "debug"
api_addr = %q
%s
storage %q {
  path = %q
  %s
}
listener "tcp" {
  address = %q
  %s
}
`, v.Addr, cluster, storage, c.Data, member, "127.0.0.1:"+port, listener)
	return v, os.WriteFile(v.config, []byte(hcl), 0o600)
}

// vaultName returns "vault" for the first Vault of the lab, then "vault-2" and
// so on.
func (l *Lab) vaultName() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vaults++
	if l.vaults == 1 {
		return "vault"
	}
	return "vault-" + strconv.Itoa(l.vaults)
}

// Start starts the server and does not wait for it.
func (v *Vault) Start() error {
	var err error
	v.Process, err = v.lab.start("vault", v.lab.Binary("servers/vault"), nil, "server", "-config", v.config)
	if err == nil {
		v.runs = append(v.runs, v.Process)
	}
	return err
}

// StartAndWait starts the server and waits until it listens.
func (v *Vault) StartAndWait(ctx context.Context) error {
	if err := v.Start(); err != nil {
		return err
	}
	return v.AwaitListening(ctx)
}

// AwaitListening waits until the server answers sys/seal-status.
func (v *Vault) AwaitListening(ctx context.Context) error {
	return Await(ctx, 60*time.Second, "vault to listen", func() string {
		if v.Process.Ended() {
			return fmt.Sprintf("vault ended with %d: %s", v.Process.code, v.Process.Tail(5))
		}
		if _, err := v.SealStatus(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Kill ends the server at once.
func (v *Vault) Kill() error { return v.Process.Kill() }

// Stop ends the server in its own way.
func (v *Vault) Stop() error {
	_, err := v.Process.Stop(30 * time.Second)
	return err
}

// Pause freezes the server; Continue lets it go on.
func (v *Vault) Pause() { v.Process.Signal(syscall.SIGSTOP) }

// Continue lets a paused server go on.
func (v *Vault) Continue() { v.Process.Signal(syscall.SIGCONT) }

// Log returns what all runs of the server printed.
func (v *Vault) Log() string {
	var b strings.Builder
	for _, p := range v.runs {
		b.WriteString(p.Output())
	}
	return b.String()
}

// SharesSent counts the shares that this Vault was ever sent and looked at.
func (v *Vault) SharesSent() int { return strings.Count(v.Log(), "unseal key supplied") }

// Init initialises the server and keeps its keys and its root token.
func (v *Vault) Init(ctx context.Context, shares, threshold int) error {
	var out struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	_, err := v.Call(ctx, "PUT", "sys/init", map[string]any{"secret_shares": shares, "secret_threshold": threshold}, &out)
	v.Keys, v.Token = out.Keys, out.Token
	return err
}

// SealStatus is the part of sys/seal-status that tests look at.
type SealStatus struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Threshold   int    `json:"t"`
	Shares      int    `json:"n"`
	Progress    int    `json:"progress"`
	Nonce       string `json:"nonce"`
}

// SealStatus asks for at most two seconds.
func (v *Vault) SealStatus(ctx context.Context) (SealStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var s SealStatus
	_, err := v.Call(ctx, "GET", "sys/seal-status", nil, &s)
	return s, err
}

// Unseal sends one share, base64 or hex.
func (v *Vault) Unseal(ctx context.Context, key string) (SealStatus, error) {
	var s SealStatus
	_, err := v.Call(ctx, "PUT", "sys/unseal", map[string]any{"key": key}, &s)
	return s, err
}

// UnsealAll sends the first t shares.
func (v *Vault) UnsealAll(ctx context.Context) error {
	for _, key := range v.Keys {
		s, err := v.Unseal(ctx, key)
		if err != nil || !s.Sealed {
			return err
		}
	}
	return fmt.Errorf("still sealed after %d shares", len(v.Keys))
}

// Seal is what an operator does.
func (v *Vault) Seal(ctx context.Context) error {
	_, err := v.Call(ctx, "PUT", "sys/seal", nil, nil)
	return err
}

// Health returns the status code of sys/health.
func (v *Vault) Health(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", v.Addr+"/v1/sys/health", nil)
	if err != nil {
		return 0, err
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// MountKV mounts a KV v2 engine at secret/.
func (v *Vault) MountKV(ctx context.Context) error {
	_, err := v.Call(ctx, "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}, nil)
	if err != nil {
		return err
	}
	return Await(ctx, 10*time.Second, "the KV engine to be ready", func() string {
		if err := v.WriteSecret(ctx, "ready", "yes"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// WriteSecret writes one value to KV v2.
func (v *Vault) WriteSecret(ctx context.Context, path, value string) error {
	_, err := v.Call(ctx, "POST", "secret/data/"+path, map[string]any{"data": map[string]any{"value": value}}, nil)
	return err
}

// ReadSecret reads it back.
func (v *Vault) ReadSecret(ctx context.Context, path string) (string, error) {
	var out struct {
		Data struct {
			Data struct {
				Value string `json:"value"`
			} `json:"data"`
		} `json:"data"`
	}
	_, err := v.Call(ctx, "GET", "secret/data/"+path, nil, &out)
	return out.Data.Data.Value, err
}

// Call asks Vault as the root user. Into gets the answer's JSON; an answer
// that is no 2xx is an error with Vault's own words.
func (v *Vault) Call(ctx context.Context, method, path string, body, into any) (int, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.Addr+"/v1/"+path, payload)
	if err != nil {
		return 0, err
	}
	if v.Token != "" && path != "sys/unseal" && path != "sys/seal-status" {
		req.Header.Set("X-Vault-Token", v.Token)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	if into == nil || len(text) == 0 {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.Unmarshal(text, into)
}

// HostPort returns where the server listens.
func (v *Vault) HostPort() string {
	_, hostport, _ := strings.Cut(v.Addr, "://")
	return hostport
}

// Port returns the port alone.
func (v *Vault) Port() string {
	_, port, _ := net.SplitHostPort(v.HostPort())
	return port
}

// Listening reports whether connections are accepted now.
func (v *Vault) Listening() bool {
	conn, err := net.DialTimeout("tcp", v.HostPort(), time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
