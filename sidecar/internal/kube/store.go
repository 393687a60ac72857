package kube

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The kinds that are spoken of by name.
const (
	kindClusterStore = "ClusterSecretStore"
	kindStore        = "SecretStore"

	kindClusterSecret = "ClusterExternalSecret"
)

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

// store is the part of a store that decides something.
type store struct {
	StoreName
	uid     string
	vault   bool   // its provider is Vault
	server  string // of Vault, a URL
	status  string // of its Ready condition; "" when it has none yet
	reason  string
	message string
}

// manages tells whether a store is one that we look after: one that was
// named, or when none was, one that may use the Vault beside us.
func (c Config) manages(s store) bool {
	if len(c.Stores) > 0 {
		return slices.Contains(c.Stores, s.StoreName)
	}
	return s.vault && !elsewhere(s.server, c.Namespace)
}

// ignores tells whether a store is not looked after although it uses Vault
// and nobody said which are ours.
func (c Config) ignores(s store) bool {
	return len(c.Stores) == 0 && s.vault && !c.manages(s)
}

// elsewhere tells whether a server is a Service of another namespace than ours,
// and with it another Vault, with a sidecar of its own. Whatever else it is
// called may lead to ours: an ingress does.
func elsewhere(server, namespace string) bool {
	u, err := url.Parse(server)
	if err != nil || namespace == "" {
		return false
	}
	host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), ".cluster.local")
	name, is := strings.CutSuffix(host, ".svc")
	dot := strings.LastIndex(name, ".")
	return is && dot > 0 && name[dot+1:] != namespace
}

func (s store) ready() bool { return s.status == yes }

// storeOf reads a store, or leaves empty what is malformed.
func storeOf(o *unstructured.Unstructured) store {
	s := store{StoreName: StoreName{o.GetNamespace(), o.GetName()}, uid: string(o.GetUID())}
	_, s.vault, _ = unstructured.NestedMap(o.Object, "spec", "provider", "vault")
	server, _, _ := unstructured.NestedString(o.Object, "spec", "provider", "vault", "server")
	s.server = theirs(server)
	c := readyOf(o)
	s.status, s.reason, s.message = c.Status, c.Reason, c.Message
	return s
}

// readyOf returns the Ready condition; the zero one when there is none.
func readyOf(o *unstructured.Unstructured) condition {
	for _, c := range conditionsOf(o) {
		if c.Type == "Ready" {
			return c.condition
		}
	}
	return condition{}
}
