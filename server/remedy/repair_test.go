package remedy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExits(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	for n, c := range []struct {
		body      string
		class     recovery.Class
		signature string
		exit      int
	}{
		{"echo working; " + claimOK, recovery.Succeeded, "", 0},
		{claimOK + "echo late words >&2", recovery.Succeeded, "", 0},
		{"printf 'no newline at the end\n'; printf 'BLACKSTART-RESULT outcome=repaired'", recovery.Succeeded, "", 0},
		{"exit 0", recovery.Failed, "no result line", 0},
		{"echo x BLACKSTART-RESULT outcome=repaired", recovery.Failed, "no result line", 0},
		{"echo BLACKSTART-RESULT outcome=nothing-found", recovery.Failed, "exit 0 without a repair", 0},
		{"exit 10", recovery.NothingFound, "nothing found", 10},
		{"exit 11", recovery.Failed, "expected place missing", 11},
		{"echo 'cp: error writing /x/1: No space left on device'; exit 3", recovery.Failed, "exit 3: disk full", 3},
		{"echo 'BRT-APP01: lock 4711 held by 10.1.2.3'; exit 4", recovery.Failed, "exit 4: HOST: lock # held by ADDRESS", 4},
		{"exit 5", recovery.Failed, "exit 5", 5},
		{"kill -9 $$", recovery.Failed, "exit 137", 137},
		{`[ "$(env | cut -d= -f1 | sort | tr '\n' ' ')" = "BLACKSTART_ATTEMPT BLACKSTART_KEEP BLACKSTART_ROOT LC_ALL PATH PWD " ] || { env; exit 1; }
		  [ -d "$BLACKSTART_KEEP" ] && [ "$BLACKSTART_ATTEMPT" = brt-app01/12 ] || exit 2
		  ` + claimOK, recovery.Succeeded, "", 0},
		{"printf '\\033[31mred\\033[0m \\033]0;title\\007\\302\\233x end\\n'; exit 6", recovery.Failed, "exit 6: red end", 6},
		{"# ünïcode ' \" $ ` \\ \x81\x88\n" + claimOK, recovery.Succeeded, "", 0},
	} {
		res := r.Run(t.Context(), m.job(id(n)), script(c.body))
		t.Logf("%d: %+v", n, res)
		want(t, res, c.class, c.signature)
		if res.Exit != c.exit || res.Joined || res.Output == "" {
			t.Errorf("%d: %+v", n, res)
		}
	}
}

func TestFreshAndAgain(t *testing.T) {
	t.Parallel()
	for _, sftpOff := range []bool{false, true} {
		r, key := newRemedy(t, nil)
		m := (&machine{noSFTP: sftpOff}).start(t, key)
		job := m.job(id(1))
		first := r.Run(t.Context(), job, script(claimOK))
		want(t, first, recovery.Succeeded, "")
		if first.Line != "BLACKSTART-RESULT outcome=repaired bad=1 good=2 removed=1 kept=1" || first.Joined || first.Rebooted {
			t.Fatalf("%+v", first)
		}
		kept := filepath.Join(r.cfg.OutputDir, "inc_brt-app01_1.log")
		info, err := os.Stat(kept)
		if err != nil || info.Mode().Perm() != 0o600 || first.Output != "output/inc_brt-app01_1.log" {
			t.Fatal(err, info.Mode(), first.Output)
		}
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err == nil && first.Boot != strings.TrimSpace(string(boot)) {
			t.Fatalf("boot %q, the host's is %q", first.Boot, boot)
		}
		again := r.Run(t.Context(), job, script(claimOK))
		want(t, again, recovery.Succeeded, "")
		if !again.Joined || again.Line != first.Line || again.Boot != first.Boot || m.ran() != 1 {
			t.Fatalf("%+v, ran %d", again, m.ran())
		}
		if m.connections.Load() != 2 {
			t.Fatalf("%d connections for two runs", m.connections.Load())
		}
	}
}

func TestTwoAtOnceRunOnce(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	other, err := New(r.cfg) // a second process, as far as the host can tell
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	m := new(machine).start(t, key)
	gate := m.gate("gate")
	s := script(`read -r x <"$BLACKSTART_ROOT/gate"; ` + claimOK)
	var all []<-chan recovery.Result
	for n := range 6 {
		all = append(all, runAsync(t.Context(), []*SSH{r, other}[n%2], m.job(id(1)), s))
	}
	pass(t, gate)
	joined := 0
	for _, done := range all {
		res := <-done
		want(t, res, recovery.Succeeded, "")
		if res.Joined {
			joined++
		}
	}
	if joined != 5 || m.ran() != 1 {
		t.Fatalf("%d joined, ran %d times", joined, m.ran())
	}
}

func TestConnectionLostInMidRunIsJoined(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	here, gate := m.gate("here"), m.gate("gate")
	done := runAsync(t.Context(), r, m.job(id(1)), script(`echo here >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	m.cut()
	pass(t, gate)
	res := <-done
	want(t, res, recovery.Succeeded, "")
	if !res.Joined || m.ran() != 1 || m.connections.Load() != 2 {
		t.Fatalf("%+v, ran %d, %d connections", res, m.ran(), m.connections.Load())
	}
}

func TestCancelledInMidRunIsJoinable(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	here, gate := m.gate("here"), m.gate("gate")
	ctx, cancel := context.WithCancel(t.Context())
	s := script(`echo here >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; ` + claimOK)
	done := runAsync(ctx, r, m.job(id(1)), s)
	arrived(t, here)
	cancel()
	want(t, <-done, recovery.Lost, "cancelled in mid-run")
	again := runAsync(t.Context(), r, m.job(id(1)), s)
	pass(t, gate)
	res := <-again
	want(t, res, recovery.Succeeded, "")
	if !res.Joined || m.ran() != 1 {
		t.Fatalf("%+v, ran %d", res, m.ran())
	}
}

func TestHostStoppedInMidRunIsLost(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	here, _ := m.gate("here"), m.gate("gate")
	done := runAsync(t.Context(), r, m.job(id(1)), script(`echo here >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	arrived(t, here)
	text, err := os.ReadFile(m.attempt(id(1), "claim"))
	if err != nil {
		t.Fatal(err)
	}
	group, _, _ := strings.Cut(string(text), " ") // the front leads it, and all of the attempt is in it
	if err := exec.Command("kill", "-9", "--", "-"+group).Run(); err != nil {
		t.Fatal(err)
	}
	want(t, <-done, recovery.Lost, "stopped in mid-run")
	again := r.Run(t.Context(), m.job(id(1)), script(claimOK))
	want(t, again, recovery.Lost, "stopped in mid-run")
	inBoot(t, again)
	if m.ran() != 1 {
		t.Fatalf("ran %d times", m.ran())
	}
}

func TestStoppedBetweenClaimAndStart(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	if err := os.MkdirAll(m.attempt(id(1), ""), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.attempt(id(1), "claim"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.Lost, "stopped in mid-run")
	if m.ran() != 0 {
		t.Fatal("it ran")
	}
}

func TestLimitOnTheFarSide(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*machine{"a session of its own": {}, "the server's process group": {sameSession: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limitOnTheFarSide(t, m)
		})
	}
}

func limitOnTheFarSide(t *testing.T, m *machine) {
	r, key := newRemedy(t, func(c *Config) { c.Timeouts.Watch = 50 * time.Millisecond })
	m.start(t, key)
	m.gate("gate")
	s := script(`echo waiting; trap '' TERM; (read -r y <"$BLACKSTART_ROOT/gate") & read -r x <"$BLACKSTART_ROOT/gate"`)
	s.Limit = 200 * time.Millisecond
	res := r.Run(t.Context(), m.job(id(1)), s)
	want(t, res, recovery.TimedOut, "script over its limit")
	if out, _ := os.ReadFile(filepath.Join(r.cfg.OutputDir, "inc_brt-app01_1.log")); string(out) != "waiting\n" {
		t.Fatalf("%q", out)
	}
	file := "claim"
	if m.sameSession {
		file = "group"
	}
	text, _ := os.ReadFile(m.attempt(id(1), file))
	group, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	all, err := exec.Command("ps", "-A", "-o", "pgid=,stat=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		f := strings.Fields(line)
		if f[0] == group && f[1][0] != 'Z' { // a dead process that nobody has buried yet is none
			t.Fatalf("something of the script still runs: %s", line)
		}
	}
}

// A script is ended at its limit also when nobody is there to see it: the host's half does it without us.
func TestLimitWithoutAConnection(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(c *Config) { c.Timeouts.Watch, c.Timeouts.Retry = time.Hour, 3*time.Second })
	m := new(machine).start(t, key)
	here, _ := m.gate("here"), m.gate("gate")
	s := script(`trap 'echo ended at the limit >>"$BLACKSTART_ROOT/ran"; exit 3' TERM; echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"`)
	s.Limit = 100 * time.Millisecond
	done := runAsync(t.Context(), r, m.job(id(1)), s)
	arrived(t, here)
	m.cut()
	res := <-done // after three seconds: the limit was over long before
	want(t, res, recovery.TimedOut, "script over its limit")
	if !res.Joined || m.ran() != 2 {
		t.Fatalf("%+v, %d lines", res, m.ran())
	}
}

// A claim that the host has lost with its disk's last seconds must not run the script a second time.
func TestClaimGone(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(c *Config) { c.Timeouts.Retry = 10 * time.Millisecond })
	m := new(machine).start(t, key)
	here, gate := m.gate("here"), m.gate("gate")
	s := script(`echo x >"$BLACKSTART_ROOT/here"; read -r x <"$BLACKSTART_ROOT/gate"`)
	s.Limit = time.Second // what is left there without a folder waits for that
	done := runAsync(t.Context(), r, m.job(id(1)), s)
	arrived(t, here)
	if err := os.RemoveAll(m.attempt(id(1), "")); err != nil {
		t.Fatal(err)
	}
	m.cut()
	want(t, <-done, recovery.Lost, "claim gone")
	pass(t, gate)
	if m.ran() != 1 {
		t.Fatalf("ran %d times", m.ran())
	}
}

func TestDaemonHoldingTheOutput(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	gate := m.gate("gate")
	res := r.Run(t.Context(), m.job(id(1)), script(`setsid sh -c 'read -r x <"$BLACKSTART_ROOT/gate"' & `+claimOK))
	want(t, res, recovery.Succeeded, "")
	if res.Took > 10*time.Second {
		t.Fatal(res.Took)
	}
	pass(t, gate)
}

func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	res := r.Run(t.Context(), m.job(id(1)), script(`echo first; yes 'a line of a flood that nobody reads' | head -c 30000000; echo; `+claimOK))
	want(t, res, recovery.Succeeded, "")
	out, _ := os.ReadFile(filepath.Join(r.cfg.OutputDir, "inc_brt-app01_1.log"))
	if len(out) > 257<<10 || !strings.HasPrefix(string(out), "first\n") || !strings.Contains(string(out), "left out") {
		t.Fatal(len(out))
	}
	for _, name := range []string{"output", "tail"} {
		if info, err := os.Stat(m.attempt(id(1), name)); err != nil || info.Size() > 512<<10 {
			t.Fatal(err, info.Size())
		}
	}
}

func TestRestartOnce(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	down := m.gate("down")
	job := m.job(id(1))
	job.Reboot = true
	job.Rung.RebootCmd = `echo "going down" >"$BLACKSTART_ROOT/down"; echo x >>"$BLACKSTART_ROOT/reboots"`
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if res := r.Run(t.Context(), job, script(claimOK)); res.Class != recovery.Succeeded || !res.Rebooted {
				t.Errorf("%+v", res)
			}
		})
	}
	if arrived(t, down) != "going down\n" {
		t.Fatal("no restart")
	}
	all.Wait()
	if res := r.Run(t.Context(), job, script(claimOK)); !res.Rebooted || !res.Joined {
		t.Fatalf("%+v", res)
	}
	job.ID = id(2)
	if res := r.Run(t.Context(), job, script("exit 10")); res.Rebooted {
		t.Fatal("restarted without a success")
	}
}

func TestShellsOfTheFarSide(t *testing.T) {
	t.Parallel()
	shells := []string{"/bin/sh", "dash", "busybox sh", "bash --posix", "bash"}
	for _, shell := range shells {
		if _, err := exec.LookPath(strings.Fields(shell)[0]); err != nil {
			t.Logf("%s is not here and left out", shell)
			continue
		}
		r, key := newRemedy(t, nil)
		m := (&machine{sh: shell}).start(t, key)
		for n, off := range []bool{false, true} {
			m.noSFTP = off
			for i, text := range []string{claimOK, large + claimOK} {
				job := m.job(id(2*n + i))
				want(t, r.Run(t.Context(), job, script(text)), recovery.Succeeded, "")
				res := r.Run(t.Context(), job, script(text))
				want(t, res, recovery.Succeeded, "")
				if !res.Joined || m.ran() != 2*n+i+1 {
					t.Fatalf("%v: %+v, ran %d", shell, res, m.ran())
				}
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(c *Config) { c.Handshakes = 3 })
	m := new(machine).start(t, key)
	var all sync.WaitGroup
	for n := range 24 {
		all.Go(func() {
			job := m.job("h" + strconv.Itoa(n) + "/1")
			if res := r.Run(t.Context(), job, script(claimOK)); res.Class != recovery.Succeeded {
				t.Errorf("%+v", res)
			}
		})
	}
	all.Wait()
	if m.ran() != 24 {
		t.Fatal(m.ran())
	}
}
