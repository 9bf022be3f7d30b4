//go:build unix

package lab

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestABadFileLoopsAndItsRemovalEndsTheLoop(t *testing.T) {
	w := start(t, hosts(2), "")
	w.await("h1", func(t Truth) bool { return t.Boots >= 4 })
	c := w.in("h1")
	w.await("h1", in(Rescue))
	w.must(c, removeBad)
	if _, err := w.run(c, "reboot"); err == nil {
		t.Log("reboot was quicker than the restart")
	}
	w.await("h1", in(Up))
	if bad := w.byName["h1"].truth().Bad; bad != 0 {
		t.Errorf("%d bad files after the repair", bad)
	}
	names, err := os.ReadDir(w.byName["h1"].disk.folder)
	if err != nil || len(names) != 2 {
		t.Errorf("content is %v (%v), want the old good file and the vendor's new one", names, err)
	}
	w.await("h2", func(t Truth) bool { return t.Boots >= 6 && t.Bad == 1 })
}

func TestRebootingWithoutRepairGoesOnLooping(t *testing.T) {
	w := start(t, hosts(1), "")
	w.looping("h1")
	boots := w.byName["h1"].truth().Boots
	_, _ = w.run(w.in("h1"), "reboot")
	w.await("h1", func(t Truth) bool { return t.Boots > boots+2 && t.Bad == 1 })
}

func TestHealthyUntilTheStrike(t *testing.T) {
	list := hosts(3)
	list[2].EDRProduct = "another"
	w := start(t, list, "never-hit: {hosts: [h2]}\n", func(c *Config) { c.StartStruck = false })
	for _, now := range w.Truth() {
		if !now.Up || now.Bad != 0 || now.Boots != 1 {
			t.Errorf("before the strike: %+v", now)
		}
	}
	if _, err := w.connect("h1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("rescue of a healthy machine: %v, want a refusal", err)
	}
	if !w.Now().Equal(w.story.Clock) {
		t.Errorf("the clock runs before the strike: %s", w.Now())
	}
	if err := w.Strike(); err != nil {
		t.Fatal(err)
	}
	w.looping("h1")
	if !w.Now().After(w.story.Clock) {
		t.Errorf("the clock stands after the strike: %s", w.Now())
	}
	for _, h := range []string{"h2", "h3"} {
		if now := w.byName[h].truth(); !now.Up || now.Boots != 1 || now.Hit {
			t.Errorf("not hit: %+v", now)
		}
	}
	if err := w.Strike(); err != nil {
		t.Errorf("second strike: %v", err)
	}
}

func TestParksAfterItsLoops(t *testing.T) {
	w := start(t, hosts(1), "", func(c *Config) { c.Scenario.Loop.ParkAfter = Count{3, 3} })
	w.await("h1", in(Parked))
	if boots := w.byName["h1"].truth().Boots; boots != 3 {
		t.Errorf("parked after %d boots, want 3", boots)
	}
	_, _ = w.run(w.in("h1"), removeBad+"; reboot & ") // may be cut off by the restart
	w.await("h1", in(Up))
}

func TestHandsRepair(t *testing.T) {
	w := start(t, hosts(1), "faults: [{kind: needs-hands, count: 1}]\n")
	w.looping("h1")
	if _, err := w.connect("h1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dead rescue: %v, want a refusal", err)
	}
	if err := w.Hands("h1"); err != nil {
		t.Fatal(err)
	}
	w.await("h1", in(Up))
	boots := w.byName["h1"].truth().Boots
	if err := w.Hands("h1"); err != nil {
		t.Fatal(err)
	}
	if again := w.byName["h1"].truth(); again.Boots != boots || !again.Up {
		t.Errorf("a person restarted a good machine: %+v", again)
	}
	if err := w.Hands("h9"); err == nil || !strings.Contains(err.Error(), "h9") {
		t.Errorf("hands on nobody: %v", err)
	}
}

func TestSessionsAreReal(t *testing.T) {
	w := start(t, hosts(1), "")
	w.looping("h1")
	c := w.in("h1")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("from stdin"), &out, &errs
	err = s.Run(`cat; echo " to stdout"; echo "to stderr" >&2; exit 11`)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 11 {
		t.Errorf("exit: %v, want 11", err)
	}
	if out.String() != "from stdin to stdout\n" || errs.String() != "to stderr\n" {
		t.Errorf("streams: %q and %q", out.String(), errs.String())
	}
	if _, err := w.run(c, "kill -TERM $$"); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("signal: %v, want TERM", err)
	}
	if root := w.must(c, `printf %s "$BLACKSTART_ROOT"`); root != w.byName["h1"].disk.root {
		t.Errorf("root is %s", root)
	}
	if shell := strings.TrimSpace(w.must(c, "command -v sh")); shell != filepath.Join(w.dir, "bin", "h1", "sh") {
		t.Errorf("sh is %s, not the shim", shell)
	}
}

// A command may be over before its request was answered; the answer comes first all the same.
func TestQuickCommandsAreAnswered(t *testing.T) {
	w := start(t, hosts(1), "")
	w.looping("h1")
	c := w.in("h1")
	for range 300 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(":"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStrangerIsNotAdmitted(t *testing.T) {
	w := start(t, hosts(1), "")
	w.looping("h1")
	stranger, err := ssh.NewSignerFromKey(hostKey(1, "stranger", "login"))
	if err != nil {
		t.Fatal(err)
	}
	w.login = stranger
	if _, err := w.connect("h1"); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("stranger: %v", err)
	}
	boots := w.byName["h1"].truth().Boots
	w.await("h1", func(t Truth) bool { return t.Boots > boots }) // and did not stop the loop
}

func TestDialOfNobodyIsUnroutable(t *testing.T) {
	w := start(t, hosts(1), "")
	var op *net.OpError
	if _, err := w.Dial(w.ctx, "tcp", "10.9.9.9:22"); !errors.Is(err, syscall.EHOSTUNREACH) || !errors.As(err, &op) {
		t.Errorf("unknown address: %v", err)
	}
}

func TestExecutionsAreCountedInACleanEnvironment(t *testing.T) {
	w := start(t, hosts(2), "")
	w.looping("h1")
	c := w.in("h1")
	run := w.push(c, "h1/1", `echo "args=$* root=$BLACKSTART_ROOT machine=${BLACKSTART_LAB_MACHINE-none}"`)
	if out := w.must(c, run+" a b"); out != "args=a b root="+w.byName["h1"].disk.root+" machine=none\n" {
		t.Errorf("script says %q", out)
	}
	w.must(c, "sh -c true") // no script of an attempt
	w.executions(map[string]int{"h1/1": 1})
	w.must(c, run)
	w.executions(map[string]int{"h1/1": 2})
	if n, err := w.DoubleExecutions(); n != 1 || err != nil {
		t.Errorf("double executions: %d, %v; want 1", n, err)
	}
	log, err := os.ReadFile(filepath.Join(w.dir, "executions", "h1"))
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(log)); f[0] != "h1/1" || !strings.HasSuffix(f[2], "/script.sh") {
		t.Errorf("execution log: %q", log)
	}
}

func TestPowerLossEndsWhatRuns(t *testing.T) {
	for name, launch := range map[string]string{
		"attached": "%s",
		"unseen":   "%s", // past every shim
		"detached": "setsid %s </dev/null >/dev/null 2>&1 & exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, hosts(1), "")
			w.looping("h1")
			c := w.in("h1")
			script := w.alive()
			run := w.push(c, "h1/1", script.script)
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			if name == "unseen" {
				run = strings.Replace(run, " sh ", " /bin/sh ", 1)
			}
			if err := s.Start(strings.Replace(launch, "%s", run, 1)); err != nil {
				t.Fatal(err)
			}
			w.wait(script.begun)
			if err := w.Hands("h1"); err != nil {
				t.Fatal(err)
			}
			w.wait(script.ended)
			if err := c.Wait(); err == nil {
				t.Error("the connection ended politely; a crash does not")
			}
			w.await("h1", in(Up))
		})
	}
}

func TestCloseEndsDetachedScripts(t *testing.T) {
	w := start(t, hosts(1), "")
	w.looping("h1")
	c := w.in("h1")
	script := w.alive()
	run := w.push(c, "h1/1", script.script)
	// Past every shim: only the scan at Close can find it.
	w.must(c, strings.Replace("setsid "+run, " sh ", " /bin/sh ", 1)+" </dev/null >/dev/null 2>&1 & exit 0")
	w.wait(script.begun)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.wait(script.ended)
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := w.Hands("h1"); err == nil {
		t.Error("hands on a machine that is off did not fail")
	}
}

func TestListenAsIs(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	list := hosts(1)
	list[0].Rungs[0].Address, list[0].Rungs[0].Port = "127.0.0.1", port(t, free)
	_ = free.Close()
	w := start(t, list, "", func(c *Config) { c.ListenAsIs = true })
	w.looping("h1")
	c, err := net.Dial("tcp", w.address("h1"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if !strings.HasPrefix(string(w.KnownHosts()), "[127.0.0.1]:") {
		t.Errorf("known hosts: %s", w.KnownHosts())
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	key := hostKey(1, "x", "y").Public()
	pub, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"no scenario":       func(c *Config) { c.Scenario = nil },
		"no authorized key": func(c *Config) { c.AuthorizedKey = nil },
		"is not empty":      func(c *Config) { c.Dir = "." },
		"is no folder":      func(c *Config) { c.Dir = "" },
		"speed -1":          func(c *Config) { c.Speed = -1 },
		"h1 is there twice": func(c *Config) { c.Hosts = append(c.Hosts, c.Hosts[0]) },
		"share the address": func(c *Config) { c.Hosts[1].Rungs = c.Hosts[0].Rungs },
		"is no IP address":  func(c *Config) { c.Hosts[1].Rungs[0].Address = "h2.example" },
		`"../x" is no host`: func(c *Config) { c.Hosts[1].Name = "../x" },
		"wants 3 machines, but 2 fit": func(c *Config) {
			c.Scenario.Faults = []FaultSpec{{Kind: NeedsHands, Count: 3}}
		},
		`matches no free machine for "z*"`: func(c *Config) {
			c.Scenario.Faults = []FaultSpec{{Kind: NeedsHands, Hosts: "z*"}}
		},
	} {
		c := Config{Hosts: hosts(2), Scenario: scenario(t, testScenario), Dir: t.TempDir(), AuthorizedKey: pub}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
