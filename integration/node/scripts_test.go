package node

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
)

// recordingWrapper stands in the place of each program that the scripts use, and writes
// down what everybody on the machine could read of it: its arguments, and its
// environment.
const recordingWrapper = `#!/bin/bash
program=${0##*/}
PATH=$REAL_PATH
{ printf '%s\n' "$program" "$@"; env; } >>"$RECORD"
exec "$program" "$@"
`

// scriptPrograms are all that the scripts find: what is not recorded does not run.
var scriptPrograms = strings.Fields("base64 basename cat chmod cp dirname find grep jq kubectl mkdir mktemp mv od rm sed sha256sum sleep sort stty tail tr wc")

// installRecorder makes the directory that is the scripts' PATH.
func installRecorder() error {
	dir := filepath.Join(machine.dir, "recorder")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return err
	}
	if err := os.Symlink(bash, filepath.Join(dir, "bash")); err != nil {
		return err
	}
	for _, program := range scriptPrograms {
		if err := os.WriteFile(filepath.Join(dir, program), []byte(recordingWrapper), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// replaceProgram puts a program of the test's in the place of one that the scripts use,
// until unwrap is called.
func (n *node) replaceProgram(program, text string) (unwrap func()) {
	n.Helper()
	dir := n.TempDir()
	require.NoError(n, os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755))
	machine.wrappers = dir + ":"
	unwrap = func() { machine.wrappers = "" }
	n.Cleanup(unwrap)
	return unwrap
}

// runScriptRecorded runs one of scripts/, and sees that no secret shows in what it starts.
func (n *node) runScriptRecorded(in, name string, args ...string) (string, error) {
	n.Helper()
	record := filepath.Join(machine.dir, "record")
	require.NoError(n, os.WriteFile(record, nil, 0o600))
	secrets := append(n.secretShares(), keyShare.FindAllString(in, -1)...)
	out, err := n.run(in, "env", append([]string{"PATH=" + filepath.Join(machine.dir, "recorder"), "RECORD=" + record,
		"REAL_PATH=" + machine.wrappers + machine.bin + ":" + os.Getenv("PATH"), filepath.Join(machine.root, "scripts", name)}, args...)...)
	text, readErr := os.ReadFile(record)
	require.NoError(n, readErr)
	require.Contains(n, string(text), "\nkubectl\n", "what %s starts is recorded", name)
	for _, secret := range append(append(secrets, n.secretShares()...), "hvs.") {
		before, after, found := strings.Cut(string(text), secret)
		require.False(n, found, "a secret of %d letters stands in what %s started: ...%s(HERE)%.80s", len(secret), name, before[max(0, len(before)-200):], after)
	}
	return out, err
}

var keyShare = regexp.MustCompile(`[A-Za-z0-9+/]{43,44}=?`)

// secretShares are those in all Secrets that there are.
func (n *node) secretShares() (out []string) {
	n.Helper()
	var list struct {
		Items []struct{ Data map[string]string }
	}
	require.NoError(n, json.Unmarshal([]byte(n.kubectl("get", "secrets", "--all-namespaces", "--field-selector", "type=Opaque", "-o", "json")), &list))
	for _, secret := range list.Items {
		for _, value := range secret.Data {
			text, err := base64.StdEncoding.DecodeString(value)
			require.NoError(n, err)
			out = append(out, keyShare.FindAllString(string(text), -1)...)
		}
	}
	return out
}

// runScript runs one of scripts/ and must succeed.
func (n *node) runScript(in, name string, args ...string) string {
	n.Helper()
	out, err := n.runScriptRecorded(in, name, args...)
	require.NoError(n, err)
	shown, _, _ := strings.Cut(out, "root token, ") // the token is not logged
	n.Logf("%s %s:\n%s", name, strings.Join(args, " "), shown)
	return out
}

// scriptMustFail runs one of scripts/, which must fail and say why.
func (n *node) scriptMustFail(why, in, name string, args ...string) {
	n.Helper()
	_, err := n.runScriptRecorded(in, name, args...)
	require.ErrorContains(n, err, why)
	var exit *exec.ExitError
	require.ErrorAs(n, err, &exit)
	require.Equal(n, 1, exit.ExitCode(), "%v", err)
}
