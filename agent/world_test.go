package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// Every test here runs behind a proxy setting that leads nowhere: whoever honours it reaches no coordinator.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://192.0.2.1:3128"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// authority issues certificates. They hold from 1999, because the clock of a synctest bubble starts in 2000.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	return a
}

// leaf issues a certificate for a URI name and, where addresses are given, for a server at them.
func (a *authority) leaf(t testing.TB, uri string, addrs ...string) (cert, key []byte) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: uri}, URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, addr := range addrs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(addr))
	}
	_, _, cert, key = issue(t, tmpl, a.cert, a.key)
	return cert, key
}

func issue(t testing.TB, tmpl, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl.NotBefore, tmpl.NotAfter = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	if parent == nil {
		parent, by = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err1 := x509.ParseCertificate(der)
	raw, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) client(t testing.TB, host string) *tls.Config {
	t.Helper()
	cert, key := a.leaf(t, "blackstart://agent/"+host)
	cfg, err := ClientTLS(a.pem, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (a *authority) server(t testing.TB, uri string, addrs ...string) *tls.Config {
	t.Helper()
	cert, key := a.leaf(t, uri, addrs...)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// world is a network of coordinators by address, in memory.
type world struct {
	t     testing.TB
	ca    *authority
	mu    sync.Mutex
	at    map[string]*bufconn.Listener
	dials []dialled
}

type dialled struct {
	addr string
	at   time.Time
}

func newWorld(t testing.TB) *world {
	return &world{t: t, ca: newAuthority(t), at: map[string]*bufconn.Listener{}}
}

func (w *world) dial(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, dialled{addr, time.Now()})
	l := w.at[addr]
	w.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	return l.DialContext(ctx)
}

func (w *world) dialled() []dialled {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials
}

func (w *world) listen(addr string) *bufconn.Listener {
	l := bufconn.Listen(64 << 10)
	w.mu.Lock()
	w.at[addr] = l
	w.mu.Unlock()
	return l
}

// coordinator serves at addr until stop is called.
type coordinator struct {
	pb.UnimplementedAgentServiceServer
	visits chan *visit
	deaf   atomic.Bool // reads nothing after the hello
	stop   func()
}

// visit is one stream of an agent.
type visit struct {
	t      testing.TB
	hello  *pb.Hello
	beats  chan *pb.Heartbeat // closed when the agent said that it was all
	works  chan *pb.WorkReport
	stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	end    chan error // what the coordinator ends the stream with
}

func (w *world) coordinator(addr string) *coordinator {
	ip, _, _ := net.SplitHostPort(addr)
	c := &coordinator{visits: make(chan *visit, 64)}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(w.ca.server(w.t, "blackstart://coordinator/main", ip))),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	pb.RegisterAgentServiceServer(srv, c)
	l := w.listen(addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with Stop
	}()
	c.stop = func() {
		w.mu.Lock()
		delete(w.at, addr)
		w.mu.Unlock()
		srv.Stop()
		<-done
	}
	return c
}

func (c *coordinator) PhoneHome(stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	first, err := stream.Recv()
	if err != nil || first.GetHello() == nil {
		return fmt.Errorf("no hello: %w", err)
	}
	v := &visit{hello: first.GetHello(), beats: make(chan *pb.Heartbeat, 4096), works: make(chan *pb.WorkReport, 4096), stream: stream, end: make(chan error, 1)}
	deaf := c.deaf.Load()
	c.visits <- v
	if deaf {
		<-stream.Context().Done()
		return nil
	}
	over := make(chan error, 1)
	go func() {
		defer close(v.beats)
		for {
			m, err := stream.Recv()
			if err != nil {
				over <- nil
				return
			}
			if r := m.GetWorkReport(); r != nil {
				v.works <- r
				continue
			}
			v.beats <- m.GetHeartbeat()
		}
	}()
	select {
	case err := <-v.end:
		return err
	case err := <-over:
		return err
	}
}

// next waits for a stream; a bubble's clock runs as far as it must.
func (c *coordinator) next(t testing.TB) *visit {
	t.Helper()
	select {
	case v := <-c.visits:
		v.t = t
		return v
	case <-time.After(10 * time.Minute):
		t.Fatal("no agent came")
		return nil
	}
}

func (v *visit) say(in *pb.Instruction) {
	v.t.Helper()
	if err := v.stream.Send(&pb.PhoneHomeResponse{Instruction: in}); err != nil {
		v.t.Fatal(err)
	}
}

// heartbeat waits for the next one.
func (v *visit) heartbeat() *pb.Heartbeat {
	v.t.Helper()
	select {
	case h, ok := <-v.beats:
		if !ok {
			v.t.Fatal("the stream ended")
		}
		return h
	case <-time.After(10 * time.Minute):
		v.t.Fatal("no heartbeat")
		return nil
	}
}

// answer waits for the heartbeat that answers the instruction.
func (v *visit) answer(id string) *pb.Heartbeat {
	v.t.Helper()
	for {
		if h := v.heartbeat(); h.GetAnswers() == id {
			return h
		}
	}
}

// config is a machine at home in the world.
func (w *world) config(host string, coordinators ...string) Config {
	return Config{
		Host: host, Coordinators: coordinators, TLS: w.ca.client(w.t, host), Root: w.t.TempDir(), StateDir: w.t.TempDir(), Version: "test",
		BootID:   func() (string, error) { return "boot-1", nil },
		BootMode: func() string { return "normal" },
		Checks:   []health.Check{{Name: "fine", Run: func(context.Context) (string, error) { return "", nil }}},
		Dial:     w.dial,
	}
}

// start runs an agent; the function that it returns ends it and waits until it has gone.
func start(t testing.TB, cfg Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func standBy(id string, epoch, sequence uint64) *pb.Instruction {
	return &pb.Instruction{Id: id, Epoch: epoch, Sequence: sequence, What: &pb.Instruction_StandBy{StandBy: &pb.StandBy{}}}
}

func verify(id string, epoch, sequence uint64) *pb.Instruction {
	return &pb.Instruction{Id: id, Epoch: epoch, Sequence: sequence, What: &pb.Instruction_Verify{Verify: &pb.Verify{}}}
}

func probe(id string, epoch, sequence uint64, sets ...*pb.ProbeSet) *pb.Instruction {
	return &pb.Instruction{Id: id, Epoch: epoch, Sequence: sequence, What: &pb.Instruction_Probe{Probe: &pb.Probe{Sets: sets}}}
}

// badFile is a probe set for files below /content that begin with "bad" or "good".
func badFile() *pb.ProbeSet {
	return &pb.ProbeSet{
		PlaybookDigest: "sha256:play",
		Bad:            []*pb.ContentProbe{{Name: "bad", Path: "/content/*.bin", Header: []byte("bad")}},
		Good:           []*pb.ContentProbe{{Name: "good", Path: "/content/*.bin", Header: []byte("good")}},
	}
}
