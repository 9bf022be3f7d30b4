package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/agent/lab"
)

// TestReachOnMachines reaches simulated machines that serve real SSH: two are well, one has another key than is known, one
// is not there, one does not know us.
func TestReachOnMachines(t *testing.T) {
	dir := t.TempDir()
	key, strange := writeKey(t, filepath.Join(dir, "id")), writeKey(t, filepath.Join(dir, "strange"))
	story, err := os.ReadFile("testdata/drill/linux-scenario.yaml")
	if err != nil {
		t.Fatal(err)
	}
	scenario, err := lab.ReadScenario("linux-scenario.yaml", story)
	if err != nil {
		t.Fatal(err)
	}
	port := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	ports := map[string]int{}
	machines := func(dir string, key ssh.PublicKey, names ...string) []byte {
		cfg := lab.Config{Scenario: scenario, Dir: dir, AuthorizedKey: key, ListenAsIs: true}
		for _, name := range names {
			ports[name] = port()
			cfg.Hosts = append(cfg.Hosts, lab.HostSpec{Name: name, OS: "linux", EDRProduct: "edr-linux",
				Rungs: []lab.Rung{{Name: "ssh", Environment: lab.EnvLinux, Address: "127.0.0.1", Port: ports[name]}}})
		}
		l, err := lab.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l.KnownHosts()
	}
	known := machines(filepath.Join(dir, "lab"), key, "app01", "app02", "app03")
	known = append(known, machines(filepath.Join(dir, "lab2"), strange, "app04")...)
	ports["app05"] = 1
	var kept []byte // app03's key is another one than its own
	for line := range strings.Lines(string(known)) {
		if strings.Contains(line, fmt.Sprintf(":%d ", ports["app03"])) {
			line = fmt.Sprintf("[127.0.0.1]:%d %s", ports["app03"], ssh.MarshalAuthorizedKey(key))
		}
		kept = append(kept, line...)
	}
	var ladders, hosts strings.Builder
	for n := range 5 {
		name := fmt.Sprintf("app%02d", n+1)
		fmt.Fprintf(&ladders, "  %s: [{name: ssh, environment: linux, port: %d}]\n", name, ports[name])
		fmt.Fprintf(&hosts, "  - {name: %s, service: app, address: 127.0.0.1, ladder: %s}\n", name, name)
	}
	for name, text := range map[string]string{"known_hosts": string(kept), "fleet.yaml": fmt.Sprintf(`fleet: lab
tiers:
  - {name: apps, gate: {success: 100%%}}
services:
  - {name: app, tier: apps}
defaults: {os: linux, data: none}
ladders:
%shosts:
%s`, &ladders, &hosts)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reach := func(args ...string) (string, int) {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"--dir", filepath.Join(dir, "none"), "reach", "--no-coordinator", "--timeout", "60s", "--ssh-agent", "", "--fleet", filepath.Join(dir, "fleet.yaml"),
			"--ssh-key", filepath.Join(dir, "id"), "--known-hosts", filepath.Join(dir, "known_hosts")}, args...))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		message, exit := end(root.ExecuteContext(ctx))
		return out.String() + message, exit
	}

	out, exit := reach()
	for _, line := range []string{
		"apps  ssh       2  needs     ready                               app01, app02",
		"apps  ssh       1  host-key  auth-refused: no key accepted       app04",
		"apps  ssh       1  banner    host-key-mismatch: wrong host key   app03",
		"apps  ssh       1  none      unreachable: connection refused     app05",
		"only by hand: app03, app04, app05",
		"5 hosts: 2 can be repaired (2 by rung ssh), 3 only by hand;",
		"hosts without a rung that works: 3 of 5",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(line), " ")) {
			t.Errorf("it does not say %q", line)
		}
	}
	if exit != exitHeld || t.Failed() || strings.Contains(out, "ready (") {
		t.Fatalf("exit %d: %s", exit, out)
	}
	if out, exit = reach("--hosts", "app[01-02]"); exit != exitDone || !strings.Contains(out, "2 hosts: 2 can be repaired (2 by rung ssh), 0 only by hand") {
		t.Errorf("exit %d: %s", exit, out)
	}
	var a struct {
		Fleet  string
		Counts struct{ Hosts, Repairable, Hands int }
		Hosts  []struct {
			Host, Verdict, Rung string
			Rungs               []struct{ Step, Class, Signature string }
		}
	}
	out, exit = reach("--hosts", "app01", "-o", "json")
	if err := json.Unmarshal([]byte(out), &a); err != nil || exit != exitDone {
		t.Fatalf("exit %d, %v: %s", exit, err, out)
	}
	if a.Fleet != "lab" || a.Counts.Repairable != 1 || len(a.Hosts) != 1 || a.Hosts[0].Verdict != "repairable" || a.Hosts[0].Rung != "ssh" || a.Hosts[0].Rungs[0].Step != "needs" {
		t.Errorf("%+v", a)
	}
	err = filepath.WalkDir(filepath.Join(dir, "lab"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "blackstart") {
			t.Errorf("it has left %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// writeKey makes a private key file and returns its public half.
func writeKey(t *testing.T, file string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}
