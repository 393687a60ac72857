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

// Authority is a private CA and the server certificate it signed for
// 127.0.0.1 and the name vault.test.
type Authority struct {
	CAFile   string
	CertFile string
	KeyFile  string
	Pool     *x509.CertPool

	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	files  string // what the names of its files begin with
	serial int64
}

// Authority makes a CA; name keeps its files apart from another's.
func (l *Lab) Authority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name + " CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &Authority{Pool: x509.NewCertPool(), key: key, files: filepath.Join(l.Dir, name), serial: 1}
	if a.ca, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.Pool.AddCert(a.ca)
	a.CAFile = a.files + "-ca.pem"
	if err := writePEM(a.CAFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return a, a.Renew(a.ca.NotAfter)
}

// Renew signs the server certificate anew, which ends then.
func (a *Authority) Renew(ends time.Time) (err error) {
	a.CertFile, a.KeyFile, err = a.issue("server", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "vault"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"vault.test"},
		NotAfter:    ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// Client signs the certificate of a user, who is in the groups as far as
// Kubernetes is concerned.
func (a *Authority) Client(user string, groups ...string) (certFile, keyFile string, err error) {
	return a.issue(user, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *Authority) issue(name string, leaf *x509.Certificate) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	a.serial++
	leaf.SerialNumber = big.NewInt(a.serial)
	leaf.NotBefore = a.ca.NotBefore
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = a.ca.NotAfter
	}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = a.files+"-"+name+"-cert.pem", a.files+"-"+name+"-key.pem"
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return "", "", err
	}
	return certFile, keyFile, writePEM(keyFile, "EC PRIVATE KEY", keyDER)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
