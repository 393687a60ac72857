package testenv

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// get asks for a URL, for at most limit.
func get(
	ctx context.Context, client *http.Client, url string, limit time.Duration,
) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, nil, err
	}
	return do(client, req)
}

func do(client *http.Client, req *http.Request) (code int, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// askSocket sends a line to a Unix socket and returns the answer.
func askSocket(socket, line string) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}
