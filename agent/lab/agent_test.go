//go:build unix

package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// phone is a coordinator that only listens.
type phone struct {
	pb.UnimplementedAgentServiceServer
	hellos chan *pb.Hello
	ends   chan string // hosts whose stream has ended
}

func (p *phone) PhoneHome(s grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	p.hellos <- first.GetHello()
	for err == nil {
		_, err = s.Recv()
	}
	p.ends <- first.GetHello().GetHost()
	return err
}

// listenForAgents starts a phone and returns what a lab needs to call it.
func listenForAgents(t testing.TB) (*phone, func(*Config)) {
	t.Helper()
	key := hostKey(1, "coordinator", "tls")
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AddCert(cert)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{hellos: make(chan *pb.Hello, 10_000), ends: make(chan string, 10_000)}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
	})))
	pb.RegisterAgentServiceServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return p, func(c *Config) {
		c.Coordinators = []string{socket.Addr().String()}
		c.AgentTLS = func(string) (*tls.Config, error) {
			return &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS13}, nil
		}
		for i := range c.Hosts {
			c.Hosts[i].Agent = true
		}
	}
}

func (p *phone) hello(ctx context.Context, t testing.TB) *pb.Hello {
	t.Helper()
	select {
	case h := <-p.hellos:
		return h
	case <-ctx.Done():
		t.Fatal("nobody phoned home in time")
		return nil
	}
}

func TestTheRealAgentPhonesHomeOnceItIsUp(t *testing.T) {
	p, agents := listenForAgents(t)
	w := start(t, hosts(1), "", agents)
	w.looping("h1")
	if len(p.hellos) != 0 {
		t.Error("an agent phoned home from a loop without network")
	}
	w.repair("h1", "h1/1")
	hello := p.hello(w.ctx, t)
	w.await("h1", in(Up))
	now := w.byName["h1"].truth()
	if hello.GetHost() != "h1" || hello.GetBootId() != now.BootID || hello.GetEdrVersion() != "7.11" ||
		hello.GetBootMode() != pb.BootMode_BOOT_MODE_NORMAL {
		t.Errorf("hello %v, machine %+v", hello, now)
	}
	m := w.byName["h1"]
	m.mu.Lock()
	m.strike()
	m.mu.Unlock()
	select {
	case <-p.ends:
	case <-w.ctx.Done():
		t.Error("a crash left the agent's connection open")
	}
}

func TestLastWordsComeFromLoopsWithNetwork(t *testing.T) {
	p, agents := listenForAgents(t)
	w := start(t, hosts(1), "", agents, func(c *Config) { c.Scenario.Loop.Network = 100 })
	first, second := p.hello(w.ctx, t), p.hello(w.ctx, t)
	if first.GetBootId() == second.GetBootId() {
		t.Error("two loops have one boot id")
	}
	if now := w.byName["h1"].truth(); now.Bad != 1 || now.Up {
		t.Errorf("looping machine: %+v", now)
	}
}

func TestAHealthyEstatePhonesHomeAndFallsSilentAtTheStrike(t *testing.T) {
	p, agents := listenForAgents(t)
	w := start(t, hosts(20), "never-hit: {count: 1}\n", agents, func(c *Config) { c.StartStruck = false })
	for range 20 {
		p.hello(w.ctx, t)
	}
	if err := w.Strike(); err != nil {
		t.Fatal(err)
	}
	for range 19 {
		select {
		case <-p.ends:
		case <-w.ctx.Done():
			t.Fatal("an agent survived the strike")
		}
	}
	if len(p.ends) != 0 {
		t.Error("the spared machine fell silent too")
	}
}
