package eso

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// The kinds of External Secrets that are spoken of.
var (
	ClusterStores   = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "clustersecretstores"}
	NamespaceStores = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "secretstores"}
	ExternalSecrets = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "externalsecrets"}
	ClusterSecrets  = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1", Resource: "clusterexternalsecrets"}
	PushSecrets     = schema.GroupVersionResource{Group: kube.ESOGroup, Version: "v1alpha1", Resource: "pushsecrets"}
)

// The kinds that are spoken of by name.
const (
	kindClusterStore = "ClusterSecretStore"
	kindStore        = "SecretStore"

	kindClusterSecret = "ClusterExternalSecret"
)

// The annotations that make ESO sync again at once.
const (
	annotation       = "force-sync"
	parentAnnotation = "external-secrets.io/force-sync" // of a ClusterExternalSecret (ESO 0.20)
)
