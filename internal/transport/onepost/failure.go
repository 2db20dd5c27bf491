package onepost

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
)

// IsTLS says that a handshake failed, on either side's word.
func IsTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &authority) ||
		errors.As(err, &hostname)
}

// IsTimeout says that something took too long.
func IsTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, ErrTooSlow) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
