package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// environment is a lookup in variables.
func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := variables[name]
		return v, ok
	}
}

// runCommand runs the command with nothing in the environment but variables. It is
// for calls that end before anything is started.
func runCommand(variables map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = command(args, environment(variables), &out, &err)
	return code, out.String(), err.String()
}

// What is run in the sidecar's container has its variables, and reads its flags.
func TestCheck_HasTheFlagsOfTheSidecarBeside(t *testing.T) {
	uid := func(n uint32) *uint32 { return &n }
	for sentence, row := range map[string]struct {
		commandLine string
		want        *uint32
	}{
		"a flag that wins over the variable": {"/vault-unseal-sidecar\x00run\x00--vault-uid\x00100\x00", uid(100)},
		"without the command":                {"/vault-unseal-sidecar\x00--vault-uid=100\x00--log-level=loud\x00--kubeconfig=/none\x00", uid(100)},
		"a flag that unsets it":              {"/vault-unseal-sidecar\x00--vault-uid=\x00", nil},
		"no flag":                            {"/vault-unseal-sidecar\x00", uid(200)},
		"another program":                    {"/pause\x00--vault-uid=100\x00", uid(200)},
		"no program":                         {"", uid(200)},
	} {
		t.Run(sentence, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cmdline")
			require.NoError(t, os.WriteFile(path, []byte(row.commandLine), 0o600))
			c, err := parse(nil, asStarted(environment(map[string]string{"VAULT_UID": "200"}), path), checkOptions...)
			require.NoError(t, err)
			require.NoError(t, c.mistyped(), "what the sidecar works without")
			assert.Equal(t, row.want, c.vaultUID)
			assert.Empty(t, c.kubeconfig)
		})
	}
	c, err := parse(nil, asStarted(environment(map[string]string{"VAULT_UID": "200"}), filepath.Join(t.TempDir(), "none")), checkOptions...)
	require.NoError(t, err)
	assert.Equal(t, uid(200), c.vaultUID)
}

func TestOptions_Defaults(t *testing.T) {
	c, err := parse(nil, environment(nil))
	require.NoError(t, err)
	assert.Equal(t, config{
		vault: vault.Config{Addr: "http://127.0.0.1:8200"}, keys: "/etc/vault-unseal-sidecar/keys", operatorSeal: "hold",
		proveMount: "kubernetes", stateDir: "/run/vault-unseal-sidecar", httpBind: ":9810", kubernetes: "auto", logLevel: hclog.Info,
		readinessGate: "vault-unseal-sidecar/unsealed", esoRecovery: eso.RecoveryBoth, esoNamespace: "external-secrets",
	}, c)
}

// samples are, for each option, two values that differ from the default and
// from each other, where there are as many, and how a config shows them.
var samples = map[string]struct {
	one, two string
	value    func(c config) string
}{
	"vault-addr":        {"https://vault:8200", "http://localhost:1", func(c config) string { return c.vault.Addr }},
	"vault-cacert":      {"/a/ca.pem", "/b/ca.pem", func(c config) string { return c.vault.CACert }},
	"vault-server-name": {"vault.test", "other.test", func(c config) string { return c.vault.ServerName }},
	"vault-client-cert": {"/a/tls.crt", "/b/tls.crt", func(c config) string { return c.vault.ClientCert }},
	"vault-client-key":  {"/a/tls.key", "/b/tls.key", func(c config) string { return c.vault.ClientKey }},
	"vault-uid": {"100", "0", func(c config) string {
		if c.vaultUID == nil {
			return ""
		}
		return fmt.Sprint(*c.vaultUID)
	}},
	"keys":           {"/a", "/b", func(c config) string { return c.keys }},
	"operator-seal":  {"unseal", "hold", func(c config) string { return c.operatorSeal }},
	"storage-probe":  {"30s", "1h0m0s", func(c config) string { return c.storageProbe.String() }},
	"prove-interval": {"1m0s", "24h0m0s", func(c config) string { return c.proveInterval.String() }},
	"prove-role":     {"prover", "vault.prover_2", func(c config) string { return c.proveRole }},
	"prove-mount":    {"k8s", "clusters/home", func(c config) string { return c.proveMount }},
	"state-dir":      {"/a", "/b", func(c config) string { return c.stateDir }},
	"http-bind":      {"127.0.0.1:80", "[::1]:0", func(c config) string { return c.httpBind }},
	"kubernetes":     {"off", "auto", func(c config) string { return c.kubernetes }},
	"kubeconfig":     {"/a", "/b", func(c config) string { return c.kubeconfig }},
	"pod-name":       {"vault-1", "vault-2", func(c config) string { return c.podName }},
	"pod-namespace":  {"security", "vault", func(c config) string { return c.podNamespace }},
	"readiness-gate": {"example.com/ready", "example.com/Other", func(c config) string { return c.readinessGate }},
	"eso-recovery":   {"nudge", "off", func(c config) string { return string(c.esoRecovery) }},
	"eso-stores":     {"home", "app/home", func(c config) string { return strings.TrimSuffix(fmt.Sprintln(names(c.esoStores)...), "\n") }},
	"eso-deployment": {"eso", "home-external-secrets", func(c config) string { return c.esoDeployment }},
	"eso-namespace":  {"security", "eso", func(c config) string { return c.esoNamespace }},
	"log-level":      {"debug", "error", func(c config) string { return c.logLevel.String() }},
	"log-format":     {"json", "text", func(c config) string { return map[bool]string{true: "json", false: "text"}[c.logJSON] }},
}

// names writes stores as the option takes them.
func names(stores []eso.StoreName) (out []any) {
	for _, s := range stores {
		out = append(out, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"))
	}
	return out
}

func TestOptions_FlagOverridesEnvironmentOverridesDefault(t *testing.T) {
	require.Len(t, samples, len(options))
	for _, o := range options {
		sample := samples[o.flag]
		defaults, err := parse(nil, environment(nil))
		require.NoError(t, err)
		byDefault := sample.value(defaults)
		for _, row := range []struct {
			sentence string
			args     []string
			env      map[string]string
			want     string
		}{
			{"the default when nothing is given", nil, nil, byDefault},
			{"the environment over the default", nil, map[string]string{o.env: sample.one}, sample.one},
			{"the flag over the default", []string{"--" + o.flag + "=" + sample.one}, nil, sample.one},
			{"the flag over the environment", []string{"--" + o.flag, sample.two}, map[string]string{o.env: sample.one}, sample.two},
			{"the flag over a bad environment", []string{"-" + o.flag, sample.two}, map[string]string{o.env: "no good \x00"}, sample.two},
			{"an empty variable counts as not set", nil, map[string]string{o.env: ""}, byDefault},
			{"the last of two flags", []string{"--" + o.flag, sample.one, "--" + o.flag, sample.two}, nil, sample.two},
		} {
			t.Run(o.flag+": "+row.sentence, func(t *testing.T) {
				c, err := parse(row.args, environment(row.env))
				require.NoError(t, err)
				assert.Equal(t, row.want, sample.value(c))
			})
		}
	}
}

func TestOptions_AcceptValidValues(t *testing.T) {
	for flag, values := range map[string][]string{
		"vault-addr":        {"http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost", "https://vault.security.svc.cluster.local:8200/", "unix:///vault/sock/vault.sock"},
		"vault-cacert":      {"", "/vault/userconfig/vault-tls/ca.crt"},
		"vault-uid":         {"", "0", "100", "4294967294"},
		"vault-server-name": {"", "vault", "vault.security.svc.cluster.local", "vaultinternalservicename", "vault-0.vault-internal", "10.0.0.1"},
		"keys": {"/keys", "/etc/vault-unseal-sidecar/keys/key", "/var/run/secrets/unseals", "/var/run/secrets/vaultkeys",
			"/vault/userconfig/unsealkey", "/etc/a path with blanks/k"},
		"prove-role":     {"", "vault-unseal-sidecar", "vaultunsealsidecarprover", "Role_1.a"},
		"prove-mount":    {"kubernetes", "k8s/home-1", "kubernetes/homelab/clusters/one"},
		"prove-interval": {"0", "0s", "1m", "60s", "24h"},
		"storage-probe":  {"0", "0s", "1s", "30s", "1h30m", "1000000h"},
		"state-dir":      {"/run/vault-unseal-sidecar", "/var/lib/vaultunsealsidecar", "/"},
		"http-bind":      {":9810", "0.0.0.0:80", "127.0.0.1:0", "[::]:9810", "localhost:65535"},
		"log-level":      {"trace", "debug", "info", "warn", "error"},

		"readiness-gate": {"", "none", "vault-unseal-sidecar/unsealed", "example.com/Vault_is.open"},
		"eso-recovery":   {"nudge-then-restart", "nudge", "restart", "off"},
		"eso-stores":     {"", "home", "home,app/home", " home , app/home "},
	} {
		for _, value := range values {
			t.Run("--"+flag+"="+value, func(t *testing.T) {
				c, err := parse([]string{"--" + flag + "=" + value}, environment(nil))
				assert.NoError(t, err)
				assert.Empty(t, c.refused)
			})
		}
	}
}

func TestOptions_InvalidValueIsReportedAndTheDefaultUsed(t *testing.T) {
	bad := map[string][]string{
		"vault-addr":        {"vault:8200", "http://vault:8200", "http://10.0.0.1:8200", "https://", "ftp://127.0.0.1", "http://127.0.0.1:99999", "127.0.0.1:8200", "http://127.0.0.1:8200/v1", "unix://vault.sock", "unix:/vault.sock", "unix://"},
		"vault-cacert":      {"ca.pem", "./ca.pem"},
		"vault-client-cert": {"tls.crt", "./tls.crt"},
		"vault-client-key":  {"tls.key", "./tls.key"},
		"vault-server-name": {"vault:8200", "https://vault", "a b", "-vault", "vault..test", "*.vault", strings.Repeat("ab.", 11) + "-"},
		"vault-uid":         {"vault", "-1", "1e2", "0x64", "100:1000", "4294967295", "4294967296", "none", "off"},
		"keys":              {"keys", "../keys", "~/keys"},
		"operator-seal":     {"yes", "holds", "hold unseal", "false", "true"},
		"prove-interval":    {"60", "-1h", "59s", "daily", "d", "-1d"},
		"storage-probe":     {"30", "-30s", "1ms", "999ms", "daily", "0x1s", "99999999d"},
		"prove-role":        {"a b", "-x", "x-", "a/b", "hvs.CAESI", "s.abcdef", "eyJhbGciOi", strings.Repeat("ab.", 30) + "c"},
		"prove-mount":       {"auth/", "a//b", "a b", "hvs.CAESI"},
		"state-dir":         {"run", "./run"},
		"http-bind":         {"65536", ":", ":http", ":65536", ":-1", "a b:80", "::1:80", "127.0.0.1"},
		"kubernetes":        {"maybe", "of", "auto,off"},
		"kubeconfig":        {"~/.kube/config", "/a:~/b"},
		"pod-name":          {"Vault-0", "vault_0", "vault/0", "-vault"},
		"pod-namespace":     {"Security", "a b"},
		"readiness-gate":    {"unsealed", "a/b/c", "Example.com/x", "/x", "x/", "vault-unseal-sidecar/external-secrets"},
		"eso-recovery":      {"yes", "nudges", "restart,nudge"},
		"eso-stores":        {"Home", "a/b/c", "/home", "app/"},
		"eso-namespace":     {"External", "a/b"},
		"eso-deployment":    {"External", "a/b"},
		"log-level":         {"loud", "off", "no", "2"},
		"log-format":        {"xml", "logfmt"},
	}
	require.Len(t, bad, len(options))
	for _, o := range options {
		values := bad[o.flag]
		if o.defaultValue != "" && o.flag != "readiness-gate" { // an empty one switches it off
			values = append(values, "", " ")
		}
		for _, value := range values {
			for name, call := range map[string]struct {
				args []string
				env  map[string]string
			}{
				"--" + o.flag: {[]string{"--" + o.flag + "=" + value}, nil},
				o.env:         {nil, map[string]string{o.env: value}},
			} {
				if name == o.env && strings.TrimSpace(value) == "" { // not set
					continue
				}
				t.Run(name+"="+value, func(t *testing.T) {
					if slices.Contains(required, o.flag) {
						code, stdout, stderr := runCommand(call.env, call.args...)
						assert.Equal(t, exitUsage, code)
						assert.Empty(t, stdout)
						assertOneLine(t, stderr, name, fmt.Sprintf("%q", value), o.accepts)
						return
					}
					defaults, err := parse(nil, environment(nil))
					require.NoError(t, err)
					c, err := parse(call.args, environment(call.env))
					require.NoError(t, err, "Vault would stay sealed over it")
					assert.Equal(t, []refusedValue{{name, fmt.Sprintf("%q", value), o.accepts, o.defaultValue, name != o.env}}, c.refused)
					c.refused, c.given = nil, nil
					assert.Equal(t, defaults, c, "the default is used")
					code, stdout, stderr := runCommand(call.env, append([]string{"check"}, call.args...)...)
					if name == o.env && name != "KUBECONFIG" {
						return // check goes on as the sidecar does
					}
					assert.Equal(t, exitUsage, code)
					assert.Empty(t, stdout)
					assertOneLine(t, stderr, name, fmt.Sprintf("%q", value), o.accepts)
				})
			}
		}
	}
}

// What a value means is plain however it is written.
func TestOptions_NormalizeCommonSpellings(t *testing.T) {
	for flag, spellings := range map[string]map[string]string{
		"vault-addr":     {" http://127.0.0.1:8200\n": "http://127.0.0.1:8200", `"https://vault"`: "https://vault"},
		"keys":           {"/keys\n": "/keys", "'/keys'": "/keys"},
		"operator-seal":  {"Hold": "hold", "UNSEAL": "unseal", " unseal\n": "unseal"},
		"storage-probe":  {"30S": "30s", "1h 30m": "1h30m0s"},
		"prove-mount":    {"/kubernetes/": "kubernetes", "auth/k8s": "k8s", "'k8s'": "k8s"},
		"prove-interval": {"1d": "24h0m0s", "7D": "168h0m0s", "1d12h": "36h0m0s", " 24h ": "24h0m0s"},
		"http-bind":      {"9810": ":9810", `":80"`: ":80"},
		"kubernetes":     {"OFF": "off", "false": "off", "No": "off", "on": "auto", "TRUE": "auto"},
		"readiness-gate": {"None": "", "off": "", "false": "", "example.com/x ": "example.com/x"},
		"eso-recovery":   {"Nudge": "nudge", "RESTART": "restart", "disabled": "off"},
		"log-level":      {"INFO": "info", "Warning": "warn", "ERR": "error", " debug\r\n": "debug"},
		"log-format":     {"JSON": "json", "Text": "text"},
	} {
		for spelling, want := range spellings {
			t.Run(fmt.Sprintf("%s=%q", flag, spelling), func(t *testing.T) {
				for _, o := range options {
					if o.flag != flag {
						continue
					}
					c, err := parse(nil, environment(map[string]string{o.env: spelling}))
					require.NoError(t, err)
					assert.Empty(t, c.refused)
					assert.Equal(t, want, samples[flag].value(c))
				}
			})
		}
	}
}

func assertOneLine(t *testing.T, text string, parts ...string) {
	t.Helper()
	assert.Equal(t, 1, strings.Count(text, "\n"), "%q", text)
	for _, part := range parts {
		assert.Contains(t, text, part)
	}
}

func TestCommand_RejectsInvalidArguments(t *testing.T) {
	expectation := strings.Repeat("0", 32) + ":" + strings.Repeat("1", 64)
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1") // or check takes the tester's own kubeconfig
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"--no-such-option"}, "no-such-option"},
		{[]string{"--no-such-option=value"}, "no-such-option"},
		{[]string{"--vault-addr"}, "vault-addr"},
		{[]string{"--=x"}, "bad flag syntax"},
		{[]string{"---x"}, "bad flag syntax"},
		{[]string{"run", "stray"}, "1 arguments"},
		{[]string{"run", "--log-level", "info", "stray", "more"}, "2 arguments"},
		{[]string{"run", "--", "stray"}, "1 arguments"},
		{[]string{"--output", "json"}, "output"},
		{[]string{"status", "--prove-key"}, "prove-key"},
		{[]string{"check", "--output", "xml"}, "table, json"},
		{[]string{"check", "--prove-key=maybe"}, "true, false"},
		{[]string{"check", "--expect-key=maybe"}, "SALT:DIGEST"},
		{[]string{"check", "--prove-key", "true"}, "1 arguments"},
		{[]string{"check", "--kubeconfig", "/nowhere"}, "--pod-name"},
		{[]string{"check", "--context", "home"}, "there is no kubeconfig"},
		{[]string{"check", "--kubeconfig", "/nowhere", "--pod-name", "vault-0", "--pod-namespace", "security", "--prove-key"}, "--prove-key"},
		{[]string{"check", "--manifests", "-", "--kubeconfig", "/nowhere"}, "--kubeconfig: --manifests looks at no cluster"},
		{[]string{"check", "--manifests", "-", "--prove-key"}, "--prove-key: --manifests looks at no cluster and no key"},
		{[]string{"check", "--kubeconfig", "/nowhere", "--pod-name", "vault-0", "--pod-namespace", "security", "--expect-key", expectation}, "--expect-key: the key is in the pod"},
		{[]string{"check", "--manifests", "-", "--expect-key", expectation}, "--expect-key: --manifests looks at no cluster and no key"},
		{[]string{"check", "--manifests", "/nowhere"}, "/nowhere: no such file"},
		{[]string{"check", "--manifests", "/dev/null"}, "there is no object in it"},
		{[]string{"--vault-client-cert", "/tls.crt"}, "one without the other"},
		{[]string{"check", "--vault-client-key", "/tls.key"}, "one without the other"},
		{[]string{"unseal"}, "no such command"},
		{[]string{""}, "no such command"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			code, stdout, stderr := runCommand(nil, row.args...)
			assert.Equal(t, exitUsage, code)
			assert.Empty(t, stdout)
			assertOneLine(t, stderr, row.message)
		})
	}
}

// keyTexts are a key in the forms in which people have it at hand.
func keyTexts() map[string]string {
	texts := map[string]string{}
	for seed := range 40 { // with and without a slash, a plus, and so on
		for _, length := range []int{32, 33} {
			raw := make([]byte, length)
			for i := range raw {
				raw[i] = byte((seed+3)*(i*i+7*i+1) + seed*seed)
			}
			name := fmt.Sprintf("key %d of %d bytes ", seed, length)
			texts[name+"in base64"] = base64.StdEncoding.EncodeToString(raw)
			texts[name+"in base64 without padding"] = base64.RawStdEncoding.EncodeToString(raw)
			texts[name+"in hex"] = hex.EncodeToString(raw)
			texts[name+"in capital hex"] = strings.ToUpper(hex.EncodeToString(raw))
		}
	}
	return texts
}

func TestCommand_HidesAKeyInTheWrongPlace(t *testing.T) {
	for name, key := range keyTexts() {
		t.Run(name, func(t *testing.T) {
			assertHidden := func(args []string, env map[string]string) {
				t.Helper()
				var code int
				var stdout, stderr string
				if c, err := parse(args, environment(env)); err == nil && len(c.refused) > 0 {
					code, stdout = exitUsage, fmt.Sprint(c) // a pod goes on, with what is logged
				} else {
					code, stdout, stderr = runCommand(env, args...)
				}
				require.Equal(t, exitUsage, code, "%q is accepted, and what is accepted is logged", args)
				for at := 0; at+8 <= len(key); at++ {
					if strings.Contains(stdout+stderr, key[at:at+8]) {
						require.Fail(t, "the key is shown", "%s%s", stdout, stderr)
					}
				}
			}
			for _, o := range options {
				assertHidden([]string{"--" + o.flag, key}, nil)
				assertHidden([]string{"--" + o.flag + "=" + key}, nil)
				assertHidden(nil, map[string]string{o.env: key})
				assertHidden([]string{"--" + o.flag, "/" + key}, nil)
				assertHidden([]string{"--" + o.flag, `"` + key + `"`}, nil)
				assertHidden([]string{"--" + o.flag, " " + key + "\n"}, nil)
			}
			for _, o := range checkOptions {
				assertHidden([]string{"check", "--" + o.flag, key}, nil)
				assertHidden([]string{"check", "--" + o.flag + "=" + key}, nil)
			}
			assertHidden([]string{key}, nil)
			assertHidden([]string{"run", key}, nil)
			assertHidden([]string{"run", key, "more"}, nil)
			assertHidden([]string{"--log-level", "info", key}, nil)
			assertHidden([]string{"--log-level", key, "stray"}, nil)
			assertHidden([]string{"--log-level=" + key, "stray"}, nil)
			assertHidden([]string{"-" + key}, nil)
			assertHidden([]string{"--" + key}, nil)
			assertHidden([]string{"---" + key}, nil)
			assertHidden([]string{"--" + key + "=x"}, nil)
			assertHidden([]string{"--vault-addr=http://" + key + ":8200"}, nil)
			assertHidden([]string{"--vault-addr=http://127.0.0.1:8200/" + key}, nil)
			assertHidden([]string{"--vault-addr=unix:///" + key}, nil)
			assertHidden([]string{"--vault-addr=http://user:" + key + "@127.0.0.1:8200"}, nil)
		})
	}
}

func TestHelp_ListsEveryOption(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"run", "--help"}, {"run", "--log-level=info", "-help"}, {"check", "--help"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			code, stdout, stderr := runCommand(nil, args...)
			assert.Equal(t, exitStopped, code)
			assert.Empty(t, stderr)
			for _, o := range options {
				for _, part := range []string{"--" + o.flag, o.env, o.defaultValue, o.help, o.accepts} {
					assert.Contains(t, stdout, part)
				}
			}
			for _, o := range checkOptions {
				for _, part := range []string{"--" + o.flag + " (default " + o.defaultValue, o.help, o.accepts} {
					assert.Contains(t, stdout, part)
				}
			}
			assert.Contains(t, stdout, "version")
		})
	}
}

func TestOptions_TableIsConsistent(t *testing.T) {
	flags, envs := map[string]bool{}, map[string]bool{}
	for _, o := range options {
		flags[o.flag], envs[o.env] = true, true
		assert.Regexp(t, `^[a-z][a-z-]*[a-z]$`, o.flag)
		assert.Regexp(t, `^[A-Z][A-Z_]*[A-Z]$`, o.env)
		assert.NotEmpty(t, o.help)
		assert.NotEmpty(t, o.accepts)
		assert.NotContains(t, o.help+o.defaultValue, "|", "it stands in a table")
		assert.True(t, o.set(&config{}, o.defaultValue), "the default of --%s is not accepted", o.flag)
	}
	for _, o := range checkOptions {
		assert.False(t, flags[o.flag], "--%s is an option already", o.flag)
		assert.Empty(t, o.env, "it is for the person who calls")
		assert.True(t, o.set(&config{}, o.defaultValue), "the default of --%s is not accepted", o.flag)
	}
	assert.Len(t, flags, len(options), "two options have one flag: %v", maps.Keys(flags))
	assert.Len(t, envs, len(options), "two options have one variable")
}

func TestUTC_IsTheTimeZone(t *testing.T) {
	assert.Equal(t, time.UTC, utc().Location())
}

func TestCheckCommand_ParsesItsOwnOptions(t *testing.T) {
	for _, row := range []struct {
		args        []string
		json, prove bool
	}{
		{nil, false, false},
		{[]string{"--output", "json"}, true, false},
		{[]string{"--output=table", "--prove-key"}, false, true},
		{[]string{"--prove-key=false", "--output=json"}, true, false},
		{[]string{"--prove-key", "--pod-name", "vault-0"}, false, true},
	} {
		t.Run(fmt.Sprintf("%q", row.args), func(t *testing.T) {
			c, err := parse(row.args, environment(map[string]string{"": "a variable without a name"}), checkOptions...)
			require.NoError(t, err)
			assert.Equal(t, row.json, c.outputJSON)
			assert.Equal(t, row.prove, c.proveKey)
		})
	}
}
