package remedy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// drain reads until the peer closes.
func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestFaultsOfTheWayIn(t *testing.T) {
	t.Parallel()
	wrong := newSigner(t)
	for _, c := range []struct {
		name      string
		m         *machine
		change    func(*recovery.Job)
		class     recovery.Class
		signature string
	}{
		{name: "silent", m: &machine{raw: drain}, class: recovery.Unreachable, signature: "silent after connecting"},
		{name: "closes at once", m: &machine{raw: func(net.Conn) {}}, class: recovery.Unreachable, signature: "closed before the banner"},
		{name: "resets", m: &machine{raw: func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }}, class: recovery.Unreachable, signature: "closed before the banner"},
		{name: "drops after the version", m: &machine{raw: func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }}, class: recovery.Unreachable, signature: "dropped in the handshake"},
		{name: "stalls after the version", m: &machine{raw: func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"); drain(c) }}, class: recovery.Unreachable, signature: "stalled in the handshake"},
		{name: "a megabyte before the version", m: &machine{raw: func(c net.Conn) {
			_, _ = c.Write(bytes.Repeat([]byte("welcome\n"), 1<<17))
			drain(c)
		}}, class: recovery.Unreachable, signature: "not an SSH server"},
		{name: "a megabyte without a line", m: &machine{raw: func(c net.Conn) { _, _ = c.Write(make([]byte, 1<<20)); drain(c) }}, class: recovery.Unreachable, signature: "not an SSH server"},
		{name: "garbage after the version", m: &machine{raw: func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n"+strings.Repeat("\xff", 1<<16))
			drain(c)
		}}, class: recovery.Unreachable, signature: "dropped in the handshake"},
		{name: "wrong key", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = []string{line(wrong)} }, class: recovery.HostKeyMismatch, signature: "wrong host key"},
		{name: "no key known", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = nil }, class: recovery.HostKeyMismatch, signature: "unknown host key"},
		{name: "other kind of key", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = []string{ecdsaLine} }, class: recovery.HostKeyMismatch, signature: "wrong kind of host key"},
		{name: "revoked", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = append(j.Rung.HostKeys, "revoked "+j.Rung.HostKeys[0]) }, class: recovery.HostKeyMismatch, signature: "revoked host key"},
		{name: "auth stalls", m: &machine{deadAuth: make(chan struct{})}, class: recovery.Unreachable, signature: "stalled in authentication"},
		{name: "no session", m: &machine{noSession: true}, class: recovery.Failed, signature: "no session"},
		{name: "no exec", m: &machine{noExec: true}, class: recovery.Failed, signature: "no shell"},
		{name: "nologin", m: &machine{shell: []string{"sh", "-c", "echo 'This account is currently not available.'; exit 1"}}, class: recovery.Failed, signature: "no shell"},
		{name: "forced command", m: &machine{shell: []string{"cat"}, chatter: "hi\n"}, class: recovery.TimedOut, signature: "shell silent"},
		{name: "silent shell", m: &machine{shell: []string{"sh", "-c", "cat >/dev/null"}}, class: recovery.TimedOut, signature: "shell silent"},
		{name: "flood at login", m: &machine{shell: []string{"yes"}}, class: recovery.Failed, signature: "output flood"},
		{name: "endless line at login", m: &machine{shell: []string{"sh", "-c", "cat /dev/zero"}}, class: recovery.Failed, signature: "output flood"},
		{name: "chatter at login", m: &machine{chatter: "Welcome\nto the estate\n\x1b[31mno newline"}, class: recovery.Succeeded},
		{name: "windows", m: new(machine), change: func(j *recovery.Job) { j.Rung.Environment = recovery.EnvWindowsSafeMode }, class: recovery.Failed, signature: "environment not supported"},
		{name: "hands", m: new(machine), change: func(j *recovery.Job) { j.Rung.Kind = recovery.RungHands }, class: recovery.Failed, signature: "environment not supported"},
		{name: "a name for an address", m: new(machine), change: func(j *recovery.Job) { j.Rung.Address = "brt-app01" }, class: recovery.Failed, signature: "bad address"},
		{name: "no root volume", m: &machine{env: []string{"PATH=/usr/bin:/bin", "HOME=/"}}, class: recovery.Failed, signature: "no root volume"},
		{name: "root missing", m: new(machine), change: func(j *recovery.Job) { j.Rung.Root = "/nowhere at all" }, class: recovery.Failed, signature: "expected place missing"},
		{name: "root cannot be written", m: new(machine), change: func(j *recovery.Job) { j.Rung.Root = "/proc/self" }, class: recovery.Failed, signature: "no place for the attempt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts = quick() })
			m := c.m.start(t, key)
			if m.deadAuth != nil {
				t.Cleanup(func() { close(m.deadAuth) })
			}
			job := m.job(id(1))
			if c.change != nil {
				c.change(&job)
			}
			res := r.Run(t.Context(), job, script(claimOK))
			want(t, res, c.class, c.signature)
			if strings.ContainsAny(res.Signature, "0123456789") || res.Took > 5*time.Second {
				t.Fatalf("%+v", res)
			}
			if c.class != recovery.Succeeded && m.ran() != 0 {
				t.Fatal("it ran")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts = quick() })
	m := new(machine).start(t, key)
	_ = m.listener.Close()
	want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.Unreachable, "connection refused")

	r.cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r.cfg.Timeouts.Dial = 10 * time.Millisecond
	want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.Unreachable, "no answer")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, r.Run(ctx, m.job(id(1)), script(claimOK)), recovery.Cancelled, "cancelled")
	r.cfg.Timeouts.Dial = time.Minute
	job := m.job(id(1))
	job.Timeout = 10 * time.Millisecond
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.TimedOut, "no start in time")
}

func TestUnknownUser(t *testing.T) {
	r, _ := newRemedy(t, nil)
	m := new(machine).start(t, newSigner(t).PublicKey())
	want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.AuthRefused, "no key accepted")
}

// A job's time must not run while it waits for its turn, and a silent host must not take a turn.
func TestWaitingForATurnIsFree(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Handshakes = 1; cfg.Sessions = 1 })
	m := new(machine).start(t, key)
	here, gate := m.gate("here"), m.gate("gate")
	first := runAsync(t.Context(), r, m.job(id(1)), script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	job := m.job(id(2))
	job.Timeout = 2 * time.Second
	second := runAsync(t.Context(), r, job, script(claimOK))
	select { // longer than its time
	case res := <-second:
		t.Fatalf("%+v", res)
	case <-time.After(job.Timeout + 200*time.Millisecond):
	}
	pass(t, gate)
	want(t, <-first, recovery.Succeeded, "")
	want(t, <-second, recovery.Succeeded, "")
}

func TestSilentHostsHoldNobodyBack(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Handshakes = 1; cfg.Timeouts.Handshake = 20 * time.Second })
	silent, m := (&machine{raw: drain}).start(t, key), new(machine).start(t, key)
	ctx, cancel := context.WithCancel(t.Context())
	var all []<-chan recovery.Result
	for n := range 8 {
		all = append(all, runAsync(ctx, r, silent.job(id(n)), script(claimOK)))
	}
	want(t, r.Run(t.Context(), m.job(id(100)), script(claimOK)), recovery.Succeeded, "")
	cancel()
	for _, done := range all {
		want(t, <-done, recovery.Cancelled, "cancelled")
	}
}

// deaf is a connection that stops carrying anything when told to, without being closed.
type deaf struct {
	net.Conn
	now chan struct{}
}

func (d *deaf) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	select {
	case <-d.now:
		for err == nil {
			_, err = d.Conn.Read(p)
		}
		return 0, err
	default:
		return n, err
	}
}

func TestSilenceInMidRunIsNoticedAndJoined(t *testing.T) {
	t.Parallel()
	now := make(chan struct{})
	var once sync.Once
	r, key := newRemedy(t, func(cfg *Config) {
		cfg.Timeouts.Keepalive = 50 * time.Millisecond
		cfg.Timeouts.Retry = 10 * time.Millisecond
		cfg.Dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			once.Do(func() { conn = &deaf{conn, now} })
			return conn, err
		}
	})
	m := new(machine).start(t, key)
	here, gate := m.gate("here"), m.gate("gate")
	done := runAsync(t.Context(), r, m.job(id(1)), script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	close(now)
	pass(t, gate)
	res := <-done
	want(t, res, recovery.Succeeded, "")
	if !res.Joined || m.ran() != 1 {
		t.Fatalf("%+v", res)
	}
}

func TestHostGoneInMidRun(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts.Retry = 10 * time.Millisecond })
	m := new(machine).start(t, key)
	here, _ := m.gate("here"), m.gate("gate") // the script's limit ends it
	job := m.job(id(1))
	job.Timeout = 3 * time.Second
	done := runAsync(t.Context(), r, job, script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	_ = m.listener.Close()
	m.cut()
	res := <-done
	want(t, res, recovery.Lost, "connection lost")
	inBoot(t, res)
}

// inBoot holds that a result tells the boot in which the script was started, though nobody knows how it ended: no proof may come
// from that boot.
func inBoot(t *testing.T, res recovery.Result) {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if res.Boot != strings.TrimSpace(string(boot)) {
		t.Errorf("it tells of boot %q, and it was %s", res.Boot, boot)
	}
}

// What was pushed by SFTP and has another digest never runs; then the script comes along with the runner.
func TestDamagedOnTheWay(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	if err := os.MkdirAll(m.root+"/bin", 0o700); err != nil {
		t.Fatal(err)
	}
	writeProgram(t, m.root+"/bin/sha256sum", "#!/bin/sh\necho asked >>\"$BLACKSTART_ROOT/digests\"\necho 0000 -\n")
	want(t, r.Run(t.Context(), m.job(id(1)), script(large+claimOK)), recovery.Succeeded, "")
	asked, _ := os.ReadFile(m.root + "/digests")
	if m.ran() != 1 || m.execs.Load() != 2 || string(asked) != "asked\n" {
		t.Fatal(m.ran(), m.execs.Load(), string(asked))
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts = quick() })
	m := new(machine).start(t, key)
	job := m.job("brt-app01/1/verify/1")
	job.Kind = recovery.JobVerify
	calls := 0
	v := Scripts{Verify: Verify{
		Script: []byte(`echo "root=$BLACKSTART_ROOT"`),
		Parse: func(out []byte) ([]recovery.Content, string, error) {
			if calls++; calls < 3 {
				return nil, "", errors.New("not yet")
			}
			return []recovery.Content{{Playbook: "sha256:x", Good: 1, Detail: string(out)}}, "boot-2", nil
		},
	}}
	res := r.Run(t.Context(), job, v)
	want(t, res, recovery.Succeeded, "")
	s := res.Sighting
	if s == nil || s.BootID != "boot-2" || s.Source != "ssh" || !s.Connected || s.At.IsZero() || s.Host != "brt-app01" ||
		s.Content[0].Detail != "root="+m.root+"\n" || s.Health[0].Name != "ssh-reachable" || calls != 3 || m.connections.Load() != 1 {
		t.Fatalf("%+v, %d calls", s, calls)
	}

	job.Timeout = 300 * time.Millisecond
	v.Verify.Parse = func([]byte) ([]recovery.Content, string, error) { return nil, "", errors.New("never") }
	want(t, r.Run(t.Context(), job, v), recovery.Failed, "probe without an answer")
	_ = m.listener.Close()
	m.cut()
	want(t, r.Run(t.Context(), job, v), recovery.Unreachable, "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, r.Run(ctx, job, v), recovery.Cancelled, "cancelled")
}

func TestRefusalsOfTheRunner(t *testing.T) {
	for said, signature := range map[string]string{
		"state mkdir: cannot create directory: No space left on device": "disk full",
		"state mkdir: x: Read-only file system":                         "read-only file system",
		"state mkdir: x: Permission denied":                             "permission denied",
		"state something \x1b[31mnew":                                   "no place for the attempt",
		"no-home":                                                       "HOME missing",
		"tool sha256sum":                                                "no sha256 tool",
	} {
		e := refused(said)
		if e.class != recovery.Failed || e.signature != signature || strings.Contains(e.detail, "\x1b") {
			t.Errorf("%q: %+v", said, e)
		}
	}
}

// writeProgram writes an executable file while no other test forks: a child that inherits it open for writing makes it busy.
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}
