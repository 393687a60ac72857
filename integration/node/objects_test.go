package node

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/jsonpath"
)

// What the tests read, by names that kubectl knows too. client-go's discovery
// would bring all the typed clients with it.
var (
	namespacedResources = map[string]schema.GroupVersionResource{
		"cronjob":        {Group: "batch", Version: "v1", Resource: "cronjobs"},
		"endpointslices": {Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
		"events":         {Version: "v1", Resource: "events"},
		"networkpolicy":  {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		"pod":            {Version: "v1", Resource: "pods"},
		"role":           {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		"secret":         {Version: "v1", Resource: "secrets"},
		"serviceaccount": {Version: "v1", Resource: "serviceaccounts"},
		"statefulset":    {Group: "apps", Version: "v1", Resource: "statefulsets"},
	}
	clusterResources = map[string]schema.GroupVersionResource{
		"clusterrole":        {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
		"clusterrolebinding": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
		"clustersecretstore": {Group: "external-secrets.io", Version: "v1", Resource: "clustersecretstores"},
	}
)

// newReader makes a client that reads objects of the node. A wait asks again
// and again, and each start of a kubectl would take from the node what it is
// waited for with.
func newReader(dir string) (dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 20, 5 // the pace of a wait
	config.Timeout = 10 * time.Second
	// A power cut ends no connection: with HTTP/1 a request that timed out takes
	// its connection with it.
	config.NextProtos = []string{"http/1.1"}
	return dynamic.NewForConfig(config)
}

// getObject reads an object, named as to kubectl get: [-n NAMESPACE] KIND [NAME], or
// KIND/NAME. Without a name it is the list. What is not there is nil.
func getObject(ctx context.Context, from dynamic.Interface, object ...string) (map[string]any, error) {
	namespace := ""
	if object[0] == "-n" {
		namespace, object = object[1], object[2:]
	}
	if len(object) == 1 {
		object = strings.Split(object[0], "/")
	}
	var source dynamic.ResourceInterface
	if kind, ok := namespacedResources[object[0]]; ok {
		source = from.Resource(kind).Namespace(namespace)
	} else if kind, ok := clusterResources[object[0]]; ok {
		source = from.Resource(kind)
	} else {
		return nil, fmt.Errorf("the tests do not know the kind %s", object[0])
	}
	if len(object) == 1 {
		list, err := source.List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		return list.UnstructuredContent(), nil
	}
	one, err := source.Get(ctx, object[1], metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return one.UnstructuredContent(), nil
}

// jsonPath is the field of an object at a JSON path, and "" when it is not there.
func jsonPath(path string, object map[string]any) (string, error) {
	query := jsonpath.New(path).AllowMissingKeys(true)
	if err := query.Parse(path); err != nil {
		return "", err
	}
	var found bytes.Buffer
	if object != nil {
		if err := query.Execute(&found, object); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(found.String()), nil
}
