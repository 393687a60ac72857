// Command closed stands in front of a real Vault and closes those of its
// endpoints that newer servers close (see package proxy):
//
//	closed --rule open|vault2|openbao [--listen ADDR] [--vault URL]
//
// It listens on ADDR (127.0.0.1:8200) whenever Vault listens at URL
// (http://127.0.0.1:8300), and passes on what the rule allows. CLOSED_RULE,
// CLOSED_LISTEN and CLOSED_VAULT say the same.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

func main() {
	name := flag.String("rule", cmp.Or(os.Getenv("CLOSED_RULE"), string(proxy.Open)), "open, vault2 or openbao")
	listen := flag.String("listen", cmp.Or(os.Getenv("CLOSED_LISTEN"), "127.0.0.1:8200"), "where it listens")
	vault := flag.String("vault", cmp.Or(os.Getenv("CLOSED_VAULT"), "http://127.0.0.1:8300"), "where Vault listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := (proxy.Proxy{Rule: proxy.Rule(*name), Vault: *vault}).Serve(ctx, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "closed:", err)
		os.Exit(1)
	}
}
