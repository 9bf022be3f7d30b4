package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// callTimeout bounds every call but a watch.
const callTimeout = 30 * time.Second

// dial connects to the coordinator by address: no DNS, no proxy.
func (o *options) dial() (pb.OperatorServiceClient, func(), error) {
	host, _, err := net.SplitHostPort(o.coordinator)
	if err != nil || net.ParseIP(host) == nil {
		return nil, nil, usage("--coordinator %s: give an IP address and a port, as in 10.0.0.5:%s (names need a DNS that may be down)", o.coordinator, defaultPort)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "ca.pem")); err != nil {
		return nil, nil, usage("%s holds no certificates: run `blackstart init %s`, or name the right folder with --dir", o.dir, o.dir)
	}
	tls, err := pki.ClientTLS(o.dir, o.operator)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+o.coordinator, grpc.WithTransportCredentials(credentials.NewTLS(tls)), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		return nil, nil, err
	}
	return pb.NewOperatorServiceClient(conn), func() { _ = conn.Close() }, nil
}

// ask runs one call against the coordinator.
func (o *options) ask(c *cobra.Command, call func(context.Context, pb.OperatorServiceClient) error) error {
	client, end, err := o.dial()
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(c.Context(), callTimeout)
	defer cancel()
	return call(ctx, client)
}
