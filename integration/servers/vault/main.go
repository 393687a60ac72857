// Command vault is a real HashiCorp Vault, server and command line, built from
// its Go modules for the integration tests, the demo and the benchmark.
//
// The published `vault` main is no package one can import, and the module's
// lean server (build tag "minimal") lacks the file storage and the Kubernetes
// auth method that a homelab uses. So this main registers what the tests need
// and nothing else. What no test comes to would be three quarters of what is
// compiled, and is left out: without/ takes the place of modules, lean/ that of
// files, and lean.remove names the others. These are commands (agent, proxy, debug,
// operator migrate and others), Okta and HashiCorp's cloud, seals and metrics of
// other clouds, raft's auto_join, databases, plugins in containers, and selectors
// of namespaces in Kubernetes roles. Each use of them is an error that says so or
// a command that there is not. For the rest it must not change how Vault behaves.
package main

import (
	"os"

	"github.com/hashicorp/cli"
	authkubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/command"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/serviceregistration"
	srkubernetes "github.com/hashicorp/vault/serviceregistration/kubernetes"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "server" {
		os.Exit(server().Run(args[1:]))
	}
	os.Exit(command.Run(args))
}

func server() *command.ServerCommand {
	ui := &cli.BasicUi{Writer: os.Stdout, ErrorWriter: os.Stderr}
	return &command.ServerCommand{
		BaseCommand:     &command.BaseCommand{UI: &command.VaultUI{Ui: ui}},
		AuditBackends:   map[string]audit.Factory{"file": audit.NewFileBackend},
		LogicalBackends: map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{
			"kubernetes": authkubernetes.Factory,
			"userpass":   userpass.Factory,
		},
		PhysicalBackends: map[string]physical.Factory{
			"file": file.NewFileBackend,
			"raft": raft.NewRaftBackend,
		},
		ServiceRegistrations: map[string]serviceregistration.Factory{
			"kubernetes": srkubernetes.NewServiceRegistration,
		},
		ShutdownCh: command.MakeShutdownCh(),
		SighupCh:   command.MakeSighupCh(),
		SigUSR2Ch:  command.MakeSigUSR2Ch(),
	}
}
