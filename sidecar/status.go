package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// statusWithin is how long the sidecar may take to answer. It answers from
// memory, however Vault is.
const statusWithin = 3 * time.Second

// status prints what the sidecar that runs beside it tells of itself, as JSON:
// with kubectl exec there is no curl. It takes the options of the other.
func status(c config, stdout, stderr io.Writer) int {
	body, err := ask(c.httpBind)
	if err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: asking the sidecar for its status: %v\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "%s", body)
	return exitStopped
}

func ask(bind string) ([]byte, error) {
	_, port, err := net.SplitHostPort(bind)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:"+port+"/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Transport{}).RoundTrip(req) // no proxy
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("port %s answered %s", port, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 1<<20))
}
