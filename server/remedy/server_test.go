package remedy

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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// machine is a host on loopback: a real SSH server in process, real sh, real files below root. Its fields are its faults.
type machine struct {
	t        testing.TB
	root     string
	key      ssh.Signer
	listener net.Listener
	user     ssh.PublicKey // the one that may log in

	sameSession bool // commands run in the process group of the server, as no real one does
	noSFTP      bool
	noSession   bool
	noExec      bool
	shell       []string // instead of sh -c COMMAND
	sh          string   // instead of /bin/sh in COMMAND
	chatter     string   // printed before the command runs
	env         []string // instead of the usual one
	deadAuth    chan struct{}
	raw         func(net.Conn) // instead of SSH
	preAuth     func(ssh.ServerPreAuthConn)
	refuses     func() bool // drops a login that is good, as an account rule does

	mu          sync.Mutex
	conns       map[net.Conn]bool
	handshakes  atomic.Int32
	maxAtOnce   atomic.Int32
	connections atomic.Int32
	execs       atomic.Int32
	wg          sync.WaitGroup
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// newKeyFile writes a private key and returns its path and public half.
func newKeyFile(t testing.TB, passphrase string) (string, ssh.PublicKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file, public
}

// start serves the machine until the test's end.
func (m *machine) start(t testing.TB, user ssh.PublicKey) *machine {
	t.Helper()
	m.t, m.user, m.conns = t, user, map[net.Conn]bool{}
	dir, err := os.MkdirTemp("", "machine") //nolint:usetesting // what an attempt left running may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	m.root = dir
	if m.key == nil {
		m.key = newSigner(t)
	}
	if m.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	m.wg.Go(func() {
		for {
			conn, err := m.listener.Accept()
			if err != nil {
				return
			}
			m.connections.Add(1)
			m.mu.Lock()
			m.conns[conn] = true
			m.mu.Unlock()
			m.wg.Go(func() {
				defer func() {
					_ = conn.Close()
					m.mu.Lock()
					delete(m.conns, conn)
					m.mu.Unlock()
				}()
				if m.raw != nil {
					m.raw(conn)
					return
				}
				m.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = m.listener.Close()
		m.cut()
		m.wg.Wait()
		_ = os.RemoveAll(dir) // something may still be writing; the system's own cleaning takes the rest
	})
	return m
}

// cut drops every connection.
func (m *machine) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		_ = conn.Close()
	}
}

func (m *machine) serve(conn net.Conn) {
	counted := &countedConn{Conn: conn, m: m}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if m.deadAuth != nil {
			<-m.deadAuth
		}
		if string(key.Marshal()) != string(m.user.Marshal()) {
			return nil, errors.New("no such key")
		}
		return nil, nil
	}}
	config.AuthLogCallback = func(_ ssh.ConnMetadata, _ string, err error) {
		if err == nil {
			counted.ended() // before the client knows
			if m.refuses != nil && m.refuses() {
				_ = conn.Close()
			}
		}
	}
	config.PreAuthConnCallback = m.preAuth
	config.AddHostKey(m.key)
	sc, chans, reqs, err := ssh.NewServerConn(counted, config)
	counted.ended()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	defer func() { _ = sc.Close() }()
	var sessions sync.WaitGroup
	for nc := range chans {
		switch {
		case nc.ChannelType() == "direct-tcpip":
			sessions.Go(func() { m.forward(nc) })
		case nc.ChannelType() != "session" || m.noSession:
			_ = nc.Reject(ssh.ResourceShortage, "open failed")
		default:
			ch, reqs, err := nc.Accept()
			if err == nil {
				sessions.Go(func() { m.session(ch, reqs) })
			}
		}
	}
	sessions.Wait()
}

// countedConn counts a handshake from the client's first words on.
type countedConn struct {
	net.Conn
	m          *machine
	began, end sync.Once
	counts     atomic.Bool
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.began.Do(func() {
			c.counts.Store(true)
			n := c.m.handshakes.Add(1)
			for old := c.m.maxAtOnce.Load(); n > old && !c.m.maxAtOnce.CompareAndSwap(old, n); old = c.m.maxAtOnce.Load() {
			}
		})
	}
	return n, err
}

func (c *countedConn) ended() {
	c.end.Do(func() {
		if c.counts.Load() {
			c.m.handshakes.Add(-1)
		}
	})
}

func (m *machine) forward(nc ssh.NewChannel) {
	var to struct {
		Host  string
		Port  uint32
		From  string
		FPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "bad")
		return
	}
	far, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "refused")
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		_ = far.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(far, ch)
		_ = far.Close()
	}()
	_, _ = io.Copy(ch, far)
	_ = ch.Close()
	_ = far.Close()
}

func (m *machine) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	started := false
	for req := range reqs {
		switch {
		case started:
			_ = req.Reply(false, nil)
		case req.Type == "subsystem" && !m.noSFTP:
			started = true
			_ = req.Reply(true, nil)
			go func() {
				defer func() { _ = ch.Close() }()
				server, err := sftp.NewServer(ch)
				if err == nil {
					_ = server.Serve()
				}
			}()
		case req.Type == "exec" && !m.noExec:
			started = true
			m.execs.Add(1)
			_ = req.Reply(true, nil)
			var cmd struct{ Line string }
			_ = ssh.Unmarshal(req.Payload, &cmd)
			m.wg.Go(func() { m.exec(ch, cmd.Line) })
		default:
			_ = req.Reply(false, nil)
		}
	}
}

func (m *machine) exec(ch ssh.Channel, line string) {
	defer func() { _ = ch.Close() }()
	_, _ = io.WriteString(ch, m.chatter)
	args := m.shell
	if m.sh != "" {
		line = strings.ReplaceAll(line, "/bin/sh", m.sh)
	}
	if args == nil {
		args = []string{"/bin/sh", "-c", line}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = m.env
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + m.root + "/bin:" + os.Getenv("PATH"), "HOME=" + m.root, "BLACKSTART_ROOT=" + m.root}
	}
	cmd.Dir = m.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: !m.sameSession} // as sshd does
	in, _ := cmd.StdinPipe()
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := cmd.Start(); err != nil {
		return
	}
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

func (m *machine) hostKey() string { return string(ssh.MarshalAuthorizedKey(m.key.PublicKey())) }

// job is a repair of this machine.
func (m *machine) job(id string) recovery.Job {
	host, port, _ := net.SplitHostPort(m.listener.Addr().String())
	number, _ := strconv.Atoi(port)
	return recovery.Job{
		ID: id, Incident: "inc", Kind: recovery.JobRepair, Timeout: 30 * time.Second,
		Host: recovery.Host{Name: "brt-app01"},
		Rung: recovery.Rung{
			Name: "ssh", Kind: recovery.RungSSH, Environment: recovery.EnvRescueLinux,
			Address: host, Port: number, User: "root", HostKeys: []string{m.hostKey()},
		},
	}
}

// attempt returns a path in the attempt's folder.
func (m *machine) attempt(id, name string) string {
	return filepath.Join(m.root, ".blackstart/attempts", "inc_"+strings.ReplaceAll(id, "/", "_"), name)
}

// ran counts the executions that a script of repairScript noted.
func (m *machine) ran() int {
	text, _ := os.ReadFile(filepath.Join(m.root, "ran"))
	return strings.Count(string(text), "\n")
}

const (
	noteRun = `echo "$BLACKSTART_ATTEMPT" >>"$BLACKSTART_ROOT/ran"` + "\n"
	claimOK = "echo BLACKSTART-RESULT outcome=repaired bad=1 good=2 removed=1 kept=1\n"
)

// large makes a script too large to travel within the runner.
var large = strings.Repeat("# a comment that fills the script\n", mostInline/30)

func script(body string) Scripts { return Scripts{Repair: []byte(noteRun + body)} }

// quick are deadlines that a fault test can wait for.
func quick() Timeouts {
	return Timeouts{
		Dial: 2 * time.Second, Handshake: 300 * time.Millisecond, Auth: 500 * time.Millisecond, Shell: 2 * time.Second,
		Push: 5 * time.Second, Collect: 5 * time.Second, Probe: 2 * time.Second, Pause: 10 * time.Millisecond,
		Retry: 20 * time.Millisecond, Keepalive: time.Second, JumpIdle: 5 * time.Second,
	}
}

// newRemedy returns a remedy with a fresh key and the key's public half.
func newRemedy(t testing.TB, change func(*Config)) (*SSH, ssh.PublicKey) {
	t.Helper()
	file, public := newKeyFile(t, "")
	cfg := Config{Keys: []string{file}, OutputDir: filepath.Join(t.TempDir(), "output"), Timeouts: Timeouts{Retry: 20 * time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, public
}

func want(t testing.TB, res recovery.Result, class recovery.Class, signature string) {
	t.Helper()
	if res.Class != class || res.Signature != signature {
		t.Fatalf("got %s %q (%s), want %s %q", res.Class, res.Signature, res.Detail, class, signature)
	}
	if class != recovery.Succeeded && res.Detail == "" {
		t.Fatal("no detail")
	}
}

// gate is a FIFO in the machine's root that a script waits at.
func (m *machine) gate(name string) string {
	path := filepath.Join(m.root, name)
	if err := exec.Command("mkfifo", path).Run(); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// pass waits until a script stands at its gate, and lets it pass.
func pass(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
}

// arrived waits until a script writes to the gate.
func arrived(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func runAsync(ctx context.Context, r *SSH, job recovery.Job, s Scripts) <-chan recovery.Result {
	done := make(chan recovery.Result, 1)
	go func() { done <- r.Run(ctx, job, s) }()
	return done
}

func id(n int) string { return fmt.Sprintf("brt-app01/%d", n) }
