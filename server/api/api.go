// Package api is the gRPC edge: messages come in, inputs go out. It is the only place of the server where proto meets the core
// and where errors become codes.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	grpcrecovery "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/backups"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

// Config is what the edge needs.
type Config struct {
	Coordinator *coordinator.Coordinator
	Playbooks   *playbook.Library
	TLS         *tls.Config                                          // requires and verifies client certificates
	Epoch       uint64                                               // of this start of the coordinator
	Beat        time.Duration                                        // how often agents report; 0 means 10 s
	Hosts       int                                                  // of the fleet: agents that lose the coordinator spread their return accordingly
	Work        *restore.Hub                                         // gives agents work on backups; nil: there is none
	Backups     *backups.Keeper                                      // nil: nobody knows of backups
	DataSets    []recovery.DataSet                                   // of the fleet
	Progress    func(incident, job string) (recovery.Progress, bool) // how far a job through an agent has come; nil: nobody knows
	Log         hclog.Logger
}

const (
	defaultBeat  = 10 * time.Second
	leastBeat    = time.Second // what agents agree to
	maxMessage   = 1 << 20     // bytes
	maxHeaders   = 16 << 10    // bytes
	window       = 64 << 10    // bytes that a caller may send ahead
	keepaliveGap = 15 * time.Second

	connectionTimeout = 20 * time.Second // for TLS and the greeting of HTTP/2
)

// New returns a gRPC server with both services. Every connection needs a certificate of our CA; what its holder may call
// follows from the role in it.
func New(cfg Config) *grpc.Server {
	if cfg.Beat == 0 {
		cfg.Beat = defaultBeat
	}
	cfg.Beat = max(cfg.Beat, leastBeat)
	door := &door{coordinator: cfg.Coordinator, log: cfg.Log}
	panics := grpcrecovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		cfg.Log.Error("a call panicked", "panic", p, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the coordinator failed on this call; its log has the details")
	})
	s := grpc.NewServer(
		grpc.Creds(watchedTLS{credentials.NewTLS(cfg.TLS), door, newGate(handshakesAtOnce)}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(64),
		grpc.ConnectionTimeout(connectionTimeout),
		// For thousands of quiet connections: TLS has a read buffer of its own (write buffers are lent for a flush), and a window that does
		// not adapt needs no ping to measure by.
		grpc.ReadBufferSize(0),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveGap, Timeout: keepaliveGap}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(grpcrecovery.UnaryServerInterceptor(panics), door.unary),
		grpc.ChainStreamInterceptor(grpcrecovery.StreamServerInterceptor(panics), door.stream),
	)
	pb.RegisterAgentServiceServer(s, &agents{cfg: cfg, within: returnWithin(cfg.Hosts), sessions: map[string]*session{}})
	pb.RegisterOperatorServiceServer(s, &operators{cfg: cfg})
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

// code maps an error to a gRPC status, once, at the edge.
func code(err error) error {
	var e *recovery.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		switch e.Kind {
		case recovery.KindNotFound:
			return status.Error(codes.NotFound, e.Message)
		case recovery.KindRefused:
			return status.Error(codes.FailedPrecondition, e.Message)
		default:
			return status.Error(codes.InvalidArgument, e.Message)
		}
	case errors.Is(err, coordinator.ErrStopped), errors.Is(err, backups.ErrStopped):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, fmt.Sprintf("unexpected: %v", err))
}
