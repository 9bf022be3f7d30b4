package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// coordinatorURI begins the URI name in a coordinator's certificate; its name follows.
const coordinatorURI = "blackstart://coordinator/"

// ClientTLS returns the TLS settings of an agent from PEM blocks: the estate's CA, and this host's certificate and key.
// The agent then talks TLS 1.3 only, shows its certificate, and believes only a server whose certificate chains to that
// CA, holds the address dialled, and names a coordinator (URI blackstart://coordinator/NAME): another host's certificate
// is from the same CA and must not do.
func ClientTLS(ca, cert, key []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("agent certificate and key: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("CA certificate: no PEM certificate found; use the ca.pem that `blackstart init` wrote")
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		VerifyConnection: func(state tls.ConnectionState) error {
			return coordinatorOnly(state.PeerCertificates)
		},
	}, nil
}

// coordinatorOnly runs after the chain and the address have been verified.
func coordinatorOnly(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the server shows no certificate")
	}
	if uris := chain[0].URIs; len(uris) == 1 {
		if name, ok := strings.CutPrefix(uris[0].String(), coordinatorURI); ok && name != "" && !strings.ContainsAny(name, "/?#%") {
			return nil
		}
	}
	return fmt.Errorf("the server's certificate (%s) is not a coordinator's: it holds no URI %sNAME", chain[0].Subject, coordinatorURI)
}
