package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
)

// config loads the certificates and turns the settings into the agent's Config.
func (s settings) config() (agent.Config, error) {
	host, cert, key, err := s.identity()
	if err != nil {
		return agent.Config{}, err
	}
	ca, err := os.ReadFile(filepath.Join(s.dir, "ca.pem"))
	if err != nil {
		return agent.Config{}, err
	}
	tls, err := agent.ClientTLS(ca, cert, key)
	if err != nil {
		return agent.Config{}, fmt.Errorf("%s: %w", s.dir, err)
	}
	cfg := agent.Config{
		Host:         host,
		Coordinators: s.coordinators,
		TLS:          tls,
		Root:         s.root,
		StateDir:     filepath.Join(s.dir, "state"),
		Version:      version,
	}
	if s.edrFile != "" {
		cfg.EDRVersion = func() string { return firstLine(s.edrFile) }
	}
	if len(s.units)+len(s.processes) > 0 {
		cfg.Checks = health.System(s.systemRoot(), s.units, s.processes)
	}
	return cfg, nil
}

// identity finds this host's certificate and key, and the name that the certificate gives it.
func (s settings) identity() (host string, cert, key []byte, err error) {
	const suffix = "-key.pem"
	name := s.host
	if name == "" {
		keys, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
		if err != nil {
			return "", nil, nil, err
		}
		if len(keys) != 1 {
			return "", nil, nil, fmt.Errorf("%s holds %d files named HOST%s; put one there with `blackstart agent issue`, or give --host", s.dir, len(keys), suffix)
		}
		name = strings.TrimSuffix(filepath.Base(keys[0]), suffix)
	}
	if name != filepath.Base(name) {
		return "", nil, nil, fmt.Errorf("host %q is no plain name", name)
	}
	cert, err1 := os.ReadFile(filepath.Join(s.dir, name+".pem"))
	key, err2 := os.ReadFile(filepath.Join(s.dir, name+suffix))
	if err := errors.Join(err1, err2); err != nil {
		return "", nil, nil, err
	}
	host, err = hostOf(cert)
	if err != nil {
		return "", nil, nil, fmt.Errorf("%s: %w", filepath.Join(s.dir, name+".pem"), err)
	}
	if s.host != "" && s.host != host {
		return "", nil, nil, fmt.Errorf("%s is the certificate of %s, not of %s; the coordinator would refuse it", filepath.Join(s.dir, name+".pem"), host, s.host)
	}
	return host, cert, key, nil
}

// hostOf returns the host that a certificate is for: its URI is blackstart://agent/HOST.
func hostOf(data []byte) (string, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return "", errors.New("no PEM certificate found")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	if len(cert.URIs) == 1 {
		if name, ok := strings.CutPrefix(cert.URIs[0].String(), "blackstart://agent/"); ok && name != "" && !strings.ContainsAny(name, "/?#%") {
			return name, nil
		}
	}
	return "", fmt.Errorf("the certificate (%s) is no agent's: it holds no URI blackstart://agent/HOST; use the one from `blackstart agent issue HOST`", cert.Subject)
}
