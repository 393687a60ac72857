package eso

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// maxNames bounds what is remembered of the Services beside us and of what leads to them,
// in bytes.
const maxNames = 1 << 20

// isOurVault returns what reports whether a store's Vault is the one beside us. The
// Vault of a store named in the options is.
func (n *Controller) isOurVault(ctx context.Context) (func(Store) bool, error) {
	var names []string
	if len(n.config.Stores) == 0 && n.config.Namespace != "" {
		var err error
		if names, err = n.vaultHosts(ctx); err != nil {
			return nil, err
		}
	}
	return func(s Store) bool {
		if slices.Contains(n.config.Stores, s.StoreName) {
			return true
		}
		u, err := url.Parse(s.Server)
		if err != nil {
			return false
		}
		host := canonicalHost(u.Hostname())
		return slices.Contains(names, host) || slices.Contains(names, n.config.withoutDomain(host))
	}, nil
}

// vaultHosts returns the names and the addresses by which our pod is reached
// through the Services that select it, and through what leads to those.
func (n *Controller) vaultHosts(ctx context.Context) ([]string, error) {
	within, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	self, err := n.api.Resource(kube.Pods).Namespace(n.config.Namespace).Get(within, n.config.Pod, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading our own pod: %w", err)
	}
	var hosts, services []string
	room := maxNames
	add := func(names []string) bool {
		for _, name := range names {
			if room -= len(name) + kube.EntryCost; room < 0 {
				return false
			}
			hosts = append(hosts, name)
		}
		return true
	}
	list := func(kind schema.GroupVersionResource, each func(*unstructured.Unstructured) bool) error {
		_, err := kube.EachObject(ctx, n.api.Resource(kind).Namespace(n.config.Namespace), metav1.ListOptions{}, each)
		return err
	}
	err = list(kube.Services, func(o *unstructured.Unstructured) bool {
		names := ServiceHosts(o, self, n.config.ControllerNamespace)
		if names != nil {
			services = append(services, o.GetName()) // no longer than its names
		}
		return add(names)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the Services beside us: %w", err)
	}
	for _, kind := range routeKinds {
		if room < 0 {
			break
		}
		err := list(kind, func(o *unstructured.Unstructured) bool { return add(routeHosts(o, services)) })
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) { // they are optional
			return nil, fmt.Errorf("listing the %s beside us: %w", kind.Resource, err)
		}
	}
	return hosts, nil
}

// routeKinds are what leads to Services of its namespace from outside.
var routeKinds = []schema.GroupVersionResource{
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"},
}

// routeHosts returns the hosts that an Ingress or an HTTPRoute leads to one of the
// Services. Those with a wildcard are no server's.
func routeHosts(route *unstructured.Unstructured, services []string) (hosts []string) {
	leads := func(to map[string]any, path ...string) bool {
		name, _, _ := unstructured.NestedString(to, path...)
		return slices.Contains(services, name)
	}
	for _, rule := range kube.Entries(route.Object, "spec", "rules") {
		if slices.ContainsFunc(kube.Entries(rule, "http", "paths"), func(path map[string]any) bool {
			return leads(path, "backend", "service", "name")
		}) {
			host, _ := rule["host"].(string)
			hosts = append(hosts, host)
		}
		if slices.ContainsFunc(kube.Entries(rule, "backendRefs"), func(ref map[string]any) bool {
			kind, _ := ref["kind"].(string)
			namespace, _ := ref["namespace"].(string)
			return leads(ref, "name") && (kind == "" || kind == "Service") && (namespace == "" || namespace == route.GetNamespace())
		}) {
			names, _, _ := unstructured.NestedStringSlice(route.Object, "spec", "hostnames")
			hosts = append(hosts, names...)
		}
	}
	return canonicalHosts(hosts)
}

// ServiceHosts returns the names and the addresses of one Service, as a pod in that
// namespace finds it; none when it does not select ours.
func ServiceHosts(service, pod *unstructured.Unstructured, from string) []string {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	labels := pod.GetLabels()
	for key, value := range selector {
		if has, found := labels[key]; !found || has != value {
			return nil
		}
	}
	if len(selector) == 0 {
		return nil
	}
	domain := service.GetName() + "." + service.GetNamespace()
	names := []string{domain, domain + ".svc", pod.GetName() + "." + domain, pod.GetName() + "." + domain + ".svc"}
	if service.GetNamespace() == from {
		names = append(names, service.GetName(), pod.GetName()+"."+service.GetName())
	}
	for _, field := range []string{"clusterIPs", "externalIPs"} {
		addresses, _, _ := unstructured.NestedStringSlice(service.Object, "spec", field)
		names = append(names, addresses...)
	}
	balancers, _, _ := unstructured.NestedSlice(service.Object, "status", "loadBalancer", "ingress")
	for _, balancer := range balancers {
		balancer, _ := balancer.(map[string]any)
		for _, field := range []string{"ip", "hostname"} {
			name, _, _ := unstructured.NestedString(balancer, field)
			names = append(names, name)
		}
	}
	return canonicalHosts(names)
}

// canonicalHosts leaves out what is no host: an empty name, and the address of a Service
// that has none.
func canonicalHosts(names []string) []string {
	for i := range names {
		names[i] = canonicalHost(names[i])
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" || name == "none" })
}
