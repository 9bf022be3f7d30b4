//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRealHosts runs what a responder runs, with nothing simulated: the built coordinator, real OpenSSH servers, the built
// agents, and a playbook copied and edited as its README says. One host has no agent: its proof is fetched over SSH.
func TestRealHosts(t *testing.T) {
	e := newEstate(t, 4)
	e.run("init", "--ip", "127.0.0.1")
	e.run("agent", "issue", "--fleet", e.fleet)
	e.serve()
	for _, h := range e.hosts {
		h.startSSH(t)
		if h.agent {
			e.startAgent(h)
		}
	}
	e.await("agents connected, bad content seen", func() bool {
		out := e.run("incident", "declare", "bad content on every host", "-o", "json")
		var d struct {
			Incident struct{ Scope map[string]int }
		}
		e.decode(out, &d)
		if d.Incident.Scope["looping"] == len(e.hosts)-1 {
			return true
		}
		e.run("incident", "abort", "--reason", "declared before every agent was heard")
		return false
	})
	e.run("incident", "approve", "--plan", e.incident().Digest)
	e.await("every host recovered and the wave passed", func() bool {
		in := e.incident()
		return in.Counts["recovered"] == len(e.hosts) && in.Waves[0].Status == "passed"
	})
	for _, h := range e.hosts {
		if _, err := os.Stat(h.bad); !os.IsNotExist(err) {
			t.Errorf("%s: the bad file is still there: %v", h.name, err)
		}
		if _, err := os.Stat(h.good); err != nil {
			t.Errorf("%s: the good file is gone: %v", h.name, err)
		}
		kept, _ := filepath.Glob(filepath.Join(h.root, "var/lib/blackstart/kept/*/*"))
		if len(kept) == 0 {
			t.Errorf("%s: no copy of the bad file was kept", h.name)
		}
	}
	if out, code := e.try("incident", "close"); code != exitRefused || !strings.Contains(out, "debt") {
		t.Errorf("close with open debts: exit %d, %s", code, out)
	}
	for _, h := range e.hosts {
		e.run("host", "debts", "clear", h.name, "kept-copies", "--note", "removed by the test")
	}
	e.run("incident", "close")
	report := e.run("report", "-o", "md")
	for _, want := range []string{"closed", "proven over SSH"} {
		if !strings.Contains(strings.ToLower(report), strings.ToLower(want)) {
			t.Errorf("the report does not say %q:\n%s", want, report)
		}
	}
	e.stop()
	if out := e.run("journal", "audit"); !strings.Contains(out, "kept ") {
		t.Errorf("journal audit says %q", out)
	}
	if out := e.run("journal", "verify"); !strings.Contains(out, "entries") {
		t.Errorf("journal verify says %q", out)
	}
}

// estate is a few real hosts on loopback addresses, and the commands of their responder.
type realEstate struct {
	t        *testing.T
	dir      string
	binary   string
	agentBin string
	addr     string
	fleet    string
	key      string
	hosts    []*realHost
	server   *exec.Cmd
	spawn    func(*exec.Cmd) error // starts a command of the responder; nil: right here
}

type realHost struct {
	name, root, bad, good string
	agent                 bool
	ip                    string
	port                  int
	key                   string
	authorized            string
}

func newEstate(t *testing.T, n int) *realEstate {
	t.Helper()
	e := &realEstate{t: t, dir: t.TempDir()}
	e.binary, e.agentBin = filepath.Join(e.dir, "blackstart"), filepath.Join(e.dir, "blackstart-agent")
	command(t, "go", "build", "-o", e.binary, ".")
	command(t, "go", "build", "-o", e.agentBin, "../blackstart-agent")
	e.key = filepath.Join(e.dir, "id_ed25519")
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", e.key)
	e.addr = fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1"))
	var hosts, ladders strings.Builder
	for i := range n {
		h := &realHost{name: fmt.Sprintf("real-%02d", i+1), agent: i != n-1, ip: fmt.Sprintf("127.77.0.%d", i+1), authorized: e.key + ".pub"}
		h.port = freePort(t, h.ip)
		h.root = filepath.Join(e.dir, h.name)
		h.key = filepath.Join(e.dir, h.name+"-hostkey")
		command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", h.key)
		h.lay(t)
		public, err := os.ReadFile(h.key + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&ladders, "  ladder-%s:\n    - {name: ssh, kind: ssh, environment: linux, root: %q, port: %d, host-keys: [%q]}\n", h.name, h.root, h.port, strings.TrimSpace(string(public)))
		fmt.Fprintf(&hosts, "  - {name: %s, service: app, address: %s, agent: %t, ladder: ladder-%s}\n", h.name, h.ip, h.agent, h.name)
		e.hosts = append(e.hosts, h)
	}
	e.fleet = filepath.Join(e.dir, "fleet.yaml")
	e.write(e.fleet, fmt.Sprintf(`fleet: real
tiers:
  - {name: only, gate: {success: 100%%, soak: 1s, max-failed: 0, max-unreachable: 0}}
services:
  - {name: app, tier: only}
ladders:
%sdefaults: {os: linux, data: none, edr: {product: edr-linux}}
hosts:
%s`, &ladders, &hosts))
	e.playbook()
	return e
}

// playbook copies the example and shortens its waits.
func (e *realEstate) playbook() {
	e.t.Helper()
	dir := filepath.Join(e.dir, "playbooks")
	if err := os.CopyFS(filepath.Join(dir, "edr-content-linux"), os.DirFS("../../recovery-playbooks/edr-content-linux")); err != nil {
		e.t.Fatal(err)
	}
	file := filepath.Join(dir, "edr-content-linux", "manifest.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		e.t.Fatal(err)
	}
	text := strings.NewReplacer("soak: 10m", "soak: 2s", "verify-within: 15m", "verify-within: 1m").Replace(string(data))
	if text == string(data) {
		e.t.Fatal("the example's manifest has changed: soak and verify-within were not found")
	}
	e.write(file, text)
}

// lay puts a bad and a good content file on the host's disk.
func (h *realHost) lay(t *testing.T) {
	t.Helper()
	dir := filepath.Join(h.root, "opt/edr/content")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.bad, h.good = filepath.Join(dir, "c-1.bin"), filepath.Join(dir, "c-2.bin")
	for file, at := range map[string]time.Time{h.bad: time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC), h.good: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)} {
		if err := os.WriteFile(file, append([]byte{0x45, 0x44, 0x52, 0x43, 1, 0}, make([]byte, 100)...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *realHost) startSSH(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(filepath.Dir(h.root), h.name+"-sshd_config")
	text := fmt.Sprintf("Port %d\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
		h.port, h.ip, h.key, h.authorized)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	start(t, exec.Command(sshd, "-D", "-e", "-f", config))
}

func (e *realEstate) startAgent(h *realHost) {
	e.t.Helper()
	dir := filepath.Join(e.dir, h.name+"-agent")
	if err := os.Mkdir(dir, 0o700); err != nil {
		e.t.Fatal(err)
	}
	data := filepath.Join(e.dir, "bs")
	for from, to := range map[string]string{"ca.pem": "ca.pem", "agents/" + h.name + ".pem": h.name + ".pem", "agents/" + h.name + "-key.pem": h.name + "-key.pem"} {
		b, err := os.ReadFile(filepath.Join(data, from))
		if err != nil {
			e.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	start(e.t, exec.Command(e.agentBin, "run", "--coordinator", e.addr, "--dir", dir, "--root", h.root))
}

func (e *realEstate) serve() {
	e.t.Helper()
	e.server = start(e.t, exec.Command(e.binary, "--dir", filepath.Join(e.dir, "bs"), "serve", "--fleet", e.fleet, "--listen", e.addr,
		"--playbooks", filepath.Join(e.dir, "playbooks"), "--ssh-key", e.key, "--ssh-agent", ""))
	e.await("the coordinator listens", func() bool {
		c, err := net.Dial("tcp", e.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (e *realEstate) stop() {
	e.t.Helper()
	if err := e.server.Process.Signal(os.Interrupt); err != nil {
		e.t.Fatal(err)
	}
	_ = e.server.Wait()
}

// try runs a command of the responder and returns what it said and its exit code.
func (e *realEstate) try(args ...string) (string, int) {
	e.t.Helper()
	c := exec.Command(e.binary, append([]string{"--dir", filepath.Join(e.dir, "bs"), "--coordinator", e.addr}, args...)...)
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	begin := e.spawn
	if begin == nil {
		begin = (*exec.Cmd).Start
	}
	err := begin(c)
	if err == nil {
		err = c.Wait()
	}
	if c.ProcessState == nil {
		e.t.Fatalf("%v: %v", args, err)
	}
	return both.String(), c.ProcessState.ExitCode()
}

func (e *realEstate) run(args ...string) string {
	e.t.Helper()
	out, code := e.try(args...)
	if code != exitDone {
		e.t.Fatalf("blackstart %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (e *realEstate) decode(out string, v any) {
	e.t.Helper()
	if err := json.Unmarshal([]byte(out), v); err != nil {
		e.t.Fatalf("not JSON: %v\n%s", err, out)
	}
}

// incidentView is what the test reads of an incident.
type incidentView struct {
	Digest string `json:"plan_digest"`
	Counts map[string]int
	Waves  []struct{ Status string }
}

func (e *realEstate) incident() incidentView {
	e.t.Helper()
	var v struct{ Incident incidentView }
	e.decode(e.run("incident", "show", "-o", "json"), &v)
	return v.Incident
}

// await asks until what is wanted holds. A process of its own cannot be waited for otherwise.
func (e *realEstate) await(what string, ok func() bool) {
	e.t.Helper()
	deadline := time.After(90 * time.Second)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			e.t.Fatalf("waited in vain for: %s\n%s", what, e.run("host", "list"))
		case <-tick.C:
		}
	}
}

func (e *realEstate) write(file, text string) {
	e.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// start runs a process until the test ends; what it said is shown when the test fails.
func start(t *testing.T, c *exec.Cmd) *exec.Cmd {
	t.Helper()
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(c.Path), &said)
		}
	})
	return c
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func freePort(t *testing.T, ip string) int {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
