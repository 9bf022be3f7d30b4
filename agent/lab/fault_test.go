//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func with(kind string) string { return "faults: [{count: 1, kind: " + kind + "}]\n" }

// repair runs an attempt that removes the bad file, and restarts the machine. The reboot command may be cut off by it.
func (w *world) repair(host, attempt string) {
	w.Helper()
	c := w.in(host)
	w.must(c, w.push(c, attempt, removeBad))
	_, _ = w.run(c, "reboot")
}

func TestHealsItself(t *testing.T) {
	w := start(t, hosts(1), with("heals-itself, crashes: 3"), func(c *Config) {
		c.Window = time.Millisecond
		c.Scenario.Loop.ParkAfter = Count{1, 1} // others would park
	})
	w.await("h1", in(Up))
	if now := w.byName["h1"].truth(); now.Boots != 4 || now.Bad != 0 {
		t.Errorf("healed: %+v, want up at the fourth boot without a bad file", now)
	}
	content := w.byName["h1"].disk
	if _, err := os.Stat(filepath.Join(content.folder, content.content.Good.Name)); err != nil {
		t.Error(err)
	}
}

func TestUnreachableAtFirst(t *testing.T) {
	w := start(t, hosts(1), with("unreachable-at-first, for: 40m"))
	w.looping("h1")
	if _, err := w.connect("h1"); !errors.Is(err, syscall.ECONNREFUSED) && w.Now().Before(w.story.Clock.Add(40*time.Minute)) {
		t.Errorf("at first: %v, want a refusal", err)
	}
	w.await("h1", func(Truth) bool { return w.Now().After(w.story.Clock.Add(40 * time.Minute)) })
	w.repair("h1", "h1/1")
	w.await("h1", in(Up))
}

func TestUnreachableAndSilentAtFirst(t *testing.T) {
	w := start(t, hosts(1), with("unreachable-at-first, for: 40m, answer: silent"))
	w.looping("h1")
	brief, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.Dial(brief, "tcp", w.address("h1")); !errors.Is(err, context.Canceled) && w.Now().Before(w.story.Clock.Add(40*time.Minute)) {
		t.Errorf("with no patience: %v", err)
	}
	w.repair("h1", "h1/1") // a patient visitor gets through in the end
	if w.Now().Before(w.story.Clock.Add(40 * time.Minute)) {
		t.Errorf("let in at %s, too early", w.Now())
	}
	w.await("h1", in(Up))
}

func TestWrongHostKeyUntilAPersonComes(t *testing.T) {
	w := start(t, hosts(1), with("wrong-host-key"))
	w.looping("h1")
	var key *knownhosts.KeyError
	if _, err := w.connect("h1"); !errors.As(err, &key) || len(key.Want) != 1 {
		t.Fatalf("wrong key: %v, want a mismatch", err)
	}
	if now := w.byName["h1"].truth(); now.State == Rescue {
		t.Error("a visitor who turned away stopped the loop")
	}
	if err := w.Hands("h1"); err != nil {
		t.Fatal(err)
	}
	w.await("h1", in(Up))
	w.byName["h1"].mu.Lock()
	w.byName["h1"].strike()
	w.byName["h1"].mu.Unlock()
	w.looping("h1")
	w.in("h1") // by the right key now
}

func TestWrongDisk(t *testing.T) {
	w := start(t, hosts(1), with("wrong-disk"))
	w.looping("h1")
	w.repair("h1", "h1/1") // says 0, truthfully: the file is gone from the half that the rescue sees
	boots := w.byName["h1"].truth().Boots
	w.await("h1", func(t Truth) bool { return t.Boots > boots+1 && t.Bad == 1 })
	c := w.in("h1")
	if out := w.must(c, `ls "$BLACKSTART_ROOT/.blackstart/attempts"`); out != "h1_1\n" {
		t.Errorf("attempts on the joined disk: %q; the first one was made there", out)
	}
	w.repair("h1", "h1/2")
	w.await("h1", in(Up))
	w.executions(map[string]int{"h1/1": 1, "h1/2": 1})
}

func TestRelapsesOnce(t *testing.T) {
	w := start(t, hosts(1), with("relapses, after: 30m"))
	w.looping("h1")
	w.repair("h1", "h1/1")
	w.await("h1", in(Up))
	w.await("h1", func(t Truth) bool { return t.State == Crashing && t.Bad == 1 })
	w.repair("h1", "h1/2")
	w.await("h1", in(Up))
	m := w.byName["h1"]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil && m.timer.Stop() {
		m.lab.running.Done()
		t.Error("it is going to relapse again")
	}
}

func TestDropsTheConnectionInMidScript(t *testing.T) {
	w := start(t, hosts(1), with("drops-connection"))
	w.looping("h1")
	c := w.in("h1")
	script := w.alive()
	run := w.push(c, "h1/1", script.script)
	_, _ = w.run(c, "setsid "+run+" </dev/null >/dev/null 2>&1 & exit 0")
	if err := c.Wait(); err == nil {
		t.Error("the connection ended politely")
	}
	w.wait(script.begun) // and goes on
	again := w.in("h1")  // once only
	if state := w.byName["h1"].truth().State; state != Rescue {
		t.Errorf("state is %s, want rescue still", state)
	}
	w.must(again, w.push(again, "h1/2", removeBad))
	w.executions(map[string]int{"h1/1": 1, "h1/2": 1})
}

func TestSilentSSH(t *testing.T) {
	for _, times := range []int{0, 1} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			text := "silent-ssh"
			if times > 0 {
				text = fmt.Sprintf("silent-ssh, times: %d", times)
			}
			w := start(t, hosts(1), with(text))
			w.looping("h1")
			for range 2 {
				c, err := w.Dial(w.ctx, "tcp", w.address("h1"))
				if err != nil {
					t.Fatal(err)
				}
				if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				n, err := c.Read(make([]byte, 1))
				_ = c.Close()
				if n > 0 && times == 1 {
					return // the second visitor was greeted
				}
				if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("it says something: %d bytes, %v", n, err)
				}
			}
			if times == 1 {
				t.Error("it was silent twice")
			}
			if state := w.byName["h1"].truth().State; state == Rescue {
				t.Error("a silent conversation stopped the loop")
			}
		})
	}
}

func TestFloods(t *testing.T) {
	w := start(t, hosts(1), with("floods, bytes: 300000"))
	w.looping("h1")
	c := w.in("h1")
	out := w.must(c, w.push(c, "h1/1", "echo last line"))
	if len(out) != 300_000+len("last line\n") || !strings.HasSuffix(out, "last line\n") {
		t.Errorf("%d bytes, the end is %q", len(out), out[max(0, len(out)-20):])
	}
}

func TestNeverEndsOnce(t *testing.T) {
	w := start(t, hosts(1), with("never-ends"))
	w.looping("h1")
	c := w.in("h1")
	first, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(w.push(c, "h1/1", "echo done")); err != nil {
		t.Fatal(err)
	}
	m := w.byName["h1"]
	w.await("h1", func(Truth) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.scripts == 1
	})
	if out := w.must(c, w.push(c, "h1/2", "echo done")); out != "done\n" {
		t.Errorf("second script says %q", out)
	}
	if err := first.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := first.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("first script: %v, want that it had to be ended", err)
	}
	w.executions(map[string]int{"h1/1": 1, "h1/2": 1})
}

func TestSlowBoot(t *testing.T) {
	w := start(t, hosts(2), "faults: [{kind: slow-boot, hosts: h1, boot: 10h}]\n")
	w.await("h2", func(t Truth) bool { return t.Boots > 5 })
	if now := w.byName["h1"].truth(); now.Boots != 1 || now.State != Booting {
		t.Errorf("slow machine: %+v", now)
	}
}

func TestFaultsComeFromTheSeedAlone(t *testing.T) {
	s := scenario(t, testScenario+`never-hit: {count: 2, hosts: [h7]}
faults:
  - {kind: heals-itself, count: 5, crashes: 2..9}
  - {kind: relapses, count: 5, after: 5m..50m}
  - {kind: needs-hands, hosts: "h1?"}
`)
	list := hosts(40)
	first, err := assign(s, 1, list)
	if err != nil {
		t.Fatal(err)
	}
	turned := make([]HostSpec, len(list))
	for i, h := range list {
		turned[len(list)-1-i] = h
	}
	if same, err := assign(s, 1, turned); err != nil || !reflect.DeepEqual(first, same) {
		t.Errorf("the order of hosts changed the faults (%v)", err)
	}
	if other, err := assign(s, 2, list); err != nil || reflect.DeepEqual(first, other) {
		t.Errorf("another seed gave the same faults (%v)", err)
	}
	count := map[Kind]int{}
	for _, f := range first {
		count[f.Kind]++
	}
	want := map[Kind]int{HealsItself: 5, Relapses: 5, NeedsHands: 10, Spared: 3}
	for host, f := range first {
		if strings.HasPrefix(host, "h1") && len(host) == 3 && f.Kind == Spared {
			want[NeedsHands]--
		}
	}
	if !reflect.DeepEqual(count, want) {
		t.Errorf("faults are %v, want %v", count, want)
	}
	if first["h7"].Kind != Spared {
		t.Errorf("h7 is %v, want never-hit", first["h7"])
	}
}

func TestKeysAndBootsComeFromTheSeedAlone(t *testing.T) {
	play := func(seed uint64) *world {
		w := start(t, hosts(3), "", func(c *Config) { c.Seed = seed })
		w.await("h1", func(t Truth) bool { return t.Boots > 2 })
		return w
	}
	a, b, c := play(1), play(1), play(2)
	if string(a.KnownHosts()) != string(b.KnownHosts()) || string(a.KnownHosts()) == string(c.KnownHosts()) {
		t.Error("host keys do not follow the seed")
	}
	if bootID(1, "h1", 3) == bootID(1, "h1", 4) || bootID(1, "h1", 3) == bootID(2, "h1", 3) || bootID(1, "h1", 3) == bootID(1, "h2", 3) {
		t.Error("boot ids do not follow the seed")
	}
}
