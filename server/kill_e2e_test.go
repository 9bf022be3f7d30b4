//go:build e2e && linux

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// site is a folder with everything that a real coordinator needs, and the command that runs it.
type site struct {
	*testing.T
	binary, dir, address string
	args                 []string // of serve
	fleet                string
	client               pb.OperatorServiceClient

	mu    sync.Mutex
	child *exec.Cmd
	log   bytes.Buffer // of every run
}

// newSite builds the binary and lays out a site by the commands that a person would type.
func newSite(t *testing.T, fleetText string, extra ...string) *site {
	t.Helper()
	s := &site{T: t, dir: t.TempDir()}
	s.binary = filepath.Join(s.dir, "blackstart")
	if out, err := exec.Command("go", "build", "-o", s.binary, "../cmd/blackstart").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s.address = freeAddress(t)
	s.fleet = filepath.Join(s.dir, "fleet.yaml")
	if err := os.WriteFile(s.fleet, []byte(fleetText), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run("init")
	s.run("agent", "issue", "--fleet", s.fleet)
	s.args = append([]string{"serve", "--fleet", s.fleet, "--listen", s.address, "--log-level", "debug"}, extra...)
	conf, err := pki.ClientTLS(s.site(), "operator")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: 2 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.client = pb.NewOperatorServiceClient(conn)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the coordinator's log ends with:\n%s", s.tail(60))
		}
	})
	return s
}

func (s *site) site() string { return filepath.Join(s.dir, "site") }

// run is one command that must succeed.
func (s *site) run(args ...string) string {
	s.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.Fatalf("blackstart %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *site) command(args ...string) *exec.Cmd {
	c := exec.Command(s.binary, append([]string{"--dir", s.site(), "--coordinator", s.address}, args...)...)
	c.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
	return c
}

// serve starts the coordinator, always with the same command, and returns when it accepts connections.
func (s *site) serve(wrap ...string) <-chan error {
	s.Helper()
	c := s.command(s.args...)
	if len(wrap) > 0 {
		c.Path, c.Args = wrap[0], append(wrap, c.Args...)
	}
	r, err := c.StderrPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.mu.Lock()
	s.child = c
	s.mu.Unlock()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(r)
		once := sync.OnceFunc(func() { close(ready) })
		for lines.Scan() {
			s.mu.Lock()
			s.log.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			if strings.Contains(lines.Text(), "serving:") {
				once()
			}
		}
		_, _ = io.Copy(io.Discard, r)
		ended <- c.Wait()
	}()
	select {
	case <-ready:
	case err := <-ended:
		s.Fatalf("the coordinator did not start: %v\n%s", err, s.tail(20))
	case <-time.After(30 * time.Second):
		s.Fatalf("the coordinator does not serve:\n%s", s.tail(20))
	}
	return ended
}

// kill ends the coordinator as a power cut would.
func (s *site) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil {
		_ = s.child.Process.Kill()
		s.child = nil
	}
}

func (s *site) tail(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (s *site) said(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), text)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Only one coordinator uses a data folder. (What becomes of one that is killed: TestCrashesOverOneIncident.)
func TestASecondCoordinatorIsRefused(t *testing.T) {
	keyFile, _ := sshKey(t, t.TempDir())
	s := newSite(t, estate(2, 2222, func(i int) string { return fmt.Sprintf("127.9.8.%d", i+1) }), "--ssh-key", keyFile)
	s.serve()
	began := time.Now()
	second := s.command(slices.Replace(slices.Clone(s.args), 3, 5, "--listen", freeAddress(t))...)
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another blackstart has") || time.Since(began) > 10*time.Second {
		t.Errorf("a second coordinator on the same data: %v after %v\n%s", err, time.Since(began), out)
	}
}

// The disk fills up under a coordinator that is being used: it stops with a sentence, and nothing that it acknowledged is lost.
func TestTheDiskIsFull(t *testing.T) {
	keyFile, _ := sshKey(t, t.TempDir())
	s := newSite(t, estate(2, 2222, func(i int) string { return fmt.Sprintf("127.9.9.%d", i+1) }), "--ssh-key", keyFile)
	ended := s.serve()
	s.run("incident", "declare", "a bad day", "--playbook", windowsBook)
	s.kill()
	if err := <-ended; err == nil {
		t.Error("it ended well when it was killed")
	}
	file := filepath.Join(s.site(), "data", server.JournalFile)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	// In blocks of 512 bytes: the file as it is, and not the next step of its growth.
	ended = s.serve("/bin/sh", "-c", fmt.Sprintf(`ulimit -f %d && exec "$@"`, info.Size()/512+16), "sh")
	acknowledged := uint64(0)
	deadline := time.Now().Add(60 * time.Second)
	for err = nil; err == nil && time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var in *pb.Incident
		var p *pb.PauseResponse
		if p, err = s.client.Pause(ctx, &pb.PauseRequest{Reason: strings.Repeat("full ", 90)}); err == nil {
			in = p.GetIncident()
			var q *pb.ResumeResponse
			if q, err = s.client.Resume(ctx, &pb.ResumeRequest{Reason: strings.Repeat("full ", 90)}); err == nil {
				in = q.GetIncident()
			}
		}
		cancel()
		acknowledged = max(acknowledged, in.GetSeq())
	}
	select {
	case e := <-ended:
		var exit *exec.ExitError
		if !asExit(e, &exit) || exit.ExitCode() != 1 {
			t.Errorf("it ended with %v", e)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("it goes on; the last answer was %v after entry %d", err, acknowledged)
	}
	for _, want := range []string{"stopped sending: the journal cannot be written", "file too large", "make room or mend the disk, then start again"} {
		if s.said(want) == 0 {
			t.Errorf("it does not say %q:\n%s", want, s.tail(10))
		}
	}
	if acknowledged < 10 || !strings.Contains(err.Error(), "the coordinator has stopped") && !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("after entry %d the caller was told %v", acknowledged, err)
	}
	s.serve() // with room again
	in, err := s.client.ShowIncident(context.Background(), &pb.ShowIncidentRequest{}, grpc.WaitForReady(true))
	if err != nil || in.GetIncident().GetSeq() < acknowledged {
		t.Errorf("the journal holds %d entries, %d were acknowledged: %v", in.GetIncident().GetSeq(), acknowledged, err)
	}
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // Wait returns it as it is
	*to = e
	return ok && !e.Sys().(syscall.WaitStatus).Signaled()
}
