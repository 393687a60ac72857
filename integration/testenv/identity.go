package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Token asks the API server for a token of a ServiceAccount that exists, valid
// for a day. With a pod, which has to exist as well, it is bound to it as the
// tokens that a kubelet mounts are: it names the pod and ends with it.
func (c *Cluster) Token(ctx context.Context, namespace, serviceAccount, pod string) (string, error) {
	spec := map[string]any{"expirationSeconds": int64(24 * 60 * 60)}
	if pod != "" {
		spec["boundObjectRef"] = map[string]any{"apiVersion": "v1", "kind": "Pod", "name": pod}
	}
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": serviceAccount},
		"spec":     spec,
	}}
	accounts := c.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"})
	answer, err := accounts.Namespace(namespace).Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", fmt.Errorf("asking for a token of %s/%s: %w", namespace, serviceAccount, err)
	}
	token, _, err := unstructured.NestedString(answer.Object, "status", "token")
	return token, err
}

// Kubeconfig writes a kubeconfig file, with such a token, and returns its path.
func (c *Cluster) Kubeconfig(ctx context.Context, namespace, serviceAccount, pod string) (string, error) {
	token, err := c.Token(ctx, namespace, serviceAccount, pod)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.env.Dir, serviceAccount+".kubeconfig")
	return path, c.WriteKubeconfig(path, token)
}

// Endpoint is where the API server is reached, directly or through a proxy.
type Endpoint struct {
	URL    string
	CAFile string
}

// ClientForToken returns a client that authenticates with the token.
func (c *Cluster) ClientForToken(token string) (dynamic.Interface, error) {
	return dynamic.NewForConfig(&rest.Config{Host: c.URL, QPS: -1, BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}})
}

// WriteKubeconfig writes a kubeconfig file that authenticates with the token.
func (e Endpoint) WriteKubeconfig(path, token string) error {
	return e.writeKubeconfig(path, "token", token)
}

// WriteKubeconfigWithTokenFile writes one whose token is in a file, and followed there.
func (e Endpoint) WriteKubeconfigWithTokenFile(path, tokenFile string) error {
	return e.writeKubeconfig(path, "tokenFile", tokenFile)
}

func (e Endpoint) writeKubeconfig(path, credential, value string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: testenv
clusters: [{name: testenv, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: testenv, user: {%s: %q}}]
contexts: [{name: testenv, context: {cluster: testenv, user: testenv}}]
`, e.URL, e.CAFile, credential, value), 0o600)
}
