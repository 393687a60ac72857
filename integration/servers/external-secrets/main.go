// Command external-secrets is a real External Secrets Operator, built from its
// Go module for the integration tests, the demo and the benchmark.
//
// The module's own main cannot be installed as others' can: `go install` takes
// no module that has replace directives. This main takes its place, and its
// go.mod repeats them. It must not change how the operator behaves. Known
// differences: of the providers it has those in lean/ alone, without AWS's login
// at Vault, and of Kubernetes' API it knows the groups that it uses. That leaves a
// quarter of what has to be compiled.
//
// The version is the newest that builds as a Go module.
package main

import "github.com/external-secrets/external-secrets/cmd/controller"

func main() { controller.Execute() }
