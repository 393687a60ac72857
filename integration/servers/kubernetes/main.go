// Command kubernetes is a real Kubernetes, with its etcd and a CoreDNS, built
// from their Go modules for the integration tests, the demo and the benchmark.
//
// Its programs are one binary: they share nearly all of their code, which is
// so compiled, linked and kept once. Which of them it is, the name it was
// called by says, or else its first argument:
//
//	kubernetes kube-apiserver --help
//
// With the build tag apiserver it is etcd and kube-apiserver alone, which is what
// the demo takes: three quarters of the code.
//
// It must not change how they behave. Known differences: CoreDNS has fewer
// plugins, and kube-proxy takes CoreDNS's flags for its own, so that it does
// not print its version.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the programs' own clients
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// programs are what the binary can be: these, and those of a whole node (node.go).
// Each reads os.Args by itself and returns its exit code, if it returns.
var programs = map[string]func() int{
	"etcd":           runEtcd,
	"kube-apiserver": component(apiserver.NewAPIServerCommand),
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := programs[name]; !known && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	run, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%s is none of %s\n", name, strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
		os.Exit(2)
	}
	os.Exit(run())
}

// component makes the command only when it runs: making one sets flags and
// feature gates that belong to the whole process.
func component(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
