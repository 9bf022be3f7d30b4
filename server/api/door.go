package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// door decides who comes in and what they may call, and records whom it turns away.
type door struct {
	coordinator *coordinator.Coordinator
	log         hclog.Logger
	stocks      stocks

	mu     sync.Mutex
	since  time.Time // when the present minute of noted began
	told   int       // in it
	untold int       // in it, or since something was told
}

// notesAMinute are how many connections that never got as far as a certificate are told of in the log.
const notesAMinute = 20

// noted tells the log of a connection that came to nothing, but of a flood only the first few of a minute and how many there were.
func (d *door) noted(peer, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.since) >= time.Minute {
		d.since, d.told = now, 0
	}
	if d.told == notesAMinute {
		d.untold++
		return
	}
	d.told++
	d.log.Warn("a connection came to nothing", "peer", peer, "why", why, "untold", d.untold)
	d.untold = 0
}

type identityKey struct{}

type identity struct{ role, name, peer string }

// who is the caller, as its certificate says.
func who(ctx context.Context) identity {
	id, _ := ctx.Value(identityKey{}).(identity)
	return id
}

// authorize reads the caller's role from its certificate and refuses what that role may not call: agents phone home, and
// everything else, health included, is for operators.
func (d *door) authorize(ctx context.Context, method string) (context.Context, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil, status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	role, name, err := pki.Identity(info.State.VerifiedChains[0][0])
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	want := pki.RoleOperator
	if method == pb.AgentService_PhoneHome_FullMethodName {
		want = pki.RoleAgent
	}
	if role != want {
		why := fmt.Sprintf("a certificate of role %s may not call %s: use one of role %s", role, method, want)
		d.refused(ctx, recovery.Refused{Host: name, Peer: p.Addr.String(), Why: why})
		return nil, status.Error(codes.PermissionDenied, why)
	}
	return context.WithValue(ctx, identityKey{}, identity{role, name, p.Addr.String()}), nil
}

// refusalPatience is how long a caller that is turned away waits for that to be recorded.
const refusalPatience = 5 * time.Second

// refused records somebody who was turned away at the door.
func (d *door) refused(ctx context.Context, r recovery.Refused) {
	ctx, cancel := context.WithTimeout(ctx, refusalPatience)
	defer cancel()
	if err := d.coordinator.Refuse(ctx, r); err != nil {
		d.log.Warn("a refusal could not be recorded", "host", r.Host, "peer", r.Peer, "why", r.Why, "error", err)
	}
}

func (d *door) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := d.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	out, err := next(ctx, req)
	return out, code(err)
}

func (d *door) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := d.authorize(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	in := &authorizedStream{ServerStream: ss, ctx: ctx}
	if info.FullMethod != pb.AgentService_PhoneHome_FullMethodName {
		return code(next(srv, in))
	}
	host := culprit(who(ctx))
	if err := d.stocks.wait(ctx, host); err != nil {
		return code(err)
	}
	in.blamed = sync.OnceFunc(func() { d.stocks.put(host) })
	return in.judge(code(next(srv, in)))
}

type authorizedStream struct {
	grpc.ServerStream
	ctx    context.Context
	blamed func() // once, when what the caller is or sends ends the stream; nil: of no interest
}

// RecvMsg sees what grpc itself ends a stream for: its handler may learn no more than that it is over.
func (s *authorizedStream) RecvMsg(m any) error { return s.judge(s.ServerStream.RecvMsg(m)) }

func (s *authorizedStream) judge(err error) error {
	if s.blamed != nil && blames(err) {
		s.blamed()
	}
	return err
}

func (s *authorizedStream) Context() context.Context { return s.ctx }

// watchedTLS lets callers in one after the other, and tells the door of those whose certificate is not believed: they never get as
// far as a call.
type watchedTLS struct {
	credentials.TransportCredentials
	door *door
	gate *gate
}

func (w watchedTLS) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.handshake(c)
	if why := futility(err); why != "" {
		w.door.noted(c.RemoteAddr().String(), why)
	}
	if why, host := disbelief(err); why != "" {
		peer := c.RemoteAddr().String()
		if host == "" { // it has no name but its address
			host = peer
			if ip, _, err := net.SplitHostPort(peer); err == nil {
				host = ip
			}
		}
		w.door.refused(context.Background(), recovery.Refused{Host: host, Peer: peer, Why: why})
	}
	return conn, info, err
}

func (w watchedTLS) handshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := knocked(c)
	if err != nil {
		return nil, nil, err
	}
	leave, err := w.gate.enter()
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	return w.TransportCredentials.ServerHandshake(c)
}

func (w watchedTLS) Clone() credentials.TransportCredentials {
	return watchedTLS{w.TransportCredentials.Clone(), w.door, w.gate}
}

// futility returns why a handshake came to nothing when that is worth a line: "" for one that only broke off.
func futility(err error) string {
	var header tls.RecordHeaderError
	switch {
	case err == nil:
	case errors.Is(err, errCrowded):
		return errCrowded.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "its handshake took too long"
	case errors.As(err, &header):
		return "it speaks no TLS"
	}
	return ""
}

// disbelief returns why a handshake failed when it was for the caller's certificate, and the name that it claims; "" for a
// connection that broke or was no TLS.
func disbelief(err error) (why, host string) {
	var unverified *tls.CertificateVerificationError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &unverified):
		if len(unverified.UnverifiedCertificates) > 0 {
			if _, name, err := pki.Identity(unverified.UnverifiedCertificates[0]); err == nil {
				host = name
			}
		}
		return recovery.Clean("its certificate is not believed: "+unverified.Err.Error(), maxText), host
	case strings.Contains(err.Error(), "didn't provide a certificate"):
		return "it shows no certificate", ""
	case strings.Contains(err.Error(), "not one of Blackstart's"), strings.Contains(err.Error(), "has no business here"):
		return recovery.Clean(err.Error(), maxText), ""
	}
	return "", ""
}
