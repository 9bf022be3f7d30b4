// Package pki makes and checks the certificates with which coordinator, operators and agents know each other: one
// authority of its own, needing no directory, no internet and no other service, since all of these may be down.
//
// A certificate carries its role and name as a URI: blackstart://coordinator/NAME, blackstart://operator/NAME or
// blackstart://agent/HOST. Identity reads it back; nothing else in a certificate says who somebody is.
//
// Every certificate is valid from a day before it was issued, because hosts that start cold often have a wrong clock, and
// for as long as its authority, ten years: a recovery tool whose certificates ran out unseen is none. A host whose clock
// is further off must be given the time first.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// The roles.
const (
	RoleCoordinator = "coordinator"
	RoleOperator    = "operator"
	RoleAgent       = "agent"
)

const (
	uriScheme = "blackstart"
	maxName   = 128
	lifeYears = 10
	wrongness = 24 * time.Hour // of the clocks of hosts
)

// Authority signs certificates. Its methods may be called from several goroutines.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// NewAuthority makes an authority in memory, with a new key.
func NewAuthority() (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Blackstart authority of " + now.UTC().Format(time.DateOnly)},
		NotBefore:             now.Add(-wrongness),
		NotAfter:              now.AddDate(lifeYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs no other authorities
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	return &Authority{cert: cert, key: key, now: time.Now}, nil
}

// Issue makes a certificate with a new key. A coordinator's is good for the addresses ips and for this machine's own
// (127.0.0.1, ::1); operators and agents are not dialled and take none.
func (a *Authority) Issue(role, name string, ips []net.IP) (tls.Certificate, error) {
	return a.issue(role, name, ips, nil)
}

func (a *Authority) issue(role, name string, ips []net.IP, dns []string) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, OrganizationalUnit: []string{role}},
		URIs:                  []*url.URL{{Scheme: uriScheme, Host: role, Path: "/" + name}},
		NotBefore:             a.now().Add(-wrongness),
		NotAfter:              a.cert.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if err := checkName(role, name); err != nil {
		return tls.Certificate{}, err
	}
	switch role {
	case RoleCoordinator:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses = withOwn(ips)
		template.DNSNames = dns
	case RoleOperator, RoleAgent:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if len(ips)+len(dns) > 0 {
			return tls.Certificate{}, fmt.Errorf("certificate for %s %s: only a coordinator's holds addresses", role, name)
		}
	}
	var err error
	if template.SerialNumber, err = newSerial(); err != nil {
		return tls.Certificate{}, err
	}
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %s %s: %w", role, name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %s %s: %w", role, name, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Pool holds the authority as the only one that is trusted.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// PEM returns the authority's certificate as it stands in ca.pem; it is no secret.
func (a *Authority) PEM() []byte { return certPEM(a.cert.Raw) }

// PEM returns a certificate and its key as they stand in NAME.pem and NAME-key.pem.
func PEM(cert tls.Certificate) (certificate, key []byte, err error) {
	if len(cert.Certificate) == 0 {
		return nil, nil, errors.New("there is no certificate to write")
	}
	private, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("a key of type %T is not one of ours", cert.PrivateKey)
	}
	key, err = keyPEM(private)
	return certPEM(cert.Certificate[0]), key, err
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// newSerial draws 127 bits: certificates are told apart though nobody counts them.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// withOwn adds this machine's own addresses and drops what is there twice.
func withOwn(ips []net.IP) []net.IP {
	var all []net.IP
	seen := map[string]bool{}
	for _, ip := range append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, ips...) {
		if !seen[ip.String()] {
			seen[ip.String()] = true
			all = append(all, ip)
		}
	}
	return all
}
