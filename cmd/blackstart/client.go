package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// callTimeout bounds every call but a watch.
const callTimeout = 30 * time.Second

// dial connects to the coordinator by address: no DNS, no proxy.
func (o *options) dial() (pb.OperatorServiceClient, func(), error) {
	host, port, err := net.SplitHostPort(o.coordinator)
	if err != nil || net.ParseIP(host) == nil || port == "" {
		return nil, nil, usage("--coordinator %s: give an IP address and a port, as in 10.0.0.5:%s (names need a DNS that may be down)", o.coordinator, defaultPort)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "ca.pem")); err != nil {
		return nil, nil, usage("%s holds no certificates: run `blackstart init %s`, or name the right folder with --dir", o.dir, quoted(o.dir))
	}
	tls, err := pki.ClientTLS(o.dir, o.operator)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, usage("%s holds no certificate of operator %s: make it with `blackstart operator issue %s`, or name yourself with --operator",
			filepath.Join(o.dir, "operators"), o.operator, quoted(o.operator))
	}
	if err != nil {
		return nil, nil, usage("%w", err)
	}
	conn, err := grpc.NewClient("passthrough:///"+o.coordinator, grpc.WithTransportCredentials(credentials.NewTLS(tls)), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 2 * time.Second}, MinConnectTimeout: 10 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 15 * time.Second})) // a watch notices a coordinator that is gone
	if err != nil {
		return nil, nil, err
	}
	return pb.NewOperatorServiceClient(conn), func() { _ = conn.Close() }, nil
}

// ask runs one call against the coordinator.
func (o *options) ask(c *cobra.Command, call func(context.Context, pb.OperatorServiceClient) error) error {
	client, hangUp, err := o.dial()
	if err != nil {
		return err
	}
	defer hangUp()
	ctx, cancel := context.WithTimeout(c.Context(), callTimeout)
	defer cancel()
	defer o.busy(c, fmt.Sprintf("waiting for the coordinator at %s, for %s at most", o.coordinator, callTimeout))()
	err = call(ctx, client)
	if c.Context().Err() != nil && err != nil {
		return errInterrupted
	}
	return o.reached(err)
}

// reached adds to an error of the connection which coordinator was asked for.
func (o *options) reached(err error) error {
	st, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	switch st.Code() {
	case codes.Unavailable:
		return &outcome{exitFailed, o.coordinator + ": " + noWay(st.Message())}
	case codes.DeadlineExceeded:
		return &outcome{exitFailed, fmt.Sprintf("%s: the coordinator did not answer within %s: try again, or look at its log", o.coordinator, callTimeout)}
	}
	return err
}

// noWay says in a sentence why a coordinator was not reached. What is no trouble of the connection was said by the coordinator.
func noWay(message string) string {
	for _, known := range []struct{ sign, says string }{
		{"connection refused", "no coordinator answers there: start it with `blackstart serve`, or name the right address with --coordinator"},
		{"certificate is valid for", "the coordinator's certificate is not for this address: use an address that `blackstart init --ip` was given, or make certificates for this one in a new folder"},
		{"certificate is not valid for any", "the coordinator's certificate is not for this address: use an address that `blackstart init --ip` was given, or make certificates for this one in a new folder"},
		{"doesn't contain any IP SANs", "the coordinator's certificate is not for this address: use an address that `blackstart init --ip` was given, or make certificates for this one in a new folder"},
		{"signed by unknown authority", "what answers there belongs to another authority than the certificates here: name its folder with --dir, or the right address with --coordinator"},
		{"has expired or is not yet valid", "a certificate is not valid now: look at the clocks of both machines first"},
		{"remote error: tls", "the coordinator refuses this certificate: it is of another authority; name the right folder with --dir"},
		{"first record does not look like a TLS handshake", "what answers there is no coordinator: name the right address with --coordinator"},
		{"no route to host", "there is no way to that address: look at the network, and at --coordinator"},
		{"network is unreachable", "there is no way to that address: look at the network, and at --coordinator"},
		{"i/o timeout", "nothing answers at that address: look at the network, and at --coordinator"},
		{"context deadline exceeded", "nothing answers at that address: look at the network, and at --coordinator"},
		{"error reading from server", "the connection to the coordinator broke: look whether it still runs, then try again"},
		{"closing transport", "the connection to the coordinator broke: look whether it still runs, then try again"},
		{"connection reset", "the connection to the coordinator broke: look whether it still runs, then try again"},
		{"server preface", "what answers there is no coordinator: name the right address with --coordinator"},
	} {
		if strings.Contains(message, known.sign) {
			return known.says
		}
	}
	if _, detail, ok := strings.Cut(message, "connection error: desc = "); ok {
		return "the coordinator cannot be reached (" + strings.Trim(detail, `"`) + "): look at the network, and at --coordinator"
	}
	return message
}

// patience is how long a command may be silent.
const patience = 2 * time.Second

// busy says what is being done once it takes longer than a person waits without wondering. Programs are not told.
func (o *options) busy(c *cobra.Command, what string) (done func()) {
	if o.json() {
		return func() {}
	}
	t := time.AfterFunc(patience, func() { fmt.Fprintln(c.ErrOrStderr(), "blackstart: "+what+" …") })
	return func() { t.Stop() }
}
