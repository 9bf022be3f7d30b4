package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *Authority, role, name string, ips ...net.IP) tls.Certificate {
	t.Helper()
	cert, err := a.Issue(role, name, ips)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// shake lets a client dial a server over loopback and returns each side's error, and whom the server met.
func shake(t *testing.T, server, client *tls.Config) (met string, serverErr, clientErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer func() { _ = raw.Close() }()
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn, ok := raw.(*tls.Conn)
		if !ok {
			serverErr = fmt.Errorf("a %T was accepted", raw)
			return
		}
		if serverErr = conn.HandshakeContext(t.Context()); serverErr != nil {
			return
		}
		role, name, err := Identity(conn.ConnectionState().PeerCertificates[0])
		if met = role + " " + name; err != nil {
			met = "somebody"
		}
		_, serverErr = conn.Write([]byte("welcome"))
	}()
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: client}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	clientErr = err
	if err == nil {
		// With TLS 1.3 a client learns only by reading that it was refused.
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, clientErr = io.ReadFull(conn, make([]byte, len("welcome")))
		_ = conn.Close()
	}
	<-done
	return met, serverErr, clientErr
}

func TestHandshakes(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	coordinator := issue(t, ours, RoleCoordinator, "blackstart-1", net.IPv4(192, 0, 2, 1))
	agent, operator := issue(t, ours, RoleAgent, "brt-app01"), issue(t, ours, RoleOperator, "asa")
	past := *ours
	past.now = func() time.Time { return time.Now().AddDate(0, 0, -20) }
	pastEnd := *ours.cert
	pastEnd.NotAfter = time.Now().AddDate(0, 0, -1)
	past.cert = &pastEnd
	expired, expiredCoordinator := issue(t, &past, RoleAgent, "brt-app01"), issue(t, &past, RoleCoordinator, "old")

	plain := func(cert *tls.Certificate) *tls.Config { // a client that is not one of ours
		c := &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS13}
		if cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
		return c
	}
	old := plain(&agent)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	oldServer := ServerConfig(ours.Pool(), coordinator)
	oldServer.MinVersion, oldServer.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	elsewhere := ClientConfig(ours.Pool(), agent)
	elsewhere.ServerName = "198.51.100.7"
	asServer := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	}
	impostor := roleless(t, ours, x509.ExtKeyUsageServerAuth, "blackstart://agent/brt-app01")

	for _, c := range []struct {
		name           string
		server, client *tls.Config
		met            string // who the server met; empty: refused
		why            string // on one of the sides
	}{
		{"agent", ServerConfig(ours.Pool(), coordinator), ClientConfig(ours.Pool(), agent), "agent brt-app01", ""},
		{"operator", ServerConfig(ours.Pool(), coordinator), ClientConfig(ours.Pool(), operator), "operator asa", ""},
		{"agent that says it is an operator is still an agent", ServerConfig(ours.Pool(), coordinator), plain(&agent), "agent brt-app01", ""},
		{"no certificate", ServerConfig(ours.Pool(), coordinator), plain(nil), "", "certificate"},
		{"another authority's agent", ServerConfig(ours.Pool(), coordinator), plain(ptr(issue(t, other, RoleAgent, "brt-app01"))), "", "certificate"},
		{"expired agent", ServerConfig(ours.Pool(), coordinator), ClientConfig(ours.Pool(), expired), "", "expired"},
		{"coordinator as client", ServerConfig(ours.Pool(), coordinator), plain(&coordinator), "", "incompatible key usage"},
		{"signed, but nobody", ServerConfig(ours.Pool(), coordinator), plain(ptr(roleless(t, ours, x509.ExtKeyUsageClientAuth, ""))), "", "identities"},
		{"signed, with another URI", ServerConfig(ours.Pool(), coordinator), plain(ptr(roleless(t, ours, x509.ExtKeyUsageClientAuth, "https://agent/brt-app01"))), "", "not one of Blackstart's"},
		{"client of TLS 1.2", ServerConfig(ours.Pool(), coordinator), old, "", "protocol version"},
		{"server of TLS 1.2", oldServer, ClientConfig(ours.Pool(), agent), "", "protocol version"},
		{"another authority's coordinator", ServerConfig(ours.Pool(), issue(t, other, RoleCoordinator, "x")), ClientConfig(ours.Pool(), agent), "", "unknown authority"},
		{"expired coordinator", ServerConfig(ours.Pool(), expiredCoordinator), ClientConfig(ours.Pool(), agent), "", "expired"},
		{"agent as server", asServer(agent), ClientConfig(ours.Pool(), operator), "", "certificate"},
		{"agent as server, with address and usage", asServer(impostor), ClientConfig(ours.Pool(), operator), "", "agent brt-app01"},
		{"coordinator at another address", ServerConfig(ours.Pool(), coordinator), elsewhere, "", "198.51.100.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			met, serverErr, clientErr := shake(t, c.server, c.client)
			if c.met != "" {
				if serverErr != nil || clientErr != nil || met != c.met {
					t.Fatalf("met %q; server: %v; client: %v", met, serverErr, clientErr)
				}
				return
			}
			if clientErr == nil || met != "" || !strings.Contains(fmt.Sprint(serverErr, clientErr), c.why) {
				t.Fatalf("met %q; server: %v; client: %v", met, serverErr, clientErr)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// roleless is a certificate that our authority signed by mistake.
func roleless(t *testing.T, a *Authority, usage x509.ExtKeyUsage, uri string) tls.Certificate {
	t.Helper()
	cert := issue(t, a, RoleAgent, "x")
	template := *cert.Leaf
	template.URIs, template.ExtKeyUsage = nil, []x509.ExtKeyUsage{usage}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtraExtensions = nil
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(nil, &template, a.cert, cert.Leaf.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert.Certificate = [][]byte{der}
	cert.Leaf = nil
	return cert
}

func TestCertificatesAreMadeRight(t *testing.T) {
	a := newAuthority(t)
	c := issue(t, a, RoleCoordinator, "c", net.IPv4(192, 0, 2, 1), net.IPv4(127, 0, 0, 1), net.ParseIP("2001:db8::1"))
	if got := fmt.Sprint(c.Leaf.IPAddresses); got != "[127.0.0.1 ::1 192.0.2.1 2001:db8::1]" {
		t.Errorf("addresses %s", got)
	}
	b := issue(t, a, RoleAgent, "h")
	if b.Leaf.SerialNumber.Cmp(c.Leaf.SerialNumber) == 0 || b.Leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("serial numbers %s and %s", b.Leaf.SerialNumber, c.Leaf.SerialNumber)
	}
	for _, cert := range []*x509.Certificate{b.Leaf, c.Leaf} {
		if cert.IsCA || time.Since(cert.NotBefore) < 23*time.Hour || time.Until(cert.NotAfter) < 9*365*24*time.Hour {
			t.Errorf("%s: CA %v, from %s to %s", cert.Subject, cert.IsCA, cert.NotBefore, cert.NotAfter)
		}
	}
	if _, err := a.Issue(RoleAgent, "h", []net.IP{net.IPv4(192, 0, 2, 1)}); err == nil {
		t.Error("an agent got an address")
	}
	// What an agent's key signs is worth nothing.
	forger := &Authority{cert: b.Leaf, key: newAuthority(t).key, now: time.Now}
	if forged, err := forger.Issue(RoleOperator, "x", nil); err == nil {
		inter := x509.NewCertPool()
		inter.AddCert(b.Leaf)
		if _, err := forged.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			t.Error("an agent signed an operator")
		}
	}
}

func TestNames(t *testing.T) {
	a := newAuthority(t)
	for _, good := range []string{"a", "brt-app01", "SRV_APP.01", "host.example.org", strings.Repeat("a", maxName)} {
		cert := issue(t, a, RoleAgent, good)
		if role, name, err := Identity(cert.Leaf); role != RoleAgent || name != good || err != nil {
			t.Errorf("%q came back as %q %q, %v", good, role, name, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../ca", "a/b", `a\b`, "-a", "a-", "a.", "a b", "å", "a\x00", "a\n", "a%2f", "a:b", "web-key", "web-KEY", strings.Repeat("a", maxName+1)} {
		if _, err := a.Issue(RoleAgent, bad, nil); err == nil {
			t.Errorf("%q is a name", bad)
		}
		dir := t.TempDir()
		if bad != "" { // which means the default there
			if err := Init(dir, Options{Operator: bad}); err == nil {
				t.Errorf("init took %q for an operator", bad)
			}
		}
		if err := Init(dir, Options{}); err != nil {
			t.Fatalf("init after a refused name: %v", err)
		}
		if _, err := IssueAgents(dir, []string{"fine", bad}); err == nil {
			t.Errorf("agents: %q is a name", bad)
		}
		if _, err := os.Stat(filepath.Join(dir, "agents")); err == nil {
			t.Error("a list with a bad name was begun")
		}
		if _, err := ClientTLS(dir, bad); err == nil {
			t.Errorf("an operator %q was loaded", bad)
		}
	}
	for _, uri := range []string{"blackstart://admin/x", "blackstart://agent", "blackstart://agent/", "blackstart://agent/a/b", "blackstart://agent:1/a", "blackstart://u@agent/a", "blackstart://agent/a?q", "blackstart://agent/a#f", "blackstart://AGENT/a", "blackstart:agent/a"} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if role, name, err := Identity(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
			t.Errorf("%s is %s %s", uri, role, name)
		}
	}
	u := &url.URL{Scheme: uriScheme, Host: RoleAgent, Path: "/a"}
	if _, _, err := Identity(&x509.Certificate{URIs: []*url.URL{u, u}}); err == nil {
		t.Error("two identities")
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := ServerTLS(dir); err == nil || !strings.Contains(err.Error(), "blackstart init") {
		t.Fatalf("before init: %v", err)
	}
	if err := IssueAgent(dir, "h"); err == nil || !strings.Contains(err.Error(), "blackstart init") {
		t.Fatalf("before init: %v", err)
	}
	if err := Init(dir, Options{Operator: "asa", IPs: []net.IP{net.IPv4(192, 0, 2, 1)}, DNS: []string{"coordinator.example"}}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, Options{}); err == nil || !strings.Contains(err.Error(), "authority already") {
		t.Fatalf("a second init: %v", err)
	}
	for _, lost := range []string{"ca-key.pem", "ca.pem"} { // an authority whose other half is kept elsewhere
		if err := os.Rename(filepath.Join(dir, lost), filepath.Join(dir, "away")); err != nil {
			t.Fatal(err)
		}
		if err := Init(dir, Options{}); err == nil {
			t.Fatalf("init over an authority without %s", lost)
		}
		if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || string(after) != string(before) {
		t.Fatal("the authority was changed")
	}
	if err := IssueOperator(dir, "bo"); err != nil {
		t.Fatal(err)
	}
	if err := IssueAgent(dir, "h1"); err != nil {
		t.Fatal(err)
	}
	if err := IssueAgent(dir, "h1"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Fatalf("an agent twice: %v", err)
	}
	if n, err := IssueAgents(dir, []string{"h1", "h2", "h3", "h2"}); n != 2 || err != nil {
		t.Fatalf("%d agents, %v", n, err)
	}
	server, err := ServerTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, operator := range []string{"asa", "bo"} {
		client, err := ClientTLS(dir, operator)
		if err != nil {
			t.Fatal(err)
		}
		if met, serverErr, clientErr := shake(t, server, client); serverErr != nil || clientErr != nil || met != "operator "+operator {
			t.Fatalf("met %q; server: %v; client: %v", met, serverErr, clientErr)
		}
	}
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	agent, host, err := AgentTLS(at("ca.pem"), at("agents/h2.pem"), at("agents/h2-key.pem"))
	if err != nil || host != "h2" {
		t.Fatalf("agent %q, %v", host, err)
	}
	if met, serverErr, clientErr := shake(t, server, agent); serverErr != nil || clientErr != nil || met != "agent h2" {
		t.Fatalf("met %q; server: %v; client: %v", met, serverErr, clientErr)
	}

	if _, _, err := AgentTLS(at("ca.pem"), at("operators/asa.pem"), at("operators/asa-key.pem")); err == nil || !strings.Contains(err.Error(), "operator asa") {
		t.Errorf("an operator's certificate for an agent: %v", err)
	}
	if _, _, err := AgentTLS(at("ca.pem"), at("agents/h2.pem"), at("agents/h3-key.pem")); err == nil {
		t.Error("another's key")
	}
	if _, _, err := AgentTLS(at("ca-key.pem"), at("agents/h2.pem"), at("agents/h2-key.pem")); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error("a key for an authority")
	}
	second := t.TempDir()
	if err := Init(second, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := AgentTLS(filepath.Join(second, "ca.pem"), at("agents/h2.pem"), at("agents/h2-key.pem")); err == nil || !strings.Contains(err.Error(), "does not go with") {
		t.Errorf("another authority: %v", err)
	}
	checkFiles(t, dir)
}

func checkFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".part") {
			t.Errorf("%s is left over", path)
		}
		if strings.HasSuffix(path, "-key.pem") && runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A whole fleet's certificates take about as long as it takes to say so.
func BenchmarkIssueFleet(b *testing.B) {
	a := newAuthority(b)
	for b.Loop() {
		for i := range 934 {
			issue(b, a, RoleAgent, fmt.Sprintf("host%03d", i))
		}
	}
}
