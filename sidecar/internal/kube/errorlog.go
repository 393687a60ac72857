package kube

import (
	"cmp"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Meter counts. Its methods do not block.
type Meter interface {
	Failed(manifest string) // a call, by the manifest that grants it
	Touched(kind string)    // an object was annotated
	Evicted()               // a pod was
	// Reached reports that a store is Ready, or all objects are synced, and how
	// long after the trouble began.
	Reached(step string, took time.Duration)
	// Policy reports the state of the policy for what a manifest grants.
	Policy(manifest, state string)
}

// The steps of ESO's recovery.
const (
	StepStore   = "store"
	StepObjects = "objects"
)

// NoopMetrics counts nothing.
type NoopMetrics struct{}

func (NoopMetrics) Failed(string)  {}
func (NoopMetrics) Touched(string) {}
func (NoopMetrics) Evicted()       {}

func (NoopMetrics) Reached(string, time.Duration) {}
func (NoopMetrics) Policy(string, string)         {}

// Telemetry is where events are logged and counted, and whose rights those are that are
// missing.
type Telemetry struct {
	hclog.Logger
	Meter
	Rights
}

func NewTelemetry(log hclog.Logger, m Meter, r Rights) Telemetry {
	if m == nil {
		m = NoopMetrics{}
	}
	return Telemetry{log, m, r}
}

// ErrorLog logs a trouble when it begins, when it becomes another, and when it is
// over, however often it is met in between. The zero value is well.
type ErrorLog struct{ last string }

// Log says that something failed with err, or works when err is nil. The component of
// manifests/ is given that grants it.
func (t *ErrorLog) Log(log Telemetry, what, grants string, err error) {
	if err == nil {
		if t.last != "" {
			log.Info(msgWorksAgain, keyWhat, what)
		}
		t.last = ""
		return
	}
	log.Failed(grants)
	err = SafeError(err)
	text := cmp.Or(string(apierrors.ReasonForError(err)), "unreachable")
	if text == t.last {
		log.Debug(msgFails, keyWhat, what, keyError, err)
		return
	}
	t.last = text
	args := []any{keyWhat, what, keyError, err}
	if apierrors.IsForbidden(err) {
		args = append(args, keyAdvice, log.RefusedTo(err).Apply(grants))
	}
	log.Warn(msgFails, args...)
}

// Short is a duration as a person reads it.
func Short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
