// Package node runs the whole installation on a real Kubernetes node: the kubelet, the
// container runtime, the scheduler and the controllers, the images, Vault on
// storage that can hang, and External Secrets. The manifests and the scripts
// are those that a person applies and runs.
package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// waitTimeout bounds a wait for one thing to happen on the node.
const waitTimeout = 3 * time.Minute

// machine is the node that all tests share. They run one after another, each with an
// installation of its own, or with the homelab that the one before left.
var machine struct {
	sync.Once
	dir, root, bin, wrappers string
	reader                   dynamic.Interface
	err                      error
	homelab                  bool   // is there, for the next test
	password                 string // of the administrator whom the newest bootstrap made
}

func TestMain(m *testing.M) {
	code := m.Run()
	if machine.dir != "" {
		if out, err := exec.Command(nodeScript(), "down", machine.dir).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s", out)
			code = 1
		}
		if err := os.RemoveAll(machine.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func nodeScript() string { return filepath.Join(machine.root, "integration/node/node.sh") }

// node is the machine as a test uses it.
type node struct {
	*testing.T
	ctx    context.Context
	leaves bool // its homelab to the next test
}

// theMachine starts the machine for the first test. After each it is clean, or has the
// homelab that the test leaves.
func theMachine(t *testing.T) *node {
	t.Helper()
	machine.Do(func() { machine.err = bootMachine() })
	require.NoError(t, machine.err)
	n := &node{T: t, ctx: t.Context()}
	t.Cleanup(func() {
		n.ctx = context.Background()
		if t.Failed() {
			n.describe()
		}
		if machine.homelab = n.leaves && !t.Failed(); !machine.homelab {
			n.deleteHomelab()
		}
	})
	return n
}

// theNode is the machine with nothing on it.
func theNode(t *testing.T) *node {
	t.Helper()
	n := theMachine(t)
	if machine.homelab {
		n.deleteHomelab()
	}
	return n
}

// theHomelab is the machine with manifests/homelab, and an app that has its secret: what
// the test before left, with new pods, or a new one.
func theHomelab(t *testing.T) *node {
	t.Helper()
	n := theMachine(t)
	if !machine.homelab {
		n.installHomelab()
		return n
	}
	n.recreatePod()
	n.ready("vault-0")
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", "k8s-secrets")
	return n
}

// leaveHomelab leaves the homelab to the next test: it is as a new one would be, but for
// what its pods have been through and what the app's secret says.
func (n *node) leaveHomelab() { n.leaves = true }

// subtest runs f as a subtest, which gets the failures of the node.
func (n *node) subtest(name string, f func(t *testing.T)) {
	parent := n.T
	parent.Run(name, func(t *testing.T) {
		n.T = t
		defer func() { n.T = parent }()
		f(t)
	})
}

func bootMachine() error {
	if os.Getuid() != 0 {
		return fmt.Errorf("a node needs root: run make e2e as root")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	machine.root = root
	images := filepath.Join(root, "bin", "node")
	if _, err := os.Stat(filepath.Join(images, "images", "sidecar.tar")); err != nil {
		return fmt.Errorf("bin/node/images is not built: run %q", "make e2e")
	}
	// The disk of a node outlives it only within one run of the tests.
	if machine.dir, err = os.MkdirTemp("/var/tmp", "unseal-node-"); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(images, "images"), filepath.Join(machine.dir, "images")); err != nil {
		return err
	}
	machine.bin = filepath.Join(machine.dir, "bin")
	if err := os.Mkdir(machine.bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(root, "bin/servers/kubectl"), filepath.Join(machine.bin, "kubectl")); err != nil {
		return err
	}
	if err := installRecorder(); err != nil {
		return err
	}
	if err := runNodeScript("up", "open"); err != nil {
		return err
	}
	if machine.reader, err = newReader(machine.dir); err != nil {
		return err
	}
	return installComponents()
}

// runNodeScript starts the machine or ends it.
func runNodeScript(args ...string) error {
	args = append(args[:1:1], append([]string{machine.dir}, args[1:]...)...)
	cmd := exec.Command(nodeScript(), args...)
	// A file, and not a pipe: the machine goes on and would hold it open.
	out, err := os.CreateTemp(machine.dir, "power")
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("node.sh %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

// run runs a program of the machine's administrator and returns what it
// printed on its standard output.
func (n *node) run(in, program string, args ...string) (string, error) {
	return run(n.ctx, in, program, args...)
}

func run(ctx context.Context, in, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = machine.root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(machine.dir, "admin.kubeconfig"),
		"PATH="+machine.bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(in)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s%s", filepath.Base(program), strings.Join(args, " "), err, out.String(), problems.String())
	}
	return out.String(), err
}

// kubectl must succeed.
func (n *node) kubectl(args ...string) string {
	n.Helper()
	out, err := n.run("", filepath.Join(machine.bin, "kubectl"), args...)
	require.NoError(n, err)
	return out
}

// tryKubectl is kubectl that may fail.
func (n *node) tryKubectl(args ...string) (string, error) {
	return n.run("", filepath.Join(machine.bin, "kubectl"), args...)
}

// apply applies manifests.
func (n *node) apply(manifests ...string) {
	n.Helper()
	require.NoError(n, apply(n.ctx, manifests...))
}

func apply(ctx context.Context, manifests ...string) error {
	_, err := run(ctx, strings.Join(manifests, "\n---\n"), filepath.Join(machine.bin, "kubectl"), "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// await waits until check returns "".
func (n *node) await(what string, see func() string) {
	n.Helper()
	require.NoError(n, testenv.Await(n.ctx, waitTimeout, what, see))
}

// field reads a field of an object by a JSON path; what is not there is "".
func (n *node) field(path string, object ...string) string {
	n.Helper()
	content, err := getObject(n.ctx, machine.reader, object...)
	if err != nil {
		return "error: " + err.Error()
	}
	found, err := jsonPath(path, content)
	require.NoError(n, err)
	return found
}

// becomes waits until a field of an object is so.
func (n *node) becomes(want, path string, object ...string) {
	n.Helper()
	n.await(strings.Join(object, " ")+" "+path+" to be "+want, func() string {
		if got := n.field(path, object...); got != want {
			return "it is " + strconv.Quote(got)
		}
		return ""
	})
}

// setStorage sets the mode of stallfs.
func (n *node) setStorage(mode string) {
	n.Helper()
	_, err := n.run("", filepath.Join(machine.root, "bin/servers/stallfs"), "set", "--control", filepath.Join(machine.dir, "stallfs.sock"), mode)
	require.NoError(n, err)
}

// describe shows what there is, for a test that failed.
func (n *node) describe() {
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "-o", "wide"},
		{"-n", "security", "describe", "pods"},
		{"-n", "security", "logs", "vault-0", "--all-containers", "--prefix", "--tail=40"},
		{"-n", "external-secrets", "logs", "deployment/external-secrets", "--tail=15"},
	} {
		out, err := n.tryKubectl(args...)
		if err != nil {
			out = err.Error()
		}
		n.Logf("kubectl %s:\n%s", strings.Join(args, " "), out)
	}
}
