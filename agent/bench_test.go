package agent

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// quiet is a coordinator that costs next to nothing besides its connections.
type quiet struct {
	pb.UnimplementedAgentServiceServer
	came chan struct{}
}

func (q *quiet) PhoneHome(stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&pb.PhoneHomeResponse{Instruction: probe("p", 1, 1, badFile())}); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if _, err := stream.Recv(); err != nil {
			return nil
		}
		if n == 0 {
			q.came <- struct{}{}
		}
	}
}

// BenchmarkAgentsInOneProcess says what a connected agent costs in the lab's process: memory and goroutines of both ends
// of its connection over TLS and TCP, heap and stacks after a collection.
func BenchmarkAgentsInOneProcess(b *testing.B) {
	const agents = 200
	w := newWorld(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	q := &quiet{came: make(chan struct{}, agents)}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(w.ca.server(b, "blackstart://coordinator/main", "127.0.0.1"))),
		grpc.ReadBufferSize(0), grpc.WriteBufferSize(4<<10),
		grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(64<<10))
	pb.RegisterAgentServiceServer(srv, q)
	go func() { _ = srv.Serve(l) }() // ends with Stop
	defer srv.Stop()

	tls := w.ca.client(b, "app1")
	root := b.TempDir()
	write(b, root, "content/a.bin", "good")
	for b.Loop() {
		before, goroutines := memoryInUse()
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		for i := range agents {
			running.Go(func() {
				err := Run(ctx, Config{
					Host: fmt.Sprintf("app%d", i), Coordinators: []string{l.Addr().String()}, TLS: tls, Root: root,
					BootID: func() (string, error) { return "boot", nil }, BootMode: func() string { return "normal" }, Checks: []health.Check{},
				})
				if err != nil {
					b.Error(err)
				}
			})
		}
		for range agents {
			<-q.came
		}
		after, more := memoryInUse()
		b.ReportMetric(float64(after-before)/agents/1024, "KiB/agent")
		b.ReportMetric(float64(more-goroutines)/agents, "goroutines/agent")
		cancel()
		running.Wait()
	}
}

func memoryInUse() (bytes int64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse), runtime.NumGoroutine()
}
