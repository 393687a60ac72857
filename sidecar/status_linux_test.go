package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Another container of the pod may take the sidecar's port while the sidecar is down.
func TestStatusCommand_RejectsTheProcessOfAnotherUser(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"phase": "active", "key_shares": 1}`))
	}))
	defer server.Close()
	theirs := ownUID
	ownUID = theirs + 1
	defer func() { ownUID = theirs }()
	code, stdout, stderr := runCommand(map[string]string{"HTTP_BIND": server.Listener.Addr().String()}, "status", "--output", "json")
	assert.Equal(t, exitFailed, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, fmt.Sprintf("runs as uid %d, and the sidecar as %d", theirs, ownUID))
}
