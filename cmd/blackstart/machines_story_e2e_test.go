//go:build machines && e2e && linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// The machines of the story. Each was given its part before the first incident is declared.
const (
	raced    = "race01"   // is up for some seconds before it panics, and never parks
	locked   = "locked01" // the fleet file has a wrong password for its BMC
	relapser = "again01"  // comes first, as the canary, and is sent the bad update once more
	orphaned = "orphan01" // is in rescue when the coordinator is killed
	stuck    = "stuck01"  // its BMC forgets to clear the boot target
	windows  = "win01"    // plays a Windows server, with a real NTFS volume
)

// blackout is the coordinator's side: a room full of machines that loop, and a laptop.
type blackout struct {
	*realEstate
	room    *room
	byName  map[string]*vm
	log     string
	began   time.Time
	serving bool
	view    map[string]machineView
	reports map[string]report.Report // by playbook
}

// machineView is what the test reads of a host in an incident.
type machineView struct {
	Name, Phase, Reason, Scope string
	Relapses                   int
	Attempts                   []struct {
		ID, Rung, Class, Signature, Detail, Step string
		Joined                                   bool
	}
}

// newBlackout makes machines, certificates, fleet file and playbooks. Nothing is on after it.
func newBlackout(t *testing.T) *blackout {
	t.Helper()
	dir := enterWorld(t)
	r := newRoom(t, dir)
	s := &blackout{room: r, byName: map[string]*vm{}, log: filepath.Join(dir, "serve.log"), began: time.Now(), reports: map[string]report.Report{}}
	s.realEstate = &realEstate{t: t, dir: dir, binary: filepath.Join(dir, "blackstart"), addr: fmt.Sprintf("127.0.0.1:%d", agentPort), fleet: filepath.Join(dir, "fleet.yaml"), key: r.key}
	hit := []content{linuxContent(true), linuxContent(false)}
	for _, m := range []*vm{
		{name: raced, content: hit, settings: "grace=8 parks=0"},
		{name: locked, content: hit},
		{name: relapser, content: hit},
		{name: orphaned, content: hit},
		{name: stuck, content: hit, forgets: true},
		{name: windows, windows: true, content: []content{windowsContent(true), windowsContent(false)}},
	} {
		s.byName[m.name] = r.add(m)
	}
	again := linuxContent(false)
	again.file = "var/lab/update"
	s.byName[relapser].content = append(slices.Clone(hit), again)
	s.byName[orphaned].files["var/lab/hold"] = guestFile{"", 0o644}
	s.fleetFile()
	s.run("init", "--ip", "127.0.0.1", "--ip", gateway)
	s.run("agent", "issue", "--fleet", s.fleet)
	for _, m := range r.machines {
		r.identify(m, filepath.Join(dir, "bs"))
	}
	s.playbooks()
	r.build()
	t.Cleanup(s.dump)
	return s
}

// fleetFile describes the room. The one wrong line is the password of one BMC.
func (s *blackout) fleetFile() {
	s.t.Helper()
	ipmiBoot, err := filepath.Abs("../../docs/examples/ipmi-boot")
	if err != nil {
		s.t.Fatal(err)
	}
	writeFile(s.t, filepath.Join(s.dir, "bmc-password"), bmcPassword+"\n", 0o600)
	writeFile(s.t, filepath.Join(s.dir, "old-password"), "summer-2019\n", 0o600)
	var hosts, ladders, known strings.Builder
	for _, m := range s.room.machines {
		os, product, power, rungs := "linux", "edr-linux", "bmc", ""
		switch m.name {
		case windows:
			os, product = "windows", "crowdstrike-falcon"
		case locked:
			power = "old-bmc"
		case raced:
			rungs = "    - {name: race, kind: race, within: 2m}\n"
		}
		fmt.Fprintf(&known, "%s %s", m.addr, readFile(s.t, m.path("host_key.pub")))
		fmt.Fprintf(&ladders, "  to-%s:\n%s    - {name: rescue, kind: rescue, boot: ipmi, within: 4m}\n", m.name, rungs)
		fmt.Fprintf(&hosts, "  - {name: %s, service: app, os: %s, edr: {product: %s}, address: %s, mac: %q, uuid: %s, ladder: to-%s, power: %s}\n",
			m.name, os, product, m.addr, m.mac, m.uuid, m.name, power)
	}
	s.write(filepath.Join(s.dir, "known_hosts"), known.String())
	control := func(program, password string) string {
		return fmt.Sprintf("{agent: %s, options: {ip: \"10.66.1.{4}\", username: admin, lanplus: 1, cipher: 3}, secrets: {password: \"file:%s\"}, timeout: 30s, at-once: 4}", program, password)
	}
	s.write(s.fleet, fmt.Sprintf(`fleet: machine-room
policy: {max-attempts: 6, tries-per-rung: 2, backoff: 2s, backoff-max: 5s, silent-after: 15s, incident-failures: 100%%}
tiers:
  - {name: only, rto: 1h, gate: {success: 50%%, soak: 1s, max-failed: 50%%, max-unreachable: 50%%}}
services:
  - {name: app, tier: only}
power:
  bmc: %s
  old-bmc: %s
boot:
  ipmi: %s
ladders:
%sdefaults: {data: none}
hosts:
%s`, control("fence_ipmilan", "bmc-password"), control("fence_ipmilan", "old-password"), control(ipmiBoot, "bmc-password"), &ladders, &hosts))
}

// playbooks copies the two real ones and changes what a test must: shorter waits, and a count on the disk and on the console of
// how often the script ran. On a disk that says so the script waits for a word.
func (s *blackout) playbooks() {
	s.t.Helper()
	for book, first := range map[string]string{"edr-content-linux": "bad=0 good=0 other=0 removed=0 kept=0\n", "crowdstrike-channel-file-291": "bad=0 good=0 zeroed=0 other=0 removed=0 kept=0\n"} {
		dir := filepath.Join(s.dir, "playbooks", book)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../recovery-playbooks", book))); err != nil {
			s.t.Fatal(err)
		}
		for file, changes := range map[string][]string{
			"manifest.yaml": {"soak: 10m", "soak: 5s", "verify-within: ", "verify-within: 3m # was "},
			"repair.sh": {first, first + `lab=${BLACKSTART_ROOT:-}/var/lab
mkdir -p "$lab"
lab_note() { printf '%s %s\n' "$1" "$BLACKSTART_ATTEMPT" | tee -a "$lab/runs" | sed 's/^/script: /' >/dev/ttyS0; }
lab_note begin
while [ -e "$lab/hold" ] && [ ! -e /tmp/go ]; do sleep 0.2; done
`, "finish() {\n", "finish() {\n\tlab_note \"$2\"\n"},
		} {
			text := readFile(s.t, filepath.Join(dir, file))
			for i := 0; i < len(changes); i += 2 {
				if strings.Count(text, changes[i]) != 1 {
					s.t.Fatalf("the %s of %s has changed: %q is not there once", file, book, changes[i])
				}
				text = strings.Replace(text, changes[i], changes[i+1], 1)
			}
			s.write(filepath.Join(dir, file), text)
		}
	}
}

// serve starts the coordinator.
func (s *blackout) serve() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.server = exec.Command(s.binary, "--dir", filepath.Join(s.dir, "bs"), "serve", "--fleet", s.fleet, "--listen", s.addr, "--playbooks", filepath.Join(s.dir, "playbooks"),
		"--ssh-key", s.key, "--ssh-agent", "", "--known-hosts", filepath.Join(s.dir, "known_hosts"),
		"--boot-listen", fmt.Sprintf("127.0.0.1:%d", netbootPort), "--boot-url", fmt.Sprintf("http://%s:%d", gateway, netbootPort), "--rescue-image", filepath.Join(os.Getenv(machinesDir), "rescue"))
	s.server.Stdout, s.server.Stderr = log, log
	if err := s.server.Start(); err != nil {
		s.t.Fatal(err)
	}
	server := s.server
	s.t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	eventually(s.t, "the coordinator answers", 30*time.Second, func() bool {
		_, code := s.try("agent", "list")
		return code == exitDone
	})
	s.serving = true
}

// kill ends the coordinator as a power cut would.
func (s *blackout) kill() {
	s.t.Helper()
	if err := s.server.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.server.Wait()
	s.serving = false
}

// declare opens an incident and approves its plan.
func (s *blackout) declare(title, playbook string) {
	s.t.Helper()
	s.run("incident", "declare", title, "--playbook", playbook)
	s.run("incident", "approve", "--plan", s.incident().Digest)
}

// look asks the coordinator how the hosts are.
func (s *blackout) look() {
	s.t.Helper()
	var list struct{ Hosts []machineView }
	s.decode(s.run("host", "list", "-o", "json"), &list)
	s.view = map[string]machineView{}
	for _, h := range list.Hosts {
		s.view[h.Name] = h
	}
}

// scene is what happens to one machine while the incident goes on: steps, each done when its moment has come.
type scene struct {
	name  string
	steps []moment
}

type moment struct {
	what  string
	ready func() bool
	do    func() // may be nil
}

// play lets the scenes run side by side until all are over.
func (s *blackout) play(scenes ...*scene) {
	s.t.Helper()
	deadline := time.After(machinesLimit)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for left := true; left; {
		select {
		case <-deadline:
			for _, a := range scenes {
				if len(a.steps) > 0 {
					s.t.Errorf("%s: waited in vain for: %s", a.name, a.steps[0].what)
				}
			}
			s.t.FailNow()
		case <-tick.C:
		}
		s.look()
		if slices.ContainsFunc(s.incident().Waves, func(w struct{ Status string }) bool { return w.Status == "held" }) {
			s.t.Fatal("the wave is held, and nobody in this story would release it")
		}
		left = false
		for _, a := range scenes {
			for len(a.steps) > 0 && a.steps[0].ready() {
				s.tell("%s: %s", a.name, a.steps[0].what)
				if a.steps[0].do != nil {
					a.steps[0].do()
					s.look()
				}
				a.steps = a.steps[1:]
			}
			left = left || len(a.steps) > 0
		}
	}
}

// tell writes a line of the story, with its time.
func (s *blackout) tell(format string, args ...any) {
	s.t.Logf("%5.1f s: %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *blackout) phase(name string) recovery.Phase { return recovery.Phase(s.view[name].Phase) }

// recovered is a moment's condition; a host that needs hands first fails the story at once.
func (s *blackout) recovered(name string) func() bool {
	return func() bool {
		if s.phase(name) == recovery.NeedsHands {
			s.t.Fatalf("%s was to recover and needs hands: %s", name, s.view[name].Reason)
		}
		return s.phase(name) == recovery.Recovered
	}
}

// comesBack: nothing happens to the machine but the recovery.
func (s *blackout) comesBack(name string) *scene {
	return &scene{name, []moment{{"recovered", s.recovered(name), nil}}}
}

// killedInRescue: the coordinator is killed while the script runs in the machine's rescue system, and the script ends with
// nobody there.
func (s *blackout) killedInRescue() *scene {
	m := s.byName[orphaned]
	return &scene{m.name, []moment{
		{"the script runs in the rescue system", func() bool { return strings.Contains(m.console(), "script: begin") }, func() {
			s.kill()
			if out, err := s.room.ssh(m, "touch /tmp/go"); err != nil {
				s.t.Fatalf("the rescue system does not let us in: %v\n%s", err, out)
			}
			eventually(s.t, "the script ends with nobody there", time.Minute, func() bool { return strings.Contains(m.console(), "script: repaired") })
			s.serve()
		}},
		{"recovered", s.recovered(m.name), nil},
	}}
}

// relapses: the bad update comes once more, when the machine has recovered.
func (s *blackout) relapses() *scene {
	m := s.byName[relapser]
	return &scene{m.name, []moment{
		{"recovered for the first time", s.recovered(m.name), func() {
			if out, err := s.room.ssh(m, "cp -p /var/lab/update /opt/edr/content/c-3.bin && sync"); err != nil {
				s.t.Fatalf("the update cannot be sent: %v\n%s", err, out)
			}
		}},
		{"it has panicked again, and the coordinator has noticed", func() bool { return m.panics() >= 2 && s.view[m.name].Relapses == 1 }, nil},
		{"recovered again", s.recovered(m.name), nil},
	}}
}

// byHand: the BMC does not take the password that we have; a person reads the card and does the work.
func (s *blackout) byHand() *scene {
	m := s.byName[locked]
	return &scene{m.name, []moment{
		{"on the hands board", func() bool { return s.phase(m.name) == recovery.NeedsHands }, func() {
			if said := m.powerLog(); !slices.Equal(said, []string{"on none"}) {
				s.t.Errorf("%s: without the password, its BMC did %q", m.name, said)
			}
			card := s.run("host", "hands", "card", m.name)
			for _, want := range []string{m.name, "rescue", string(recovery.AuthRefused), "password", "/opt/edr/content"} {
				if !strings.Contains(card, want) {
					s.t.Errorf("the card of %s lacks %q:\n%s", m.name, want, card)
				}
			}
			for _, secret := range []string{"summer-2019", bmcPassword} {
				if strings.Contains(card, secret) {
					s.t.Errorf("the card of %s holds a password:\n%s", m.name, card)
				}
			}
			s.run("host", "hands", "take", m.name)
			m.fence(s.t, "off")
			m.offline(s.t, func(root string) {
				if err := os.Remove(filepath.Join(root, linuxContent(false).file)); err != nil {
					s.t.Error(err)
				}
			})
			m.fence(s.t, "on")
			s.run("host", "hands", "done", m.name, "--note", "file removed in a rescue system, password of the BMC to be corrected", "--spent", "15m")
		}},
		{"recovered", s.recovered(m.name), nil},
	}}
}

// close clears the debts, as the responder would, and keeps the report.
func (s *blackout) close(playbook string) {
	s.t.Helper()
	for _, debt := range s.debts() {
		s.run("host", "debts", "clear", "--all", debt, "--note", "done by the test")
	}
	s.run("incident", "close")
	var r report.Report
	if err := json.Unmarshal([]byte(s.run("report", "-o", "json")), &r); err != nil {
		s.t.Fatal(err)
	}
	s.reports[playbook] = r
}

// debts are the ids of the open debts.
func (s *blackout) debts() []string {
	var r report.Report
	s.decode(s.run("report", "-o", "json"), &r)
	var ids []string
	for _, h := range r.Hosts {
		for _, d := range h.Debts {
			if d.Cleared.IsZero() && !slices.Contains(ids, d.ID) {
				ids = append(ids, d.ID)
			}
		}
	}
	return ids
}

// crashesLater: the Windows player, which has an incident of its own, is switched on when there are cores for it.
func (s *blackout) crashesLater() *scene {
	win := s.byName[windows]
	return &scene{win.name, []moment{
		{"the others need little now", s.recovered(stuck), func() { win.fence(s.t, "on") }},
		{"it has panicked", func() bool { return win.panics() > 0 }, nil},
	}}
}

// passed is the end of an incident's work: the wave has soaked.
func (s *blackout) passed() *scene {
	return &scene{"the wave", []moment{{"passed", func() bool {
		return !slices.ContainsFunc(s.incident().Waves, func(w struct{ Status string }) bool { return w.Status != "passed" })
	}, nil}}}
}

// dump tells what the coordinator knows and said, when the test fails; the consoles are the room's.
func (s *blackout) dump() {
	if !s.t.Failed() {
		return
	}
	if s.serving {
		for _, args := range [][]string{{"incident", "show"}, {"host", "list"}, {"agent", "list"}, {"report", "-o", "md"}} {
			out, _ := s.try(args...)
			s.t.Logf("blackstart %s:\n%s", strings.Join(args, " "), out)
		}
	}
	s.t.Logf("the coordinator's log:\n%s", tail(s.log, 150))
}
