package transporttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// CertificateKind is what is wrong with a certificate.
type CertificateKind int

const (
	CertificateGood      CertificateKind = iota // valid for "localhost" and 127.0.0.1
	CertificateExpired                          // since yesterday
	CertificateWrongName                        // for "elsewhere.example"
	CertificateUnknown                          // signed by another root than SMTPServer.CA
)

// certificate makes a certificate and the root, in PEM, that is said to have signed it.
func certificate(kind CertificateKind) (tls.Certificate, string, error) {
	root, rootKey, err := newRoot()
	if err != nil {
		return tls.Certificate{}, "", err
	}
	ca := root
	if kind == CertificateUnknown {
		if ca, _, err = newRoot(); err != nil {
			return tls.Certificate{}, "", err
		}
	}
	leaf := template(2)
	leaf.Subject = pkix.Name{CommonName: "sink.example"}
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	switch kind {
	case CertificateExpired:
		leaf.NotAfter = time.Now().Add(-24 * time.Hour)
	case CertificateWrongName:
		leaf.DNSNames, leaf.IPAddresses = []string{"elsewhere.example"}, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, rootKey)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text), nil
}

func newRoot() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(1)
	t.Subject = pkix.Name{CommonName: "transporttest root " + rand.Text()[:6]}
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	root, err := x509.ParseCertificate(der)
	return root, key, err
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}
