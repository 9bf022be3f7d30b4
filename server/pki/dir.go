package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files below a folder DIR of certificates; keys are 0600 and stay where they were made, but for an agent's or operator's
// pair, which goes to its machine together with ca.pem:
//
//	DIR/ca.pem, DIR/ca-key.pem
//	DIR/coordinator.pem, DIR/coordinator-key.pem
//	DIR/operators/NAME.pem, DIR/operators/NAME-key.pem
//	DIR/agents/HOST.pem, DIR/agents/HOST-key.pem
const (
	caName          = "ca"
	coordinatorName = "coordinator"
	operatorsDir    = "operators"
	agentsDir       = "agents"
)

// Options say for whom Init makes certificates.
type Options struct {
	Name     string   // the coordinator's; "coordinator" when empty
	Operator string   // the first operator's; "operator" when empty
	IPs      []net.IP // addresses at which the coordinator is dialled, besides 127.0.0.1 and ::1
	DNS      []string // names at which it may be dialled where names can be resolved
}

// Init makes an authority, a coordinator and an operator in dir. It refuses to touch an authority that is there.
func Init(dir string, o Options) error {
	if o.Name == "" {
		o.Name = coordinatorName
	}
	if o.Operator == "" {
		o.Operator = "operator"
	}
	a, err := NewAuthority()
	if err != nil {
		return err
	}
	coordinator, err := a.issue(RoleCoordinator, o.Name, o.IPs, o.DNS)
	if err != nil {
		return err
	}
	operator, err := a.Issue(RoleOperator, o.Operator, nil)
	if err != nil {
		return err
	}
	caKey, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of certificates: %w", err)
	}
	// The key comes first and must be new: of two at the same time, one wins.
	for _, name := range []string{caName + ".pem", caName + "-key.pem"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s has an authority already (%s): use it, or name another folder; a new one would lock out all agents", dir, name)
		}
	}
	if err := writeNew(filepath.Join(dir, caName+"-key.pem"), caKey, 0o600); err != nil {
		return err
	}
	err = errors.Join(
		writePair(filepath.Join(dir, coordinatorName), coordinator),
		writePair(filepath.Join(dir, operatorsDir, o.Operator), operator),
	)
	if err == nil {
		err = writeNew(filepath.Join(dir, caName+".pem"), a.PEM(), 0o644)
	}
	if err != nil { // without its certificate the key is worth nothing: leave room for another try
		return errors.Join(err, os.Remove(filepath.Join(dir, caName+"-key.pem")))
	}
	return nil
}

// IssueAgent makes a host's certificate. It refuses to replace one.
func IssueAgent(dir, host string) error {
	return issueInto(dir, agentsDir, RoleAgent, host)
}

// IssueOperator makes a person's certificate. It refuses to replace one.
func IssueOperator(dir, name string) error {
	return issueInto(dir, operatorsDir, RoleOperator, name)
}

// IssueAgents makes the certificates of a whole fleet, of those hosts that have none yet, and returns how many it made. All
// names are checked before the first is made.
func IssueAgents(dir string, hosts []string) (int, error) {
	a, err := loadAuthority(dir)
	if err != nil {
		return 0, err
	}
	for _, host := range hosts {
		if err := checkName(RoleAgent, host); err != nil {
			return 0, err
		}
	}
	made := 0
	for _, host := range hosts {
		base := filepath.Join(dir, agentsDir, host)
		if _, err := os.Lstat(base + ".pem"); err == nil {
			continue
		}
		cert, err := a.Issue(RoleAgent, host, nil)
		if err != nil {
			return made, err
		}
		if err := writePair(base, cert); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// ServerTLS is the ServerConfig of the coordinator in dir.
func ServerTLS(dir string) (*tls.Config, error) {
	pool, pair, err := loadPair(filepath.Join(dir, caName+".pem"), filepath.Join(dir, coordinatorName), RoleCoordinator)
	if err != nil {
		return nil, err
	}
	return ServerConfig(pool, pair), nil
}

// ClientTLS is the ClientConfig of an operator in dir.
func ClientTLS(dir, operator string) (*tls.Config, error) {
	if err := checkName(RoleOperator, operator); err != nil {
		return nil, err
	}
	pool, pair, err := loadPair(filepath.Join(dir, caName+".pem"), filepath.Join(dir, operatorsDir, operator), RoleOperator)
	if err != nil {
		return nil, err
	}
	return ClientConfig(pool, pair), nil
}

// AgentTLS is the ClientConfig of the agent whose certificate and key were copied to its host, and the host's name.
func AgentTLS(caFile, certFile, keyFile string) (cfg *tls.Config, host string, err error) {
	pool, pair, err := loadFiles(caFile, certFile, keyFile, RoleAgent)
	if err != nil {
		return nil, "", err
	}
	_, host, err = Identity(pair.Leaf)
	return ClientConfig(pool, pair), host, err
}

func issueInto(dir, sub, role, name string) error {
	a, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	cert, err := a.Issue(role, name, nil)
	if err != nil {
		return err
	}
	base := filepath.Join(dir, sub, name)
	if _, err := os.Lstat(base + ".pem"); err == nil {
		return fmt.Errorf("%s %s has a certificate already: delete %s.pem first if it shall get a new one", role, name, base)
	}
	return writePair(base, cert)
}

func loadAuthority(dir string) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, caName+".pem"), filepath.Join(dir, caName+"-key.pem")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("no authority in %s: %w: make one with blackstart init", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not an authority of Blackstart: make one with blackstart init", certFile)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the authority in %s ended on %s: make a new one in another folder with blackstart init", dir, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &Authority{cert: pair.Leaf, key: key, now: time.Now}, nil
}

func loadPair(caFile, base, role string) (*x509.CertPool, tls.Certificate, error) {
	return loadFiles(caFile, base+".pem", base+"-key.pem", role)
}

// loadFiles reads a certificate and checks now what would otherwise fail at each handshake, far away and without words.
func loadFiles(caFile, certFile, keyFile, role string) (*x509.CertPool, tls.Certificate, error) {
	none := tls.Certificate{}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, none, fmt.Errorf("the authority's certificate: %w: make it with blackstart init", err)
	}
	block, _ := pem.Decode(ca)
	pool := x509.NewCertPool()
	if block == nil || !pool.AppendCertsFromPEM(ca) {
		return nil, none, fmt.Errorf("%s holds no certificate: copy it again from the folder of blackstart init", caFile)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, none, fmt.Errorf("the certificate of this %s (%s): %w: issue it with blackstart", role, certFile, err)
	}
	got, name, err := Identity(pair.Leaf)
	if err != nil {
		return nil, none, fmt.Errorf("%s: %w", certFile, err)
	}
	if got != role {
		return nil, none, fmt.Errorf("%s is the certificate of %s %s: here the one of the %s is needed", certFile, got, name, role)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: pair.Leaf.ExtKeyUsage})
	if err != nil {
		return nil, none, fmt.Errorf("%s does not go with %s: %w: look at the clock, then issue it again", certFile, caFile, err)
	}
	return pool, pair, nil
}

// writePair writes BASE-key.pem and then BASE.pem: where there is a certificate, there is a key.
func writePair(base string, cert tls.Certificate) error {
	certificate, key, err := PEM(cert)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return fmt.Errorf("make the folder of certificates: %w", err)
	}
	if err := writeWhole(base+"-key.pem", key, 0o600); err != nil {
		return err
	}
	return writeWhole(base+".pem", certificate, 0o644)
}

// writeWhole writes a file that is never seen half.
func writeWhole(path string, data []byte, mode fs.FileMode) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := writeNew(part, data, mode); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeNew writes a file that must not exist before.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}
