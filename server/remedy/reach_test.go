package remedy

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// reach tries the way into a machine that its job takes.
func reach(t *testing.T, r *SSH, job recovery.Job) Reached {
	t.Helper()
	got := r.Reach(t.Context(), job.Host, job.Rung)
	if got.Detail == "" || !slices.Contains(steps, got.Step) || strings.ContainsAny(got.Signature, "0123456789") {
		t.Fatalf("%+v", got)
	}
	return got
}

// TestReachSaysWhatAnAttemptWouldSay tries each fault twice: by looking, and by an attempt. Both must end in the same words.
func TestReachSaysWhatAnAttemptWouldSay(t *testing.T) {
	t.Parallel()
	wrong := newSigner(t)
	for _, c := range []struct {
		name   string
		m      *machine
		change func(*recovery.Job)
		step   Step
		class  recovery.Class
	}{
		{name: "well", m: new(machine), step: StepNeeds, class: recovery.Succeeded},
		{name: "chatter at login", m: &machine{chatter: "Welcome\nto the estate\n\x1b[31mno newline"}, step: StepNeeds, class: recovery.Succeeded},
		{name: "no SFTP", m: &machine{noSFTP: true}, step: StepNeeds, class: recovery.Succeeded},
		{name: "silent", m: &machine{raw: drain}, step: StepTCP, class: recovery.Unreachable},
		{name: "closes at once", m: &machine{raw: func(net.Conn) {}}, step: StepTCP, class: recovery.Unreachable},
		{name: "drops after the version", m: &machine{raw: func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }}, step: StepBanner, class: recovery.Unreachable},
		{name: "stalls after the version", m: &machine{raw: func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"); drain(c) }}, step: StepBanner, class: recovery.Unreachable},
		{name: "a megabyte before the version", m: &machine{raw: func(c net.Conn) {
			_, _ = c.Write(bytes.Repeat([]byte("welcome\n"), 1<<17))
			drain(c)
		}}, step: StepTCP, class: recovery.Unreachable},
		{name: "wrong key", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = []string{line(wrong)} }, step: StepBanner, class: recovery.HostKeyMismatch},
		{name: "no key known", m: new(machine), change: func(j *recovery.Job) { j.Rung.HostKeys = nil }, step: StepBanner, class: recovery.HostKeyMismatch},
		{name: "auth stalls", m: &machine{deadAuth: make(chan struct{})}, step: StepHostKey, class: recovery.Unreachable},
		{name: "another user", m: &machine{user: wrong.PublicKey()}, step: StepHostKey, class: recovery.AuthRefused},
		{name: "no session", m: &machine{noSession: true}, step: StepLogin, class: recovery.Failed},
		{name: "no exec", m: &machine{noExec: true}, step: StepLogin, class: recovery.Failed},
		{name: "nologin", m: &machine{shell: []string{"sh", "-c", "echo 'This account is currently not available.'; exit 1"}}, step: StepLogin, class: recovery.Failed},
		{name: "forced command", m: &machine{shell: []string{"cat"}, chatter: "hi\n"}, step: StepLogin, class: recovery.TimedOut},
		{name: "flood at login", m: &machine{shell: []string{"yes"}}, step: StepLogin, class: recovery.Failed},
		{name: "endless line at login", m: &machine{shell: []string{"sh", "-c", "cat /dev/zero"}}, step: StepLogin, class: recovery.Failed},
		{name: "windows", m: new(machine), change: func(j *recovery.Job) { j.Rung.Environment = recovery.EnvWindowsSafeMode }, step: StepLogin, class: recovery.Failed},
		{name: "a name for an address", m: new(machine), change: func(j *recovery.Job) { j.Rung.Address = "brt-app01" }, step: StepNone, class: recovery.Failed},
		{name: "bad jump", m: new(machine), change: func(j *recovery.Job) { j.Rung.Jump = []string{"@"} }, step: StepNone, class: recovery.Failed},
		{name: "no root volume", m: &machine{env: []string{"PATH=/usr/bin:/bin", "HOME=/"}}, step: StepShell, class: recovery.Failed},
		{name: "root missing", m: new(machine), change: func(j *recovery.Job) { j.Rung.Root = "/nowhere at all" }, step: StepShell, class: recovery.Failed},
		{name: "root cannot be written", m: new(machine), change: func(j *recovery.Job) { j.Rung.Root = "/proc/self" }, step: StepShell, class: recovery.Failed},
		{name: "a file for the state folder", m: new(machine), change: func(j *recovery.Job) {
			j.Rung.Root = filepath.Join(j.Rung.Root, "odd")
			if err := os.MkdirAll(j.Rung.Root, 0o755); err != nil {
				panic(err)
			}
			if err := os.WriteFile(filepath.Join(j.Rung.Root, ".blackstart"), nil, 0o600); err != nil {
				panic(err)
			}
		}, step: StepShell, class: recovery.Failed},
		{name: "permission denied", m: &machine{sh: nobodysShell()}, change: func(j *recovery.Job) {
			j.Rung.Root = filepath.Join(j.Rung.Root, "theirs and ours")
			if err := os.Mkdir(j.Rung.Root, 0o555); err != nil {
				panic(err)
			}
		}, step: StepShell, class: recovery.Failed},
		{name: "no HOME", m: &machine{sh: nobodysShell(), env: []string{"PATH=/usr/bin:/bin"}}, change: func(j *recovery.Job) { j.Rung.Environment = recovery.EnvLinux }, step: StepShell, class: recovery.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts = quick() })
			if c.m.user != nil {
				key = c.m.user
			}
			m := c.m.start(t, key)
			if err := os.Chmod(m.root, 0o755); err != nil {
				t.Fatal(err)
			}
			if m.deadAuth != nil {
				t.Cleanup(func() { close(m.deadAuth) })
			}
			job := m.job(id(1))
			job.Rung.Root = m.root
			if c.m.env != nil {
				job.Rung.Root = ""
			}
			if c.change != nil {
				c.change(&job)
			}
			before := snapshot(t, m.root)
			got := reach(t, r, job)
			if got.Step != c.step || got.Class != c.class {
				t.Fatalf("got %s and %s %q (%s), want %s and %s", got.Step, got.Class, got.Signature, got.Detail, c.step, c.class)
			}
			if after := snapshot(t, m.root); after != before {
				t.Fatalf("it has left something behind:\n%s\nwas\n%s", after, before)
			}
			want(t, r.Run(t.Context(), job, script(claimOK)), got.Class, got.Signature)
		})
	}
}

// nobodysShell is a shell without root's rights.
func nobodysShell() string {
	if os.Geteuid() != 0 {
		return "/bin/sh"
	}
	return "setpriv --reuid 65534 --regid 65534 --keep-groups /bin/sh"
}

// snapshot is all that is below a folder: names, kinds, rights, times and content.
func snapshot(t *testing.T, root string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&out, "%s %s %s %q\n", path, info.Mode(), info.ModTime().Format(time.RFC3339Nano), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReachNobodyThere(t *testing.T) {
	r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts = quick() })
	m := new(machine).start(t, key)
	_ = m.listener.Close()
	if got := reach(t, r, m.job(id(1))); got.Step != StepNone || got.Signature != "connection refused" || got.Agent != AgentUnknown {
		t.Fatalf("%+v", got)
	}
}

func TestReachThroughAJumpHost(t *testing.T) {
	t.Parallel()
	file, key := newKeyFile(t, "")
	jump, m, shut := new(machine).start(t, key), new(machine).start(t, key), new(machine).start(t, newSigner(t).PublicKey())
	known := filepath.Join(t.TempDir(), "known_hosts")
	through(t, jump, known)
	r, err := New(Config{Keys: []string{file}, KnownHosts: []string{known}, Timeouts: quick()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	behind := func(m, jump *machine, change func(*recovery.Rung)) Reached {
		job := m.job(id(1))
		change(&job.Rung)
		job.Rung.Jump = []string{"root@127.0.0.1:" + portOf(jump)}
		return reach(t, r, job)
	}
	if got := behind(m, jump, func(*recovery.Rung) {}); got.Step != StepNeeds || got.Class != recovery.Succeeded {
		t.Fatalf("%+v", got)
	}
	if got := behind(m, shut, func(*recovery.Rung) {}); got.Step != StepNone || got.Signature != "jump host: unknown host key" {
		t.Fatalf("%+v", got)
	}
	if got := behind(m, jump, func(r *recovery.Rung) { r.Port = 1 }); got.Step != StepJump || got.Signature != "no connection from the jump host" {
		t.Fatalf("%+v", got)
	}
}

// looked runs reach.sh alone.
func looked(t *testing.T, shell []string, pairs ...string) string {
	t.Helper()
	cmd := exec.Command(shell[0], shell[1:]...)
	cmd.Stdin = strings.NewReader(head(append([]string{"bs_nonce", "N"}, pairs...)...) + reachScript)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", shell, err, out)
	}
	return string(out)
}

func TestReachInEveryShell(t *testing.T) {
	for _, shell := range [][]string{{"/bin/sh"}, {"dash"}, {"busybox", "sh"}, {"bash", "--posix"}, {"bash"}} {
		if _, err := exec.LookPath(shell[0]); err != nil && os.Getenv("CI") == "" {
			continue // the other shells show it; CI has them all
		}
		root := t.TempDir()
		out := looked(t, shell, "bs_env", recovery.EnvRescueLinux, "bs_root", root, "bs_reboot", "no-such-reboot -f", "bs_tools", "cat no-such-tool dd nor-this")
		if !strings.HasPrefix(out, "\nN hello\nagent unknown\nfree ") || !strings.HasSuffix(out, "\nerror tools no-such-tool nor-this\nlack reboot\n\nN end\n") {
			t.Errorf("%v: %q", shell, out)
		}
		// words in the command that restarts are no pattern, and what is no plain command is not judged
		for _, reboot := range []string{"*", "sync; no-such-reboot", "$(no-such-reboot)", "", "cat -x"} {
			out = looked(t, shell, "bs_env", recovery.EnvRescueLinux, "bs_root", root, "bs_reboot", reboot, "bs_tools", tools)
			if strings.Contains(out, "lack reboot") || strings.Contains(out, "error") {
				t.Errorf("%v: %q: %q", shell, reboot, out)
			}
		}
		if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
			t.Errorf("%v left %v, %v", shell, left, err)
		}
	}
}

func TestReachSeesTheAgent(t *testing.T) {
	program := filepath.Join(t.TempDir(), "blackstart-agent")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	writeProgram(t, program, string(text))
	agent := exec.Command(program, "600")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	}()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	job := m.job(id(1))
	job.Rung.Root, job.Rung.Environment = m.root, recovery.EnvLinux
	if got := reach(t, r, job); got.Agent != AgentRuns || got.Class != recovery.Succeeded || got.FreeKiB <= 0 {
		t.Fatalf("%+v", got)
	}
	job.Rung.Environment = recovery.EnvRescueLinux // its processes are not the host's
	if got := reach(t, r, job); got.Agent != AgentUnknown {
		t.Fatalf("%+v", got)
	}
}

func TestReadLook(t *testing.T) {
	for text, wants := range map[string]struct {
		signature, agent string
		lacks            string
	}{
		"agent yes\nfree 99999\n":                                          {"", AgentRuns, ""},
		"agent no\nfree 100\nlack setsid\nlack setsid\nlack sha256\n":      {"", AgentStopped, "room setsid sha256"},
		"agent perhaps\nfree x\nlack faith\nnonsense\n\n":                  {"", AgentUnknown, "room"},
		"error state /x: No space left on device\nerror no-home\nagent no": {"disk full", AgentStopped, ""},
		"error state /x: Read-only file system\n":                          {"read-only file system", AgentUnknown, ""},
		"error tools dd \x1b[31mtail\n":                                    {"tools missing", AgentUnknown, ""},
	} {
		needs := false
		got, e := readLook(text, func(s Step) { needs = s == StepNeeds })
		signature := ""
		if e != nil {
			signature = e.signature
			if strings.Contains(e.detail, "\x1b") {
				t.Errorf("%q: %q", text, e.detail)
			}
		}
		if signature != wants.signature || got.Agent != wants.agent || strings.Join(got.Lacks, " ") != wants.lacks || needs != (e == nil) {
			t.Errorf("%q: %+v, %v", text, got, e)
		}
	}
}
