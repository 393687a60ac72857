package testenv

import (
	"context"
	"crypto/tls"
	"fmt"
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
// storage below Dir, speaking plain HTTP.
type VaultConfig struct {
	Data string // storage directory; empty: a new one
	Raft bool   // raft storage instead of file
	Join *Vault // the first node of the raft cluster that this one is to join
	TLS  *CA
	// Listeners are more listeners, in HCL, beside the one of Addr.
	Listeners string
	// RequestLimit is how long Vault lets a request last; zero: 90 seconds.
	MaxRequestDuration time.Duration
}

// Vault is one server and what is needed to start it again.
type Vault struct {
	Server
	Addr   string
	client *http.Client

	Keys  []string // base64, as init printed them
	Token string
}

// NewVault writes the configuration of a Vault on a free port. It is not started.
func (env *Env) NewVault(c VaultConfig) (*Vault, error) {
	port, clusterPort, err := ports()
	if err != nil {
		return nil, err
	}
	name := env.vaultName()
	configPath := filepath.Join(env.Dir, name+".hcl")
	if c.Data == "" {
		if c.Data, err = env.Mkdir(name + "-data"); err != nil {
			return nil, err
		}
	}
	v := &Vault{
		Server: Server{env: env, name: "vault", binary: env.vault(), args: []string{"server", "-config", configPath}},
		Addr:   "http://127.0.0.1:" + port,
	}
	listener := "tls_disable = true"
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	if c.TLS != nil {
		v.Addr = "https://127.0.0.1:" + port
		listener = fmt.Sprintf("tls_cert_file = %q\ntls_key_file = %q", c.TLS.CertFile, c.TLS.KeyFile)
		transport.TLSClientConfig = &tls.Config{RootCAs: c.TLS.Pool}
	}
	v.client = &http.Client{Transport: transport}
	storage, cluster, member := "file", "", ""
	if c.Raft {
		storage = "raft"
		cluster = fmt.Sprintf("cluster_addr = %q", "https://127.0.0.1:"+clusterPort)
		member = fmt.Sprintf("node_id = %q", name)
	}
	if c.Join != nil {
		member += fmt.Sprintf("\n  retry_join {\n    leader_api_addr = %q\n  }", c.Join.Addr)
	}
	if c.MaxRequestDuration > 0 {
		cluster += fmt.Sprintf("\ndefault_max_request_duration = %q", c.MaxRequestDuration)
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
%s
`, v.Addr, cluster, storage, c.Data, member, "127.0.0.1:"+port, listener, c.Listeners)
	return v, os.WriteFile(configPath, []byte(hcl), 0o600)
}

// vaultName returns "vault" for the first Vault, then "vault-2" and
// so on.
func (env *Env) vaultName() string {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.vaultCount++
	if env.vaultCount == 1 {
		return "vault"
	}
	return "vault-" + strconv.Itoa(env.vaultCount)
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
		if v.Exited() {
			return fmt.Sprintf("vault ended with %d: %s", v.code, v.Tail(5))
		}
		if _, err := v.SealStatus(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Stop ends the server in its own way.
func (v *Vault) Stop() error {
	_, err := v.Process.Stop(30 * time.Second)
	return err
}

// Pause freezes the server; Continue lets it go on.
func (v *Vault) Pause() { v.Signal(syscall.SIGSTOP) }

// Continue lets a paused server go on.
func (v *Vault) Continue() { v.Signal(syscall.SIGCONT) }

// SharesSent counts the shares that this Vault was ever sent and looked at.
func (v *Vault) SharesSent() int { return strings.Count(v.Log(), "unseal key supplied") }

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
