package kube

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

var silenced sync.Once

// redirectKlog has what client-go prints by itself in the log at debug: it is of no
// use to the person who runs this, and repeats what others wrote.
func redirectKlog(log hclog.Logger) {
	silenced.Do(func() {
		klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(debugLog{log}))))
		// A watch decodes in a goroutine of client-go's own. One that panics
		// ends, and is begun again.
		utilruntime.ReallyCrash = false
		var said atomic.Value // of the newest
		utilruntime.PanicHandlers = []func(context.Context, any){func(_ context.Context, r any) {
			err := PanicOf(r)
			if said.Swap(err.Error()) != err.Error() {
				log.Error(MsgPanicked, keyError, err, keyAdvice, AdvicePanicked)
			}
		}}
	})
}

type debugLog struct{ hclog.Logger }

// Write implements io.Writer.
func (l debugLog) Write(line []byte) (int, error) {
	l.Debug(SafeText(string(line)))
	return len(line), nil
}
