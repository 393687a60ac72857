package testenv

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// ESO is the controller of the External Secrets Operator. Its webhook and its
// cert-controller do not run, so nothing checks its objects but their CRDs.
type ESO struct {
	Process *Process // which runs now

	env       *Env
	environ   []string
	args      []string
	healthURL string
	runs      []*Process
}

// ESOIdentity is the namespace and the ServiceAccount of External Secrets. It
// may do anything: how little is enough for it is not what is tested here.
const ESOIdentity = `
apiVersion: v1
kind: Namespace
metadata: {name: external-secrets}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: external-secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: external-secrets, namespace: external-secrets}]
`

// StartESO installs the CRDs and starts the controller. The arguments are flags
// after its own, such as --store-requeue-interval=10s.
func (env *Env) StartESO(ctx context.Context, c *Cluster, args ...string) (*ESO, error) {
	if err := env.requireBinaries("servers/external-secrets"); err != nil {
		return nil, err
	}
	if err := c.InstallCRDs(ctx); err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, ESOIdentity); err != nil {
		return nil, err
	}
	token, err := c.Token(ctx, "external-secrets", "external-secrets", "")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(env.Dir, "eso.kubeconfig")
	if err := c.WriteKubeconfig(kubeconfig, token); err != nil {
		return nil, err
	}
	port, err := Port()
	if err != nil {
		return nil, err
	}
	e := &ESO{env: env, environ: []string{"KUBECONFIG=" + kubeconfig}, healthURL: "http://127.0.0.1:" + port + "/healthz"}
	e.args = append([]string{
		"--live-addr=127.0.0.1:" + port, "--metrics-addr=0", // 0: none
		"--zap-time-encoding=rfc3339nano",
	}, args...)
	return e, e.Start(ctx)
}

// Start starts the controller again and waits until it says it is healthy.
func (e *ESO) Start(ctx context.Context) error {
	var err error
	e.Process, err = e.env.startProcess("external-secrets", e.env.Binary("servers/external-secrets"), e.environ, e.args...)
	if err != nil {
		return err
	}
	e.runs = append(e.runs, e.Process)
	return Await(ctx, 60*time.Second, "external-secrets to be healthy", func() string {
		if e.Process.Exited() {
			return fmt.Sprintf("it ended with %d: %s", e.Process.code, e.Process.Tail(5))
		}
		if err := e.checkHealth(ctx); err != nil {
			return fmt.Sprintf("%v; its log ends: %s", err, e.Process.Tail(3))
		}
		return ""
	})
}

func (e *ESO) checkHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", e.healthURL, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %d", resp.StatusCode)
	}
	return nil
}

// Kill ends the controller at once.
func (e *ESO) Kill() error { return e.Process.Kill() }

// Stop ends the controller in its own way.
func (e *ESO) Stop() error {
	_, err := e.Process.Stop(40 * time.Second) // its manager waits 30 s for what it does
	return err
}

// Log returns what all runs of the controller printed.
func (e *ESO) Log() string {
	var b strings.Builder
	for _, p := range e.runs {
		b.WriteString(p.Output())
	}
	return b.String()
}
