package remedy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// identity is what we show to a host: keys and certificates from files, and those of an ssh-agent. Passwords and
// keyboard-interactive are never offered.
type identity struct {
	signers []ssh.Signer // certificates before keys
	certs   []*ssh.Certificate
	socket  string
}

func newIdentity(cfg Config) (*identity, error) {
	id := &identity{socket: cfg.AgentSocket}
	for _, file := range cfg.Certificates {
		cert, err := readCertificate(file)
		if err != nil {
			return nil, err
		}
		id.certs = append(id.certs, cert)
	}
	var keys []ssh.Signer
	for _, file := range cfg.Keys {
		signer, err := readKey(file)
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked) && cfg.AgentSocket != "":
			// the agent holds it unlocked
		case errors.As(err, &locked):
			return nil, fmt.Errorf("%s: the private key has a passphrase; load it into ssh-agent and name the agent's socket, or give a key without one", file)
		case err != nil:
			return nil, err
		default:
			keys = append(keys, signer)
		}
		cert, err := readCertificate(file + "-cert.pub")
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			id.certs = append(id.certs, cert)
		}
	}
	id.signers = withCertificates(keys, id.certs)
	if len(id.signers) == 0 && id.socket == "" {
		return nil, errors.New("remedy: no identity: name a private key file or an ssh-agent socket")
	}
	return id, nil
}

// Fingerprints are the SHA-256 fingerprints of the keys with which we log in. all is false when an ssh-agent may hold others.
func (r *SSH) Fingerprints() (list []string, all bool) {
	for _, s := range r.identity.signers {
		key := s.PublicKey()
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key
		}
		list = append(list, ssh.FingerprintSHA256(key))
	}
	return list, r.identity.socket == ""
}

func readKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not a usable private key: %w", file, err)
	}
	return signer, nil
}

func readCertificate(file string) (*ssh.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("user certificate: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not a certificate: %w", file, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return nil, fmt.Errorf("%s: not a user certificate; sign the key with ssh-keygen -s CA -I NAME -n USER", file)
	}
	return cert, nil
}

// withCertificates puts a signer for each certificate that fits one of the keys before the keys themselves.
func withCertificates(keys []ssh.Signer, certs []*ssh.Certificate) []ssh.Signer {
	var all []ssh.Signer
	for _, cert := range certs {
		for _, key := range keys {
			if !bytes.Equal(cert.Key.Marshal(), key.PublicKey().Marshal()) {
				continue
			}
			if signer, err := ssh.NewCertSigner(cert, key); err == nil {
				all = append(all, signer)
			}
		}
	}
	return append(all, keys...)
}

// prover stands round each signature that a host asks for.
type prover func(sign func() (*ssh.Signature, error)) (*ssh.Signature, error)

// proving is a signer within a prover. It offers what the signer offers.
type proving struct {
	ssh.AlgorithmSigner
	prove prover
}

// SignWithAlgorithm is the only way in which a handshake asks a signer of this kind.
func (p *proving) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	return p.prove(func() (*ssh.Signature, error) { return p.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm) })
}

// provingMulti is one that names its algorithms.
type provingMulti struct {
	proving
	algorithms []string
}

func (p *provingMulti) Algorithms() []string { return p.algorithms }

// withProver puts a prover round signers; one that can only sign in its own way stays as it is.
func withProver(signers []ssh.Signer, prove prover) []ssh.Signer {
	all := make([]ssh.Signer, 0, len(signers))
	for _, signer := range signers {
		switch s := signer.(type) {
		case ssh.MultiAlgorithmSigner:
			signer = &provingMulti{proving{s, prove}, s.Algorithms()}
		case ssh.AlgorithmSigner:
			signer = &proving{s, prove}
		}
		all = append(all, signer)
	}
	return all
}

// offer returns the way to authenticate for one handshake that has d for it; prove stands round its signatures. closer must
// be closed after it.
func (id *identity) offer(d time.Duration, prove prover) (method ssh.AuthMethod, closer io.Closer, err error) {
	if id.socket == "" {
		return ssh.PublicKeys(withProver(id.signers, prove)...), io.NopCloser(nil), nil
	}
	conn, err := net.DialTimeout("unix", id.socket, d)
	if err != nil && len(id.signers) > 0 {
		return ssh.PublicKeys(withProver(id.signers, prove)...), io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ssh-agent does not answer: %w", err)
	}
	method = ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		if err := conn.SetDeadline(time.Now().Add(d)); err != nil {
			return nil, err
		}
		held, err := agent.NewClient(conn).Signers()
		if err != nil && len(id.signers) == 0 {
			return nil, fmt.Errorf("ssh-agent does not answer: %w", err)
		}
		return withProver(append(slices.Clone(id.signers), withCertificates(held, id.certs)...), prove), nil
	})
	return method, conn, nil
}
