//go:build linux

package vault

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rotate has the server show a certificate of another CA, and the CA's file name that CA.
func (i *issuer) rotate(t *testing.T, number int64, ends time.Time) {
	t.Helper()
	key := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(number), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends.Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	require.NoError(t, err)
	i.ca, i.key = ca, key
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	require.NoError(t, os.WriteFile(i.file, text, 0o600))
	i.renew(t, ca.NotBefore, ends)
}

// counts are of what is open, or on the heap.
type counts struct{ descriptors, goroutines, objects int }

// least takes the least of each: what is closed is gone a moment later, what leaks stays.
func (c *counts) least(t *testing.T) {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	c.descriptors = min(c.descriptors, descriptors(t))
	c.goroutines = min(c.goroutines, runtime.NumGoroutine())
	c.objects = min(c.objects, int(m.HeapObjects))
}

// Each round renews Vault's certificate under a connection that lasts, or the CA with it; has
// Vault end its connections; and logs a proof in with another token. In a year that happens
// each other day.
func TestYear_RenewalsAndLoginsLeaveNothingOpen(t *testing.T) {
	const rounds, part = 183, 40
	i := &issuer{file: filepath.Join(t.TempDir(), "ca.pem")}
	start := time.Now().Truncate(time.Second).UTC()
	i.rotate(t, 1, start.Add(time.Hour))
	closed := rekeyClosed(http.StatusForbidden)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/seal-status" {
			responds(200, sealedBody)(w, r)
			return
		}
		closed(w, r)
	}))
	served := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.served.Load(), nil }
	s.TLS = &tls.Config{GetCertificate: served}
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	defer s.Close()
	c := client(t, s.URL, func(c *Config) { c.CACert, c.ServerName = i.file, serverName })
	login := loginAs(t, "")

	const many = 1 << 30
	first, last := counts{many, many, many}, counts{many, many, many}
	for round := range rounds {
		ends := start.Add(time.Hour + time.Duration(round)*time.Minute)
		if round%7 == 0 {
			i.rotate(t, int64(round+2), ends)
		} else {
			i.renew(t, start.Add(-time.Hour), ends)
		}
		require.Eventually(t, func() bool { // a connection that was begun before may still say something else
			c.dialer.expiries.set(&c.dialer.expiries.newest, time.Now().Add(-freshFor-time.Second))
			_, err := c.SealStatus(t.Context())
			end, _ := c.Certificates()
			return err == nil && end.Equal(ends)
		}, waitTimeout, 5*tick)

		require.NoError(t, os.WriteFile(login.TokenFile, fmt.Appendf(nil, "%s%d", jwt, round), 0o600))
		session, err := c.Login(t.Context(), login)
		require.NoError(t, err)
		_, err = session.Rekey(t.Context())
		require.NoError(t, err)
		require.NoError(t, session.Logout(t.Context()))
		if round%3 == 0 {
			s.CloseClientConnections()
		}
		switch {
		case round >= 10 && round < 10+part: // the first ones open what stays open
			first.least(t)
		case round >= rounds-part:
			last.least(t)
		}
	}
	// One that stays of each ten rounds would be 13. A session alone is ten objects.
	assert.LessOrEqual(t, last.descriptors, first.descriptors+10)
	assert.LessOrEqual(t, last.goroutines, first.goroutines+10)
	assert.LessOrEqual(t, last.objects, first.objects+600)
}
