//go:build e2e && linux

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
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

	"github.com/blackstart-recovery/blackstart/agent/lab"
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

// A coordinator of its own process is killed at random moments while scripts run on 40 machines, and started again with the
// same command. Every machine is proven at the end, no script has run twice, no wave was skipped, and the journal is whole.
func TestKillNineAtAnyMoment(t *testing.T) {
	const kills = 10
	n := seed(t)
	dice := rand.New(rand.NewPCG(n, 1)) //nolint:gosec // a test's dice
	before, within := soak, verifyWithin
	t.Cleanup(func() { soak, verifyWithin = before, within }) // the tests after this one play in the story's time
	soak, verifyWithin = "1s", "60s"                          // the child's clock is the machine's own
	network := fmt.Sprintf("127.%d.%d.", 32+dice.IntN(200), dice.IntN(250))
	text := estate(20, 2222, func(i int) string { return fmt.Sprintf("%s%d", network, i%200+1) })
	text = strings.NewReplacer("backoff: 20s, backoff-max: 1m", "backoff: 1s, backoff-max: 2s", "resources: {ssh: 12}", "resources: {ssh: 6}").Replace(text)
	f := parse(t, text)

	dir := t.TempDir()
	keyFile, key := sshKey(t, dir)
	quickBooks(t, filepath.Join(dir, "playbooks"), "sleep 0.4") // so that a kill meets scripts that run
	known := filepath.Join(dir, "known_hosts")
	s := newSite(t, text, "--playbooks", filepath.Join(dir, "playbooks"), "--ssh-key", keyFile, "--known-hosts", known)
	// Half of the estate, the Windows servers, is in scope; the others need not be there.
	hit := slices.DeleteFunc(hostSpecs(f), func(h lab.HostSpec) bool { return h.OS == "linux" })
	l := machines(t, lab.Config{Hosts: hit, Scenario: scenario(t, story+"never-hit: {count: 0}\nfaults:\n  - {kind: drops-connection, count: 4}\n  - {kind: heals-itself, count: 2, crashes: 4..9}\n"),
		Seed: n, Speed: 400, Dir: filepath.Join(dir, "lab"), AuthorizedKey: key, Coordinators: []string{s.address}, ListenAsIs: true,
		AgentTLS: func(host string) (*tls.Config, error) {
			base := filepath.Join(s.site(), "agents", host)
			conf, _, err := pki.AgentTLS(filepath.Join(s.site(), "ca.pem"), base+".pem", base+"-key.pem")
			return conf, err
		}})
	if err := os.WriteFile(known, l.KnownHosts(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s.serve()
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()

	for _, m := range l.Truth() { // until its rescue system is at hand
		if err := l.Await(ctx, m.Host, func(m lab.Truth) bool { return m.Boots > 1 }); err != nil {
			t.Fatal(err)
		}
	}

	// Only one coordinator uses a data folder.
	began := time.Now()
	second := s.command(slices.Replace(slices.Clone(s.args), 3, 5, "--listen", freeAddress(t))...)
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another blackstart has") || time.Since(began) > 5*time.Second {
		t.Errorf("a second coordinator on the same data: %v after %v\n%s", err, time.Since(began), out)
	}

	played := make(chan error, 1)
	r := &responder{T: t, client: s.client, lab: l}
	go func() { played <- r.recover(ctx, windowsBook) }()
	met := 0 // kills that met a running script
	for i := range kills {
		select {
		case err := <-played:
			t.Fatalf("the incident ended before kill %d: %v", i+1, err)
		case <-time.After(time.Duration(200+dice.IntN(900)) * time.Millisecond):
		}
		if i%2 == 0 { // every other time in the middle of a script
			await(ctx, l, func() bool { return running(t, l) > 0 })
			<-time.After(time.Duration(dice.IntN(300)) * time.Millisecond)
		}
		if running(t, l) > 0 {
			met++
		}
		s.kill()
		select {
		case <-time.After(time.Duration(dice.IntN(800)) * time.Millisecond):
		case <-ctx.Done():
		}
		s.serve()
	}
	if err := <-played; err != nil {
		hosts, _ := s.client.ListHosts(context.Background(), &pb.ListHostsRequest{})
		for _, h := range hosts.GetHosts() {
			if h.GetWave() > 0 && h.GetPhase() != "recovered" {
				t.Logf("%s %s %s: %s", h.GetName(), h.GetScope(), h.GetPhase(), h.GetReason())
			}
		}
		t.Fatal(err)
	}
	checkTruth(t, l)
	joined := 0
	hosts, err := s.client.ListHosts(ctx, &pb.ListHostsRequest{Phase: "recovered"})
	if err != nil || len(hosts.GetHosts()) != 40 {
		t.Fatalf("%d hosts are recovered, %v", len(hosts.GetHosts()), err)
	}
	attempts := 0
	for _, h := range hosts.GetHosts() {
		for _, a := range h.GetAttempts() {
			attempts++
			if a.GetJoined() {
				joined++
			}
		}
	}
	t.Logf("%d kills, %d while scripts ran; %d attempts on 40 hosts, %d joined, %v", kills, met, attempts, joined, time.Since(began).Round(time.Second))
	if met < 3 || joined == 0 {
		t.Errorf("the kills met nothing: the test proves too little")
	}
	if s.said("panic") > 0 {
		t.Error("the coordinator panicked")
	}
	s.kill()
	if out := s.run("journal", "verify"); !strings.HasPrefix(out, "ok") {
		t.Errorf("journal verify says: %s", out)
	}
	checkJournal(t, filepath.Join(s.site(), "data", server.JournalFile), f, 1)
}

// await returns when what holds, looking at each change of a machine.
func await(ctx context.Context, l *lab.Lab, holds func() bool) {
	for {
		changed := l.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// running counts the scripts that have been claimed and have not ended, by the folders on the machines' disks.
func running(t *testing.T, l *lab.Lab) int {
	t.Helper()
	started, err := l.Executions()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range l.Truth() {
		for id := range started {
			if strings.HasPrefix(id, m.Host+"/") && m.Bad > 0 {
				n++
			}
		}
	}
	return n
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
