package kube

import (
	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// told logs a trouble when it begins, when it becomes another, and when it is
// over, however often it is met in between. The zero value is well.
type told struct{ last string }

// trouble says that something failed with err, or works when err is nil.
func (t *told) trouble(log hclog.Logger, what, grants string, err error) {
	if err == nil {
		if t.last != "" {
			log.Info(msgWorksAgain, keyWhat, what)
		}
		t.last = ""
		return
	}
	kind := apierrors.ReasonForError(err)
	text := string(kind)
	if text == "" {
		text = "unreachable"
	}
	if text == t.last {
		log.Debug(msgFails, keyWhat, what, keyError, err)
		return
	}
	t.last = text
	args := []any{keyWhat, what, keyError, err}
	if apierrors.IsForbidden(err) {
		args = append(args, keyAdvice, "apply "+grants)
	}
	log.Warn(msgFails, args...)
}
