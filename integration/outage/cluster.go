package outage

import (
	"cmp"
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	// StoreName is the name of the ClusterSecretStore that reads from Vault.
	StoreName = "vault"
	// GateCondition is the condition of Vault's pod that the sidecar sets for Vault,
	// and ReportCondition the one for External Secrets.
	GateCondition   = "vault-unseal-sidecar/unsealed"
	ReportCondition = "vault-unseal-sidecar/external-secrets"

	esoGroup = "external-secrets.io"
	esoAPI   = esoGroup + "/v1"
)

// The kinds that are watched.
var (
	Pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	ClusterStores   = schema.GroupVersionResource{Group: esoGroup, Version: "v1", Resource: "clustersecretstores"}
	ExternalSecrets = schema.GroupVersionResource{Group: esoGroup, Version: "v1", Resource: "externalsecrets"}
)

// Cluster is a Kubernetes API server with Vault's pod, and External Secrets with its
// store and the apps' secrets once that was started.
type Cluster struct {
	*testenv.Cluster
	Vault *Vault
	ESO   *testenv.ESO
	Count int // of the ExternalSecrets

	// The conditions of the pod's gate, of the store and of the ExternalSecrets.
	Gate, Store, Secrets *Watch
}

// StartCluster starts one, of which the sidecars to come get to know. The arguments
// are flags of the kube-apiserver.
func StartCluster(ctx context.Context, v *Vault, apiServerArgs ...string) (*Cluster, error) {
	cluster, err := v.Env.StartCluster(ctx, apiServerArgs...)
	if err != nil {
		return nil, err
	}
	if err := cluster.ApplyVaultPodAndRBAC(ctx); err != nil {
		return nil, err
	}
	v.SidecarArgs, err = cluster.SidecarArgs(ctx, cluster.Endpoint)
	return &Cluster{Cluster: cluster, Vault: v}, err
}

// StartESO starts External Secrets, as it is but for the flags, and has it sync the secrets.
func (c *Cluster) StartESO(ctx context.Context, refresh time.Duration, secrets []Secret, args ...string) (err error) {
	if c.ESO, err = c.Vault.Env.StartESO(ctx, c.Cluster, args...); err != nil {
		return err
	}
	if err := c.Apply(ctx, c.Vault.ClusterStore(StoreName)); err != nil {
		return err
	}
	if err := c.AwaitReady(ctx, 30*time.Second, esoAPI, "ClusterSecretStore", "", StoreName); err != nil {
		return err
	}
	if err := c.CreateSecrets(ctx, refresh, secrets); err != nil {
		return err
	}
	if err := c.watchConditions(ctx); err != nil {
		return err
	}
	return c.AwaitSynced(ctx)
}

// watchConditions is due again when the API server was restarted.
func (c *Cluster) watchConditions(ctx context.Context) (err error) {
	if c.Gate, err = c.Watch(ctx, Pods, condition(GateCondition)); err != nil {
		return err
	}
	if c.Store, err = c.Watch(ctx, ClusterStores, condition("Ready")); err != nil {
		return err
	}
	c.Secrets, err = c.Watch(ctx, ExternalSecrets, condition("Ready"))
	return err
}

// AwaitSynced waits until all ExternalSecrets are Ready.
func (c *Cluster) AwaitSynced(ctx context.Context) error {
	_, err := c.Secrets.Await(ctx, 10*time.Minute, "True", c.Count)
	return err
}

// Differs says what of the store and the ExternalSecrets has not the status; "" when
// all have.
func (c *Cluster) Differs(status string) string {
	return cmp.Or(c.Store.Missing(status, 1), c.Secrets.Missing(status, c.Count))
}

// AwaitReported waits until the sidecar reports that External Secrets has recovered.
func (c *Cluster) AwaitReported(ctx context.Context, limit time.Duration) error {
	return testenv.Await(ctx, limit, ReportCondition+" to be True", func() string {
		pod, err := c.Get(ctx, "v1", "Pod", "security", "vault-0")
		if err != nil {
			return err.Error()
		}
		report := testenv.Condition(pod, ReportCondition)
		if report["status"] == "True" {
			return ""
		}
		return report["reason"] + ": " + report["message"]
	})
}

// PowerCut is when the parts of a power cut happened.
type PowerCut struct {
	At        time.Time
	APIServer time.Time // ready again
	Vault     time.Time // started, on storage that hangs
	ESO       time.Time // started
}

// CutPower kills everything but etcd and starts it again, with storage that hangs,
// and the sidecar if that is wanted. The outage goes on until EndOutage.
func (c *Cluster) CutPower(ctx context.Context, startSidecar bool) (cut PowerCut, err error) {
	cut.At = time.Now()
	for _, kill := range []func() error{c.ESO.Kill, c.Vault.KillSidecar, c.Vault.Kill, c.StopAPIServer} {
		if err := kill(); err != nil {
			return cut, err
		}
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return cut, err
	}
	cut.APIServer = time.Now()
	if err := c.watchConditions(ctx); err != nil {
		return cut, err
	}
	cut.Vault = time.Now()
	if err := c.Vault.BeginOutage(); err != nil {
		return cut, err
	}
	if startSidecar {
		if err := c.Vault.StartSidecar(); err != nil {
			return cut, err
		}
	}
	cut.ESO = time.Now()
	return cut, c.ESO.Start(ctx)
}
