// Package v1 has of Kubernetes' types what Vault's Kubernetes login reads.
package v1

import (
	"errors"

	"k8s.io/apimachinery/pkg/labels"
)

const StatusSuccess = "Success"

type ObjectMeta struct {
	Name        string            `json:"name,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type Status struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
}

type LabelSelector struct {
	MatchExpressions []struct{}
}

func LabelSelectorAsSelector(*LabelSelector) (labels.Selector, error) {
	return nil, errors.New("selectors of namespaces are left out of this Vault")
}
