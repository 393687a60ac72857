package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// config is what the options come to.
type config struct {
	vault         vault.Config
	vaultUID      *uint32 // nil: whoever listens
	keys          string
	operatorSeal  string
	storageProbe  time.Duration
	proveInterval time.Duration
	proveRole     string
	proveMount    string
	stateDir      string
	httpBind      string
	kubernetes    string
	kubeconfig    string
	kubeContext   string
	podName       string
	podNamespace  string
	readinessGate string
	esoRecovery   eso.Recovery
	esoStores     []eso.StoreName
	esoNamespace  string
	esoDeployment string
	logLevel      hclog.Level
	logJSON       bool

	// Of the subcommand check alone.
	outputJSON bool
	manifests  string
	proveKey   bool
	expectKey  string
	watch      bool

	// given are the flags of the command line.
	given []string

	// refused are the values that were not accepted, of options without which
	// Vault is unsealed all the same: the default took the place of each.
	refused []refusedValue
}

// refusedValue is a value that an option does not accept.
type refusedValue struct {
	option  string // as it was given: the flag or the variable
	value   string // quoted, and redacted where it may be a key
	accepts string
	used    string // the default
	flag    bool   // it came from the command line
}

func (r refusedValue) Error() string {
	return fmt.Sprintf("%s: %s is not accepted; accepted: %s", r.option, r.value, r.accepts)
}

// option is one row of the table that parses, tells and tests the options.
type option struct {
	flag         string
	env          string
	defaultValue string
	help         string
	accepts      string
	set          func(c *config, value string) bool
}

// required are the options without which Vault cannot be unsealed, or not
// safely: where the key is, where it goes, whom it is shown to, and whether a
// seal that was set by hand is left alone. A value that one of them does not
// accept ends the start. No other option keeps Vault sealed.
var required = []string{
	"vault-addr", "vault-cacert", "vault-server-name", "vault-client-cert", "vault-client-key", "vault-uid", "keys", "operator-seal",
}

var options = []option{
	{"vault-addr", "VAULT_ADDR", "http://127.0.0.1:8200", "where Vault listens",
		"https://HOST:PORT, http:// with a loopback host (a key never crosses a network in plain text), or unix:///PATH",
		func(c *config, v string) bool {
			c.vault.Addr = v
			path, socket := vault.SocketPath(v)
			return vault.CheckAddr(v) == nil && (!socket || isPath(path))
		}},
	{"vault-cacert", "VAULT_CACERT", "", "PEM file of the CA that signed Vault's certificate; empty: the system's CAs",
		"an absolute path",
		func(c *config, v string) bool { c.vault.CACert = v; return v == "" || isPath(v) }},
	{"vault-server-name", "VAULT_TLS_SERVER_NAME", "", "name expected in Vault's certificate; empty: the host of --vault-addr",
		"a host name",
		func(c *config, v string) bool { c.vault.ServerName = v; return v == "" || isHost(v) }},
	{"vault-client-cert", "VAULT_CLIENT_CERT", "", "PEM file of the certificate for a Vault that wants one of its clients; empty: none",
		"an absolute path",
		func(c *config, v string) bool { c.vault.ClientCert = v; return v == "" || isPath(v) }},
	{"vault-client-key", "VAULT_CLIENT_KEY", "", "PEM file of that certificate's key",
		"an absolute path",
		func(c *config, v string) bool { c.vault.ClientKey = v; return v == "" || isPath(v) }},
	{"vault-uid", "VAULT_UID", "", "uid that Vault runs as: the key goes to no process of another uid; empty: it goes to whoever listens",
		"a number from 0 to 4294967294",
		func(c *config, v string) bool { return v == "" || isUID(&c.vaultUID, v) }},
	{"keys", "UNSEAL_KEYS_PATH", "/etc/vault-unseal-sidecar/keys", "file, or directory of files, with the key shares in base64 or hex",
		"an absolute path, not a key",
		func(c *config, v string) bool { c.keys = v; return isPath(v) }},
	{"operator-seal", "OPERATOR_SEAL", "hold", "what to do with a Vault that was sealed by hand: leave it, or unseal it",
		"hold, unseal",
		func(c *config, v string) bool { return oneOf(&c.operatorSeal, v, "hold", "unseal") }},
	{"storage-probe", "STORAGE_PROBE", "0", "how often an unsealed Vault is made to read its storage; 0: only after each recovery",
		"0, or a duration of at least 1s such as 30s",
		func(c *config, v string) bool { return isDuration(&c.storageProbe, v, time.Second) }},
	{"prove-interval", "PROVE_INTERVAL", "0", "how often it is proved that the mounted key still opens Vault; 0: never",
		"0, or a duration of at least 1m such as 24h",
		func(c *config, v string) bool { return isDuration(&c.proveInterval, v, time.Minute) }},
	{"prove-role", "PROVE_ROLE", "", "role of Vault's Kubernetes auth method to log in with for a proof, with the pod's own token; empty: no login",
		"a role's name",
		func(c *config, v string) bool { c.proveRole = v; return v == "" || isRole(v) }},
	{"prove-mount", "PROVE_MOUNT", "kubernetes", "where that method is mounted",
		"a path, without auth/ before it",
		func(c *config, v string) bool {
			c.proveMount = strings.Trim(strings.TrimPrefix(strings.Trim(v, "/"), "auth/"), "/")
			return isMount(c.proveMount)
		}},
	{"state-dir", "STATE_DIR", "/run/vault-unseal-sidecar", "directory for a small state file that outlives a restart of the sidecar alone",
		"an absolute path",
		func(c *config, v string) bool { c.stateDir = v; return isPath(v) }},
	{"http-bind", "HTTP_BIND", ":9810", "where the status page, /healthz, /readyz, /status and /metrics are served",
		"[HOST]:PORT",
		func(c *config, v string) bool {
			if _, err := strconv.ParseUint(v, 10, 16); err == nil { // a port alone
				v = ":" + v
			}
			c.httpBind = v
			host, port, err := net.SplitHostPort(v)
			_, notPort := strconv.ParseUint(port, 10, 16)
			return err == nil && notPort == nil && (host == "" || net.ParseIP(host) != nil || isHost(host))
		}},
	{"kubernetes", "KUBERNETES", "auto", "whether to speak to the Kubernetes API; auto: in a pod, or with --kubeconfig",
		"auto, off",
		func(c *config, v string) bool { return oneOf(&c.kubernetes, switched(v, "auto", "off"), "auto", "off") }},
	{"kubeconfig", "KUBECONFIG", "", "kubeconfig file, or several with : between them as kubectl takes them; empty: the pod's ServiceAccount",
		"paths, without ~",
		func(c *config, v string) bool { c.kubeconfig = v; return v == "" || arePaths(v) }},
	{"pod-name", "POD_NAME", "", "our own pod, from the downward API; empty: no condition and no Events",
		"a pod's name",
		func(c *config, v string) bool { c.podName = v; return v == "" || isObject(v) }},
	{"pod-namespace", "POD_NAMESPACE", "", "its namespace, from the downward API",
		"a namespace",
		func(c *config, v string) bool { c.podNamespace = v; return v == "" || isObject(v) }},
	{"readiness-gate", "READINESS_GATE", "vault-unseal-sidecar/unsealed", "condition of our own pod that shows whether Vault serves; none, or an empty flag: it is not written",
		"DOMAIN/NAME, none",
		func(c *config, v string) bool {
			if v == "" || oneOf(&c.readinessGate, switched(v, v, "none"), "none") {
				c.readinessGate = ""
				return true
			}
			c.readinessGate = v
			return isCondition(v)
		}},
	{"eso-recovery", "ESO_RECOVERY", "nudge-then-restart", "how External Secrets is recovered when Vault is back",
		"nudge-then-restart, nudge, restart, off",
		func(c *config, v string) bool {
			return oneOf(&c.esoRecovery, eso.Recovery(switched(v, v, "off")), eso.Recoveries()...)
		}},
	{"eso-stores", "ESO_STORES", "", "the stores to look after, with commas: NAME (ClusterSecretStore), NAMESPACE/NAME (SecretStore); empty: all that may use this Vault",
		"NAME or NAMESPACE/NAME, with commas",
		func(c *config, v string) bool {
			var err error
			c.esoStores, err = eso.ParseStores(v)
			leaks := func(s eso.StoreName) bool { return isKey(s.Name) || isKey(s.Namespace) }
			return err == nil && (v == "" || len(c.esoStores) > 0) && !slices.ContainsFunc(c.esoStores, leaks)
		}},
	{"eso-namespace", "ESO_NAMESPACE", "external-secrets", "where the pods of External Secrets are",
		"a namespace",
		func(c *config, v string) bool { c.esoNamespace = v; return isObject(v) }},
	{"eso-deployment", "ESO_DEPLOYMENT", "", "Deployment of External Secrets' controller, whose name its pods' names begin with; empty: they have the chart's label",
		"a Deployment's name",
		func(c *config, v string) bool { c.esoDeployment = v; return v == "" || isObject(v) }},
	{"log-level", "LOG_LEVEL", "info", "how much is logged",
		"trace, debug, info, warn, error",
		func(c *config, v string) bool {
			level := map[string]string{"warning": "warn", "err": "error"}[strings.ToLower(v)]
			ok := oneOf(&level, cmp.Or(level, v), "trace", "debug", "info", "warn", "error")
			c.logLevel = hclog.LevelFromString(level)
			return ok
		}},
	{"log-format", "LOG_FORMAT", "text", "how it is logged",
		"text, json",
		func(c *config, v string) bool { return isOther(&c.logJSON, v, "text", "json") }},
}

// ownOptions are those of a subcommand alone. They have no variable: they are for
// the person who calls it.
var ownOptions = map[string][]option{"check": checkOptions, "status": statusOptions}

var checkOptions = []option{
	{"output", "", "table", "how check tells what it found",
		"table, json",
		func(c *config, v string) bool { return isOther(&c.outputJSON, v, "table", "json") }},
	{"context", "", "", "context of the kubeconfig; empty: its current one",
		"a context's name",
		func(c *config, v string) bool { c.kubeContext = v; return !isKey(v) }},
	{"manifests", "", "", "rendered manifests to judge in the place of a cluster: a file, or - for standard input",
		"a path, -",
		func(c *config, v string) bool { c.manifests = v; return !isKey(v) }},
	{"prove-key", "", "false", "have Vault try the mounted key, by a rekey that is begun and canceled",
		"true, false",
		func(c *config, v string) bool {
			return isOther(&c.proveKey, switched(v, "true", "false"), "false", "true")
		}},
	{"expect-key", "", "", "a salt and digests of the Secret's shares: tell whether another is mounted",
		"SALT:DIGEST,DIGEST..., each digest the SHA-256 of the salt and a share in hexadecimal",
		func(c *config, v string) bool { c.expectKey = v; return v == "" || check.IsExpectation(v) }},
}

var statusOptions = []option{
	{"output", "", "text", "how status tells it: for a person, or for a program",
		"text, json",
		func(c *config, v string) bool { return isOther(&c.outputJSON, v, "text", "json") }},
	{"watch", "", "false", "tell it again each second; in a pipe, when something changed",
		"true, false",
		func(c *config, v string) bool {
			return isOther(&c.watch, switched(v, "true", "false"), "false", "true")
		}},
}
