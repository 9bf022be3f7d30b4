//go:build bench && linux

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// The processes of TestAgentsFootprint. Each is this test binary, started with an order in its environment. It says what it is on
// its standard output, answers each word on its standard input with a look at itself, and ends with its input.
const (
	childEnv  = "BLACKSTART_BENCH_CHILD"
	benchBeat = 10 * time.Second // as it is when nobody sets it
	dialling  = 64               // connections being made at once
)

type childOrder struct {
	Role    string
	Dir     string // of certificates
	Work    string // the process's own
	Agents  int
	Address string // of the server, for a client
}

type childReady struct{ Address string }

type childLook struct {
	At       time.Time
	Resident int64 // bytes
	InUse    int64 // bytes of heap and stacks
	Routines int
	CPU      time.Duration
	Sockets  int
}

func init() {
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	var order childOrder
	err := json.Unmarshal([]byte(text), &order)
	if err == nil {
		err = order.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "process", order.Role, "of the test:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve plays the role until the standard input ends.
func (o childOrder) serve() error {
	var ready childReady
	var err error
	begin := func() error { return nil }
	switch o.Role {
	case "coordinator":
		ready.Address, err = o.coordinator()
	case "bare":
		ready.Address, err = o.bare()
	case "bare-small":
		ready.Address, err = o.bare(smallBuffers...)
	case "agents":
		begin, err = o.agents()
	case "bare-agents":
		begin, err = o.bareAgents()
	default:
		err = errors.New("no such role")
	}
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(ready); err != nil {
		return err
	}
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		switch words.Text() {
		case "go":
			if err := begin(); err != nil {
				return err
			}
		case "collect":
			runtime.GC()
			debug.FreeOSMemory()
		}
		look, err := lookAtSelf()
		if err := errors.Join(err, out.Encode(look)); err != nil {
			return err
		}
	}
	return words.Err()
}

func lookAtSelf() (childLook, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	l := childLook{InUse: int64(m.HeapInuse + m.StackInuse), Routines: runtime.NumGoroutine(), At: time.Now()} //nolint:gosec // far below
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	if err != nil {
		return l, err
	}
	l.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if l.Sockets, err = sockets(); err != nil {
		return l, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return l, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			l.Resident = kib << 10
			return l, err
		}
	}
	return l, errors.New("no VmRSS in /proc/self/status")
}

// sockets counts the process's own.
func sockets() (int, error) {
	files, err := os.ReadDir("/proc/self/fd")
	n := 0
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n, err
}

// coordinator is the real server.
func (o childOrder) coordinator() (string, error) {
	f, err := fleet.Parse("fleet.yaml", []byte(benchFleet(o.Agents)))
	if err != nil {
		return "", err
	}
	books, err := playbook.Load(recoveryplaybooks.FS)
	if err != nil {
		return "", err
	}
	conf, err := pki.ServerTLS(o.Dir)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- server.Run(context.Background(), server.Config{Dir: filepath.Join(o.Work, "data"), Listeners: []net.Listener{l}, TLS: conf,
			Fleet: f, Playbooks: books, SSH: remedy.Config{AgentSocket: filepath.Join(o.Work, "nobody")}, Beat: benchBeat, Log: hclog.NewNullLogger(), Ready: func() { close(ready) }})
	}()
	select {
	case err := <-ended:
		return "", err
	case <-ready:
		return l.Addr().String(), nil
	}
}

// smallBuffers are grpc-go's means for many quiet connections, as the coordinator uses them.
var smallBuffers = []grpc.ServerOption{grpc.ReadBufferSize(0), grpc.StaticStreamWindowSize(64 << 10), grpc.StaticConnWindowSize(64 << 10)}

// bare is a grpc-go server that greets and then only receives.
func (o childOrder) bare(options ...grpc.ServerOption) (string, error) {
	conf, err := pki.ServerTLS(o.Dir)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := grpc.NewServer(append(options, grpc.Creds(credentials.NewTLS(conf)))...)
	pb.RegisterAgentServiceServer(s, &bareService{})
	go func() { _ = s.Serve(l) }() // until the process ends
	return l.Addr().String(), nil
}

type bareService struct {
	pb.UnimplementedAgentServiceServer
}

func (*bareService) PhoneHome(stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	greeting := &pb.Instruction{Epoch: 1, Sequence: 1, What: &pb.Instruction_StandBy{StandBy: &pb.StandBy{Beat: durationpb.New(benchBeat)}}}
	if err := stream.Send(&pb.PhoneHomeResponse{Instruction: greeting}); err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// benchChecks are the same few bytes from every host, so that bare heartbeats can be as long as the agents'.
var benchChecks = []health.Check{benchCheck("disk-space", "61 % free of 40 GiB"), benchCheck("load", "0.12 0.08 0.05 on 4 CPUs"), benchCheck("memory", "2.1 GiB available of 8 GiB")}

func benchCheck(name, detail string) health.Check {
	return health.Check{Name: name, Run: func(context.Context) (string, error) { return detail, nil }}
}

// agents runs the real agent many times.
func (o childOrder) agents() (func() error, error) {
	ids, err := o.identities()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(o.Work, "root")
	content := filepath.Join(root, "opt", "edr", "content")
	if err := errors.Join(os.MkdirAll(content, 0o755), os.WriteFile(filepath.Join(content, "rules-3.bin"), append([]byte("EDRC\x01\x00"), make([]byte, 4094)...), 0o600)); err != nil {
		return nil, err
	}
	connected := new(atomic.Int64)
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: connections{connected}})
	return o.oneByOne(connected, func(i int, failed chan<- error) {
		cfg, err := ids.tls(i)
		if err == nil {
			err = agent.Run(context.Background(), agent.Config{Host: ids.names[i], Coordinators: []string{o.Address}, TLS: cfg, Root: root, Version: "1.2.3",
				BootID: func() (string, error) { return "6f1c7a52-5d0e-4a9e-9c39-0d5c1d9a7f11", nil }, BootMode: func() string { return "normal" }, Checks: benchChecks, Log: log})
		}
		failed <- err
	}), nil
}

// connections counts what agents log. One that must dial again, on a machine with too much to do, is counted twice: whoever waits
// for all of them looks at the sockets too.
type connections struct{ n *atomic.Int64 }

func (c connections) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("connected:")) {
		c.n.Add(1)
	}
	return len(line), nil
}

// bareAgents are bare grpc-go clients that send what agents send, as often.
func (o childOrder) bareAgents() (func() error, error) {
	ids, err := o.identities()
	if err != nil {
		return nil, err
	}
	connected := new(atomic.Int64)
	return o.oneByOne(connected, func(i int, failed chan<- error) {
		failed <- o.bareAgent(ids, i, connected)
	}), nil
}

func (o childOrder) bareAgent(ids *identities, i int, connected *atomic.Int64) error {
	cfg, err := ids.tls(i)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+o.Address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	stream, err := pb.NewAgentServiceClient(conn).PhoneHome(context.Background())
	if err != nil {
		return err
	}
	hello := &pb.Hello{Host: ids.names[i], BootId: "6f1c7a52-5d0e-4a9e-9c39-0d5c1d9a7f11", BootMode: pb.BootMode_BOOT_MODE_NORMAL, AgentVersion: "1.2.3",
		Instance: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Facts: benchFacts()}
	if err := stream.Send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: hello}}); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	connected.Add(1)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	beat := time.NewTicker(benchBeat)
	for {
		select {
		case err := <-ended:
			return err
		case <-beat.C:
		}
		if err := stream.Send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Heartbeat{Heartbeat: &pb.Heartbeat{Facts: benchFacts()}}}); err != nil {
			return err
		}
	}
}

// benchFacts are as long as what the agents of the test say.
func benchFacts() *pb.Facts {
	f := &pb.Facts{GatheredAt: timestamppb.Now(), Content: []*pb.ContentFact{{PlaybookDigest: "sha256:" + strings.Repeat("0", 64), Good: 1}}}
	for _, c := range benchChecks {
		detail, _ := c.Run(context.Background())
		f.Health = append(f.Health, &pb.HealthCheck{Name: c.Name, Ok: true, Detail: detail})
	}
	return f
}

// oneByOne starts every agent, not too many at once, and returns when all are connected.
func (o childOrder) oneByOne(connected *atomic.Int64, run func(i int, failed chan<- error)) func() error {
	return func() error {
		failed := make(chan error, o.Agents)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for started := 0; connected.Load() < int64(o.Agents); {
			select {
			case err := <-failed:
				return err
			case <-tick.C:
			}
			for ; started < o.Agents && int64(started)-connected.Load() < dialling; started++ {
				go run(started, failed)
			}
		}
		return nil
	}
}

// identities are the agents' names, certificates and keys, as they lie on their disks.
type identities struct {
	ca          []byte
	names       []string
	certs, keys [][]byte
}

func (o childOrder) identities() (*identities, error) {
	ca, err := os.ReadFile(filepath.Join(o.Dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	ids := &identities{ca: ca}
	keys, err := filepath.Glob(filepath.Join(o.Dir, "agents", "*-key.pem"))
	if err != nil {
		return nil, err
	}
	for _, file := range keys[:o.Agents] {
		base := strings.TrimSuffix(file, "-key.pem")
		cert, err1 := os.ReadFile(base + ".pem")
		key, err2 := os.ReadFile(file)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		ids.names, ids.certs, ids.keys = append(ids.names, filepath.Base(base)), append(ids.certs, cert), append(ids.keys, key)
	}
	return ids, nil
}

func (ids *identities) tls(i int) (*tls.Config, error) {
	return agent.ClientTLS(ids.ca, ids.certs[i], ids.keys[i])
}
