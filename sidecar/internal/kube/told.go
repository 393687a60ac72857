package kube

import (
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Meter counts. Its methods do not block.
type Meter interface {
	Failed(manifest string) // a call, by the manifest that grants it
	Touched(kind string)    // an object was annotated
	Evicted()               // a pod was
	// Reached tells that a store is Ready, or all objects are synced, and how
	// long after the trouble began.
	Reached(step string, took time.Duration)
	// Policy tells the state of the policy for what a manifest grants.
	Policy(manifest, state string)
}

// The steps of ESO's recovery.
const (
	stepStore   = "store"
	stepObjects = "objects"
)

// noopMetrics stands where nobody counts.
type noopMetrics struct{}

func (noopMetrics) Failed(string)  {}
func (noopMetrics) Touched(string) {}
func (noopMetrics) Evicted()       {}

func (noopMetrics) Reached(string, time.Duration) {}
func (noopMetrics) Policy(string, string)         {}

// telemetry is told what happens.
type telemetry struct {
	hclog.Logger
	Meter
}

func newTelemetry(c Config) telemetry {
	if c.Meter == nil {
		c.Meter = noopMetrics{}
	}
	return telemetry{c.Log, c.Meter}
}

// told logs a trouble when it begins, when it becomes another, and when it is
// over, however often it is met in between. The zero value is well.
type told struct{ last string }

// logError says that something failed with err, or works when err is nil.
func (t *told) logError(log telemetry, what, grants string, err error) {
	if err == nil {
		if t.last != "" {
			log.Info(msgWorksAgain, keyWhat, what)
		}
		t.last = ""
		return
	}
	log.Failed(strings.TrimPrefix(grants, "manifests/"))
	kind := apierrors.ReasonForError(err)
	err = said(err)
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
