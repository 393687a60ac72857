package eso

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// Whether a store's server is the Vault beside us.
func TestIsOurVault_KnowsEachSpellingOfOurServices(t *testing.T) {
	pod := kubetest.Object(t, `{"metadata":{"name":"vault-0","namespace":"security","labels":{"app":"vault","x":"y"}}}`)
	services := []string{
		`{"metadata":{"name":"vault","namespace":"security"},"spec":{"selector":{"app":"vault"},"clusterIPs":["10.96.0.7","fd00::7"],
			"externalIPs":["192.0.2.9"]},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"},{"ip":"2001:DB8::7"},{"hostname":"Vault.example.com."}]}}}`,
		`{"metadata":{"name":"vault-internal","namespace":"security"},"spec":{"selector":{"app":"vault"},"clusterIPs":["None"]}}`,
		`{"metadata":{"name":"vault-active","namespace":"security"},"spec":{"selector":{"app":"vault","role":"active"},"clusterIPs":["10.96.0.8"]}}`,
		`{"metadata":{"name":"postgres","namespace":"security"},"spec":{"selector":{"app":"postgres"},"clusterIPs":["10.96.0.9"]}}`,
	}
	routes := map[string][]string{"services": services, "ingresses": {
		`{"metadata":{"name":"vault","namespace":"security"},"spec":{"rules":[
			{"host":"Vault.in.example.com","http":{"paths":[{"path":"/","backend":{"service":{"name":"vault"}}}]}},
			{"host":"db.in.example.com","http":{"paths":[{"path":"/","backend":{"service":{"name":"postgres"}}}]}},
			{"host":"*.wild.example.com","http":{"paths":[{"path":"/","backend":{"service":{"name":"vault"}}}]}},
			{"http":{"paths":[{"backend":{"service":{"name":"vault"}}}]}},{"host":"bare.example.com"}]}}`,
	}, "httproutes": {
		`{"metadata":{"name":"vault","namespace":"security"},"spec":{"hostnames":["vault.gw.example.com","secrets.gw.example.com"],
			"rules":[{"backendRefs":[{"name":"postgres"}]},{"backendRefs":[{"name":"vault","port":8200}]}]}}`,
		`{"metadata":{"name":"other","namespace":"security"},"spec":{"hostnames":["other.gw.example.com"],"rules":[
			{"backendRefs":[{"name":"vault","namespace":"other"}]},{"backendRefs":[{"name":"vault","kind":"Bucket"}]},{}]}}`,
	}}
	refused := error(nil)
	api := &kubetest.API{
		OnGet: func(kubetest.At, string) *unstructured.Unstructured { return pod },
		OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) (out []unstructured.Unstructured, _ string, _ error) {
			if refused != nil && at.Resource.Resource != "services" {
				return nil, "", refused
			}
			for _, text := range routes[at.Resource.Resource] {
				out = append(out, *kubetest.Object(t, text))
			}
			return out, "", nil
		},
	}
	for server, want := range map[string]bool{
		"http://vault.security:8200":                               true,
		"http://vault.security.svc:8200":                           true,
		"https://Vault.Security.svc.cluster.local.:8200":           true,
		"http://vault.security.svc.home.lan:8200":                  true,
		"http://vault-0.vault-internal.security.svc.home.lan":      true,
		"http://vault-0.vault-internal.security:8200":              true,
		"http://10.96.0.7:8200":                                    true,
		"http://[fd00:0::7]:8200":                                  true,
		"http://192.0.2.7:8200":                                    true,
		"https://[2001:db8::7]":                                    true,
		"https://192.0.2.9":                                        true,
		"https://vault.example.com":                                true,
		"http://vault:8200":                                        false, // of ESO's namespace
		"http://vault.other:8200":                                  false,
		"http://vault.other.svc.home.lan:8200":                     false,
		"http://vault.security.svc.stranger.example":               false,
		"http://vault.security.svc.cluster.local.stranger.example": false,
		"http://vault.security.svc.home.lan.stranger.example:8200": false,
		"http://vault.security.stranger.example":                   false,
		"http://vault.security.svc.":                               true,
		"http://vault-active.security.svc:8200":                    false, // another replica
		"http://postgres.security.svc:8200":                        false,
		"http://none:8200":                                         false,
		"http://10.96.0.9:8200":                                    false,
		"https://vault.elsewhere.example.com":                      false,
		"https://vault.in.example.com":                             true, // an Ingress
		"https://db.in.example.com":                                false,
		"https://x.wild.example.com":                               false, // who else is below it is not known
		"https://bare.example.com":                                 false,
		"https://secrets.gw.example.com:8443":                      true, // an HTTPRoute
		"https://other.gw.example.com":                             false,
	} {
		t.Run(server, func(t *testing.T) {
			n := newController(t, Config{Namespace: "security", Pod: "vault-0", ControllerNamespace: "external-secrets",
				ClusterDomain: "home.lan", Log: hclog.NewNullLogger()}, api, nil)
			ours, err := n.isOurVault(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, ours(Store{Server: server}))
		})
	}
	for code, optional := range map[int]bool{http.StatusForbidden: true, http.StatusNotFound: true, http.StatusInternalServerError: false} {
		t.Run(fmt.Sprint("routes that cannot be listed: ", code), func(t *testing.T) {
			refused = apierrors.NewGenericServerResponse(code, "list", schema.GroupResource{}, "", "", 0, false)
			defer func() { refused = nil }()
			n := newController(t, Config{Namespace: "security", Pod: "vault-0", ControllerNamespace: "external-secrets", Log: hclog.NewNullLogger()}, api, nil)
			ours, err := n.isOurVault(t.Context())
			if !optional {
				require.ErrorContains(t, err, "listing the ingresses beside us")
				return
			}
			require.NoError(t, err)
			assert.True(t, ours(Store{Server: "http://vault.security:8200"}))
			assert.False(t, ours(Store{Server: "https://vault.in.example.com"}))
		})
	}
	t.Run("a short name, where ESO is in Vault's namespace", func(t *testing.T) {
		n := newController(t, Config{Namespace: "security", Pod: "vault-0", ControllerNamespace: "security", Log: hclog.NewNullLogger()}, api, nil)
		ours, err := n.isOurVault(t.Context())
		require.NoError(t, err)
		assert.True(t, ours(Store{Server: "http://vault:8200"}))
		assert.True(t, ours(Store{Server: "http://vault-0.vault-internal:8200"}))
	})
}

func TestServiceHosts_AreOfWhatSelectsOurPod(t *testing.T) {
	pod := kubetest.Object(t, `{"metadata":{"name":"vault-0","labels":{"app":"vault","x":"y"}}}`)
	for _, selector := range []string{`{"app":"other"}`, `{"app":"vault","role":"active"}`, `{"app":"vault","role":""}`, `{}`, `null`} {
		assert.Empty(t, ServiceHosts(kubetest.Object(t, `{"metadata":{"name":"s","namespace":"security"},"spec":{"selector":`+selector+`}}`), pod, "security"), selector)
	}
}
