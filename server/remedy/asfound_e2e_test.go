//go:build e2e

package remedy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// foundServer is a real SSH server as one is found, with a user of its own, and how an attempt on it ends.
type foundServer struct {
	does      string
	class     recovery.Class
	signature string
	says      string // part of the sentence

	config   []string // of sshd, before the usual lines; DIR is the server's folder
	dropbear []string // arguments: dropbear instead of sshd
	mounts   string   // shell commands in the server's mount namespace
	pam      string   // account lines for PAM; without them PAM is off
	user     string   // who logs in; default rec
	shell    string   // of rec; default /bin/bash
	shadow   string   // of rec; default a password that nobody has
	bashrc   string   // of rec
	shows    []string // kinds of host key that the server has; default ed25519
	known    []string // and those that are known; "old KIND" is one that the host had before; default shows
	remedy   func(*foundHost, *Config)
	before   func(*foundHost) // when the server is up
	waits    bool             // the shell's deadline is what ends it
}

const (
	rec    = "rec"
	recUID = 61001
)

// keyring makes each key pair once for all servers.
var keyring = struct {
	sync.Mutex
	dir string
}{}

func pair(t *testing.T, name string) (private string, public string) {
	t.Helper()
	keyring.Lock()
	defer keyring.Unlock()
	file := filepath.Join(keyring.dir, strings.ReplaceAll(name, " ", "-"))
	if _, err := os.Stat(file); err != nil {
		kind := strings.TrimPrefix(strings.TrimPrefix(name, "old "), "my ")
		keygen(t, "-t", kind, "-N", "", "-C", "", "-f", file)
	}
	return file, read(t, file+".pub")
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// foundHost is such a server, running.
type foundHost struct {
	*sshd
	conns []net.Conn
}

// tmpDir is a folder that other users may enter.
func tmpDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "asfound") //nolint:usetesting // the folder above it must be open to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c *foundServer) start(t *testing.T) *foundHost {
	t.Helper()
	dir := tmpDir(t)
	h := &foundHost{sshd: &sshd{t: t, dir: dir, root: filepath.Join(dir, "root")}}
	h.identity, _ = pair(t, "my ed25519")
	put := func(name, text string, mode os.FileMode, uid int) {
		t.Helper()
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, []byte(text), mode)
		}
		if err == nil {
			err = os.Chown(file, uid, uid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	shell, shadow := c.shell, c.shadow
	if shell == "" {
		shell = "/bin/bash"
	}
	if shadow == "" {
		shadow = "*:19000:0:99999:7:::"
	}
	home := filepath.Join(dir, "home")
	_, mine := pair(t, "my ed25519")
	put("home/.ssh/authorized_keys", mine, 0o600, recUID)
	put("home/.bashrc", strings.ReplaceAll(c.bashrc, "DIR", dir), 0o644, recUID)
	put("roothome/.ssh/authorized_keys", mine, 0o600, 0)
	put("passwd", rootsHome(read(t, "/etc/passwd"), filepath.Join(dir, "roothome"))+fmt.Sprintf("%s:x:%d:%d::%s:%s\n", rec, recUID, recUID, home, shell), 0o644, 0)
	put("shadow", read(t, "/etc/shadow")+rec+":"+shadow+"\n", 0o640, 0)
	put("group", read(t, "/etc/group")+fmt.Sprintf("%s:x:%d:\n", rec, recUID), 0o644, 0)
	put("pam", "auth required pam_unix.so\n"+c.pam+"\nsession required pam_permit.so\n", 0o644, 0)
	put("banner", strings.Repeat("Authorised use only. Everything is recorded.\n", 100<<10/45), 0o644, 0)
	put("big-banner", strings.Repeat("x", 1<<20-1)+"\n", 0o644, 0)
	put("menu", "#!/bin/sh\nwhile :; do printf '1) status 2) restart\\nYour choice: '; read -r x || exit 1; echo \"$x\" >>"+dir+"/root/chosen; done\n", 0o755, 0)
	put("wrapper", "#!/bin/sh\nexec \"$SHELL\" -c \"$SSH_ORIGINAL_COMMAND\"\n", 0o755, 0)
	for _, name := range []string{"home", "home/.ssh", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, name), recUID, recUID); err != nil {
			t.Fatal(err)
		}
	}
	shows := c.shows
	if shows == nil {
		shows = []string{"ed25519"}
	}
	h.port = freePort(t)
	server := c.opensshd(t, h, shows, put)
	if c.dropbear != nil {
		server = c.dropbearServer(t, h, shows)
	}
	mounts := []string{"set -e"}
	for _, file := range []string{"passwd", "shadow", "group"} {
		mounts = append(mounts, "mount --bind "+dir+"/"+file+" /etc/"+file)
	}
	if c.pam != "" {
		mounts = append(mounts, "mount --bind "+dir+"/pam /etc/pam.d/sshd")
	}
	mounts = append(mounts, strings.ReplaceAll(c.mounts, "DIR", dir), "exec "+server)
	h.cmd = exec.Command("unshare", "--mount", "sh", "-c", strings.Join(mounts, "\n"))
	h.run(t)
	if c.before != nil {
		c.before(h)
	}
	return h
}

func rootsHome(passwd, home string) string {
	var out strings.Builder
	for line := range strings.Lines(passwd) {
		if fields := strings.Split(line, ":"); fields[0] == "root" {
			fields[5] = home
			line = strings.Join(fields, ":")
		}
		out.WriteString(line)
	}
	return out.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = free.Close() }()
	_, port, _ := net.SplitHostPort(free.Addr().String())
	return port
}

func (c *foundServer) opensshd(t *testing.T, h *foundHost, shows []string, put func(name, text string, mode os.FileMode, uid int)) string {
	pam := "UsePAM no"
	if c.pam != "" {
		pam = "UsePAM yes"
	}
	lines := append(append([]string{}, c.config...), pam,
		"ListenAddress 127.0.0.1:"+h.port, "PidFile none", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password", "PubkeyAuthentication yes", "AuthorizedKeysFile "+h.dir+"/home/.ssh/authorized_keys",
		"SetEnv BLACKSTART_ROOT="+h.root, "PermitTTY no", "Subsystem sftp internal-sftp")
	for _, kind := range shows {
		file, _ := pair(t, kind)
		lines = append(lines, "HostKey "+file)
	}
	put("sshd_config", strings.ReplaceAll(strings.Join(lines, "\n"), "DIR", h.dir)+"\n", 0o600, 0)
	return "/usr/sbin/sshd -D -e -f " + h.dir + "/sshd_config"
}

func (c *foundServer) dropbearServer(t *testing.T, h *foundHost, shows []string) string {
	args := []string{"dropbear", "-F", "-E", "-p", "127.0.0.1:" + h.port, "-P", h.dir + "/pid"}
	for _, kind := range shows {
		file, _ := pair(t, kind)
		own := h.dir + "/dropbear-" + kind
		// dropbear's own format, from the old PEM one that it reads
		copied := own + ".openssh"
		if err := os.WriteFile(copied, []byte(read(t, file)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("dropbearconvert", "openssh", "dropbear", copied, own).CombinedOutput(); err != nil {
			t.Fatalf("dropbear-bin is needed: %v: %s", err, out)
		}
		args = append(args, "-r", own)
	}
	for _, arg := range c.dropbear {
		args = append(args, shellQuote(strings.ReplaceAll(arg, "DIR", h.dir)))
	}
	return strings.Join(args, " ")
}

// run starts the server and waits until it greets.
func (h *foundHost) run(t *testing.T) {
	t.Helper()
	log, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, conn := range h.conns {
			_ = conn.Close()
		}
		h.killSessions()
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("the server said:\n%s", read(t, log.Name()))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+h.port); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatal("the server does not come up")
		}
	}
}

// hold opens connections, waits for the server's greeting on each, and keeps them. A server may still count one that is gone
// (the knock that found it up) and turn us away for it; then we knock again.
func (h *foundHost) hold(n int) {
	deadline := time.Now().Add(30 * time.Second)
	for held := 0; held < n; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+h.port)
		if err != nil {
			h.t.Fatal(err)
		}
		_ = conn.SetDeadline(deadline)
		greeting, err := bufio.NewReader(conn).ReadString('\n')
		switch {
		case strings.HasPrefix(greeting, "SSH-"):
			h.conns = append(h.conns, conn)
			held++
		case time.Now().After(deadline):
			h.t.Fatalf("only %d connections are held: %q, %v", held, greeting, err)
		default:
			_ = conn.Close()
		}
	}
}

// slowAgent is an ssh-agent that signs only when the host has gone.
type slowAgent struct {
	agent.Agent
	gone chan struct{}
}

func (a *slowAgent) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	<-a.gone
	return a.Agent.Sign(key, data)
}

func (a *slowAgent) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	<-a.gone
	return a.Agent.(agent.ExtendedAgent).SignWithFlags(key, data, flags)
}

func (a *slowAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}

// watched closes gone when the host has closed the connection.
type watched struct {
	net.Conn
	once *sync.Once
	gone chan struct{}
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.once.Do(func() { close(w.gone) })
	}
	return n, err
}

// signsTooLate logs in with an agent that outlasts the host's patience.
func signsTooLate(h *foundHost, cfg *Config) {
	text, err := ssh.ParseRawPrivateKey([]byte(read(h.t, h.identity)))
	if err != nil {
		h.t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: text}); err != nil {
		h.t.Fatal(err)
	}
	slow := &slowAgent{ring, make(chan struct{})}
	socket := filepath.Join(h.dir, "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(slow, conn) }()
		}
	}()
	var once sync.Once
	cfg.Keys, cfg.AgentSocket = nil, socket
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &watched{conn, &once, slow.gone}, err
	}
}

func strangerFirst(n int) func(*foundHost, *Config) {
	return func(h *foundHost, cfg *Config) {
		for range n {
			file, _ := newKeyFile(h.t, "")
			cfg.Keys = append([]string{file}, cfg.Keys...)
		}
	}
}

const (
	accountOK = "account required pam_unix.so"
	noFile    = "DIR/home/nothing"
)

var found = []foundServer{
	// how it lets in
	{does: "OpenSSH as Debian ships it", class: recovery.Succeeded},
	{does: "takes only passwords", class: recovery.AuthRefused, signature: "keys not taken", says: "only password", config: []string{"PubkeyAuthentication no", "PasswordAuthentication yes"}},
	{does: "takes only keyboard-interactive (PAM prompts)", class: recovery.AuthRefused, signature: "keys not taken", says: "only keyboard-interactive", pam: accountOK,
		config: []string{"PubkeyAuthentication no", "KbdInteractiveAuthentication yes"}},
	{does: "wants two factors: AuthenticationMethods publickey,keyboard-interactive", class: recovery.AuthRefused, signature: "second factor wanted", pam: accountOK,
		config: []string{"KbdInteractiveAuthentication yes", "AuthenticationMethods publickey,keyboard-interactive"}},
	{does: "wants a key and a password: AuthenticationMethods publickey,password", class: recovery.AuthRefused, signature: "second factor wanted",
		config: []string{"PasswordAuthentication yes", "AuthenticationMethods publickey,password"}},
	{does: "stops us at MaxAuthTries before it has seen the right key", class: recovery.AuthRefused, signature: "too many keys", config: []string{"MaxAuthTries 2"}, remedy: strangerFirst(4)},
	{does: "has less LoginGraceTime than our ssh-agent takes", class: recovery.Unreachable, signature: "dropped in authentication", config: []string{"LoginGraceTime 6"}, remedy: signsTooLate},
	{does: "has more logins under way than MaxStartups", class: recovery.Unreachable, signature: "too many logins at once", config: []string{"MaxStartups 2"}, before: func(h *foundHost) { h.hold(2) }},
	{does: "shows 100 KB of login banner", class: recovery.Succeeded, config: []string{"Banner DIR/banner"}},
	{does: "shows a megabyte of login banner (sshd breaks off: a packet holds 256 KB)", class: recovery.Unreachable, signature: "dropped in authentication", config: []string{"Banner DIR/big-banner"}},

	// its host keys
	{does: "has only an RSA host key, which is known", class: recovery.Succeeded, shows: []string{"rsa"}},
	{does: "has only an ECDSA host key, which is known", class: recovery.Succeeded, shows: []string{"ecdsa"}},
	{does: "is old: its RSA key signs only with SHA-1 (ssh-rsa)", class: recovery.Succeeded, shows: []string{"rsa"}, config: []string{"HostKeyAlgorithms ssh-rsa"}},
	{does: "has only an RSA host key, but only an Ed25519 one is known", class: recovery.HostKeyMismatch, signature: "wrong kind of host key", shows: []string{"rsa"}, known: []string{"ed25519"}},
	{does: "is not known", class: recovery.HostKeyMismatch, signature: "unknown host key", known: []string{}},
	{does: "has a new host key, known_hosts has the old one", class: recovery.HostKeyMismatch, signature: "wrong host key", known: []string{"old ed25519"}},
	{does: "has more kinds of host key than are known", class: recovery.Succeeded, shows: []string{"ed25519", "ecdsa", "rsa"}, known: []string{"rsa"}},
	{does: "has lost one of the host keys that are known", class: recovery.Succeeded, shows: []string{"rsa"}, known: []string{"ed25519", "ecdsa", "rsa"}},
	{does: "has one new host key among those that are known", class: recovery.HostKeyMismatch, signature: "wrong host key", shows: []string{"ed25519", "rsa"}, known: []string{"old ed25519", "rsa"}},

	// its algorithms
	{does: "has only key exchanges of old (diffie-hellman-group1-sha1)", class: recovery.Failed, signature: "no common algorithm", says: "diffie-hellman-group1-sha1", config: []string{"KexAlgorithms diffie-hellman-group1-sha1"}},
	{does: "has only ciphers of old (3des-cbc, aes128-cbc)", class: recovery.Failed, signature: "no common algorithm", says: "3des-cbc", config: []string{"Ciphers 3des-cbc,aes128-cbc"}},
	{does: "has only hardened key exchanges (group16, group exchange with SHA-256)", class: recovery.Succeeded, config: []string{"KexAlgorithms diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256"}},

	// its users
	{does: "does not know the user", class: recovery.AuthRefused, signature: "no key accepted", user: "nobody-of-that-name"},
	{does: "has no such key for the user", class: recovery.AuthRefused, signature: "no key accepted", config: []string{"AuthorizedKeysFile " + noFile}},
	{does: "refuses the user: AllowUsers", class: recovery.AuthRefused, signature: "no key accepted", config: []string{"AllowUsers root"}},
	{does: "refuses the user: DenyUsers", class: recovery.AuthRefused, signature: "no key accepted", config: []string{"DenyUsers rec"}},
	{does: "refuses root: PermitRootLogin no", class: recovery.AuthRefused, signature: "no key accepted", config: []string{"PermitRootLogin no"}, user: "root"},
	{does: "has a locked account (PAM off)", class: recovery.AuthRefused, signature: "no key accepted", shadow: "!:19000:0:99999:7:::"},
	{does: "has a locked account (PAM)", class: recovery.Succeeded, shadow: "!:19000:0:99999:7:::", pam: accountOK},
	{does: "has an expired account (PAM off)", class: recovery.AuthRefused, signature: "no key accepted", shadow: "*:19000:0:99999:7::10:"},
	{does: "has an expired account (PAM)", class: recovery.AuthRefused, signature: "account refused", shadow: "*:19000:0:99999:7::10:", pam: accountOK},
	{does: "refuses the account by a PAM rule (pam_access, a directory that is down)", class: recovery.AuthRefused, signature: "account refused", pam: "account required pam_deny.so", config: []string{"Banner DIR/banner"}},
	{does: "is still booting: pam_nologin", class: recovery.Unreachable, signature: "no logins for now", says: "booting up", pam: "account required pam_nologin.so",
		mounts: "mount -t tmpfs tmpfs /run\nmkdir -m 755 /run/sshd\necho 'System is booting up. Unprivileged users are not permitted to log in yet.' >/run/nologin"},
	{does: "wants the user's password changed first", class: recovery.Failed, signature: "no shell", says: "Password change required", shadow: "*:0:0:99999:7:::", pam: accountOK},

	// its sessions
	{does: "forces a command: internal-sftp", class: recovery.Failed, signature: "no shell", says: "allows sftp connections only", config: []string{"ForceCommand internal-sftp"}},
	{does: "forces a command: /bin/false", class: recovery.Failed, signature: "no shell", config: []string{"ForceCommand /bin/false"}},
	{does: "forces a command: a menu that waits for ever", class: recovery.TimedOut, signature: "shell silent", config: []string{"ForceCommand DIR/menu"}, waits: true},
	{does: "forces a command that runs the original one", class: recovery.Succeeded, config: []string{"ForceCommand DIR/wrapper"}},
	{does: "has PermitTTY no", class: recovery.Succeeded, config: []string{"PermitTTY no"}},
	{does: "has MaxSessions 1", class: recovery.Succeeded, config: []string{"MaxSessions 1"}},
	{does: "has MaxSessions 0", class: recovery.Failed, signature: "no session", config: []string{"MaxSessions 0"}},
	{does: "locks the user into a folder without a shell: ChrootDirectory", class: recovery.Failed, signature: "no shell", config: []string{"ChrootDirectory /run/sshd"}},

	// its shells
	{does: "gives the user /bin/false for a shell", class: recovery.Failed, signature: "no shell", shell: "/bin/false"},
	{does: "gives the user /usr/sbin/nologin for a shell", class: recovery.Failed, signature: "no shell", says: "currently not available", shell: "/usr/sbin/nologin"},
	{does: "gives the user a restricted shell (rbash)", class: recovery.Failed, signature: "no shell", shell: "/bin/rbash"},
	{does: "gives the user dash for a shell", class: recovery.Succeeded, shell: "/bin/dash"},
	{does: "gives the user csh for a shell", class: recovery.Succeeded, shell: "/bin/csh"},
	{does: "has a busybox for /bin/sh", class: recovery.Succeeded, shell: "/bin/sh", mounts: `mount --bind "$(command -v busybox)" "$(readlink -f /bin/sh)"`},
	{does: "has a .bashrc that prints on both streams", class: recovery.Succeeded, bashrc: "echo welcome; echo to the estate >&2; printf 'no line end'"},
	{does: "has a .bashrc that prints without end", class: recovery.Failed, signature: "output flood", bashrc: "yes welcome"},
	{does: "has a .bashrc that waits for the enter key", class: recovery.TimedOut, signature: "shell silent", bashrc: "read -r -p 'Press enter to accept' x", waits: true},
	{does: "has a .bashrc that becomes another program (csh, a menu)", class: recovery.TimedOut, signature: "shell silent", bashrc: "exec csh", waits: true},
	{does: "has a .bashrc that exits", class: recovery.Failed, signature: "no shell", bashrc: "echo 'no profile for you' >&2; exit 1", says: "no profile for you"},

	// dropbear, as rescue systems have it
	{does: "dropbear: a rescue system's root, without SFTP", class: recovery.Succeeded, dropbear: []string{"-s"}, user: "root"},
	{does: "dropbear: a login banner", class: recovery.Succeeded, dropbear: []string{"-b", "DIR/group"}, user: "root"},
	{does: "dropbear: only an RSA host key, which is known", class: recovery.Succeeded, dropbear: []string{"-s"}, user: "root", shows: []string{"rsa"}},
	{does: "dropbear: only an ECDSA host key, which is known", class: recovery.Succeeded, dropbear: []string{"-s"}, user: "root", shows: []string{"ecdsa"}},
	{does: "dropbear: a new host key since the last boot", class: recovery.HostKeyMismatch, signature: "wrong host key", dropbear: []string{"-s"}, user: "root", known: []string{"old ed25519"}},
	{does: "dropbear: root refused (-w)", class: recovery.AuthRefused, signature: "no key accepted", dropbear: []string{"-w"}, user: "root"},
	{does: "dropbear: only passwords, no authorized_keys", class: recovery.AuthRefused, signature: "no key accepted", dropbear: []string{"-B"}, user: "root", remedy: func(h *foundHost, cfg *Config) {
		file, _ := newKeyFile(h.t, "")
		cfg.Keys = []string{file}
	}},
	{does: "dropbear: a user whose shell is not in /etc/shells", class: recovery.AuthRefused, signature: "no key accepted", dropbear: []string{"-s"}, shell: "/usr/sbin/nologin"},
	{does: "dropbear: a forced command (-c)", class: recovery.Failed, signature: "no shell", dropbear: []string{"-s", "-c", "/bin/false"}, user: "root"},
	{does: "dropbear: five logins from our address are under way", class: recovery.Unreachable, signature: "closed before the banner", dropbear: []string{"-s"}, user: "root", before: func(h *foundHost) { h.hold(5) }},
}

func TestAsFoundReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("users of their own for each sshd need root; run make e2e as root")
	}
	for _, tool := range []string{"unshare", "mount", "ssh-keygen", "dropbear", "dropbearconvert", "csh", "busybox", "rbash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed; run tools/install-test-deps.sh: %v", tool, err)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	keyring.dir = t.TempDir()
	rows := make([]row, len(found))
	t.Run("servers", func(t *testing.T) {
		for n, c := range found {
			t.Run(c.does, func(t *testing.T) {
				t.Parallel()
				rows[n] = rowOf(c.does, c.attempt(t))
			})
		}
	})
	if t.Failed() {
		return
	}
	compareWithDocs(t, rows)
	tested := map[string]bool{}
	for _, c := range found {
		tested[c.does] = true
	}
	for _, c := range scripted {
		tested[c.does] = true
	}
	for does := range docsRows(t) {
		if !tested[does] {
			t.Errorf("%s has a row that no test plays: %q", docsTable, does)
		}
	}
}

func (c *foundServer) attempt(t *testing.T) recovery.Result {
	h := c.start(t)
	known := c.known
	if known == nil {
		known = c.shows
	}
	if known == nil {
		known = []string{"ed25519"}
	}
	var lines strings.Builder
	for _, kind := range known {
		_, public := pair(t, kind)
		lines.WriteString("[127.0.0.1]:" + h.port + " " + public)
	}
	file := filepath.Join(h.dir, "known_hosts")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := h.remedy(func(cfg *Config) {
		cfg.KnownHosts = []string{file}
		cfg.Timeouts.Handshake, cfg.Timeouts.Auth, cfg.Timeouts.Shell = time.Minute, time.Minute, 2*time.Minute // the machine may be busy
		if c.waits {
			cfg.Timeouts.Shell = 3 * time.Second
		}
		if c.remedy != nil {
			c.remedy(h, cfg)
		}
	})
	job := h.job("brt-app01/1")
	job.Timeout = 5 * time.Minute
	job.Rung.Root, job.Rung.User, job.Rung.HostKeys = h.root, rec, nil
	if c.user != "" {
		job.Rung.User = c.user
	}
	res := r.Run(t.Context(), job, script(claimOK))
	want(t, res, c.class, c.signature)
	saneResult(t, res)
	if !strings.Contains(res.Detail, c.says) {
		t.Errorf("%q is not in %s", c.says, res.Detail)
	}
	if ran := h.ran(); (ran == 1) != (c.class == recovery.Succeeded) || ran > 1 {
		t.Errorf("ran %d times", ran)
	}
	if text, err := os.ReadFile(filepath.Join(h.root, "chosen")); err == nil {
		t.Errorf("a menu was given %q", text)
	}
	return res
}
