package eso

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// The kinds of External Secrets that are spoken of.
var (
	ClusterStores   = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "clustersecretstores"}
	NamespaceStores = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "secretstores"}
	ExternalSecrets = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "externalsecrets"}
	PushSecrets     = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1alpha1", Resource: "pushsecrets"}
	// PushSecretsV1 take their place where they are served as v1 alone.
	PushSecretsV1 = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "pushsecrets"}
)

// The kinds that are spoken of by name.
const (
	kindClusterStore = "ClusterSecretStore"
	kindStore        = "SecretStore"
)

// annotation makes ESO sync again at once.
const annotation = "force-sync"

// objectName is what Kubernetes accepts as one (RFC 1123).
var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// StoreName names a SecretStore, or a ClusterSecretStore when Namespace is
// empty.
type StoreName struct {
	Namespace string
	Name      string
}

// ParseStores reads a list of NAME (a ClusterSecretStore) and NAMESPACE/NAME
// (a SecretStore), with commas between them.
func ParseStores(list string) ([]StoreName, error) {
	var out []StoreName
	for _, entry := range strings.Split(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		namespace, name, inNamespace := strings.Cut(entry, "/")
		if !inNamespace {
			namespace, name = "", entry
		}
		if !objectName.MatchString(name) || inNamespace && !objectName.MatchString(namespace) {
			return nil, fmt.Errorf("%q is neither NAME nor NAMESPACE/NAME", entry)
		}
		out = append(out, StoreName{namespace, name})
	}
	return out, nil
}

// kind returns the kind of the store.
func (n StoreName) kind() string {
	if n.Namespace == "" {
		return kindClusterStore
	}
	return kindStore
}

// String returns the kind and the name, as people write them.
func (n StoreName) String() string {
	if n.Namespace == "" {
		return kindClusterStore + "/" + n.Name
	}
	return kindStore + "/" + n.Namespace + "/" + n.Name
}

// Store is the part of a store that decides something.
type Store struct {
	StoreName
	uid        string
	Vault      bool   // its provider is Vault
	Server     string // of Vault, a URL
	Namespaced bool   // it uses a namespace of Vault: OpenBao's can be sealed alone
	Status     string // of its Ready condition; "" when it has none yet
	Reason     string
	Message    string
}

// Manages reports whether a store is one of ours: one that was
// named, or when none was, one that may use the Vault beside us.
func (c Config) Manages(s Store) bool {
	if len(c.Stores) > 0 {
		return slices.Contains(c.Stores, s.StoreName)
	}
	return s.Vault && !inOtherNamespace(s.Server, c.Namespace)
}

// Ignores reports whether a store is not managed although it uses Vault and the
// options name none.
func (c Config) Ignores(s Store) bool {
	return len(c.Stores) == 0 && s.Vault && !c.Manages(s)
}

// inOtherNamespace reports whether a server is a Service of another namespace than ours,
// and with it another Vault, with a sidecar of its own. Whatever else it is
// called may lead to ours: an ingress does.
func inOtherNamespace(server, namespace string) bool {
	u, err := url.Parse(server)
	if err != nil || namespace == "" {
		return false
	}
	name, _, is := strings.Cut(canonicalHost(u.Hostname())+".", ".svc.") // of whichever cluster
	dot := strings.LastIndex(name, ".")
	return is && dot > 0 && name[dot+1:] != namespace
}

func (s Store) Ready() bool { return s.Status == kube.True }

// Down reports whether ESO has seen that the store does not work. One without any Ready
// condition has not been looked at: its spec.controller names another controller, or the
// controller's options leave its kind out.
func (s Store) Down() bool { return s.Status != "" && !s.Ready() }

// canonicalHost spells a host in one way, and an address as netip does.
func canonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String()
	}
	return host
}

// withoutDomain returns the name of a Service of this cluster without the cluster's domain. Below
// any other domain, whoever owns that says where the name leads.
func (c Config) withoutDomain(host string) string {
	for _, domain := range []string{"cluster.local", c.ClusterDomain} {
		if service, is := strings.CutSuffix(host, ".svc."+domain); is {
			return service + ".svc"
		}
	}
	return host
}

// StoreOf reads a store, or leaves empty what is malformed.
func StoreOf(o *unstructured.Unstructured) Store {
	s := Store{StoreName: StoreName{o.GetNamespace(), o.GetName()}, uid: string(o.GetUID())}
	for _, provider := range []string{"vault", "openBao"} { // the second from ESO 2.7 on
		if vault, found, _ := unstructured.NestedMap(o.Object, "spec", "provider", provider); found {
			server, _ := vault["server"].(string)
			s.Vault, s.Server = true, kube.SafeText(server)
			namespace, _ := vault["namespace"].(string)
			ofLogin, _, _ := unstructured.NestedString(vault, "auth", "namespace")
			s.Namespaced = namespace != "" || ofLogin != ""
		}
	}
	c := ReadyOf(o)
	s.Status, s.Reason, s.Message = c.Status, c.Reason, c.Message
	return s
}

// ReadyOf returns the Ready condition; the zero one when there is none.
func ReadyOf(o *unstructured.Unstructured) kube.Condition {
	for _, c := range kube.ConditionsOf(o) {
		if c.Type == "Ready" {
			return c
		}
	}
	return kube.Condition{}
}
