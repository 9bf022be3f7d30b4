//go:build e2e

package remedy

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// sshd is a real OpenSSH server on loopback with files of its own.
type sshd struct {
	t        *testing.T
	dir      string
	root     string // BLACKSTART_ROOT of its sessions
	port     string
	cmd      *exec.Cmd
	hostKey  string // public line
	identity string // private key file that may log in
}

func keygen(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %v: %v: %s", args, err, out)
	}
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// startSSHD starts sshd with more lines of configuration; it fails where sshd is missing.
func startSSHD(t *testing.T, more ...string) *sshd {
	t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	s := &sshd{t: t, dir: t.TempDir()}
	s.root = filepath.Join(s.dir, "root")
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	s.identity = filepath.Join(s.dir, "id")
	for _, name := range []string{"host", "id", "hostca", "userca"} {
		keygen(t, "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, name))
	}
	keygen(t, "-s", filepath.Join(s.dir, "hostca"), "-I", "host", "-h", "-n", "brt-app01", filepath.Join(s.dir, "host.pub"))
	text, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.hostKey = string(text)
	config := append([]string{
		"ListenAddress 127.0.0.1:" + s.port, "PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "HostKey " + filepath.Join(s.dir, "host"),
		"AuthorizedKeysFile " + filepath.Join(s.dir, "id.pub"), "SetEnv BLACKSTART_ROOT=" + s.root, "PermitTTY no",
	}, more...)
	file := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(strings.Join(config, "\n"), "DIR", s.dir)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(path, "-D", "-e", "-f", file)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("sshd is needed; install openssh-server: %v", err)
	}
	t.Cleanup(func() {
		s.killSessions()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("sshd said:\n%s", text)
		}
	})
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			_ = conn.Close()
			return s
		}
		select {
		case <-every.C:
		case <-deadline.Done():
			t.Fatal("sshd does not come up")
		}
	}
}

// killSessions kills sshd's children, each by its number.
func (s *sshd) killSessions() {
	out, _ := exec.Command("pgrep", "-P", fmt.Sprint(s.cmd.Process.Pid)).Output()
	for pid := range strings.FieldsSeq(string(out)) {
		inner, _ := exec.Command("pgrep", "-P", pid, "-x", "sshd").Output() // the unprivileged half, where there is one
		for pid := range strings.FieldsSeq(string(inner)) {
			_ = exec.Command("kill", "-9", pid).Run()
		}
		_ = exec.Command("kill", "-9", pid).Run()
	}
}

func (s *sshd) job(id string) recovery.Job {
	var port int
	_, _ = fmt.Sscan(s.port, &port)
	return recovery.Job{
		ID: id, Incident: "inc", Kind: recovery.JobRepair, Timeout: time.Minute, Host: recovery.Host{Name: "brt-app01"},
		Rung: recovery.Rung{
			Kind: recovery.RungSSH, Environment: recovery.EnvRescueLinux, Address: "127.0.0.1", Port: port, User: me(s.t), HostKeys: []string{s.hostKey},
		},
	}
}

func (s *sshd) remedy(change func(*Config)) *SSH {
	s.t.Helper()
	cfg := Config{Keys: []string{s.identity}, OutputDir: filepath.Join(s.t.TempDir(), "output"), Timeouts: Timeouts{Retry: 20 * time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	return r
}

func (s *sshd) ran() int {
	text, _ := os.ReadFile(filepath.Join(s.root, "ran"))
	return strings.Count(string(text), "\n")
}

func (s *sshd) gate(name string) string { return (&machine{t: s.t, root: s.root}).gate(name) }

// ways are the kinds of pushing that a real sshd offers.
var ways = map[string][]string{
	"sftp-server":   {"Subsystem sftp /usr/lib/openssh/sftp-server"},
	"internal-sftp": {"Subsystem sftp internal-sftp"},
	"no sftp":       nil,
	"one session":   {"Subsystem sftp internal-sftp", "MaxSessions 1"},
}

func TestSSHDKey(t *testing.T) {
	for name, more := range ways {
		t.Run(name, func(t *testing.T) {
			s := startSSHD(t, more...)
			r := s.remedy(nil)
			res := r.Run(t.Context(), s.job("brt-app01/1"), script("echo hello from $BLACKSTART_ATTEMPT; "+claimOK))
			want(t, res, recovery.Succeeded, "")
			out, err := os.ReadFile(filepath.Join(r.cfg.OutputDir, "inc_brt-app01_1.log"))
			if err != nil || !strings.HasPrefix(string(out), "hello from brt-app01/1\n") {
				t.Fatal(string(out), err)
			}
			want(t, r.Run(t.Context(), s.job("brt-app01/2"), script("echo broken; exit 3")), recovery.Failed, "exit 3: broken")
			if res = r.Run(t.Context(), s.job("brt-app01/1"), script(claimOK)); !res.Joined || s.ran() != 2 {
				t.Fatalf("%+v, ran %d", res, s.ran())
			}
			job := s.job("brt-app01/3")
			job.Rung.HostKeys = []string{line(newSigner(t))}
			want(t, r.Run(t.Context(), job, script(claimOK)), recovery.HostKeyMismatch, "wrong host key")
			file, _ := newKeyFile(t, "")
			stranger := s.remedy(func(c *Config) { c.Keys = []string{file} })
			want(t, stranger.Run(t.Context(), s.job("brt-app01/3"), script(claimOK)), recovery.AuthRefused, "no key accepted")
		})
	}
}

func TestSSHDCertificates(t *testing.T) {
	s := startSSHD(t, "HostCertificate DIR/host-cert.pub", "TrustedUserCAKeys DIR/userca.pub", "Subsystem sftp internal-sftp")
	file, _ := newKeyFile(t, "")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(key.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	keygen(t, "-s", filepath.Join(s.dir, "userca"), "-I", "responder", "-n", me(t), file+".pub")
	ca, err := os.ReadFile(filepath.Join(s.dir, "hostca.pub"))
	if err != nil {
		t.Fatal(err)
	}
	r := s.remedy(func(c *Config) { c.Keys = []string{file} })
	job := s.job("brt-app01/1")
	job.Rung.HostKeys = []string{"cert-authority " + string(ca)}
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Succeeded, "")
	job.Host.Name, job.ID = "brt-app02", "brt-app02/1"
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.HostKeyMismatch, "host certificate not valid")
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte("@cert-authority 127.0.0.* "+string(ca)), 0o600); err != nil {
		t.Fatal(err)
	}
	r = s.remedy(func(c *Config) { c.Keys = []string{file}; c.KnownHosts = []string{known} })
	job = s.job("brt-app01/2")
	job.Rung.HostKeys = nil
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Succeeded, "")
}

func TestSSHDJump(t *testing.T) {
	// one sshd stands for twenty hosts, so it must not drop the handshakes of the eleventh and later
	jump, s := startSSHD(t), startSSHD(t, "Subsystem sftp internal-sftp", "MaxStartups 100")
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte("[127.0.0.1]:"+jump.port+" "+jump.hostKey), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.remedy(func(c *Config) { c.Keys = []string{jump.identity, s.identity}; c.KnownHosts = []string{known} })
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			job := s.job(fmt.Sprintf("h%d/1", n))
			job.Rung.Jump = []string{me(t) + "@127.0.0.1:" + jump.port}
			if res := r.Run(t.Context(), job, script(claimOK)); res.Class != recovery.Succeeded {
				t.Errorf("%+v", res)
			}
		})
	}
	all.Wait()
	if s.ran() != 20 {
		t.Fatal(s.ran())
	}
}

func TestSSHDLostConnectionIsJoined(t *testing.T) {
	s := startSSHD(t, "Subsystem sftp internal-sftp")
	r := s.remedy(nil)
	here, gate := s.gate("here"), s.gate("gate")
	done := runAsync(t.Context(), r, s.job("brt-app01/1"), script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	s.killSessions()
	pass(t, gate)
	res := <-done
	want(t, res, recovery.Succeeded, "")
	if !res.Joined || s.ran() != 1 {
		t.Fatalf("%+v, ran %d", res, s.ran())
	}
}

func TestSSHDForcedCommands(t *testing.T) {
	for forced, signature := range map[string]string{"internal-sftp": "no shell", "/bin/false": "no shell", "/usr/sbin/nologin": "no shell"} {
		s := startSSHD(t, "Subsystem sftp internal-sftp", "ForceCommand "+forced)
		r := s.remedy(func(c *Config) { c.Timeouts.Shell = 5 * time.Second })
		res := r.Run(t.Context(), s.job("brt-app01/1"), script(claimOK))
		if res.Class != recovery.TimedOut || res.Signature != "shell silent" { // internal-sftp may wait for more
			want(t, res, recovery.Failed, signature)
		}
		if s.ran() != 0 {
			t.Fatal("it ran")
		}
	}
}

func TestSSHDFullAndReadOnlyDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small disk needs root; run make e2e as root")
	}
	s := startSSHD(t, "Subsystem sftp internal-sftp")
	disk := filepath.Join(s.dir, "disk")
	if err := os.MkdirAll(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
	}
	mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", disk)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
	r := s.remedy(nil)
	job := func(n int) recovery.Job {
		j := s.job(fmt.Sprintf("brt-app01/%d", n))
		j.Rung.Root = disk
		return j
	}
	// the script itself fills the disk: its exit is still learnt
	res := r.Run(t.Context(), job(1), Scripts{Repair: []byte(`cat /dev/zero >"$BLACKSTART_ROOT/fill"; exit 10`)})
	want(t, res, recovery.NothingFound, "nothing found")
	// full before the start
	res = r.Run(t.Context(), job(2), Scripts{Repair: []byte(claimOK)})
	want(t, res, recovery.Failed, "disk full")
	mount("-o", "remount,ro", disk)
	want(t, r.Run(t.Context(), job(3), Scripts{Repair: []byte(claimOK)}), recovery.Failed, "read-only file system")
}
