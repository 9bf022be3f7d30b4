package api

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// Everybody who is turned away is answered, recorded in the journal and shown by the report.
func TestWhoIsTurnedAway(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	strangers, err := pki.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := strangers.Issue(pki.RoleAgent, "ns1", nil)
	if err != nil {
		t.Fatal(err)
	}
	phone := func(c *grpc.ClientConn, m *pb.PhoneHomeRequest) error {
		s, err := pb.NewAgentServiceClient(c).PhoneHome(w.ctx)
		if err != nil {
			return err
		}
		_ = s.Send(m)
		_, err = s.Recv()
		return err
	}
	list := func(c *grpc.ClientConn) error {
		_, err := pb.NewOperatorServiceClient(c).ListIncidents(w.ctx, &pb.ListIncidentsRequest{})
		return err
	}
	watch := func(c *grpc.ClientConn) error {
		s, err := pb.NewOperatorServiceClient(c).WatchBackups(w.ctx, &pb.WatchBackupsRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	check := func(c *grpc.ClientConn) error {
		_, err := healthpb.NewHealthClient(c).Check(w.ctx, &healthpb.HealthCheckRequest{})
		return err
	}
	for _, c := range []struct {
		what      string
		err       error
		code      codes.Code
		host, why string // as recorded
	}{
		{"a certificate of another authority", phone(w.connect(w.authority, &foreign), hello("ns1", "i", nil)), codes.Unavailable, "ns1", "not believed: x509: certificate signed by unknown authority"},
		{"no certificate", phone(w.connect(w.authority, nil), hello("ns1", "i", nil)), codes.Unavailable, "127.0.0.1", "shows no certificate"},
		{"a coordinator's certificate", phone(w.as(pki.RoleCoordinator, "two"), hello("ns1", "i", nil)), codes.Unavailable, "two", "not believed: x509: certificate specifies an incompatible key usage"},
		{"an operator who phones home", phone(w.as(pki.RoleOperator, "ada"), hello("ns1", "i", nil)), codes.PermissionDenied, "ada", "role operator may not call"},
		{"an agent who gives orders", list(w.as(pki.RoleAgent, "ns1")), codes.PermissionDenied, "ns1", "role agent may not call /blackstart.v1.OperatorService/ListIncidents"},
		{"an agent who watches backups", watch(w.as(pki.RoleAgent, "ns1")), codes.PermissionDenied, "ns1", "role agent may not call /blackstart.v1.OperatorService/WatchBackups"},
		{"an agent who asks for health", check(w.as(pki.RoleAgent, "ns2")), codes.PermissionDenied, "ns2", "role agent may not call /grpc.health.v1.Health/Check"},
		{"another host's name", phone(w.as(pki.RoleAgent, "ns1"), hello("ns2", "i", nil)), codes.PermissionDenied, "ns1", `it says it is "ns2", but its certificate is for "ns1"`},
		{"a hostile name", phone(w.as(pki.RoleAgent, "ns1"), hello("x\x1b[2J\n"+strings.Repeat("y", 5000), "i", nil)), codes.PermissionDenied, "ns1", `it says it is "x yyy`},
		{"a host that is not in the fleet", phone(w.as(pki.RoleAgent, "other"), hello("other", "i", nil)), codes.NotFound, "other", "not in the fleet file"},
		{"no hello", phone(w.as(pki.RoleAgent, "ns2"), beat(&pb.Heartbeat{})), codes.InvalidArgument, "ns2", "the first message is no hello"},
		{"no instance", phone(w.as(pki.RoleAgent, "ns3"), hello("ns3", "", nil)), codes.InvalidArgument, "ns3", "needs an instance"},
	} {
		if status.Code(c.err) != c.code {
			t.Errorf("%s: answered with %v, want %v", c.what, c.err, c.code)
		}
		found := false
		for _, r := range w.refusals() {
			found = found || r.Host == c.host && strings.Contains(r.Why, c.why) && strings.HasPrefix(r.Peer, "127.0.0.1:") && len(r.Why) < 600
		}
		if !found {
			t.Errorf("%s: not recorded as %q %q: %+v", c.what, c.host, c.why, w.refusals())
		}
	}
	if err := check(w.as(pki.RoleOperator, "ada")); err != nil {
		t.Errorf("an operator who asks for health: %v", err)
	}
	rep, err := w.operator().Report(w.ctx, &pb.ReportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shows no certificate", "it says it is", "not in the fleet file"} {
		if !strings.Contains(string(rep.GetBody()), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

// What is no TLS at all, or goes away in the middle, is nobody's attack and no news.
func TestNoiseIsNotRecorded(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	for _, noise := range []string{"", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x00\x05hello"} {
		c, err := w.dial(w.ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(noise)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = bytes.NewBuffer(nil).ReadFrom(c) // until the other side hangs up
		_ = c.Close()
	}
	if r := w.refusals(); len(r) != 0 {
		t.Errorf("recorded: %+v", r)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	big := hello("ns1", "i", &pb.Facts{Health: []*pb.HealthCheck{{Name: "x", Detail: strings.Repeat("x", maxMessage)}}})
	if err := w.phone("ns1", big).fails(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an agent's: %v", err)
	}
	_, err := w.operator().Declare(w.ctx, &pb.DeclareRequest{Title: strings.Repeat("x", maxMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an operator's: %v", err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	_, err = w.operator().ShowHost(ctx, &pb.ShowHostRequest{Host: strings.Repeat("x", maxMessage/2)})
	if status.Code(err) != codes.NotFound || len(err.Error()) > 1000 {
		t.Errorf("an answer repeats %d bytes: %.200v", len(err.Error()), err)
	}
}
