package api

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testManifest = `name: mend
title: Bad content
match: {edr: shield, os: [linux]}
reboot: required
bad-content:
  - {name: bad, path: /opt/shield/*.bin, header: AA 01}
good-content:
  - {name: good, path: /opt/shield/*.bin, header: AA 02}
scripts: {linux: repair.sh}
timeout: 5m
verify-within: 20m
soak: 0s
debts:
  - {id: kept, what: The copies are kept.}
sources:
  - {title: the vendor, url: "https://vendor.example/advice", retrieved: 2024-07-20}
`

const testFleet = `fleet: depot
tiers:
  - {name: first, gate: {success: 50%, max-failed: 50%, max-unreachable: 50%}}
services:
  - {name: dns, tier: first}
defaults:
  {os: linux, data: none, agent: true, edr: {product: shield}, ladder: [{name: running, environment: linux}]}
hosts:
  - {name: "ns[1-3]", service: dns, address: 10.0.0.1}
`

const epoch = 7

// idle is a remedy that never gets anywhere.
type idle struct{}

func (idle) Run(ctx context.Context, _ recovery.Job, _ func(recovery.Step, string) error) recovery.Result {
	<-ctx.Done()
	return recovery.Result{Class: recovery.Cancelled}
}

// world is a coordinator behind its edge, and the certificates to knock at it.
type world struct {
	*testing.T
	ctx         context.Context
	authority   *pki.Authority
	coordinator *coordinator.Coordinator
	hub         *restore.Hub
	own         tls.Certificate // the coordinator's
	books       *playbook.Library
	folder      string // of playbooks
	dial        func(context.Context, string) (net.Conn, error)
	dialled     atomic.Int32
	conns       []*grpc.ClientConn
}

// listen says where the edge listens and how to get there.
type listen func(*testing.T) (net.Listener, func(context.Context, string) (net.Conn, error))

func loopback(t *testing.T) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
}

// start runs the edge until the returned function ends it and checks that it ended well.
func start(t *testing.T, where listen) (*world, func()) {
	t.Helper()
	w := &world{T: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := fleet.Parse("fleet.yaml", []byte(testFleet))
	must(err)
	w.folder = t.TempDir()
	for name, text := range map[string]string{
		"manifest.yaml": testManifest, "repair.sh": "#!/bin/sh\necho BLACKSTART-RESULT outcome=repaired\n", "README.md": "read me\n", "hands.md": " 1. Look at the disk.\n",
	} {
		w.write(name, text)
	}
	w.books, err = playbook.LoadWithOverrides(fstest.MapFS{}, w.folder)
	must(err)
	w.authority, err = pki.NewAuthority()
	must(err)
	w.own, err = w.authority.Issue(pki.RoleCoordinator, "test", nil)
	must(err)
	w.hub = restore.New()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"))
	must(err)
	w.coordinator, err = coordinator.New(coordinator.Config{Journal: j, Remedy: idle{}, Playbooks: w.books, Fleet: f, Log: hclog.NewNullLogger()})
	must(err)
	edge := w.edge(epoch, w.hub)
	l, dial := where(t)
	w.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		w.dialled.Add(1)
		return dial(ctx, addr)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.ctx = ctx
	ends := make(chan error, 2)
	go func() { ends <- w.coordinator.Run(ctx) }()
	go func() { ends <- edge.Serve(l) }()
	return w, func() {
		t.Helper()
		stop()
		for _, c := range w.conns {
			_ = c.Close()
		}
		<-w.coordinator.Done()
		edge.GracefulStop()
		for range 2 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// edge is a way in to the coordinator, as one of its starts has it.
func (w *world) edge(epoch uint64, hub *restore.Hub) *grpc.Server {
	return New(Config{Coordinator: w.coordinator, Playbooks: w.books, TLS: pki.ServerConfig(w.authority.Pool(), w.own), Epoch: epoch, Work: hub, Log: hclog.NewNullLogger()})
}

// write writes a file of the playbook.
func (w *world) write(name, text string) {
	w.Helper()
	dir := filepath.Join(w.folder, "mend")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// connect dials with a certificate; nil shows none.
func (w *world) connect(a *pki.Authority, cert *tls.Certificate) *grpc.ClientConn {
	w.Helper()
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: w.authority.Pool()}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:1", grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithNoProxy(),
		grpc.WithContextDialer(w.dial), grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}), grpc.WithIdleTimeout(0))
	if err != nil {
		w.Fatal(err)
	}
	w.conns = append(w.conns, conn)
	return conn
}

func (w *world) as(role, name string) *grpc.ClientConn {
	w.Helper()
	cert, err := w.authority.Issue(role, name, nil)
	if err != nil {
		w.Fatal(err)
	}
	return w.connect(w.authority, &cert)
}

func (w *world) operator() pb.OperatorServiceClient {
	w.Helper()
	return pb.NewOperatorServiceClient(w.as(pki.RoleOperator, "ada"))
}

func (w *world) declare() *pb.Incident {
	w.Helper()
	out, err := w.operator().Declare(w.ctx, &pb.DeclareRequest{Title: "a bad day"})
	if err != nil {
		w.Fatal(err)
	}
	return out.GetIncident()
}

// agent is a test's side of a stream.
type agent struct {
	w      *world
	stream pb.AgentService_PhoneHomeClient
	cancel context.CancelFunc
}

// phone opens a stream and says the first message.
func (w *world) phone(cert string, first *pb.PhoneHomeRequest) *agent {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	s, err := pb.NewAgentServiceClient(w.as(pki.RoleAgent, cert)).PhoneHome(ctx)
	if err != nil {
		cancel()
		w.Fatal(err)
	}
	a := &agent{w, s, cancel}
	if first != nil {
		_ = s.Send(first) // why it fails is told by Recv
	}
	return a
}

func hello(host, instance string, facts *pb.Facts) *pb.PhoneHomeRequest {
	return &pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: &pb.Hello{Host: host, Instance: instance, BootId: "boot-" + instance,
		BootMode: pb.BootMode_BOOT_MODE_NORMAL, AgentVersion: "test", Facts: facts}}}
}

func beat(b *pb.Heartbeat) *pb.PhoneHomeRequest {
	return &pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Heartbeat{Heartbeat: b}}
}

func (w *world) good() *pb.Facts {
	b, _ := w.books.ByName("mend")
	return &pb.Facts{Content: []*pb.ContentFact{{PlaybookDigest: b.Facts.Digest, Good: 1}}, Health: []*pb.HealthCheck{{Name: "disk", Ok: true}}}
}

// next returns the next instruction.
func (a *agent) next() *pb.Instruction {
	a.w.Helper()
	m, err := a.stream.Recv()
	if err != nil {
		a.w.Fatal(err)
	}
	return m.GetInstruction()
}

func (a *agent) say(b *pb.Heartbeat) {
	a.w.Helper()
	if err := a.stream.Send(beat(b)); err != nil {
		a.w.Fatal(err)
	}
}

// fails returns the error with which the coordinator ends the stream.
func (a *agent) fails() error {
	for {
		if _, err := a.stream.Recv(); err != nil {
			return err
		}
	}
}

// obey answers instructions until the stream ends.
func (a *agent) obey() <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			m, err := a.stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			if id := m.GetInstruction().GetId(); id != "" {
				_ = a.stream.Send(beat(&pb.Heartbeat{Answers: id}))
			}
		}
	}()
	return ended
}

// until waits for what holds of a host.
func (w *world) until(host string, holds func(recovery.Sighting) bool) {
	w.Helper()
	var last recovery.Sighting
	limit := time.After(time.Minute)
	for {
		err := w.coordinator.View(w.ctx, "", func(v coordinator.View) { last, _ = v.State.Seen(host) })
		if err != nil {
			w.Fatal(err)
		}
		if holds(last) {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			w.Fatalf("%s was last seen as %+v", host, last)
		}
	}
}

// refused waits, in a bubble, until refusals are in the journal: a stream may have ended before they are.
func (w *world) refused() []recovery.AgentRefused {
	w.Helper()
	for range 100 {
		if r := w.refusals(); len(r) > 0 {
			return r
		}
		pass(100 * time.Millisecond)
	}
	return nil
}

// refusals are those in the journal.
func (w *world) refusals() []recovery.AgentRefused {
	w.Helper()
	var out []recovery.AgentRefused
	err := w.coordinator.View(w.ctx, "", func(v coordinator.View) {
		for _, e := range v.Entries {
			if r, ok := e.Event.(*recovery.AgentRefused); ok {
				out = append(out, *r)
			}
		}
	})
	if err != nil {
		w.Fatal(err)
	}
	return out
}
