package remedy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func line(s ssh.Signer) string { return string(ssh.MarshalAuthorizedKey(s.PublicKey())) }

var ecdsaLine = func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	public, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(public))
}()

// certify makes a certificate for a key.
func certify(t *testing.T, ca, key ssh.Signer, kind uint32, principals ...string) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: kind, KeyId: "test", ValidPrincipals: principals,
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestHostCertificates(t *testing.T) {
	t.Parallel()
	ca, other := newSigner(t), newSigner(t)
	for _, c := range []struct {
		name      string
		key       ssh.Signer
		known     string // known_hosts, "" for the rung's line
		revoked   string
		class     recovery.Class
		signature string
	}{
		{name: "its address", key: certify(t, ca, newSigner(t), ssh.HostCert, "127.0.0.1"), class: recovery.Succeeded},
		{name: "its name", key: certify(t, ca, newSigner(t), ssh.HostCert, "x", "brt-app01"), class: recovery.Succeeded},
		{name: "another's name", key: certify(t, ca, newSigner(t), ssh.HostCert, "brt-app02"), class: recovery.HostKeyMismatch, signature: "host certificate not valid"},
		{name: "a user's", key: certify(t, ca, newSigner(t), ssh.UserCert, "127.0.0.1"), class: recovery.HostKeyMismatch, signature: "host certificate not valid"},
		{name: "another CA's", key: certify(t, other, newSigner(t), ssh.HostCert, "127.0.0.1"), class: recovery.HostKeyMismatch, signature: "unknown host CA"},
		{name: "known_hosts by address", key: certify(t, ca, newSigner(t), ssh.HostCert, "brt-app01"), known: "@cert-authority 127.0.* " + line(ca), class: recovery.Succeeded},
		{name: "known_hosts by name", key: certify(t, ca, newSigner(t), ssh.HostCert, "brt-app01"), known: "@cert-authority brt-* " + line(ca), class: recovery.Succeeded},
		{name: "known_hosts for others", key: certify(t, ca, newSigner(t), ssh.HostCert, "brt-app01"), known: "@cert-authority 10.* " + line(ca), class: recovery.HostKeyMismatch, signature: "unknown host CA"},
		{name: "revoked CA", key: certify(t, ca, newSigner(t), ssh.HostCert, "127.0.0.1"), revoked: "@revoked * " + line(ca), class: recovery.HostKeyMismatch, signature: "revoked host key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, key := newRemedy(t, func(cfg *Config) {
				file := filepath.Join(t.TempDir(), "known_hosts")
				if err := os.WriteFile(file, []byte("# ours\n\n"+c.known+c.revoked), 0o600); err != nil {
					t.Fatal(err)
				}
				cfg.KnownHosts = []string{file}
			})
			m := (&machine{key: c.key}).start(t, key)
			job := m.job(id(1))
			job.Rung.HostKeys = []string{"cert-authority " + line(ca)}
			if c.known != "" {
				job.Rung.HostKeys = nil
			}
			want(t, r.Run(t.Context(), job, script(claimOK)), c.class, c.signature)
		})
	}
}

func TestKnownHosts(t *testing.T) {
	t.Parallel()
	host := newSigner(t)
	for _, c := range []struct {
		lines     string
		class     recovery.Class
		signature string
	}{
		{"[127.0.0.1]:PORT " + line(host), recovery.Succeeded, ""},
		{"[brt-app01]:PORT " + line(host), recovery.Succeeded, ""},
		{"[127.0.0.1]:PORT " + ecdsaLine + "[127.0.0.1]:PORT " + line(host), recovery.Succeeded, ""},
		{"[127.0.0.1]:PORT " + line(newSigner(t)), recovery.HostKeyMismatch, "wrong host key"},
		{"[127.0.0.2]:PORT " + line(host), recovery.HostKeyMismatch, "unknown host key"},
		{"@revoked * " + line(host) + "[127.0.0.1]:PORT " + line(host), recovery.HostKeyMismatch, "revoked host key"},
	} {
		m := (&machine{key: host}).start(t, newSigner(t).PublicKey())
		_, port, _ := net.SplitHostPort(m.listener.Addr().String())
		r, key := newRemedy(t, func(cfg *Config) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(c.lines, "PORT", port)), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.KnownHosts = []string{file}
		})
		m.user = key
		job := m.job(id(1))
		job.Rung.HostKeys = nil
		want(t, r.Run(t.Context(), job, script(claimOK)), c.class, c.signature)
	}
}

func TestIdentities(t *testing.T) {
	locked, _ := newKeyFile(t, "secret")
	for wants, cfg := range map[string]Config{
		"passphrase":          {Keys: []string{locked}},
		"no identity":         {},
		"no such file":        {Keys: []string{"/nowhere"}},
		"not a usable":        {Keys: []string{"ways_test.go"}},
		"not a certificate":   {Certificates: []string{"ways_test.go"}},
		"known_hosts":         {Keys: []string{func() string { f, _ := newKeyFile(t, ""); return f }()}, KnownHosts: []string{"/nowhere"}},
		"ssh-agent":           {AgentSocket: "/nowhere", Keys: []string{locked}},
		"not a user certific": {Certificates: []string{func() string { f := t.TempDir() + "/c"; _ = os.WriteFile(f, []byte(ecdsaLine), 0o600); return f }()}},
	} {
		r, err := New(cfg)
		if wants == "ssh-agent" {
			if err != nil {
				t.Fatal(err)
			}
			m := new(machine).start(t, newSigner(t).PublicKey())
			want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.AuthRefused, "ssh-agent does not answer")
			r.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), wants) {
			t.Errorf("%s: %v", wants, err)
		}
	}
}

func TestUserCertificateBesideTheKey(t *testing.T) {
	file, _ := newKeyFile(t, "")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	cert := certify(t, newSigner(t), key, ssh.UserCert, "root")
	if err := os.WriteFile(file+"-cert.pub", ssh.MarshalAuthorizedKey(cert.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Keys: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := new(machine).start(t, cert.PublicKey())
	want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.Succeeded, "")
}

// through puts a jump host before a machine.
func through(t *testing.T, jump *machine, known string) {
	t.Helper()
	text := fmt.Sprintf("[127.0.0.1]:%s %s", portOf(jump), jump.hostKey())
	if err := os.WriteFile(known, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func portOf(m *machine) string {
	_, port, _ := net.SplitHostPort(m.listener.Addr().String())
	return port
}

func TestJumpHost(t *testing.T) {
	t.Parallel()
	file, key := newKeyFile(t, "")
	jump, m := new(machine).start(t, key), new(machine).start(t, key)
	known := filepath.Join(t.TempDir(), "known_hosts")
	through(t, jump, known)
	r, err := New(Config{Keys: []string{file}, KnownHosts: []string{known}, Handshakes: 64, Timeouts: Timeouts{Retry: 10 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	job := func(n int) recovery.Job {
		j := m.job(fmt.Sprintf("h%d/1", n))
		j.Rung.Jump = []string{"root@127.0.0.1:" + portOf(jump)}
		return j
	}
	var all sync.WaitGroup
	for n := range 30 {
		all.Go(func() {
			if res := r.Run(t.Context(), job(n), script(claimOK)); res.Class != recovery.Succeeded {
				t.Errorf("%+v", res)
			}
		})
	}
	all.Wait()
	if jump.connections.Load() != 1 || m.connections.Load() != 30 || m.maxAtOnce.Load() > jumpHandshakes {
		t.Fatalf("%d connections to the jump host, %d through it, %d handshakes at once", jump.connections.Load(), m.connections.Load(), m.maxAtOnce.Load())
	}

	// it dies in mid-run: a new one is made and the work joined
	here, gate := m.gate("here"), m.gate("gate")
	done := runAsync(t.Context(), r, job(100), script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	jump.cut()
	pass(t, gate)
	res := <-done
	want(t, res, recovery.Succeeded, "")
	if !res.Joined || jump.connections.Load() != 2 || m.ran() != 31 {
		t.Fatalf("%+v, %d connections, ran %d", res, jump.connections.Load(), m.ran())
	}

	// behind it nothing listens
	_ = m.listener.Close()
	want(t, r.Run(t.Context(), job(101), script(claimOK)), recovery.Unreachable, "no connection from the jump host")
	// it does not listen itself
	_ = jump.listener.Close()
	jump.cut()
	for res = r.Run(t.Context(), job(102), script(claimOK)); res.Signature == "jump host: connection lost"; {
		res = r.Run(t.Context(), job(102), script(claimOK))
	}
	want(t, res, recovery.Unreachable, "jump host: connection refused")
}

func TestJumpHostFaults(t *testing.T) {
	file, key := newKeyFile(t, "")
	m := new(machine).start(t, key)
	for _, c := range []struct {
		name, jump string
		known      bool
		user       ssh.PublicKey
		class      recovery.Class
		signature  string
	}{
		{name: "unknown key", user: key, class: recovery.HostKeyMismatch, signature: "jump host: unknown host key"},
		{name: "unknown user", known: true, user: newSigner(t).PublicKey(), class: recovery.AuthRefused, signature: "jump host: no key accepted"},
		{name: "bad text", jump: "@", user: key, class: recovery.Failed, signature: "bad jump host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			jump := new(machine).start(t, c.user)
			cfg := Config{Keys: []string{file}}
			if c.known {
				known := filepath.Join(t.TempDir(), "known_hosts")
				through(t, jump, known)
				cfg.KnownHosts = []string{known}
			}
			r, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			job := m.job(id(1))
			job.Rung.Jump = []string{"root@127.0.0.1:" + portOf(jump)}
			if c.jump != "" {
				job.Rung.Jump = []string{c.jump}
			}
			want(t, r.Run(t.Context(), job, script(claimOK)), c.class, c.signature)
		})
	}
}

func TestDialMapsAddresses(t *testing.T) {
	var m *machine
	r, key := newRemedy(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "192.0.2.7:22" {
				return nil, fmt.Errorf("unexpected %s", addr)
			}
			return new(net.Dialer).DialContext(ctx, network, m.listener.Addr().String())
		}
	})
	m = new(machine).start(t, key)
	job := m.job(id(1))
	job.Rung.Address, job.Rung.Port = "192.0.2.7", 0
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Succeeded, "")
}

func TestFolderName(t *testing.T) {
	long := strings.Repeat("x", 300)
	seen := map[string]string{}
	for _, c := range [][2]string{{"", "h/1"}, {"i", "h/1"}, {"", ""}, {"", ".."}, {"", "-rf"}, {"", "ü/1"}, {"", "ö/1"}, {"", long + "a"}, {"", long + "b"}} {
		name := folderName(recovery.Job{Incident: c[0], ID: c[1]})
		if was, twice := seen[name]; twice || strings.ContainsAny(name, "/\x00 ") || len(name) > 130 || name[0] == '.' || name[0] == '-' {
			t.Errorf("%q -> %q (%q)", c, name, was)
		}
		seen[name] = c[1]
	}
	if got := folderName(recovery.Job{ID: "brt-app01/3"}); got != "brt-app01_3" {
		t.Error(got)
	}
}
