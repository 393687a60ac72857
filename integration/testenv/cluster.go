package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Cluster is an etcd and a kube-apiserver: a Kubernetes that keeps objects,
// judges by RBAC who may do what with them, and issues tokens. Nothing acts on
// the objects: no pod runs, no namespace gets a default ServiceAccount, and a
// deleted namespace stays.
type Cluster struct {
	Endpoint
	Client dynamic.Interface // as an administrator

	Etcd      *Process
	APIServer Server

	env     *Env
	admin   *rest.Config
	http    *http.Client
	etcdURL string

	// Of one that Clusters lends:
	home     *Env // of its processes
	hasCRDs  bool // of External Secrets, from the start
	retired  bool
	pristine map[string][]byte // what etcd kept then

	mu        sync.Mutex
	resources map[schema.GroupVersionKind]metav1.APIResource
}

// StartCluster starts one and waits until it is ready. The arguments are flags of the
// kube-apiserver after the default ones. An environment has at most one.
func (env *Env) StartCluster(ctx context.Context, args ...string) (*Cluster, error) {
	binary, first := env.kubernetes("kube-apiserver")
	if err := env.requireBinaries(binary); err != nil {
		return nil, err
	}
	authority, err := env.NewCA("kubernetes")
	if err != nil {
		return nil, err
	}
	cert, key, err := authority.IssueClientCert("administrator", "system:masters")
	if err != nil {
		return nil, err
	}
	port, err := Port()
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		Endpoint:  Endpoint{URL: "https://127.0.0.1:" + port, CAFile: authority.CAFile},
		env:       env,
		resources: map[schema.GroupVersionKind]metav1.APIResource{},
	}
	c.admin = &rest.Config{Host: c.URL, QPS: -1, // no limit: what is tested is not this client
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile, CertFile: cert, KeyFile: key}}
	if err := rest.LoadTLSFiles(c.admin); err != nil { // or it would look for the files after the end
		return nil, fmt.Errorf("reading what an administrator has: %w", err)
	}
	c.admin.CertFile, c.admin.KeyFile = "", ""
	if c.http, err = rest.HTTPClientFor(c.admin); err != nil {
		return nil, fmt.Errorf("making a client for kubernetes: %w", err)
	}
	if c.Client, err = dynamic.NewForConfigAndClient(c.admin, c.http); err != nil {
		return nil, fmt.Errorf("making a client for kubernetes: %w", err)
	}
	if err := c.startEtcd(); err != nil {
		return nil, err
	}
	flags := append(first,
		"--etcd-servers="+c.etcdURL,
		"--bind-address=127.0.0.1", "--secure-port="+port,
		// Without these two it looks for an address that other machines reach,
		// and ends when there is none.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		"--client-ca-file="+authority.CAFile,
		"--tls-cert-file="+authority.CertFile, "--tls-private-key-file="+authority.KeyFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+authority.KeyFile,
		"--service-account-signing-key-file="+authority.KeyFile,
	)
	c.APIServer = Server{env: env, name: "kube-apiserver", binary: binary, args: append(flags, args...)}
	return c, c.StartAPIServer(ctx)
}

// startEtcd does not wait for it: the kube-apiserver does that itself.
func (c *Cluster) startEtcd() error {
	port, peerPort, err := ports()
	if err != nil {
		return err
	}
	c.etcdURL = "http://127.0.0.1:" + port
	peers := "http://127.0.0.1:" + peerPort
	binary, first := c.env.kubernetes("etcd")
	c.Etcd, err = c.env.startProcess("etcd", c.env.Binary(binary), nil, append(first,
		"--data-dir="+filepath.Join(c.env.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+c.etcdURL, "--advertise-client-urls="+c.etcdURL,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers,
		"--initial-cluster=default="+peers)...)
	return err
}

// AdminConfig is how an administrator, whom RBAC does not bind, gets in.
func (c *Cluster) AdminConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// StopAPIServer ends the kube-apiserver as a power cut does. What it kept is
// kept.
func (c *Cluster) StopAPIServer() error { return c.APIServer.Kill() }

// StartAPIServer starts the kube-apiserver where it was and waits until it is
// ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if c.APIServer.Process != nil && !c.APIServer.Exited() {
		return errors.New("the kube-apiserver is still running")
	}
	if err := c.APIServer.Start(); err != nil {
		return err
	}
	err := Await(ctx, 90*time.Second, "the kube-apiserver to be ready", func() string {
		for _, p := range []*Process{c.Etcd, c.APIServer.Process} {
			if p.Exited() {
				return fmt.Sprintf("%s ended with %d: %s", p.name, p.code, p.Tail(5))
			}
		}
		if _, err := c.get(ctx, "/readyz"); err != nil {
			return err.Error()
		}
		return ""
	})
	if err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, c.APIServer.Tail(5))
	}
	return nil
}

// get asks for a path as the administrator, for at most two seconds.
func (c *Cluster) get(ctx context.Context, path string) ([]byte, error) {
	code, body, err := get(ctx, c.http, c.URL+path, 2*time.Second)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("GET %s: %d %s", path, code, body)
	}
	return body, err
}
