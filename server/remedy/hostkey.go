package remedy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// trust is what the known_hosts files say.
type trust struct {
	db      *knownhosts.HostKeyDB // nil without files
	revoked map[string]bool       // keys by their wire form
}

func newTrust(files []string) (*trust, error) {
	t := &trust{revoked: map[string]bool{}}
	if len(files) == 0 {
		return t, nil
	}
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	t.db = db
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("known_hosts: %w", err)
		}
		for {
			marker, _, key, _, rest, err := ssh.ParseKnownHosts(text)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("known_hosts %s: %w", file, err)
			}
			if marker == "revoked" {
				t.revoked[string(key.Marshal())] = true
			}
			text = rest
		}
	}
	return t, nil
}

// expected is what one host may show: its keys, and the authorities for its certificates.
type expected struct {
	plain, authorities []ssh.PublicKey
	principals         []string // any one of them
	revoked            map[string]bool
}

// expect gathers what a host may show: lines, if there are any, decide alone. names are the host's address and, where it has
// one, its name.
func (t *trust) expect(lines []string, addr string, name string) (*expected, error) {
	ip, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	e := &expected{revoked: t.revoked, principals: []string{ip}}
	if name != "" {
		e.principals = append(e.principals, name)
	}
	for n, line := range lines {
		line = strings.TrimPrefix(strings.TrimSpace(line), "@")
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("host key %d of the rung: %w", n+1, err)
		}
		if slices.Contains(options, "revoked") {
			e.revoked = maps.Clone(e.revoked)
			e.revoked[string(key.Marshal())] = true
			continue
		}
		e.add(key, slices.Contains(options, "cert-authority"))
	}
	if len(lines) > 0 || t.db == nil {
		return e, nil
	}
	for _, who := range e.principals {
		for _, key := range t.db.HostKeys(net.JoinHostPort(who, port)) {
			e.add(key.PublicKey, key.Cert)
		}
	}
	return e, nil
}

func (e *expected) add(key ssh.PublicKey, authority bool) {
	if authority {
		e.authorities = append(e.authorities, key)
	} else {
		e.plain = append(e.plain, key)
	}
}

// algorithms asks the host for a key of a kind that is known, so that it does not show another one of its keys. nil means any.
func (e *expected) algorithms() []string {
	var all []string
	add := func(names ...string) {
		for _, name := range names {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	if len(e.authorities) > 0 { // an authority of one kind signs keys of every kind
		add(ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01, ssh.CertAlgoSKED25519v01, ssh.CertAlgoSKECDSA256v01)
	}
	for _, key := range e.plain {
		if key.Type() == ssh.KeyAlgoRSA {
			add(ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		}
		add(key.Type())
	}
	return all
}

// check returns nil if the key is one that the host may show.
func (e *expected) check(key ssh.PublicKey) *end {
	fingerprint := ssh.FingerprintSHA256(key)
	refuse := func(signature, detail string) *end {
		return &end{recovery.HostKeyMismatch, signature, detail}
	}
	cert, isCert := key.(*ssh.Certificate)
	if e.revoked[string(key.Marshal())] || isCert && (e.revoked[string(cert.Key.Marshal())] || e.revoked[string(cert.SignatureKey.Marshal())]) {
		return refuse("revoked host key", "The host shows a key ("+fingerprint+") that known_hosts marks as revoked; do not log in before the host has a new one.")
	}
	if isCert {
		return e.checkCert(cert, refuse)
	}
	switch {
	case has(e.plain, key):
		return nil
	case len(e.plain)+len(e.authorities) == 0:
		return refuse("unknown host key", "No key of the host is known; it shows "+key.Type()+" "+fingerprint+": compare it at the console and add it to the fleet file or known_hosts.")
	default:
		return refuse("wrong host key", "The host shows "+key.Type()+" "+fingerprint+", which is not the key that is known; it may be another machine: look at its console before trusting it.")
	}
}

func (e *expected) checkCert(cert *ssh.Certificate, refuse func(signature, detail string) *end) *end {
	if cert.CertType != ssh.HostCert {
		return refuse("host certificate not valid", "The host shows a certificate that is not a host certificate; sign its key with ssh-keygen -h.")
	}
	if !has(e.authorities, cert.SignatureKey) {
		return refuse("unknown host CA", "The host's certificate is signed by "+ssh.FingerprintSHA256(cert.SignatureKey)+", which is no known host CA; add the CA to the fleet file or known_hosts if it is yours.")
	}
	var err error
	for _, principal := range e.principals {
		if err = new(ssh.CertChecker).CheckCert(principal, cert); err == nil {
			return nil
		}
	}
	return refuse("host certificate not valid", "The host's certificate is not good for its address or name ("+oneLine(err.Error(), 200)+"); issue a new one with one of them as principal.")
}

func has(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) })
}
