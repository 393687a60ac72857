package main

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/metrics"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// newCluster returns nil where there is no Kubernetes to tell. It never fails: whatever
// is wrong there, Vault is unsealed.
func newCluster(c config, log hclog.Logger, counts *metrics.Metrics, latest *status.Latest) *restarted {
	inPod := os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	if c.kubernetes == "off" || !inPod && c.kubeconfig == "" {
		return nil
	}
	if c.podName == "" || c.podNamespace == "" {
		log.Warn("our own pod is not known, no condition and no Event is written", "advice", "set POD_NAME and POD_NAMESPACE from the downward API")
	}
	start := func() (component, error) { return newKubernetesHalf(c, log, counts, latest) }
	first, err := start()
	if err != nil {
		log.Warn("the kubernetes API is not used", "error", err, "advice", "mount a token of a ServiceAccount, or set --kubernetes off")
		return nil
	}
	return &restarted{first: first, start: start, log: log}
}

// kubernetesHalf is all that is told and done in Kubernetes.
type kubernetesHalf struct {
	pod        *podstatus.Pod  // nil without its name
	controller *eso.Controller // nil with RecoveryOff
	policies   *policy.Restriction
}

// newKubernetesHalf fails when there are no credentials, or they cannot be read.
func newKubernetesHalf(c config, log hclog.Logger, counts *metrics.Metrics, latest *status.Latest) (*kubernetesHalf, error) {
	api, err := kube.Connect(kube.Config{Kubeconfig: c.kubeconfig, Version: version, Log: log})
	if err != nil {
		return nil, err
	}
	k := &kubernetesHalf{}
	k.pod = podstatus.New(podstatus.Config{
		Name: c.podName, Namespace: c.podNamespace, Gate: c.readinessGate, Rights: c.eso().Rights(), Log: log, Meter: counts, OnImage: latest.PublishImage,
		OnReady: k.podIsReady,
	}, api)
	k.policies = policy.New(policy.Config{
		Trial:  policy.Trial{API: api, Pod: c.podName, Namespace: c.podNamespace, ControllerNamespace: c.esoNamespace},
		Rights: c.eso().Rights(), Log: log, Meter: counts,
	}, k.pod)
	if c.esoRecovery != eso.RecoveryOff {
		e := c.eso()
		e.Log, e.Meter, e.Memory = log, counts, statefile.New(c.stateDir, evictionName)
		resolvConf, _ := os.ReadFile("/etc/resolv.conf") // without one there is no domain but the usual
		e.ClusterDomain = kube.ClusterDomain(string(resolvConf), c.podNamespace)
		e.Report = latest.PublishSecrets
		k.controller = eso.New(e, api, k.pod)
	}
	return k, nil
}

// Publish takes the core's newest state. It does not block.
func (k *kubernetesHalf) Publish(s unseal.Snapshot) {
	k.pod.Publish(s)
	if k.controller != nil {
		k.controller.Publish(s)
	}
}

// podIsReady takes that our pod turned Ready. It does not block.
func (k *kubernetesHalf) podIsReady() {
	if k.controller != nil {
		k.controller.PodIsReady()
	}
}

// Run works until ctx is done, or until some part of it panics, which it returns.
func (k *kubernetesHalf) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := kube.Group{End: cancel}
	k.pod.Run(ctx, parts.Go)
	if k.policies != nil {
		parts.Go(func() { k.policies.Run(ctx) })
	}
	if k.controller != nil {
		parts.Go(func() { k.controller.Run(ctx, parts.Go) })
	}
	parts.Wait()
	<-ctx.Done() // there may be nothing to do
	return context.Cause(ctx)
}
