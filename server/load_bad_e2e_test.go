//go:build e2e && linux

package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// The bad agents of the load test, in a process of their own. Each misbehaves in one way until the coordinator ends it, and then
// begins again.

// badKinds are the ways. ends is how the coordinator must end one: "closed" is a connection cut without a word of gRPC. A patient
// one is ended by a limit of 15 to 40 seconds, and no sooner.
var badKinds = []struct {
	name    string
	act     func(*badAgent) error
	ends    string
	patient bool
}{
	{"connects and says nothing", (*badAgent).nothing, "closed", true},
	{"sends a byte a second", (*badAgent).drip, "closed", true},
	{"stalls in the handshake", (*badAgent).stall, "closed", true},
	{"falls silent after the handshake", (*badAgent).silentTLS, "closed", true},
	{"sends noise", (*badAgent).noise, "closed", false},
	{"sends noise inside TLS", (*badAgent).noiseTLS, "closed", false},
	{"is a stranger", (*badAgent).stranger, "closed", false},
	{"opens a stream without a hello", (*badAgent).noHello, "DeadlineExceeded", true},
	{"says it is another host", (*badAgent).impostor, "PermissionDenied", false},
	{"greets, then sends gibberish", (*badAgent).gibberish, "Internal", false},
	{"greets, then sends a large message", (*badAgent).large, "Internal", false},
	{"greets, then sends a huge message", (*badAgent).oversized, "ResourceExhausted", false},
	{"greets, then sends countless facts", (*badAgent).bloated, "ResourceExhausted", false},
	{"greets, then floods", (*badAgent).flood, "ResourceExhausted", false},
	{"greets and never beats", (*badAgent).mute, "DeadlineExceeded", true},
	{"greets and takes nothing in", (*badAgent).frozen, "Unavailable", true},
}

// badLook is how the bad ones have fared: by kind, how often each end came, and how long the longest took to be ended.
type badLook struct {
	Ends    map[string]map[string]int
	Longest map[string]time.Duration
	Acting  map[string]int
}

// badPause lies between two acts of one bad agent.
const badPause = time.Second

type badAgent struct {
	order loadOrder
	host  string
	own   *tls.Config
	ctx   context.Context
}

func (o loadOrder) misbehave() error {
	stranger, err := strangerTLS()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	look := badLook{Ends: map[string]map[string]int{}, Longest: map[string]time.Duration{}, Acting: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	act := func(b *badAgent, i int) {
		k := badKinds[i%len(badKinds)]
		if k.name == "is a stranger" {
			b.own = stranger
		}
		for ctx.Err() == nil {
			mu.Lock()
			look.Acting[k.name]++
			mu.Unlock()
			began := time.Now()
			ended := class(k.act(b))
			mu.Lock()
			look.Acting[k.name]--
			if ctx.Err() == nil {
				if look.Ends[k.name] == nil {
					look.Ends[k.name] = map[string]int{}
				}
				look.Ends[k.name][ended]++
				look.Longest[k.name] = max(look.Longest[k.name], time.Since(began))
			}
			mu.Unlock()
			pass(ctx, badPause)
		}
	}
	return answerWords(func(w loadWord) (any, error) {
		switch w.Do {
		case "start":
			for i, host := range o.Hosts {
				base := filepath.Join(o.Dir, "agents", host)
				own, _, err := pki.AgentTLS(filepath.Join(o.Dir, "ca.pem"), base+".pem", base+"-key.pem")
				if err != nil {
					return nil, err
				}
				go act(&badAgent{order: o, host: host, own: own, ctx: ctx}, i)
			}
		case "stop":
			stop()
		}
		mu.Lock()
		defer mu.Unlock()
		return cloneLook(look)
	})
}

func cloneLook(l badLook) (badLook, error) {
	out := badLook{Ends: map[string]map[string]int{}, Longest: map[string]time.Duration{}, Acting: map[string]int{}}
	for k, ends := range l.Ends {
		out.Ends[k] = map[string]int{}
		for class, n := range ends {
			out.Ends[k][class] = n
		}
	}
	for k, d := range l.Longest {
		out.Longest[k] = d
	}
	for k, n := range l.Acting {
		out.Acting[k] = n
	}
	return out, nil
}

// strangerTLS has a certificate of another authority for a host's name.
func strangerTLS() (*tls.Config, error) {
	ca, err := pki.NewAuthority()
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue(pki.RoleAgent, "stranger", nil)
	if err != nil {
		return nil, err
	}
	conf := pki.ClientConfig(ca.Pool(), cert)
	conf.InsecureSkipVerify, conf.VerifyConnection = true, nil // it wants to get in, whoever that is
	return conf, nil
}

// class names an end.
func class(err error) string {
	var broken net.Error
	s, isStatus := status.FromError(err)
	switch {
	case err == nil:
		return "let be"
	case isStatus:
		return s.Code().String()
	case errors.As(err, &broken) && broken.Timeout():
		return "let be"
	}
	return "closed"
}

func pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// badPatience is how long a bad agent waits to be ended.
const badPatience = 75 * time.Second

func (b *badAgent) dial() (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(b.ctx, "tcp", b.order.Address)
	if err != nil {
		pass(b.ctx, time.Second) // the coordinator is away
		return nil, status.Error(codes.Canceled, err.Error())
	}
	_ = conn.SetDeadline(time.Now().Add(badPatience))
	context.AfterFunc(b.ctx, func() { _ = conn.Close() })
	return conn, nil
}

// raw dials, acts and waits until the connection is cut.
func (b *badAgent) raw(act func(net.Conn) error) error {
	conn, err := b.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := act(conn); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	if err == nil {
		err = io.EOF
	}
	return err
}

func (b *badAgent) nothing() error { return b.raw(func(net.Conn) error { return nil }) }

func (b *badAgent) noise() error {
	return b.raw(func(c net.Conn) error {
		_, err := io.CopyN(c, rand.Reader, 64<<10)
		return err
	})
}

func (b *badAgent) drip() error {
	return b.raw(func(c net.Conn) error {
		return tls.Client(&drippingConn{c, b.ctx}, b.h2()).HandshakeContext(b.ctx)
	})
}

type drippingConn struct {
	net.Conn
	ctx context.Context
}

func (c *drippingConn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		pass(c.ctx, time.Second)
	}
	return len(p), nil
}

func (b *badAgent) stall() error {
	return b.raw(func(c net.Conn) error { return tls.Client(&stallingConn{Conn: c}, b.h2()).HandshakeContext(b.ctx) })
}

// stallingConn loses everything after the first write.
type stallingConn struct {
	net.Conn
	said bool
}

func (c *stallingConn) Write(p []byte) (int, error) {
	if c.said {
		return len(p), nil
	}
	c.said = true
	return c.Conn.Write(p)
}

func (b *badAgent) h2() *tls.Config {
	conf := b.own.Clone()
	conf.NextProtos, conf.ServerName = []string{"h2"}, "127.0.0.1"
	return conf
}

func (b *badAgent) secure(act func(*tls.Conn) error) error {
	return b.raw(func(c net.Conn) error {
		s := tls.Client(c, b.h2())
		if err := s.HandshakeContext(b.ctx); err != nil {
			return err
		}
		if err := act(s); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, s)
		return err
	})
}

func (b *badAgent) silentTLS() error { return b.secure(func(*tls.Conn) error { return nil }) }

func (b *badAgent) stranger() error { return b.secure(func(*tls.Conn) error { return nil }) }

func (b *badAgent) noiseTLS() error {
	return b.secure(func(s *tls.Conn) error {
		_, err := io.CopyN(s, rand.Reader, 64<<10)
		return err
	})
}

// stream opens a stream on a new connection, lets it act, and returns how the coordinator ends it.
func (b *badAgent) stream(act func(grpc.ClientStream, context.Context) error, options ...grpc.DialOption) error {
	ctx, cancel := context.WithTimeout(b.ctx, badPatience)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+b.order.Address, append(options, grpc.WithTransportCredentials(credentials.NewTLS(b.own)), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawBytes{})))...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, pb.AgentService_PhoneHome_FullMethodName)
	if err != nil {
		pass(b.ctx, time.Second)
		return status.Error(codes.Canceled, err.Error()) // it did not come so far as to misbehave
	}
	if err := act(s, ctx); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if err := s.RecvMsg(new([]byte)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// rawBytes sends what it is given.
type rawBytes struct{}

func (rawBytes) Marshal(v any) ([]byte, error) { return v.([]byte), nil } //nolint:forcetypeassert // ours

func (rawBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data) //nolint:forcetypeassert // ours
	return nil
}

func (rawBytes) Name() string { return "proto" }

func wire(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return data
}

func badHello(host string) []byte {
	return wire(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: &pb.Hello{Host: host, BootId: "boot", BootMode: pb.BootMode_BOOT_MODE_NORMAL,
		Instance: rand.Text()}}})
}

func badBeat(facts *pb.Facts) []byte {
	return wire(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Heartbeat{Heartbeat: &pb.Heartbeat{Facts: facts}}})
}

// greet says hello and then, until an error, what next returns; nil is the end of it.
func (b *badAgent) greet(next func(i int) []byte) error {
	return b.stream(func(s grpc.ClientStream, _ context.Context) error {
		for i, m := 0, badHello(b.host); m != nil; i++ {
			if err := s.SendMsg(m); err != nil {
				return err
			}
			m = next(i)
		}
		return nil
	})
}

func once(m []byte) func(int) []byte {
	return func(i int) []byte {
		if i > 0 {
			return nil
		}
		return m
	}
}

func (b *badAgent) noHello() error {
	return b.stream(func(grpc.ClientStream, context.Context) error { return nil })
}

func (b *badAgent) impostor() error {
	return b.stream(func(s grpc.ClientStream, _ context.Context) error { return s.SendMsg(badHello(b.order.Hosts[0] + "x")) })
}

func (b *badAgent) gibberish() error {
	noise := make([]byte, 512)
	_, _ = rand.Read(noise)
	noise[0] = 7 // a wire type that there is not
	return b.greet(once(noise))
}

// The large messages are made once: it is the coordinator whose time is measured.
var (
	hugeMessage  = make([]byte, 2<<20)
	largeMessage = sync.OnceValue(func() []byte {
		return badBeat(&pb.Facts{Health: []*pb.HealthCheck{{Detail: strings.Repeat("x", 900<<10)}}})
	})
	// bloatedMessage is small on the wire and large in memory.
	bloatedMessage = sync.OnceValue(func() []byte {
		facts := &pb.Facts{Health: make([]*pb.HealthCheck, 60_000)}
		for i := range facts.Health {
			facts.Health[i] = &pb.HealthCheck{}
		}
		return badBeat(facts)
	})
)

func (b *badAgent) oversized() error { return b.greet(once(hugeMessage)) }

func (b *badAgent) large() error { return b.greet(once(largeMessage())) }

func (b *badAgent) bloated() error {
	m := bloatedMessage()
	return b.greet(func(int) []byte { return m })
}

func (b *badAgent) flood() error {
	m := badBeat(nil)
	return b.greet(func(int) []byte { return m })
}

func (b *badAgent) mute() error { return b.greet(func(int) []byte { return nil }) }

// frozen greets and then takes nothing in from its socket, until it must have been given up.
func (b *badAgent) frozen() error {
	thaw, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var frozen *freezingConn
	dial := grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		frozen = &freezingConn{Conn: c, thaw: thaw}
		return frozen, err
	})
	return b.stream(func(s grpc.ClientStream, _ context.Context) error {
		if err := s.SendMsg(badHello(b.host)); err != nil {
			return err
		}
		if err := s.RecvMsg(new([]byte)); err != nil {
			return err
		}
		frozen.freeze()
		pass(b.ctx, 50*time.Second)
		cancel()
		return nil
	}, dial)
}

type freezingConn struct {
	net.Conn
	thaw context.Context
	mu   sync.Mutex
	cold bool
}

func (c *freezingConn) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cold = true
}

func (c *freezingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	cold := c.cold
	c.mu.Unlock()
	if cold {
		<-c.thaw.Done()
	}
	return n, err
}
