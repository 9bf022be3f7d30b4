//go:build e2e && unix

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMunicipality is the story of a council that kept fourteen days of backups of a database with damage that nobody had seen, with real
// programs: PostgreSQL, restic, the coordinator, the agent, and the responder's commands.
func TestMunicipality(t *testing.T) {
	for _, program := range []string{pgBin + "/postgres", "restic"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "" {
				t.Skip(err)
			}
			t.Fatal(err)
		}
	}
	binaries := t.TempDir()
	command(t, "go", "build", "-o", filepath.Join(binaries, "blackstart"), ".")
	command(t, "go", "build", "-o", filepath.Join(binaries, "blackstart-agent"), "../blackstart-agent")
	all := os.Getenv("BLACKSTART_MUNICIPALITY") == "all" // four stories instead of two: each damage at each time
	for _, d := range []damage{flipped, stale} {
		if all || d.name == flipped.name {
			t.Run(d.name+" older than every point", func(t *testing.T) {
				t.Parallel()
				newHall(t, binaries, d, 1).allBad()
			})
		}
		if all || d.name == stale.name {
			t.Run(d.name+" since the tenth point", func(t *testing.T) {
				t.Parallel()
				newHall(t, binaries, d, 10).ninthIsGood()
			})
		}
	}
}

// allBad: the damage is older than every point that is kept. Nothing is overwritten, and people are told why.
func (h *hall) allBad() {
	h.open()
	h.predict()
	h.find()
	out, code := h.try("backups", "bisect", "people-db", "--level", h.level)
	h.said("bisect", out, code, exitHeld, "the damage is older than the oldest point kept", "the newest good point  none", "the oldest bad point   hall/"+h.points[0])
	if n := strings.Count(out, "checking "); n == 0 || n > 4 {
		h.t.Errorf("the search took %d checks:\n%s", n, out)
	}

	h.halt() // the outage
	before := digest(h.t, h.data)
	h.declare()
	out, code = h.try("incident", "plan", "--why")
	h.said("plan", out, code, exitDone, "repair in place", "restore is out of the question", "none of 14 restore points may be used", "quarantined")
	h.approvePlan()
	h.await("db1 is on the hands board", func() bool { return h.host().Phase == "needs-hands" })
	out, code = h.try("host", "hands")
	h.said("hands board", out, code, exitDone, "db1")
	out, code = h.try("host", "show", "db1")
	h.said("host", out, code, exitDone, "NEEDS-HANDS", "restore not possible: data set people-db: none of 14 restore points may be used")
	out, code = h.try("host", "hands", "card", "db1")
	h.said("work card", out, code, exitDone, "none of 14 restore points may be used")
	out, code = h.try("host", "restore", "db1", "--approve", "--reason", "the mayor insists")
	h.said("approval of what cannot be", out, code, exitRefused, "cannot be restored", "none of 14 restore points may be used")
	if held := h.held(); len(held) != 0 {
		h.t.Errorf("bad points are held: %q", held)
	}
	if after := digest(h.t, h.data); after != before {
		h.t.Error("the live data is not as it was")
	}
	h.onlyLiveData()
}

// ninthIsGood: the damage came in between points 9 and 10. The last good point is restored, once.
func (h *hall) ninthIsGood() {
	h.open()
	h.predict()
	h.find()
	out, code := h.try("backups", "bisect", "people-db", "--level", h.level)
	h.said("bisect", out, code, exitDone, "the damage came in between", "the newest good point  hall/"+h.points[8], "the oldest bad point   hall/"+h.points[9])
	if n := strings.Count(out, "checking "); n == 0 || n > 4 {
		h.t.Errorf("the search took %d checks:\n%s", n, out)
	}

	h.declare()
	ninth := "people-db hall/" + h.points[8][:12]
	out, code = h.try("incident", "plan", "--why")
	h.said("plan", out, code, exitDone, "repair in place: it holds primary data", "restore from "+ninth+" when every way above has failed", "it holds primary data")
	h.await("the last known good point is held", func() bool { return slices.Equal(h.held(), h.points[8:9]) })
	h.approvePlan()
	h.await("the repair has failed and the restore waits for a person", func() bool {
		v := h.host()
		return len(v.Attempts) > 0 && v.Attempts[len(v.Attempts)-1].Class == "unreachable" && strings.Contains(v.Reason, "needs a person's approval") && v.Restore.WantsApproval
	})
	out, code = h.try("host", "show", "db1")
	h.said("host that waits", out, code, exitDone, "needs a person's approval", ninth)
	out, code = h.try("host", "restore", "db1")
	h.said("offer", out, code, exitDone, "from "+ninth, "lost: 726", "it holds primary data", "--approve --loss 726")
	out, code = h.try("host", "restore", "db1", "--approve", "--loss", "60m", "--reason", "one hour at most")
	h.said("consent to less than is lost", out, code, exitRefused)
	h.run("host", "restore", "db1", "--approve", "--loss", "7265m", "--reason", "the head of social care agreed")
	h.killInMidRestore()
	h.await("db1 is recovered", func() bool { return h.host().Phase == "recovered" })
	if v := h.host(); v.Attempts[len(v.Attempts)-1].Class != "succeeded" || v.Attempts[len(v.Attempts)-1].Rung != "restore" || v.Attempts[len(v.Attempts)-2].Rung == "restore" {
		h.t.Errorf("attempts: %+v", v.Attempts)
	}

	h.restored()
	h.settle()
}

// killInMidRestore kills the agent while it restores, then the coordinator, and starts both again: the attempt goes on, as the same one.
func (h *hall) killInMidRestore() {
	h.t.Helper()
	h.await("the agent restores", func() bool {
		beside, _ := filepath.Glob(h.data + ".blackstart-new-*")
		return len(beside) > 0
	})
	kill := func(c *exec.Cmd) {
		if err := c.Process.Kill(); err != nil {
			h.t.Fatal(err)
		}
		_ = c.Wait()
	}
	kill(h.agent)
	kill(h.server)
	h.serve()
	h.startAgent()
}

// predict asks what could have been asked before the outage: is there an adequate backup?
func (h *hall) predict() {
	h.t.Helper()
	h.await("the agent lists the repository", func() bool { _, code := h.try("backups", "scan"); return code == exitDone })
	out, code := h.try("backups", "audit")
	h.said("audit", out, code, exitHeld, "every restore point that is kept may already be bad", "damage may stay unseen for 90 days", "kept for 14 days",
		"no restore point was ever checked", "no copy of it lies elsewhere", "0 adequate, 1 short; 14 restore points")
	page := filepath.Join(h.dir, "audit.md")
	out, code = h.try("backups", "audit", "-o", "markdown", "--out", page)
	h.said("audit as a page", out, code, exitHeld, "written to "+page)
	text, err := os.ReadFile(page)
	if err != nil || !strings.HasPrefix(string(text), "# ") || !strings.Contains(string(text), "may already be bad") {
		h.t.Errorf("the page for the council: %v\n%s", err, text)
	}
}

// find verifies the newest point, a level at a time: the damage shows at its level, and at none below.
func (h *hall) find() {
	h.t.Helper()
	newest := "people-db hall/" + h.points[keptDays-1]
	for _, level := range []string{"L1", "L2", "L3", "L4"} {
		out, code := h.try("backups", "verify", "people-db", "--point", h.points[keptDays-1], "--level", level)
		if level == h.level {
			h.said("verify "+level, out, code, exitHeld, newest, level+" FAILED", "it is in quarantine")
			break
		}
		h.said("verify "+level, out, code, exitDone, level+" passed", "all of 1 restore point passed")
	}
	out, code := h.try("backups", "list", "people-db")
	h.said("list", out, code, exitDone, "QUARANTINED", h.level+" FAILED")
}

// declare waits until the agent has seen the bad file, and declares the incident.
func (h *hall) declare() {
	h.t.Helper()
	h.await("the agent has seen the bad file", func() bool {
		var d struct {
			Incident struct{ Scope map[string]int }
		}
		h.decode(h.run("incident", "declare", "EDR update", "--cutoff", "1m", "-o", "json"), &d)
		if d.Incident.Scope["looping"] == 1 {
			return true
		}
		h.run("incident", "abort", "--reason", "declared before the agent was heard")
		return false
	})
}

func (h *hall) approvePlan() {
	h.t.Helper()
	h.run("incident", "approve", "--plan", h.incident().Digest)
}

// restored looks at the database, as it runs, and at what is kept beside it.
func (h *hall) restored() {
	h.t.Helper()
	if got := h.sql("select count(*) = count(distinct id), max(id) from people"); got != "t|9009" {
		h.t.Errorf("the restored table: %s", got)
	}
	if got := h.sql("select max(what) from journal where what like 'day _'"); got != "day 9" {
		h.t.Errorf("the restored journal ends with %s", got)
	}
	h.sql("insert into people values (5, 'someone else') on conflict (id) do update set name = excluded.name")
	h.sql("reindex index people_pkey")
	old := h.kept()
	if len(old) != 1 {
		h.t.Fatalf("old copies: %q", old)
	}
	if _, err := os.Stat(filepath.Join(old[0], "edr-isolated.bin")); err != nil {
		h.t.Errorf("the old data directory is not what was there: %v", err)
	}
	if got := h.asked(old[0], "select count(*) from journal"); got != fmt.Sprint(keptDays) {
		h.t.Errorf("the old data directory has a journal of %s days", got)
	}
}

// asked starts an old data directory for one question.
func (h *hall) asked(dir, sql string) string {
	h.t.Helper()
	h.program("pg_ctl", "-D", dir, "-l", filepath.Join(h.socket, "old.log"), "-o", "-c port=5555 -c archive_mode=off", "-w", "start")
	defer h.program("pg_ctl", "-D", dir, "-m", "fast", "-w", "stop")
	return h.program("psql", "-XqAtw", "-p", "5555", "-c", sql)
}

// settle shows that the incident stays open for its debts and holds its point for as long, and lets go of it at its end.
func (h *hall) settle() {
	h.t.Helper()
	old := h.kept()[0]
	out, code := h.try("host", "debts")
	h.said("debts", out, code, exitDone, "old-copy/people-db/", old, "re-enter/people-db", "726")
	h.await("the wave has passed", func() bool { return h.incident().Waves[0].Status == "passed" })
	out, code = h.try("incident", "close")
	h.said("close with open debts", out, code, exitRefused, "debt")
	if held := h.held(); !slices.Equal(held, h.points[8:9]) {
		h.t.Errorf("held while the incident is open: %q", held)
	}
	for _, d := range h.host().Debts {
		h.run("host", "debts", "clear", "db1", d.ID, "--note", "settled by the test")
	}
	h.run("incident", "close")
	h.await("the hold is released", func() bool { return len(h.held()) == 0 })
	if n := len(h.snapshots()); n != keptDays {
		h.t.Errorf("%d snapshots are left", n)
	}
	out, code = h.try("report", "-o", "md")
	h.said("report", out, code, exitDone, "people-db", "restore", "old-copy/people-db")
}

// said fails when a command's exit code or words are not those expected.
func (h *hall) said(what, out string, code, want int, words ...string) {
	h.t.Helper()
	plain := strings.Join(strings.Fields(out), " ")
	for _, w := range words {
		if !strings.Contains(plain, strings.Join(strings.Fields(w), " ")) {
			h.t.Errorf("%s does not say %q", what, w)
			code = -1
		}
	}
	if code != want {
		h.t.Fatalf("%s: exit %d instead of %d:\n%s", what, code, want, out)
	}
	h.t.Logf("%s\n%s", what, out)
}

// hallHost is what the test reads of the host.
type hallHost struct {
	Phase, Reason string
	Attempts      []struct{ ID, Rung, Class string }
	Debts         []struct{ ID string }
	Restore       struct {
		WantsApproval bool `json:"wants_approval"`
	}
}

func (h *hall) host() hallHost {
	h.t.Helper()
	var v struct{ Host hallHost }
	h.decode(h.run("host", "show", "db1", "-o", "json"), &v)
	return v.Host
}

// kept are the old copies beside the live data.
func (h *hall) kept() []string {
	found, _ := filepath.Glob(h.data + ".blackstart-old-*")
	return found
}

// onlyLiveData fails when something lies beside the live data.
func (h *hall) onlyLiveData() {
	h.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(h.data))
	if err != nil || len(entries) != 1 {
		h.t.Errorf("beside the live data: %v, %v", entries, err)
	}
}

// digest is of all names, modes and bytes of a folder.
func digest(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), info.ModTime().Format(time.RFC3339Nano))
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		_, err = io.Copy(sum, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
