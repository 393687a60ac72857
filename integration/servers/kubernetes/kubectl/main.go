// Command kubectl is the real kubectl. It is not one of the programs of the
// binary kubernetes: that takes twice as long to start, and a script
// starts kubectl for each of its steps.
package main

import (
	_ "github.com/alybadawy/vault-unseal-sidecar/integration/servers/kubernetes/kubectl/quick"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints it and exits as kubectl does
	}
}
