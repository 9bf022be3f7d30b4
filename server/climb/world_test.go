package climb

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what a climber acts on: machines with power and boot targets, which serve real SSH and run real scripts when they are up.
type world struct {
	*testing.T
	ssh  *remedy.SSH
	user ssh.PublicKey

	mu     sync.Mutex
	log    []string              // what was told and done, in order
	hook   func(event string)    // called before and after each thing that is done
	fail   map[string]error      // by event: what is done fails with it, and is not done
	half   map[string]error      // by event: what is done fails with it, and is done nevertheless
	keys   map[string]ssh.Signer // of rescue systems, by attempt
	awakes map[string]chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, fail: map[string]error{}, half: map[string]error{}, keys: map[string]ssh.Signer{}, awakes: map[string]chan struct{}{}}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	w.user = signer(t, private).PublicKey()
	w.ssh, err = remedy.New(remedy.Config{Keys: []string{file}, Timeouts: remedy.Timeouts{
		Dial: time.Second, Handshake: 2 * time.Second, Auth: 2 * time.Second, Shell: 5 * time.Second, Retry: 20 * time.Millisecond,
		Keepalive: time.Second, Probe: 20 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.ssh.Close)
	return w
}

func signer(t testing.TB, key ed25519.PrivateKey) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

// do is one thing that is done to a machine.
func (w *world) do(event string, act func()) error {
	w.mu.Lock()
	hook, fail, half := w.hook, w.fail[event], w.half[event]
	if fail == nil {
		w.log = append(w.log, event)
	}
	w.mu.Unlock()
	if hook != nil {
		hook("before " + event)
	}
	if fail != nil {
		return fail
	}
	act()
	if hook != nil {
		hook("after " + event)
	}
	return half
}

func (w *world) done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

func (w *world) climber(hosts ...*machine) *Climber {
	find := func(c recovery.Control) (*machine, error) {
		for _, m := range hosts {
			if m.name == c.Options["port"] {
				return m, nil
			}
		}
		return nil, errors.New("no such port")
	}
	c := New(Config{SSH: w.ssh, Netboot: fakeNetboot{w},
		Switch: func(c recovery.Control) (Switch, error) { m, err := find(c); return fakeSwitch{m}, err },
		Boot:   func(c recovery.Control) (BootTarget, error) { m, err := find(c); return fakeBoot{m}, err }})
	c.stillThere = 300 * time.Millisecond
	return c
}

// fakeNetboot is the coordinator's side of the network boot.
type fakeNetboot struct{ w *world }

func (n fakeNetboot) key(incident, attempt string) ssh.Signer {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	id := incident + "\x00" + attempt
	if n.w.keys[id] == nil {
		n.w.keys[id] = newSigner(n.w)
	}
	return n.w.keys[id]
}

func (n fakeNetboot) HostKey(incident, attempt string) string {
	return string(ssh.MarshalAuthorizedKey(n.key(incident, attempt).PublicKey()))
}

func (fakeNetboot) Findings(string, string) string {
	return "rescue 1\nhost app01\nvolume\t/dev/vda1\text4\tlinux\tclean\t/mnt/vda1\tDebian\x1b[31m\nvolume\t/dev/vdb\t-\tnone"
}

func (n fakeNetboot) Awake(incident, attempt string) <-chan struct{} {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	id := incident + "\x00" + attempt
	if n.w.awakes[id] == nil {
		n.w.awakes[id] = make(chan struct{})
	}
	return n.w.awakes[id]
}

// The systems that a machine can run.
const (
	off    = ""
	own    = "own"
	inside = "rescue"
)

// machine is one host. Its disk is a folder; the rescue system mounts it at itself.
type machine struct {
	*world
	name, disk string
	bin        string // of the rescue system
	listener   net.Listener
	ownKey     ssh.Signer
	attempt    string // whose rescue system it starts
	forgets    bool   // its BMC keeps a one-time boot target
	network    bool   // it asks the network at every start, where the attempt gives it the rescue system once
	dumb       bool   // its rescue system does not start
	ownSSH     bool   // its own system lets people in

	system string
	target string
	starts []string // what it was started into
	conns  map[net.Conn]bool
	groups []int // process groups of its sessions
	wg     sync.WaitGroup
}

// diskTool is what the rescue system has as blackstart-disk: its disk is opened unless the file says otherwise.
const diskTool = `#!/bin/sh
echo "$1" >>DISK/../calls
if [ "$1" = open ]; then
  secret=; [ -f DISK/../wants ] && { IFS= read -r secret || :; }
  if [ -f DISK/../wants ] && [ "$secret" != "$(cat DISK/../wants)" ]; then
    echo noise; printf 'locked\t/dev/sda2\tbitlocker\t1234-ABCD\n'; exit 20
  fi
  if [ -f DISK/../problem ]; then printf 'problem\tit is like that.\n'; exit "$(cat DISK/../problem)"; fi
  echo noise; printf 'root\t%s\n' DISK
fi
`

func (w *world) machine(name string) *machine {
	w.Helper()
	dir, err := os.MkdirTemp("", "climb") //nolint:usetesting // what an attempt left running may still write there when the test ends
	if err != nil {
		w.Fatal(err)
	}
	m := &machine{world: w, name: name, disk: filepath.Join(dir, "disk"), bin: filepath.Join(dir, "bin"), ownKey: newSigner(w), attempt: name + "/1",
		target: targetDisk, system: own, conns: map[net.Conn]bool{}}
	for _, d := range []string{m.disk, m.bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			w.Fatal(err)
		}
	}
	m.install("blackstart-disk", strings.ReplaceAll(diskTool, "DISK", m.disk))
	if m.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		w.Fatal(err)
	}
	m.wg.Go(m.accept)
	w.Cleanup(func() {
		_ = m.listener.Close()
		m.halt()
		m.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return m
}

// set changes what the machine is like.
func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// install writes a program while no other test forks: a child that inherits it open for writing makes it busy.
func (m *machine) install(name, text string) {
	m.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte(text), 0o755); err != nil {
		m.Fatal(err)
	}
}

// put writes a file beside the disk.
func (m *machine) put(name, text string) {
	m.Helper()
	if err := os.WriteFile(filepath.Join(m.disk, "..", name), []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
}

// lines counts the lines of a file beside the disk.
func (m *machine) lines(name string) []string {
	text, _ := os.ReadFile(filepath.Join(m.disk, "..", name))
	return strings.Fields(string(text))
}

// host describes the machine as a fleet file does.
func (m *machine) host() recovery.Host {
	return recovery.Host{Name: m.name, Power: &recovery.Control{Name: "bmc", Kind: recovery.ControlAgent, Options: map[string]string{"port": m.name}}}
}

func (m *machine) port() int {
	_, port, _ := net.SplitHostPort(m.listener.Addr().String())
	n, _ := strconv.Atoi(port)
	return n
}

// job is a repair by way of the rescue system.
func (m *machine) job() recovery.Job {
	h := m.host()
	return recovery.Job{ID: m.attempt, Incident: "inc", Kind: recovery.JobRepair, Host: h, Timeout: 30 * time.Second, Reboot: true,
		Rung: recovery.Rung{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvRescueLinux, Address: "127.0.0.1", Port: m.port(), Boot: h.Power, Within: 10 * time.Second}}
}

// script notes each run on the machine's disk.
var script = remedy.Scripts{Repair: []byte(`echo x >>"$BLACKSTART_ROOT/../ran"; echo BLACKSTART-RESULT outcome=repaired` + "\n")}

// start is what a machine does when power comes.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.system = own
	if m.target == targetRescue || m.network {
		m.system = inside
	}
	m.starts, m.network = append(m.starts, m.system), false
	if !m.forgets {
		m.target = targetDisk
	}
}

// halt is what it does when power goes.
func (m *machine) halt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.system = off
	for conn := range m.conns {
		_ = conn.Close()
	}
	for _, group := range m.groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	m.groups = nil
}

func (m *machine) runs() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.system
}

// fakeSwitch is the machine's power control.
type fakeSwitch struct{ m *machine }

func (s fakeSwitch) On(context.Context) error {
	return s.m.do("on", func() {
		if s.m.runs() == off {
			s.m.start()
		}
	})
}

func (s fakeSwitch) Off(context.Context) error { return s.m.do("off", s.m.halt) }

// fakeBoot is its boot target.
type fakeBoot struct{ m *machine }

func (b fakeBoot) BootTarget(context.Context) (target string, err error) {
	err = b.m.do("boot-status", func() {
		b.m.mu.Lock()
		defer b.m.mu.Unlock()
		target = b.m.target
	})
	return target, err
}

func (b fakeBoot) set(target string) error {
	return b.m.do("boot-"+target, func() {
		b.m.mu.Lock()
		defer b.m.mu.Unlock()
		b.m.target = target
	})
}
func (b fakeBoot) BootRescue(context.Context, string) error { return b.set(targetRescue) }
func (b fakeBoot) BootDisk(context.Context) error           { return b.set(targetDisk) }

func (m *machine) accept() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		key := ssh.Signer(nil)
		switch {
		case m.system == own && m.ownSSH:
			key = m.ownKey
		case m.system == inside && !m.dumb:
			key = m.keys["inc\x00"+m.attempt]
		}
		if key != nil {
			m.conns[conn] = true
		}
		m.mu.Unlock()
		if key == nil {
			_ = conn.Close()
			continue
		}
		m.wg.Go(func() {
			m.serve(conn, key)
			_ = conn.Close()
			m.mu.Lock()
			delete(m.conns, conn)
			m.mu.Unlock()
		})
	}
}

func (m *machine) serve(conn net.Conn, key ssh.Signer) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(m.user.Marshal()) {
			return nil, errors.New("no such key")
		}
		return nil, nil
	}}
	config.AddHostKey(key)
	sc, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		m.wg.Go(func() {
			for req := range reqs {
				_ = req.Reply(req.Type == "exec", nil)
				if req.Type == "exec" {
					var cmd struct{ Line string }
					_ = ssh.Unmarshal(req.Payload, &cmd)
					m.wg.Go(func() { m.exec(ch, cmd.Line) })
				}
			}
		})
	}
	_ = sc.Close()
}

func (m *machine) exec(ch ssh.Channel, line string) {
	defer func() { _ = ch.Close() }()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env = []string{"PATH=" + m.bin + ":" + os.Getenv("PATH"), "HOME=" + m.disk}
	cmd.Dir = m.disk
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, _ := cmd.StdinPipe()
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := cmd.Start(); err != nil {
		return
	}
	m.mu.Lock()
	m.groups = append(m.groups, cmd.Process.Pid)
	m.mu.Unlock()
	go func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	}()
	status := uint32(0)
	if err := cmd.Wait(); err != nil {
		status = 1
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

// teller records steps as the coordinator does.
func (w *world) teller(last *recovery.Step) Teller {
	return func(step recovery.Step, _ string) error {
		if !step.Reached(*last) {
			return fmt.Errorf("%s does not come after %s", step, *last)
		}
		*last = step
		return w.do("told "+string(step), func() {})
	}
}

func want(t testing.TB, res recovery.Result, class recovery.Class, signature string) {
	t.Helper()
	if res.Class != class || res.Signature != signature {
		t.Fatalf("got %s %q (%s), want %s %q", res.Class, res.Signature, res.Detail, class, signature)
	}
	if res.Detail == "" {
		t.Fatal("no detail")
	}
}

// atHome checks that the machine runs its own system and will do so at its next start.
func (m *machine) atHome() {
	m.Helper()
	m.mu.Lock()
	system, target := m.system, m.target
	m.mu.Unlock()
	if system != own || target != targetDisk {
		m.Fatalf("it runs %q and boots %s next; %v", system, target, m.done())
	}
}

// linkDisk lets a helper get at the disk of a host.
func linkDisk(helper, host *machine) error {
	disks := filepath.Join(helper.bin, "disks")
	if err := os.MkdirAll(disks, 0o755); err != nil {
		return err
	}
	return os.Symlink(filepath.Dir(host.disk), filepath.Join(disks, host.name))
}

// readLines returns a file's lines, or none.
func readLines(file string) []string {
	text, _ := os.ReadFile(file)
	return strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
}
