//go:build unix

package lab

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testScenario = `
name: test
seed: 7
clock: 2024-07-19T05:30:00+01:00
update:
  edr: falcon
  windows:
    folder: Windows/System32/drivers/CrowdStrike
    header: AA AA AA AA 01 00 23 01
    bad-from: 2024-07-19T04:09:00Z
    bad-to: 2024-07-19T05:27:00Z
    before: {name: C-00000291-28.sys, modified: 2024-07-18T16:02:11Z, size: 4096}
    bad: {name: C-00000291-32.sys, modified: 2024-07-19T04:09:12Z, size: 4100}
    good: {name: C-00000291-33.sys, modified: 2024-07-19T05:27:08Z, size: 4100}
  linux:
    folder: opt/edr/content
    header: ED 0C
    bad-from: 2024-07-19T04:09:00Z
    bad-to: 2024-07-19T05:27:00Z
    bad: {name: rules-2.bin, modified: 2024-07-19T04:09:12Z}
    good: {name: rules-3.bin, modified: 2024-07-19T05:27:08Z}
boot: 2m..5m
loop: {up: 10s..40s, network: 0%}
`

// world is a lab with the keys to it.
type world struct {
	*testing.T
	*Lab
	ctx   context.Context
	login ssh.Signer
}

// hosts makes n Windows machines h1, h2 … with a rescue rung each.
func hosts(n int) []HostSpec {
	list := make([]HostSpec, n)
	for i := range list {
		list[i] = HostSpec{
			Name: fmt.Sprintf("h%d", i+1), OS: "windows-2019", EDRProduct: "falcon", EDRVersion: "7.11",
			Rungs: []Rung{
				{Name: "rescue", Environment: EnvRescueLinux, Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)},
				{Name: "hands"},
			},
		}
	}
	return list
}

func scenario(t testing.TB, text string) *Scenario {
	t.Helper()
	s, err := ReadScenario("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start makes a lab of machines that boot in tens of milliseconds, and starts it. more is appended to the scenario.
func start(t *testing.T, list []HostSpec, more string, change ...func(*Config)) *world {
	t.Helper()
	login, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Hosts: list, Scenario: scenario(t, testScenario+more), Speed: 10_000, Dir: filepath.Join(t.TempDir(), "lab"),
		AuthorizedKey: login.PublicKey(), StartStruck: true,
	}
	for _, f := range change {
		f(&c)
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d", l.Seed())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, l, ctx, login}
}

func (w *world) await(host string, what func(Truth) bool) {
	w.Helper()
	if err := w.Await(w.ctx, host, what); err != nil {
		w.Fatal(err)
	}
}

func in(s State) func(Truth) bool { return func(t Truth) bool { return t.State == s } }

// looping awaits that rescue is at hand.
func (w *world) looping(host string) {
	w.Helper()
	w.await(host, func(t Truth) bool { return t.Bad > 0 && t.Boots > 1 })
}

func (w *world) address(host string) string { return w.byName[host].doors[0].address }

// connect logs in strictly by the lab's own known_hosts.
func (w *world) connect(host string) (*ssh.Client, error) {
	w.Helper()
	known := filepath.Join(w.TempDir(), "known_hosts")
	if err := os.WriteFile(known, w.KnownHosts(), 0o600); err != nil {
		w.Fatal(err)
	}
	check, err := knownhosts.New(known)
	if err != nil {
		w.Fatal(err)
	}
	c, err := w.Dial(w.ctx, "tcp", w.address(host))
	if err != nil {
		return nil, err
	}
	conn, chans, reqs, err := ssh.NewClientConn(c, w.address(host), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(w.login)}, HostKeyCallback: check,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	client := ssh.NewClient(conn, chans, reqs)
	w.Cleanup(func() { _ = client.Close() })
	return client, nil
}

func (w *world) in(host string) *ssh.Client {
	w.Helper()
	c, err := w.connect(host)
	if err != nil {
		w.Fatalf("log in to %s: %v", host, err)
	}
	return c
}

// run returns what a command prints on stdout, with its error.
func (w *world) run(c *ssh.Client, command string) (string, error) {
	w.Helper()
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.Output(command)
	return string(out), err
}

// must runs a command that has to succeed.
func (w *world) must(c *ssh.Client, command string) string {
	w.Helper()
	out, err := w.run(c, command)
	if err != nil {
		w.Fatalf("%s: %v", command, err)
	}
	return out
}

const removeBad = `cd "$BLACKSTART_ROOT"/[Ww][Ii]*/System32/drivers/CrowdStrike && rm C-00000291-32.sys`

// push lays an attempt's script down by SFTP and returns the command that runs it as a runner would: with a clean environment.
func (w *world) push(c *ssh.Client, attempt, script string) string {
	w.Helper()
	root := strings.TrimSpace(w.must(c, `echo "$BLACKSTART_ROOT"`))
	folder := filepath.Join(root, stateFolder, "attempts", strings.ReplaceAll(attempt, "/", "_"))
	files, err := sftp.NewClient(c)
	if err != nil {
		w.Fatal(err)
	}
	defer files.Close()
	if err := files.MkdirAll(folder); err != nil {
		w.Fatal(err)
	}
	f, err := files.Create(filepath.Join(folder, "script.sh"))
	if err != nil {
		w.Fatal(err)
	}
	if _, err := io.WriteString(f, script); err != nil {
		w.Fatal(err)
	}
	if err := f.Close(); err != nil {
		w.Fatal(err)
	}
	return fmt.Sprintf(`env -i PATH="$PATH" BLACKSTART_ROOT="$BLACKSTART_ROOT" BLACKSTART_ATTEMPT=%s sh %s/script.sh`, attempt, folder)
}

// alive is a script that holds a FIFO open for as long as it lives.
type alive struct {
	script string
	begun  chan struct{}
	ended  chan struct{} // nobody holds the FIFO any more
}

func (w *world) alive() alive {
	w.Helper()
	name := filepath.Join(w.TempDir(), "fifo")
	if err := makeFIFO(name); err != nil {
		w.Fatal(err)
	}
	a := alive{"exec 9>" + name + "; echo begun >&9; sleep 1000", make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(a.ended)
		f, err := os.Open(name)
		if err != nil {
			w.Error(err)
			return
		}
		defer f.Close()
		if _, err := f.Read(make([]byte, 6)); err == nil {
			close(a.begun)
		}
		_, _ = io.Copy(io.Discard, f)
	}()
	w.Cleanup(func() {
		_ = w.Close() // ends the script
		// A reader that nobody ever spoke to waits for a writer.
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
			_ = f.Close()
		}
		<-a.ended
	})
	return a
}

func (w *world) wait(c <-chan struct{}) {
	w.Helper()
	select {
	case <-c:
	case <-w.ctx.Done():
		w.Fatal("did not happen in time")
	}
}

func (w *world) executions(want map[string]int) {
	w.Helper()
	got, err := w.Executions()
	if err != nil {
		w.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("executions are %v, want %v", got, want)
	}
}

func port(t *testing.T, c net.Listener) int {
	t.Helper()
	_, p, err := net.SplitHostPort(c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
