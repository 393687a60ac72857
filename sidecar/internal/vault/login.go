//go:build linux

package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/hashicorp/vault/api"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// maxToken bounds a ServiceAccount's token, in bytes.
const maxToken = 16 << 10

// Login is how a client logs in.
type Login struct {
	Mount     string // of the Kubernetes auth method
	Role      string // of that method
	TokenFile string // with the pod's own ServiceAccount token, read at each login
}

// Login logs in by POST auth/MOUNT/login and returns a client for that session.
// Its token is in the memory of that client alone, and ends with Logout.
func (c *Client) Login(ctx context.Context, l Login) (*Client, error) {
	jwt, err := readToken(l.TokenFile)
	if err != nil {
		return nil, err
	}
	defer clear(jwt)
	quoted, err := json.Marshal(l.Role)
	if err != nil {
		return nil, err
	}
	body := slices.Concat([]byte(`{"role":`), quoted, []byte(`,"jwt":"`), jwt, []byte(`"}`))
	defer clear(body)
	resp, err := c.api.Logical().WriteRawWithContext(guarded(ctx), "auth/"+l.Mount+"/login", body)
	if err != nil {
		return nil, l.failed(ctx, err)
	}
	defer drain(resp.Body)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, l.failed(ctx, err)
	}
	defer clear(raw)
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	if json.Unmarshal(raw, &answer) != nil || answer.Auth.Token == "" || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %d without a token, this is not vault", resp.StatusCode)
	}
	// The token goes to whom the key may go.
	web := &http.Client{Transport: guardedTransport{c.web.Transport}, CheckRedirect: noRedirect}
	session := &Client{web: web, dialer: c.dialer, addr: c.addr, loggedIn: true}
	for _, each := range []**api.Client{&session.api, &session.copied} {
		if *each, err = newAPI(c.addr, web); err != nil {
			return nil, err
		}
		(*each).SetToken(answer.Auth.Token)
	}
	return session, nil
}

// failed says why nobody was logged in. A 4xx is an answer on the role or on
// the mount, and is the same again until somebody changes them.
func (l Login) failed(ctx context.Context, err error) error {
	var answered *api.ResponseError
	if !errors.As(err, &answered) {
		return classify(ctx, err)
	}
	err = fmt.Errorf("the role %q cannot log in at auth/%s: %w", l.Role, l.Mount, statusError(answered))
	if answered.StatusCode == http.StatusTooManyRequests || answered.StatusCode >= http.StatusInternalServerError {
		return err
	}
	return fmt.Errorf("%w: %w; look at --prove-role and --prove-mount, and at the role's ServiceAccount and namespace", unseal.ErrRefused, err)
}

// readToken returns the token in a file, and nothing that is none: it goes into
// JSON as it is.
func readToken(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	if err != nil {
		return nil, err
	}
	jwt := bytes.TrimSpace(raw)
	other := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}
	if len(jwt) == 0 || len(jwt) > maxToken || bytes.ContainsFunc(jwt, other) {
		clear(raw)
		return nil, fmt.Errorf("%s holds no token of a ServiceAccount", path)
	}
	return jwt, nil
}

// Logout revokes the token of a session by POST auth/token/revoke-self, and
// forgets it.
func (c *Client) Logout(ctx context.Context) error {
	resp, err := c.api.Logical().WriteRawWithContext(ctx, "auth/token/revoke-self", nil)
	c.api.ClearToken()
	c.copied.ClearToken()
	if err != nil {
		return classify(ctx, err)
	}
	drain(resp.Body)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return nil
}

// Lacks returns what the policies of a session leave out of what a proof asks
// for, as "update on sys/rekey/init", by POST sys/capabilities-self. Rekey has
// to have been asked before.
func (c *Client) Lacks(ctx context.Context) ([]string, error) {
	start, update := c.rekeyPath("init"), c.rekeyPath("update")
	body, err := json.Marshal(map[string]any{"paths": []string{start, update}})
	if err != nil {
		return nil, err
	}
	resp, err := c.api.Logical().WriteRawWithContext(ctx, "sys/capabilities-self", body)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer drain(resp.Body)
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&answer); err != nil {
		return nil, errors.New("answered without capabilities, this is not vault")
	}
	var out []string
	for _, each := range []struct{ path, capability string }{
		{start, "read"}, {start, "update"}, {start, "delete"}, {update, "update"},
	} {
		var has []string
		if json.Unmarshal(answer.Data[each.path], &has) != nil || !slices.Contains(has, each.capability) && !slices.Contains(has, "root") {
			out = append(out, each.capability+" on "+each.path)
		}
	}
	return out, nil
}

// guardedTransport marks all that it carries as guarded.
type guardedTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.RoundTripper.RoundTrip(r.WithContext(guarded(r.Context())))
}
