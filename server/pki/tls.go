package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ServerConfig is the coordinator's side of every connection: TLS 1.3, and only for operators and agents whose certificate
// the pool's authority has signed. Who they are is told by Identity of the connection's first peer certificate.
func ServerConfig(pool *x509.CertPool, coordinator tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{coordinator},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              pool,
		SessionTicketsDisabled: true, // so that each connection is checked in full
		VerifyConnection:       peerIs(RoleOperator, RoleAgent),
	}
}

// ClientConfig is an operator's or agent's side: TLS 1.3, and only with a coordinator. The address that is dialled must
// be in the coordinator's certificate.
func ClientConfig(pool *x509.CertPool, own tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Certificates:     []tls.Certificate{own},
		RootCAs:          pool,
		VerifyConnection: peerIs(RoleCoordinator),
	}
}

// peerIs refuses a peer that has none of the roles. It comes after the check of the chain, never instead of it.
func peerIs(roles ...string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the peer has shown no certificate")
		}
		role, name, err := Identity(state.PeerCertificates[0])
		if err != nil {
			return err
		}
		for _, r := range roles {
			if role == r {
				return nil
			}
		}
		return fmt.Errorf("the peer is %s %s, which has no business here: is the address right?", role, name)
	}
}
