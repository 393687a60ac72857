package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is a private CA and the server certificate it signed for
// 127.0.0.1 and the name vault.test.
type CA struct {
	CAFile   string
	CertFile string
	KeyFile  string
	Pool     *x509.CertPool

	cert       *x509.Certificate
	key        *ecdsa.PrivateKey
	pathPrefix string // what the names of its files begin with
	serial     int64
}

// NewCA makes a CA; name keeps its files apart from another's.
func (env *Env) NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name + " CA"},
		// The soak moves clocks by up to two days.
		NotBefore: time.Now().Add(-72 * time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &CA{Pool: x509.NewCertPool(), key: key, pathPrefix: filepath.Join(env.Dir, name), serial: 1}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.Pool.AddCert(a.cert)
	a.CAFile = a.pathPrefix + "-ca.pem"
	if err := writePEM(a.CAFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return a, a.RenewServerCert(a.cert.NotAfter)
}

// RenewServerCert signs the server certificate anew, which ends then.
func (a *CA) RenewServerCert(notAfter time.Time) (err error) {
	a.CertFile, a.KeyFile, err = a.issue("server", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "vault"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"vault.test"},
		NotAfter:    notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// IssueClientCert signs the certificate of a user, who is in the groups as far as
// Kubernetes is concerned.
func (a *CA) IssueClientCert(user string, groups ...string) (certFile, keyFile string, err error) {
	return a.issue(user, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *CA) issue(name string, leaf *x509.Certificate) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	a.serial++
	leaf.SerialNumber = big.NewInt(a.serial)
	leaf.NotBefore = a.cert.NotBefore
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = a.cert.NotAfter
	}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = a.pathPrefix+"-"+name+"-cert.pem", a.pathPrefix+"-"+name+"-key.pem"
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return "", "", err
	}
	return certFile, keyFile, writePEM(keyFile, "EC PRIVATE KEY", keyDER)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
