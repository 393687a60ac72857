// Package kube reaches the Kubernetes API: it lists and follows objects within
// bounds, tries again, and logs errors. It is built on client-go's dynamic
// client alone: typed clients, informers and event recorders would double the binary
// and the memory.
//
// It must not know what is done with the objects, nor anything of Vault.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// Config says how the API is reached.
type Config struct {
	Kubeconfig string // paths, as in kubectl's KUBECONFIG; empty: the pod's own service account
	Context    string // of the kubeconfig; empty: its current one
	Version    string // for the User-Agent
	Log        hclog.Logger
	// Whole keeps of an answer what nobody reads while the sidecar runs. It is for a
	// check, which is a short process of its own.
	Whole bool
}

// Connect returns a client that has not connected yet. It fails when there are no
// credentials, or they cannot be read.
func Connect(c Config) (dynamic.Interface, error) {
	redirectKlog(c.Log)
	var connection *rest.Config
	var err error
	if c.Kubeconfig != "" {
		connection, err = fromKubeconfig(c)
	} else if connection, err = rest.InClusterConfig(); err == nil {
		// The environment of the pod may name a proxy that is meant for Vault: the API
		// server is beside it, and its calls are nobody else's business.
		connection.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	if err != nil {
		return nil, fmt.Errorf("preparing to speak to the Kubernetes API: %w", err)
	}
	connection.UserAgent = "vault-unseal-sidecar/" + c.Version
	connection.QPS = -1 // each kind of write has a limiter of its own
	// The only warnings so far are of deprecations, which a person who runs
	// this cannot do anything about.
	connection.WarningHandler = rest.NoWarnings{}
	connection.Wrap(bound(c.Whole))
	api, err := dynamic.NewForConfig(connection)
	if err != nil {
		return nil, fmt.Errorf("preparing to speak to the Kubernetes API: %w", err)
	}
	return api, nil
}

// HomeKubeconfig is the file that kubectl reads where nothing names another.
func HomeKubeconfig() string { return clientcmd.RecommendedHomeFile }

// fromKubeconfig reads the files as kubectl does: the first that says something wins, and
// of several some may be missing.
func fromKubeconfig(c Config) (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(c.Kubeconfig)}
	if len(rules.Precedence) == 1 {
		rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
	}
	merged, err := rules.Load()
	if err != nil {
		return nil, err
	}
	return clientcmd.NewNonInteractiveClientConfig(*merged, c.Context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
}

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
