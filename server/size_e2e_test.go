//go:build e2e && linux

package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// What the agent may take on a server that is there for something else.
const (
	agentBinary   = 15_000_000 // bytes, for each system
	agentResident = 20_000_000 // bytes, at its highest
)

// The agent as it is shipped is small on disk, and stays small while it talks to a real coordinator.
func TestTheAgentIsSmall(t *testing.T) {
	s := newSite(t, estate(1, 22, func(i int) string { return fmt.Sprintf("127.9.8.%d", i+1) }), "--ssh-agent", "/nobody")
	for _, system := range []string{"windows", "linux"} { // the last one is run
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", s.agent(), "../cmd/blackstart-agent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build for %s: %v\n%s", system, err, out)
		}
		info, err := os.Stat(s.agent())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("binary for %s: %.1f MB of %.0f MB", system, float64(info.Size())/1e6, agentBinary/1e6)
		if info.Size() >= agentBinary {
			t.Errorf("the agent for %s has %d bytes; it may have less than %d", system, info.Size(), agentBinary)
		}
	}
	s.serve()
	const host = "db01"
	pid := s.runAgent(host)

	// It has greeted, was given probes, has answered them and has sent a beat on its own.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	beats := map[time.Time]bool{}
	for len(beats) < 3 {
		out, err := s.client.ListAgents(ctx, &pb.ListAgentsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range out.GetAgents() {
			if a.GetHost() == host && a.GetConnected() && a.GetGood() > 0 {
				beats[a.GetLastSeen().AsTime()] = true
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d beats of the agent were heard", len(beats))
		}
	}
	now, most := resident(t, pid, "VmRSS"), resident(t, pid, "VmHWM")
	t.Logf("resident: %.1f MB, at its highest %.1f MB of %.0f MB", float64(now)/1e6, float64(most)/1e6, agentResident/1e6)
	if most >= agentResident {
		t.Errorf("the agent took %d bytes of memory; it may take less than %d", most, agentResident)
	}
}

func (s *site) agent() string { return filepath.Join(s.dir, "blackstart-agent") }

// runAgent runs a host's agent with its own files, as they are copied to it, until the test ends.
func (s *site) runAgent(host string) (pid int) {
	s.Helper()
	home, root := filepath.Join(s.dir, host), filepath.Join(s.dir, host+"-root")
	content := filepath.Join(root, "opt", "edr", "content")
	if err := errors.Join(os.MkdirAll(home, 0o700), os.MkdirAll(content, 0o755)); err != nil {
		s.Fatal(err)
	}
	for from, to := range map[string]string{"ca.pem": "ca.pem", "agents/" + host + ".pem": host + ".pem", "agents/" + host + "-key.pem": host + "-key.pem"} {
		data, err := os.ReadFile(filepath.Join(s.site(), from))
		if err == nil {
			err = os.WriteFile(filepath.Join(home, to), data, 0o600)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	for i := range 100 { // content files to look at
		data := append([]byte("EDRC\x01\x00"), make([]byte, 64<<10)...)
		if err := os.WriteFile(filepath.Join(content, fmt.Sprintf("rules-%d.bin", i)), data, 0o600); err != nil {
			s.Fatal(err)
		}
	}
	c := exec.Command(s.agent(), "run", "--coordinator", s.address, "--dir", home, "--root", root)
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c.Process.Pid
}

// resident is a figure of a process's memory in bytes: VmRSS is what it holds, VmHWM the most that it has held.
func resident(t *testing.T, pid int, name string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == name+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s:\n%s", name, status)
	return 0
}
