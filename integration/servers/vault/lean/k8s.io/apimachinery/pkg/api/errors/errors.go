// Package errors makes errors of the answers of a Kubernetes API server.
package errors

import (
	"errors"
	"fmt"
	"net/http"

	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type StatusError struct{ v1.Status }

func (e *StatusError) Error() string { return e.Message }

func NewGenericServerResponse(code int, verb string, _ schema.GroupResource, _, text string, _ int, _ bool) *StatusError {
	return &StatusError{v1.Status{Code: code, Message: fmt.Sprintf("%s was answered with %d: %s", verb, code, text)}}
}

func FromObject(object runtime.Object) error {
	if status, ok := object.(*v1.Status); ok {
		return &StatusError{*status}
	}
	return fmt.Errorf("unexpected object: %v", object)
}

func IsUnauthorized(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == http.StatusUnauthorized
}
