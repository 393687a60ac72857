package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// localExecKubectl is a kubectl whose exec runs the command on this machine, where it
// would run in a container of Vault's pod; all else is the real one's. A call with
// FAIL in it fails, and after the KILL_ATth that changes something the script is
// killed. Kubernetes auth is configured for outside a pod.
const localExecKubectl = `#!/bin/bash
words=("$@")
[[ ! ${FAIL-} || "${words[*]}" != *"$FAIL"* ]] || exit 1
while [[ ${1-} == --* ]]; do shift 2; done
if [[ ${1-} != exec ]]; then
	[[ ${KILL_AT-} ]] || exec KUBECTL "${words[@]}"
	KUBECTL "${words[@]}"
else
	while [[ $1 != -- ]]; do
		[[ $1 != -c ]] || container=$2
		shift
	done
	shift
	[[ " $* " != *" auth/kubernetes/config kubernetes_host="* ]] || set -- "$@" disable_local_ca_jwt=true kubernetes_ca_cert=@CAFILE
	export VAULT_ADDR=ADDR HOME=EMPTY PATH=BIN:$PATH
	if [[ $container == vault ]]; then
		"$@"
	else
		shift
		unset KUBECONFIG # a pod has none
		KUBERNETES=off HTTP_BIND=HTTP UNSEAL_KEYS_PATH=MOUNT STATE_DIR=STATE SIDECAR "$@"
	fi
	code=$?
	[[ $code == 0 ]] || echo "command terminated with exit code $code" >&2 # (k8s.io/kubectl, pkg/cmd/exec)
	(exit "$code")
fi
code=$?
case "${words[*]}" in
*" annotate secret "* | *" replace "* | *" write "*/init* | *" write "*/update* | *" write "*/verify*)
	if [[ ${KILL_AT-} ]]; then
		echo x >>CALLS
		[[ $(wc -l <CALLS) != "$KILL_AT" ]] || kill -9 -- -"$(ps -o pgid= $$ | tr -d ' ')"
	fi ;;
esac
exit $code
`

// recordingWrapper stands in the place of each program that the scripts use, and writes
// down what everybody on the machine could read of it: its arguments, and its
// environment.
const recordingWrapper = `#!/bin/sh
program=${0##*/}
PATH=$REAL_PATH
{ printf '%s\n' "$program" "$@" && export -p; } >>"$RECORD"
exec "$program" "$@"
`

// scriptPrograms are all that the scripts find.
var scriptPrograms = strings.Fields("base64 basename cat chmod cp dirname find grep jq kubectl mkdir mktemp mv od ps rm sed sha256sum sleep sort stty tail tr wc")

// scriptScenario is a scenario whose Vault has a server's rule, and whose scripts run
// with kubectl on the real API server.
type scriptScenario struct {
	*scenario
	closedProxy *testenv.ClosedProxy
	callsPath   string
	environ     []string
	recordPath  string
	passwords   []string
	mu          sync.Mutex
}

// statefulSetManifest is what the scripts ask of the API server about Vault.
const statefulSetManifest = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vault, namespace: security}
spec:
  serviceName: vault
  replicas: 1
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app.kubernetes.io/name: vault}}
  template:
    metadata: {labels: {app.kubernetes.io/name: vault}}
    spec:
      serviceAccountName: vault
      containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "sidecar:1"}]
`

func newScriptScenario(t *testing.T, rule proxy.Rule, manifests ...string) *scriptScenario {
	t.Helper()
	s := &scriptScenario{scenario: newScenario(t, setup{cluster: true, uninitialized: true})}
	var err error
	s.closedProxy, err = s.env.StartClosedProxy(s.vault, rule)
	require.NoError(t, err)
	awaitClosedProxy(t, s.closedProxy)
	require.NoError(t, s.secret.Write(nil))
	if manifests == nil {
		manifests = []string{statefulSetManifest}
	}
	require.NoError(t, s.cluster.Apply(s.ctx, manifests...))
	require.NoError(t, s.cluster.Apply(s.ctx, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: person}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: person, namespace: security}]
`, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: person, namespace: security}}`))
	s.sidecar, err = s.env.StartSidecar(testenv.SidecarConfig{Vault: s.closedProxy.Addr, Keys: s.secret.Dir, State: s.stateDir,
		Args: append([]string{"--log-level", "trace"}, s.setup.args...)})
	require.NoError(t, err)
	s.sidecars = append(s.sidecars, s.sidecar)
	s.simulateKubelet()
	s.setUpOperator()
	return s
}

// simulateKubelet mounts the Secret, as a kubelet would, until the test ends.
func (s *scriptScenario) simulateKubelet() {
	s.follow(secretsResource, "vault-unseal-key", func(o *unstructured.Unstructured) {
		files := map[string]string{}
		for name, value := range decodeSecret(o) {
			files[name] = value
			s.mu.Lock()
			s.secrets = append(s.secrets, strings.Fields(value)...)
			s.mu.Unlock()
		}
		assert.NoError(s, s.secret.Write(files))
	})
}

// follow calls f for each state of an object in Vault's namespace, until the test ends.
func (s *scriptScenario) follow(r schema.GroupVersionResource, name string, f func(*unstructured.Unstructured)) {
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	s.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		s.cluster.Follow(ctx, r, "security", name, f)
	}()
}

func decodeSecret(o *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	for name, value := range data {
		text, _ := base64.StdEncoding.DecodeString(value)
		out[name] = string(text)
	}
	return out
}

// setUpOperator makes what an operator who runs the scripts has: a kubeconfig, kubectl,
// and a PATH on which all that is run is recorded.
func (s *scriptScenario) setUpOperator() {
	kubeconfig, err := s.cluster.Kubeconfig(s.ctx, "security", "person", "")
	require.NoError(s, err)
	dir := func(name string) string {
		path, err := s.env.Mkdir(name)
		require.NoError(s, err)
		return path
	}
	inside, bin, recorded, empty := dir("inside"), dir("bin"), dir("recorded"), dir("empty")
	require.NoError(s, os.Symlink(s.env.Binary("servers/vault"), filepath.Join(inside, "vault")))
	s.callsPath, s.recordPath = filepath.Join(s.env.Dir, "calls"), filepath.Join(s.env.Dir, "record")
	fake := strings.NewReplacer("KUBECTL", s.env.Binary("servers/kubectl"), "CAFILE", s.cluster.CAFile, "=ADDR", "="+s.closedProxy.Addr,
		"=EMPTY", "="+empty, "=BIN", "="+inside, "=HTTP", "="+strings.TrimPrefix(s.sidecar.HTTP, "http://"),
		"=MOUNT", "="+s.secret.Dir, "=STATE", "="+s.stateDir, "SIDECAR", s.env.Binary("vault-unseal-sidecar"), "CALLS", s.callsPath).Replace(localExecKubectl)
	require.NoError(s, os.WriteFile(filepath.Join(bin, "kubectl"), []byte(fake), 0o755))
	bash, err := exec.LookPath("bash")
	require.NoError(s, err)
	require.NoError(s, os.Symlink(bash, filepath.Join(recorded, "bash")))
	for _, program := range scriptPrograms {
		require.NoError(s, os.WriteFile(filepath.Join(recorded, program), []byte(recordingWrapper), 0o755))
	}
	// A process that lives for a tenth of a second need not collect garbage, nor beside others.
	s.environ = append(os.Environ(), "GOGC=off", "GOMAXPROCS=1", "KUBECONFIG="+kubeconfig, "PATH="+recorded, "REAL_PATH="+bin+":"+os.Getenv("PATH"), "RECORD="+s.recordPath)
}

// runScript runs a script and returns what it showed, and whether it succeeded. No
// secret shows in what it starts, nor in what it shows but for a root token that
// was asked for.
func (s *scriptScenario) runScript(in, script string, args ...string) (string, error) {
	s.Helper()
	return s.runScriptWithEnv(in, nil, script, args...)
}

func (s *scriptScenario) runScriptWithEnv(in string, env []string, script string, args ...string) (string, error) {
	s.Helper()
	require.NoError(s, os.WriteFile(s.recordPath, nil, 0o600))
	cmd := exec.CommandContext(s.ctx, "setsid", append([]string{"--wait", s.env.Source("scripts/" + script)}, args...)...)
	cmd.Env, cmd.Stdin = append(s.environ, env...), strings.NewReader(in)
	// The recorder's PATH has no setsid.
	path, err := exec.LookPath("setsid")
	require.NoError(s, err)
	cmd.Path = path
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	text, readErr := os.ReadFile(s.recordPath)
	require.NoError(s, readErr)
	require.Contains(s, string(text), "\nkubectl\n", "what %s starts is recorded", script)
	shown := rootToken.ReplaceAllString(out.String(), "")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range append(append(s.passwords, s.secrets...), "hvs.") {
		require.NotContains(s, shown, secret, "%s shows a secret", script)
		before, _, found := strings.Cut(string(text), secret)
		require.False(s, found, "a secret stands in what %s started: ...%s(HERE)", script, before[max(0, len(before)-200):])
	}
	s.Logf("%s %s:\n%s", script, strings.Join(args, " "), shown)
	return out.String(), err
}

var rootToken = regexp.MustCompile(`root token, shown this once: (\S+)`)

// mustRun runs a script that must succeed.
func (s *scriptScenario) mustRun(in, script string, args ...string) string {
	s.Helper()
	out, err := s.runScript(in, script, args...)
	require.NoError(s, err, out)
	return out
}

// mustFail runs a script that must fail and say why.
func (s *scriptScenario) mustFail(why, in, script string, args ...string) {
	s.Helper()
	out, err := s.runScript(in, script, args...)
	exit := new(exec.ExitError)
	require.True(s, errors.As(err, &exit), out)
	require.Equal(s, 1, exit.ExitCode(), out)
	require.Contains(s, out, why)
}
