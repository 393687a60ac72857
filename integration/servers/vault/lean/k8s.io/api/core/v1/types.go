// Package v1 has of Kubernetes' types the two whose metadata Vault's Kubernetes
// login reads: all of them take as long to compile as Vault's core.
package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

type Namespace struct {
	metav1.ObjectMeta `json:"metadata"`
}

type ServiceAccount struct {
	metav1.ObjectMeta `json:"metadata"`
}
