//go:build machines && e2e && linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// check compares what the coordinator told with what the machines themselves know: their disks, their consoles, and what their
// BMCs did.
func (s *blackout) check() {
	s.t.Helper()
	if out := s.run("journal", "audit"); !strings.Contains(out, "kept ") {
		s.t.Errorf("journal audit says %q", out)
	}
	if out := s.run("journal", "verify"); !strings.Contains(out, "entries") {
		s.t.Errorf("journal verify says %q", out)
	}
	for _, m := range s.room.machines {
		if out, err := s.room.ssh(m, "sync"); err != nil {
			s.t.Errorf("%s is recovered and does not answer: %v, %s", m.name, err, out)
		}
		m.fence(s.t, "off")
		m.offline(s.t, func(root string) { s.checkDisk(m, root) })
		s.checkPower(m)
		s.checkReport(m)
	}
}

// came is how each machine came back, as the test meant it to.
var came = map[string]struct {
	rungs    []string // of its attempts that ran a script
	relapses int
	powerLog string
}{
	raced:    {rungs: []string{"race"}, powerLog: "on none"},
	locked:   {powerLog: "on none, off, on none"},
	relapser: {rungs: []string{"rescue", "rescue"}, relapses: 1, powerLog: "on none, " + throughRescue + ", " + throughRescue},
	orphaned: {rungs: []string{"rescue"}, powerLog: "on none, " + throughRescue},
	stuck:    {rungs: []string{"rescue"}, powerLog: "on none, off, boot pxe, on pxe, boot none, off, on none"},
	windows:  {rungs: []string{"rescue"}, powerLog: "on none, " + throughRescue},
}

// throughRescue is what a BMC does that takes a machine into rescue and home again. It clears the boot target by itself.
const throughRescue = "off, boot pxe, on pxe, off, on none"

// checkDisk looks at the machine's own disk: the bad files are gone and kept aside, the good one is there, and the script ran
// as often as it should have.
func (s *blackout) checkDisk(m *vm, root string) {
	s.t.Helper()
	bad, good := linuxContent(false), linuxContent(true)
	if m.windows {
		bad, good = windowsContent(false), windowsContent(true)
	}
	files, err := filepath.Glob(filepath.Join(root, filepath.Dir(good.file), "*"))
	if err != nil || len(files) != 1 || files[0] != filepath.Join(root, good.file) {
		s.t.Errorf("%s: in the product's folder: %v, %q", m.name, err, files)
	}
	want := came[m.name]
	var runs, wanted []string
	if data, err := os.ReadFile(filepath.Join(root, "var/lab/runs")); err == nil {
		runs = strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	for i := range want.rungs {
		attempt := s.attempt(m, i)
		wanted = append(wanted, "begin "+attempt, "repaired "+attempt)
	}
	if !slices.Equal(runs, wanted) {
		s.t.Errorf("%s: on its disk, the script ran %q; the report tells of %q", m.name, runs, wanted)
	}
	kept, folder := 0, ".blackstart" // of the volume that the rescue system mounted
	if slices.Equal(want.rungs, came[raced].rungs) {
		folder = "var/lib/blackstart"
	}
	err = filepath.WalkDir(filepath.Join(root, folder), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "/kept/") && d.Name() != "SHA256SUMS" {
			kept++
			if readFile(s.t, path) != bad.text {
				s.t.Errorf("%s: the kept copy %s is no copy", m.name, path)
			}
		}
		return err
	})
	if err != nil && len(want.rungs) > 0 || kept != len(want.rungs) {
		s.t.Errorf("%s: %d copies of bad files were kept, for %d repairs: %v", m.name, kept, len(want.rungs), err)
	}
}

// attempt is the id of the machine's nth attempt that claims a repair, by the report.
func (s *blackout) attempt(m *vm, n int) string {
	h := s.reported(m)
	for _, a := range h.Attempts {
		if a.Hands || a.Class != string(recovery.Succeeded) {
			continue
		}
		if n == 0 {
			return a.ID
		}
		n--
	}
	return "of no attempt"
}

func (s *blackout) checkPower(m *vm) {
	s.t.Helper()
	did := m.powerLog()
	if len(did) > 0 && did[len(did)-1] == "off" { // for us, just now
		did = did[:len(did)-1]
	}
	if got, want := strings.Join(did, ", "), came[m.name].powerLog; got != want {
		s.t.Errorf("%s: its BMC did: %s\nexpected: %s", m.name, got, want)
	}
	if target := m.bootTarget(); target != "none" {
		s.t.Errorf("%s would boot from %q next", m.name, target)
	}
	if m.panics() == 0 {
		s.t.Errorf("%s has never panicked", m.name)
	}
}

func (s *blackout) reportOf(m *vm) report.Report {
	if m.windows {
		return s.reports["crowdstrike-channel-file-291"]
	}
	return s.reports["edr-content-linux"]
}

func (s *blackout) reported(m *vm) report.Host {
	hosts := s.reportOf(m).Hosts
	return hosts[slices.IndexFunc(hosts, func(h report.Host) bool { return h.Name == m.name })]
}

// checkReport holds the report against the machine's console and against what was done to it.
func (s *blackout) checkReport(m *vm) {
	s.t.Helper()
	h, want := s.reported(m), came[m.name]
	differs := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.t.Errorf("the report says of %s, %s: %v; the truth is %v", m.name, what, got, want)
		}
	}
	differs("phase", h.Phase, recovery.Recovered)
	differs("relapses", h.Relapses, want.relapses)
	var rungs []string
	joined, hands := 0, 0
	for _, a := range h.Attempts {
		if a.Class == string(recovery.Succeeded) && !a.Hands {
			rungs = append(rungs, a.Rung)
		}
		if a.Joined {
			joined++
		}
		if a.Hands {
			hands++
		}
	}
	differs("rungs that repaired it", rungs, want.rungs)
	if m.name == orphaned { // others may have been under way too when the coordinator was killed
		differs("attempts that were joined", joined, 1)
	}
	differs("jobs by hand", hands, map[string]int{locked: 1}[m.name])
	ids := m.bootIDs()
	if h.Proof == nil || len(ids) == 0 {
		s.t.Errorf("%s: proof %+v, boots %q", m.name, h.Proof, ids)
		return
	}
	differs("boot id of the proof", h.Proof.BootID, ids[len(ids)-1])
	for _, d := range h.Debts {
		if d.Cleared.IsZero() {
			s.t.Errorf("%s still owes %s", m.name, d.ID)
		}
		if d.ID == recovery.DebtBootTarget && strings.HasPrefix(d.By, "operator") {
			s.t.Errorf("%s: the boot target was cleared by %s, not read back by the engine", m.name, d.By)
		}
	}
	if m.forgets && !strings.Contains(fmt.Sprint(h.Attempts), "had not cleared the one-time boot target by itself") {
		s.t.Errorf("%s: the report does not say that the BMC forgot the boot target: %+v", m.name, h.Attempts)
	}
}
