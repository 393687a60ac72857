package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Clusters lends a cluster to one environment after another: to start one takes 4 to 5 s
// of a core, and the CRDs of External Secrets nearly as long again. It comes back when
// the environment is closed, and is then made as it was when it was new, in etcd itself;
// one that was retired, whose CRDs were changed, or whose kube-apiserver is gone is ended.
type Clusters struct{ bare, withCRDs clusters }

// Take returns a cluster, with the CRDs of External Secrets or without, that nobody else
// uses until env is closed.
func (k *Clusters) Take(ctx context.Context, env *Env, crds bool) (*Cluster, error) {
	kind := &k.bare
	if crds {
		kind = &k.withCRDs
	}
	c := kind.takeIdle()
	if c == nil {
		var err error
		if c, err = startReusable(ctx, crds); err != nil {
			return nil, err
		}
	}
	c.env, c.resources = env, map[schema.GroupVersionKind]metav1.APIResource{}
	env.addCleanup(func() error { kind.giveBack(c); return nil })
	return c, nil
}

// Close ends all clusters. The environments that used them are closed by then.
func (k *Clusters) Close() error { return errors.Join(k.bare.close(), k.withCRDs.close()) }

// clusters are those of a kind that nobody uses.
type clusters struct {
	mu      sync.Mutex
	idle    []*Cluster
	resets  int
	changed chan struct{} // closed when a reset is over
}

// takeIdle waits for one that is being reset, and returns nil if there is none.
func (k *clusters) takeIdle() *Cluster {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.awaitReset(func() bool { return len(k.idle) > 0 })
	if len(k.idle) == 0 {
		return nil
	}
	c := k.idle[len(k.idle)-1]
	k.idle = k.idle[:len(k.idle)-1]
	return c
}

// awaitReset waits until it is enough, or nothing more to come.
func (k *clusters) awaitReset(enough func() bool) {
	for k.resets > 0 && !enough() {
		changed := k.changed
		k.mu.Unlock()
		<-changed
		k.mu.Lock()
	}
}

func (k *clusters) giveBack(c *Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resets++
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := c.reset(ctx)
		if err != nil {
			_ = c.home.Close()
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.resets--
		if err == nil {
			k.idle = append(k.idle, c)
		}
		close(k.changed)
		k.changed = make(chan struct{})
	}()
}

func (k *clusters) close() (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.awaitReset(func() bool { return false })
	for _, c := range k.idle {
		err = errors.Join(err, c.home.Close())
	}
	k.idle = nil
	return err
}

// startReusable starts one in an environment of its own.
func startReusable(ctx context.Context, crds bool) (c *Cluster, err error) {
	home, err := New()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, home.Close())
		}
	}()
	if c, err = home.StartCluster(ctx); err != nil {
		return nil, err
	}
	if crds {
		if err := c.InstallCRDs(ctx); err != nil {
			return nil, err
		}
	}
	c.home, c.hasCRDs = home, crds
	c.pristine, err = c.etcdState(ctx)
	return c, err
}

// Retire has nobody else use the cluster, whose kube-apiserver has grown too large.
func (c *Cluster) Retire() { c.retired = true }

// reset gives etcd what it kept when the cluster was new, and waits until the
// kube-apiserver knows of it.
func (c *Cluster) reset(ctx context.Context) error {
	if c.retired || c.APIServer.Exited() {
		return errors.New("the kube-apiserver is of no use any more")
	}
	now, err := c.etcdState(ctx)
	if err != nil {
		return err
	}
	for key, value := range c.pristine {
		if kept, found := now[key]; !found || !bytes.Equal(kept, value) {
			err = errors.Join(err, c.change(ctx, key, "put", map[string]any{"key": []byte(key), "value": value}))
		}
	}
	for key := range now {
		if _, kept := c.pristine[key]; !kept {
			err = errors.Join(err, c.change(ctx, key, "deleterange", map[string]any{"key": []byte(key)}))
		}
	}
	if err != nil {
		return err
	}
	return c.awaitPolicies(ctx)
}

// change changes a key; the definition of a kind is none that can be changed, since the
// kube-apiserver does not follow at once.
func (c *Cluster) change(ctx context.Context, key, call string, body map[string]any) error {
	if strings.HasPrefix(key, "/registry/apiextensions.k8s.io/") {
		return fmt.Errorf("%s was changed", key)
	}
	return c.askEtcd(ctx, call, body, nil)
}

// etcdState returns everything that etcd keeps, but for what the kube-apiserver writes
// for itself all the time.
func (c *Cluster) etcdState(ctx context.Context) (map[string][]byte, error) {
	var answer struct {
		KVs []struct{ Key, Value []byte }
	}
	all := map[string]any{"key": []byte("/registry/"), "range_end": []byte("/registry0")}
	if err := c.askEtcd(ctx, "range", all, &answer); err != nil {
		return nil, err
	}
	state := map[string][]byte{}
	for _, kv := range answer.KVs {
		state[string(kv.Key)] = kv.Value
	}
	maps.DeleteFunc(state, func(key string, _ []byte) bool {
		return strings.HasPrefix(key, "/registry/leases/kube-system/") || strings.HasPrefix(key, "/registry/apiregistration.k8s.io/")
	})
	return state, nil
}

// askEtcd calls the JSON form of etcd's API (etcd's documentation, "gRPC gateway").
func (c *Cluster) askEtcd(ctx context.Context, call string, body map[string]any, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcdURL+"/v3/kv/"+call, bytes.NewReader(text))
	if err != nil {
		return err
	}
	code, text, err := do(http.DefaultClient, req)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("etcd: %s: %d %s", call, code, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

const probePolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
    objectSelector: {matchLabels: {probe: NAME}}
  validations: [{expression: "false", message: NAME}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
`

// awaitPolicies waits until a policy made now refuses something: those that are gone then
// refuse nothing more. The kube-apiserver reads them once a second.
func (c *Cluster) awaitPolicies(ctx context.Context) error {
	name := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	if err := c.Apply(ctx, strings.ReplaceAll(probePolicy, "NAME", name)); err != nil {
		return err
	}
	refused := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"probe": name}}}}
	configMaps := c.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	err := Await(ctx, 30*time.Second, "the policies to be read", func() string {
		_, err := configMaps.Create(ctx, refused, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), name) {
			return ""
		}
		return fmt.Sprintf("not refused: %v", err)
	})
	for _, kind := range []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		err = errors.Join(err, c.Client.Resource(schema.GroupVersionResource{
			Group: "admissionregistration.k8s.io", Version: "v1", Resource: kind}).Delete(ctx, name, metav1.DeleteOptions{}))
	}
	return err
}
