//go:build e2e && linux

package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// checkNoNames sees that no name can be looked up anywhere, and that an attempt to would not go unnoticed.
func (e *sites) checkNoNames() {
	for _, w := range e.watches {
		c := exec.Command("getent", "hosts", "coordinator.example")
		if err := within(w.ns, c.Start); err != nil {
			e.t.Fatal(err)
		}
		if err := c.Wait(); err == nil {
			e.t.Fatalf("in namespace %s a name can be looked up", w.ns)
		}
		if len(w.seen()) == 0 {
			e.t.Fatalf("in namespace %s a look-up went unnoticed, so the watch sees nothing", w.ns)
		}
	}
}

// agentsHeard reports whether the coordinator has heard every agent, those that crash from two boots, each with the boot id
// that the machine really has had.
func (e *sites) agentsHeard() bool {
	var list struct {
		Agents []struct {
			Host, BootID string `json:"-"`
			Name         string `json:"host"`
			Boot         string `json:"boot_id"`
			Boots        int
			Bad          int
			Good         int
		}
	}
	e.decode(e.run("agent", "list", "-o", "json"), &list)
	heard := 0
	for _, a := range list.Agents {
		m := e.byName[a.Name]
		switch {
		case m.coordinator == "":
			if a.Boot != "" {
				e.t.Fatalf("%s has no agent and was heard", m.name)
			}
		case a.Boot == "":
		case !slices.ContainsFunc(m.history(), func(b boot) bool { return b.id == a.Boot }):
			e.t.Fatalf("%s says boot id %s, which it has never had: %v", m.name, a.Boot, m.history())
		case a.Good == 1 && (m.bad == "" && a.Bad == 0 || a.Bad == 1 && a.Boots >= 2):
			heard++
		}
	}
	return heard == len(e.machines)-len(agentless)
}

// checkScenes sees with OpenSSH's own client that the awkward hosts are what they are said to be.
func (e *sites) checkScenes() {
	ssh := func(args ...string) (string, error) {
		c := exec.Command("ssh", append([]string{"-F", e.dir + "/ssh_config"}, args...)...)
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		if err := within("laptop", c.Start); err != nil {
			e.t.Fatal(err)
		}
		err := c.Wait()
		return out.String(), err
	}
	said := ""
	for what, ok := range map[string]func() bool{
		"OpenSSH believes the host certificate": func() (ok bool) {
			out, err := ssh("-v", certified, "true")
			said = out
			return err == nil && strings.Contains(out, "Host '"+certified+"' is known and matches the ED25519-CERT host certificate")
		},
		"the banner, the slow start-up file and its words are there": func() bool {
			began := time.Now()
			out, err := ssh(e.byName[noisy].addr, "true")
			said = out
			return err == nil && strings.Contains(out, "authorised use only") && strings.Contains(out, "last run failed") && time.Since(began) > 2*time.Second
		},
		"the strict host has its umask and no programs in /tmp": func() bool {
			out, err := ssh(e.byName[strictHost].addr, "umask; cp /usr/bin/true /tmp/x; /tmp/x")
			said = out
			return err != nil && strings.Contains(out, "0077") && strings.Contains(out, "Permission denied")
		},
		"SFTP is off": func() bool {
			out, err := ssh("-s", e.byName[noSFTP].addr, "sftp")
			said = out
			return err != nil && strings.Contains(out, "subsystem request failed")
		},
		"the vault can be had through its jump host": func() bool {
			out, err := ssh("10.3.0.11", "cat /proc/sys/kernel/hostname")
			said = out
			return err == nil && strings.TrimSpace(out) == "vault01"
		},
		"the vault cannot be had without": func() bool {
			out, err := ssh("-o", "ProxyJump=none", "10.3.0.11", "true")
			said = out
			return err != nil && (strings.Contains(out, "No route to host") || strings.Contains(out, "timed out") || strings.Contains(out, "unreachable"))
		},
		"not a byte fits on the full disk": func() bool {
			return os.WriteFile(e.byName[fullDisk].path("var/log/probe"), []byte("x"), 0o600) != nil
		},
		"a machine has its own boot id and no names": func() bool {
			m := e.byName["depot01"]
			out, err := ssh(m.addr, "cat /proc/sys/kernel/random/boot_id; getent hosts coordinator.example || echo no name")
			said = out
			boots := m.history()
			return err == nil && strings.Contains(out, "no name") && strings.Contains(out, boots[len(boots)-1].id)
		},
	} {
		said = ""
		for deadline := time.Now().Add(time.Minute); !ok(); { // the host may be down just now
			if time.Now().After(deadline) {
				e.t.Fatalf("not so: %s; last heard:\n%s", what, said)
			}
		}
	}
	// One name was looked up, on purpose.
	for _, w := range e.watches {
		if found := w.seen(); w.ns == "depot01" && len(found) == 0 || w.ns != "depot01" && len(found) > 0 {
			e.t.Fatalf("in namespace %s %d packets to port 53", w.ns, len(found))
		}
	}
}

// declare declares the incident, and again when a host was not as its disk says at that moment.
func (e *sites) declare() bool {
	var d struct {
		Incident struct{ Scope map[string]int }
	}
	e.decode(e.run("incident", "declare", "bad content on all but one", "-o", "json"), &d)
	hit := len(e.machines) - len(agentless) - 1
	if s := d.Incident.Scope; s["looping"] == hit && s["never-hit"] == 1 && s["unknown"] == len(agentless) {
		return true
	}
	e.run("incident", "abort", "--reason", "not everybody was heard well")
	return false
}

// act is something that happens while the incident goes on: steps, each done when its moment has come.
type act struct {
	name  string
	steps []step
}

type step struct {
	what  string
	ready func() bool
	do    func() // may be nil
}

// play lets the acts run side by side until all are over.
func (e *sites) play(acts ...*act) {
	e.t.Helper()
	e.until("all acts are over", func() bool {
		e.look()
		left := false
		for _, a := range acts {
			for len(a.steps) > 0 && a.steps[0].ready() {
				e.t.Logf("%5.1f s: %s: %s", time.Since(e.began).Seconds(), a.name, a.steps[0].what)
				if a.steps[0].do != nil {
					a.steps[0].do()
					e.look()
				}
				a.steps = a.steps[1:]
			}
			left = left || len(a.steps) > 0
		}
		if left && time.Since(e.began) > worldLimit {
			for _, a := range acts {
				if len(a.steps) > 0 {
					e.t.Errorf("%s: waited in vain for: %s", a.name, a.steps[0].what)
				}
			}
		}
		return !left
	})
}

func (e *sites) phase(name string) recovery.Phase { return recovery.Phase(e.view[name].Phase) }

func (e *sites) recovered(name string) func() bool {
	return func() bool {
		if e.phase(name) == recovery.NeedsHands {
			e.t.Fatalf("%s was to recover and needs hands: %s", name, e.view[name].Reason)
		}
		return e.phase(name) == recovery.Recovered
	}
}

// crashed: a host crashes while its script runs.
func (e *sites) crashed() *act {
	m := e.byName[crashHost]
	return &act{"a crash in mid-attempt", []step{
		{"the script runs", m.running, func() {
			m.release(e.t) // nobody is left to see it
			m.crash <- true
		}},
		{"recovered", e.recovered(m.name), nil},
	}}
}

// onBadLine: the line is reset while the script runs, and the script's end is seen over the next connection; what is said in
// return, the wish for a restart, is lost with that one.
func (e *sites) onBadLine() *act {
	m, before := e.byName[badLine], 0
	return &act{"the bad line", []step{
		{"the script runs", m.running, func() { before = e.line.resetAll() }},
		{"another connection waits for the script's end", func() bool {
			n, _, _ := e.line.seen()
			return n > before && e.line.quietFor() > 4*time.Second
		}, func() {
			e.line.goDeaf()
			m.release(e.t)
		}},
		{"recovered", e.recovered(m.name), nil},
	}}
}

// cutOff: the cable is pulled while the script runs, and plugged in after the script has ended.
func (e *sites) cutOff() *act {
	m := e.byName[cutHost]
	cable := func(in bool) func() {
		return func() {
			if err := m.cable(in); err != nil {
				e.t.Fatal(err)
			}
		}
	}
	return &act{"the cut-off host", []step{
		{"the script runs", m.running, cable(false)},
		{"the coordinator has missed the host", func() bool { return e.view != nil && !e.view[m.name].Connected }, func() { m.release(e.t) }},
		{"the script has ended with nobody there", func() bool { return !m.running() && len(m.runs()) > 0 }, cable(true)},
		{"recovered", e.recovered(m.name), nil},
	}}
}

// diskFull: the host comes to the hands board, a person makes room there and gives it another try.
func (e *sites) diskFull() *act {
	m := e.byName[fullDisk]
	return &act{"the full disk", []step{
		{"on the hands board", func() bool { return e.phase(m.name) == recovery.NeedsHands }, func() {
			h := e.view[m.name]
			if !strings.Contains(h.Reason, "disk full") || len(m.runs()) > 0 || !m.hit() {
				e.t.Errorf("%s is on the board for %q; its script ran %d times, hit: %t", m.name, h.Reason, len(m.runs()), m.hit())
			}
			e.run("host", "hands", "take", m.name)
			if err := os.Remove(m.path("var/log/old.log")); err != nil {
				e.t.Fatal(err)
			}
			e.run("host", "hands", "release", m.name)
			e.run("host", "retry", m.name, "--reason", "old logs removed on the console")
		}},
		{"recovered", e.recovered(m.name), nil},
	}}
}

// killed: the coordinator is killed while scripts run behind the jump host; some of them end before it is back.
func (e *sites) killed() *act {
	var running []*machine
	released := 0
	return &act{"the killed coordinator", []step{
		{"the other accidents have happened", func() bool {
			first := e.view[crashHost].Attempts
			return e.recovered(cutHost)() && e.recovered(badLine)() && len(first) > 0 && first[0].Class != ""
		}, nil},
		{"several scripts run behind the jump host", func() bool {
			running = nil
			for _, m := range e.machines {
				if strings.HasPrefix(m.name, "vault") && m.running() {
					running = append(running, m)
				}
			}
			return len(running) >= 3
		}, func() {
			if err := e.server.Process.Kill(); err != nil {
				e.t.Fatal(err)
			}
			_ = e.server.Wait()
			e.serving = false
			released = len(running) / 2
			e.t.Logf("%d scripts run, %d may go on", len(running), released)
			for _, m := range running {
				if !m.running() {
					e.t.Errorf("%s: the script died with the coordinator", m.name)
				}
			}
			for _, m := range running[:released] {
				m.release(e.t)
			}
		}},
		{"some of them have ended with nobody there", func() bool {
			return !slices.ContainsFunc(running[:released], func(m *machine) bool { return m.running() })
		}, func() {
			e.serve()
			e.joinable = running
			for _, m := range e.machines {
				if m.held() {
					m.release(e.t)
				}
			}
		}},
	}}
}

// settled: nothing is left for the engine to do.
func (e *sites) settled() *act {
	return &act{"the end", []step{{"every host is recovered, on the board or left alone, and both waves have passed", func() bool {
		if e.view == nil {
			return false
		}
		for _, m := range e.machines {
			switch e.phase(m.name) {
			case recovery.Recovered, recovery.NeedsHands, recovery.NotHit:
			default:
				return false
			}
		}
		return !slices.ContainsFunc(e.incident().Waves, func(w struct{ Status string }) bool { return w.Status != "passed" })
	}, nil}}}
}

// close ends the incident as its responder would: the host that nobody trusts is taken out, with the reason, and the debts
// are cleared.
func (e *sites) close() {
	t := e.t
	e.run("host", "skip", rotated, "--reason", "its host key must be compared on the console first")
	if out, code := e.try("incident", "close"); code != exitRefused || !strings.Contains(out, "debt") {
		t.Errorf("close with open debts: exit %d, %s", code, out)
	}
	e.run("host", "debts", "clear", "--all", "kept-copies", "--note", "removed by the test")
	if out, code := e.try("incident", "close"); code != exitHeld {
		t.Errorf("close with a skipped host: exit %d, %s", code, out)
	}
	e.report.json, e.report.md = e.run("report", "-o", "json"), e.run("report", "-o", "md")
}
