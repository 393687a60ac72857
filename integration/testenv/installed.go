package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	utilversion "k8s.io/apimachinery/pkg/util/version"
)

// Programs says which servers are run in the place of those of make servers. The zero
// value is none.
type Programs struct {
	Vault      string // a path
	Kubernetes string // a directory with etcd, kube-apiserver and kubectl
}

// The oldest versions that the sidecar works with.
var (
	oldestVault      = utilversion.MustParseGeneric("1.14")
	oldestKubernetes = utilversion.MustParseGeneric("1.30")
)

// Installed returns the programs that VAULT_BINARY and KUBEBUILDER_ASSETS name, and for
// each a line for people. A relative path counts from where this process was started. The
// error says which is not there, or does not fit.
func Installed(ctx context.Context) (p Programs, told []string, err error) {
	use := func(variable, file, arg string, oldest *utilversion.Version) (string, error) {
		value := os.Getenv(variable)
		if value == "" {
			return "", nil
		}
		path, err := filepath.Abs(value)
		if err != nil {
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		version, err := versionOf(ctx, filepath.Join(path, file), arg)
		if err != nil {
			return "", fmt.Errorf("%s=%s: %w", variable, value, err)
		}
		if !version.AtLeast(oldest) {
			return "", fmt.Errorf("%s=%s is version %s, and %s is the oldest that fits: name another, or unset %s and one is built", variable, value, version, oldest, variable)
		}
		told = append(told, fmt.Sprintf("using %s=%s, version %s", variable, value, version))
		return path, nil
	}
	if p.Vault, err = use("VAULT_BINARY", "", "version", oldestVault); err != nil {
		return p, nil, err
	}
	p.Kubernetes, err = use("KUBEBUILDER_ASSETS", "kube-apiserver", "--version", oldestKubernetes)
	if err != nil || p.Kubernetes == "" {
		return p, told, err
	}
	for _, beside := range []string{"etcd", "kubectl"} {
		if _, err := os.Stat(filepath.Join(p.Kubernetes, beside)); err != nil {
			return p, told, fmt.Errorf("KUBEBUILDER_ASSETS has no %s beside its kube-apiserver: %w", beside, err)
		}
	}
	return p, told, nil
}

// versionNumber is found in what Vault and kube-apiserver call themselves, as in "Vault
// v1.21.4, built ..." and "Kubernetes v1.37.2".
var versionNumber = regexp.MustCompile(`\bv(\d+)\.(\d+)\.\d+`)

func versionOf(ctx context.Context, program, arg string) (*utilversion.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, arg).Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", program, err)
	}
	version := versionNumber.FindString(string(out))
	if version == "" {
		return nil, fmt.Errorf("%s %s names no version: %.100q", program, arg, out)
	}
	return utilversion.ParseGeneric(version)
}

// vault is the Vault that is run.
func (env *Env) vault() string {
	if env.programs.Vault != "" {
		return env.programs.Vault
	}
	return vaultBinary()
}

// kubernetes is a program of Kubernetes, with its first arguments: one binary holds all
// that make servers builds.
func (env *Env) kubernetes(program string) (binary string, args []string) {
	if env.programs.Kubernetes != "" {
		return filepath.Join(env.programs.Kubernetes, program), nil
	}
	return "servers/kubernetes", []string{program}
}

func (env *Env) kubectl() string {
	if env.programs.Kubernetes != "" {
		return filepath.Join(env.programs.Kubernetes, "kubectl")
	}
	return env.Binary("servers/kubectl")
}
