//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// maxRSS is what the agent may take of a server's memory.
const maxRSS = 20 << 20

// coordinator hands the one stream to the test.
type coordinator struct {
	pb.UnimplementedAgentServiceServer
	streams chan grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	over    chan struct{}
}

func (c *coordinator) PhoneHome(s grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	c.streams <- s
	<-c.over
	return nil
}

// The real program, as it is built for a server: it phones home, stays small while it works, and says its last words when
// it is told to stop.
func TestBinary(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "blackstart-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w -X main.version=1.2.3", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	serverTLS := certificates(t, dir, "app1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &coordinator{streams: make(chan grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse], 1), over: make(chan struct{})}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS)))
	pb.RegisterAgentServiceServer(srv, c)
	go func() { _ = srv.Serve(l) }() // ends with Stop
	defer srv.Stop()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	root := filepath.Join(dir, "root")
	for i := range 300 {
		file(t, filepath.Join(root, "content", fmt.Sprintf("c%03d.bin", i)), strings.Repeat("good content ", 2000))
	}
	conf := file(t, filepath.Join(dir, "agent.conf"), fmt.Sprintf("coordinator = %s\ndir = %s\nroot = %s\nprocess = blackstart-agent\n", l.Addr(), dir, root))
	var log bytes.Buffer
	agent := exec.CommandContext(ctx, binary, "--config", conf)
	agent.Stderr = &log
	agent.Env = []string{"HTTPS_PROXY=http://192.0.2.1:3128"}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			_ = agent.Process.Kill() // it has ended already, or must now
			_ = agent.Wait()
			t.Logf("the agent's log:\n%s", log.String())
		}
	}()
	var stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	select {
	case stream = <-c.streams:
	case <-ctx.Done():
		t.Fatal("the agent did not phone home")
	}
	defer close(c.over)
	first, err := stream.Recv()
	if h := first.GetHello(); err != nil || h.GetHost() != "app1" || h.GetAgentVersion() != "1.2.3" || len(h.GetBootId()) != 36 {
		t.Fatalf("hello: %v, %v", first, err)
	}
	for _, h := range first.GetHello().GetFacts().GetHealth() {
		if !h.GetOk() {
			t.Errorf("health: %v", h)
		}
	}
	ask := func(in *pb.Instruction) *pb.Facts {
		t.Helper()
		if err := stream.Send(&pb.PhoneHomeResponse{Instruction: in}); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if m.GetHeartbeat().GetAnswers() == in.GetId() {
				return m.GetHeartbeat().GetFacts()
			}
		}
	}
	set := &pb.ProbeSet{PlaybookDigest: "p", Good: []*pb.ContentProbe{{Path: "/CONTENT/c*.bin", IgnoreCase: true, Header: []byte("good"), MinSize: 1}},
		Bad: []*pb.ContentProbe{{Path: "/content/c*.bin", Sha256: strings.Repeat("00", 32)}}}
	ask(&pb.Instruction{Id: "probe", Epoch: 1, Sequence: 1, What: &pb.Instruction_Probe{Probe: &pb.Probe{Sets: []*pb.ProbeSet{set}}}})
	for i := range 20 { // hashes everything each time
		facts := ask(&pb.Instruction{Id: fmt.Sprint(i), Epoch: 1, Sequence: uint64(i + 2), What: &pb.Instruction_Verify{Verify: &pb.Verify{}}})
		if f := facts.GetContent()[0]; f.GetGood() != 300 || f.GetBad() != 0 || f.GetError() != "" {
			t.Fatalf("facts: %v", f)
		}
	}
	now, most := resident(t, agent.Process.Pid)
	t.Logf("resident: %.1f MiB, at most %.1f MiB", float64(now)/(1<<20), float64(most)/(1<<20))
	if most >= maxRSS {
		t.Errorf("the agent took %d bytes of memory; it may take less than %d", most, maxRSS)
	}

	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	words, err := stream.Recv()
	if err != nil || len(words.GetHeartbeat().GetFacts().GetContent()) != 1 {
		t.Errorf("last words: %v, %v", words, err)
	}
	if m, err := stream.Recv(); err == nil {
		t.Errorf("after the last words: %v", m)
	}
	c.over <- struct{}{}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "agent-memory.json")); err != nil {
		t.Error(err)
	}
}

// A program whose settings allow work on backups says so, does it, and keeps its result.
func TestProgramThatRestores(t *testing.T) {
	dir := t.TempDir()
	serverTLS := certificates(t, dir, "app1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &coordinator{streams: make(chan grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse], 1), over: make(chan struct{})}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS)))
	pb.RegisterAgentServiceServer(srv, c)
	go func() { _ = srv.Serve(l) }() // ends with Stop
	defer srv.Stop()
	defer close(c.over)

	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- phoneHome(ctx, settings{coordinators: []string{l.Addr().String()}, dir: dir, root: t.TempDir(), restore: true}, io.Discard)
	}()
	var stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	select {
	case stream = <-c.streams:
	case <-ctx.Done():
		t.Fatal("the agent did not phone home")
	}
	if first, err := stream.Recv(); err != nil || !first.GetHello().GetWorks() {
		t.Fatalf("hello: %v, %v", first, err)
	}
	work := &pb.Work{Incident: "i1", Job: "list", Kind: pb.WorkKind_WORK_KIND_LIST, Timeout: durationpb.New(time.Minute),
		Sets: []*pb.SetWork{{Set: &pb.DataSet{Name: "people"}, Repository: &pb.Repository{Name: "vault", Kind: "of a later version"}}}}
	for sequence, joined := range []bool{false, true} {
		in := &pb.Instruction{Id: "work", Epoch: 1, Sequence: uint64(sequence + 1), What: &pb.Instruction_Work{Work: work}}
		if err := stream.Send(&pb.PhoneHomeResponse{Instruction: in}); err != nil {
			t.Fatal(err)
		}
		var r *pb.WorkResult
		for r == nil {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			r = m.GetWorkReport().GetResult()
		}
		if r.GetClass() != "failed" || r.GetJoined() != joined || len(r.GetBoot()) != 36 {
			t.Errorf("told %v", r)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "work")); err != nil {
		t.Error(err)
	}
	stop()
	for err == nil {
		_, err = stream.Recv() // its last words
	}
	c.over <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// resident returns the process's memory in bytes, now and at most so far.
func resident(t *testing.T, pid int) (now, most int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &most} {
			if f[0] == name {
				kib, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				*to = kib << 10
			}
		}
	}
	if now == 0 || most == 0 {
		t.Fatalf("no memory figures:\n%s", status)
	}
	return now, most
}

// certificates makes an estate's authority with the coordinator's own program, copies a host's files to dir as a person
// would, and returns the settings of a coordinator on loopback.
func certificates(t *testing.T, dir, host string) *tls.Config {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := errors.Join(pki.Init(home, pki.Options{}), pki.IssueAgent(home, host)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "agents/" + host + ".pem", "agents/" + host + "-key.pem"} {
		data, err := os.ReadFile(filepath.Join(home, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		file(t, filepath.Join(dir, filepath.Base(name)), string(data))
	}
	cfg, err := pki.ServerTLS(home)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
