package testenv

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// ESO is the controller of the External Secrets Operator. Its webhook and its
// cert-controller do not run, so nothing checks its objects but their CRDs.
type ESO struct {
	Server
	healthURL string
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
	kubeconfig, err := c.Kubeconfig(ctx, "external-secrets", "external-secrets", "")
	if err != nil {
		return nil, err
	}
	port, err := Port()
	if err != nil {
		return nil, err
	}
	e := &ESO{healthURL: "http://127.0.0.1:" + port + "/healthz", Server: Server{
		env: env, name: "external-secrets", binary: "servers/external-secrets",
		environ: []string{"KUBECONFIG=" + kubeconfig},
		args: append([]string{
			"--live-addr=127.0.0.1:" + port, "--metrics-addr=0", // 0: none
			"--zap-time-encoding=rfc3339nano",
		}, args...),
	}}
	return e, e.Start(ctx)
}

// Start starts the controller again and waits until it says it is healthy, or has ended.
func (e *ESO) Start(ctx context.Context) error {
	if err := e.Server.Start(); err != nil {
		return err
	}
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	return Await(ctx, 60*time.Second, "external-secrets to be healthy", func() string {
		if e.Exited() {
			giveUp()
			return fmt.Sprintf("it ended with %d: %s", e.code, e.Tail(5))
		}
		code, _, err := get(ctx, http.DefaultClient, e.healthURL, time.Second)
		if err != nil || code != http.StatusOK {
			return fmt.Sprintf("healthz %d, %v; its log ends: %s", code, err, e.Tail(3))
		}
		return ""
	})
}

// Stop ends the controller in its own way.
func (e *ESO) Stop() error {
	_, err := e.Process.Stop(40 * time.Second) // its manager waits 30 s for what it does
	return err
}

// Restart stops the controller and starts it again.
func (e *ESO) Restart(ctx context.Context) error {
	if err := e.Stop(); err != nil {
		return err
	}
	return e.Start(ctx)
}
