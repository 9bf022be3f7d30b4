//go:build e2e && linux

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const narrowRate = 192 << 10 // bytes per second on a slow line

// TestBackupsStory plays three parts of a responder's day, with a real restic repository, coordinator and agent: points that nobody has verified
// before the outage, a host that must wait until they are, and a restore that a person lets go of.
func TestBackupsStory(t *testing.T) {
	for _, program := range []string{"restic", "sqlite3"} {
		if path, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		} else if path == "" {
			t.Fatal(err)
		}
	}
	binaries := t.TempDir()
	command(t, "go", "build", "-o", binaries, ".", "../blackstart-agent")
	t.Run("wave zero finds the point to restore", func(t *testing.T) {
		t.Parallel()
		newRegistry(t, binaries, "none", true).waveZero()
	})
	t.Run("a host waits for its points to be verified", func(t *testing.T) {
		t.Parallel()
		newRegistry(t, binaries, "replica", true).waits()
	})
	t.Run("a restore is cancelled and ordered again", func(t *testing.T) {
		t.Parallel()
		newRegistry(t, binaries, "replica", false).cancelled()
	})
}

// registry is a host with a SQLite database and some files, all in one folder beside the product that the outage came from, and with three
// days of it in a restic repository. It is a hall without PostgreSQL.
type registry struct {
	*hall
	narrow  string // while this file is there, the line to the repository is slow for restores
	cut     string // while this one is there, it is down for them
	stopped string // a file that says when the programs of the host were stopped and started
	copies  string // day-1 to day-3 as they were backed up, and day-0: the live data before it is restored
}

// newRegistry makes the host, with data of a kind, and its points. Those of days 1 and 2 are good; in that of day 3 the database may be damaged.
func newRegistry(t *testing.T, binaries, data string, damaged bool) *registry {
	t.Helper()
	dir := t.TempDir()
	e := &realEstate{t: t, dir: dir, binary: filepath.Join(binaries, "blackstart"), agentBin: filepath.Join(binaries, "blackstart-agent"),
		addr: fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1")), fleet: filepath.Join(dir, "fleet.yaml"), key: filepath.Join(dir, "id_ed25519")}
	root := filepath.Join(dir, "disk")
	r := &registry{hall: &hall{realEstate: e, root: root, data: filepath.Join(root, "opt"), vault: filepath.Join(dir, "restic"), password: filepath.Join(dir, "restic.pw")},
		narrow: filepath.Join(dir, "narrow"), cut: filepath.Join(dir, "cut"), stopped: filepath.Join(dir, "stopped"), copies: filepath.Join(dir, "copies")}
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", e.key)
	r.write(r.password, "correct horse battery staple\n")
	r.restic("init")
	disk := &realHost{root: root}
	disk.lay(t)
	r.sqlite("pragma page_size = 4096; create table people (id integer primary key, name text)")
	if err := os.Mkdir(r.copies, 0o700); err != nil {
		t.Fatal(err)
	}
	for day := 1; day <= 3; day++ {
		r.scan(day)
		r.sqlite(fmt.Sprintf("insert into people values (%d, 'person of day %[1]d')", day))
		if day == 3 && damaged {
			r.patch(r.database(), func(page []byte) { clear(page[len(page)/2:]) }) // the table's first page
		}
		if err := os.Remove(disk.bad); err != nil {
			t.Fatal(err)
		}
		r.restic("backup", "--quiet", "--host", "db1", "--time", time.Now().UTC().Add(-time.Hour).AddDate(0, 0, day-3).Format(time.DateTime), r.data)
		command(t, "cp", "-a", r.data, r.day(day))
		disk.lay(t) // what the outage left: a bad file since the last backup
	}
	command(t, "cp", "-a", r.data, r.day(0))
	for _, s := range r.snapshots() {
		r.points = append(r.points, s.ID)
	}
	r.playbook()
	r.program()
	r.fleetFile(data)
	return r
}

// scan adds 0.8 MB of files that no program makes smaller: what comes in on a day is in a pack of its own in the repository, and restic tells of
// what it has restored a pack at a time.
func (r *registry) scan(day int) {
	r.t.Helper()
	for i := range 8 {
		page := make([]byte, 100_000)
		_, _ = rand.Read(page) // it never fails
		r.write(filepath.Join(r.data, fmt.Sprintf("scan-%d-%02d.tiff", day, i)), string(page))
	}
}

func (r *registry) database() string { return filepath.Join(r.data, "people.db") }

func (r *registry) day(n int) string { return filepath.Join(r.copies, fmt.Sprintf("day-%d", n)) }

func (r *registry) sqlite(sql string) {
	r.t.Helper()
	command(r.t, "sqlite3", r.database(), sql)
}

// program is restic on a line that can be made slow, or cut: a restore has no limit of its own.
func (r *registry) program() {
	r.t.Helper()
	file := filepath.Join(r.dir, "restic-on-a-line")
	r.write(file, `#!/bin/sh
for word; do
	while [ "$word" = restore ] && [ -e '`+r.cut+`' ]; do sleep 0.1; done
	if [ "$word" = restore ] && [ -e '`+r.narrow+`' ]; then
		exec restic --limit-download=`+strconv.Itoa(narrowRate>>10)+` "$@"
	fi
done
exec restic "$@"
`)
	if err := os.Chmod(file, 0o700); err != nil { //nolint:gosec // it is a program
		r.t.Fatal(err)
	}
}

// fleetFile describes the host. No policy has its points verified, and nothing answers at its SSH port.
func (r *registry) fleetFile(data string) {
	r.t.Helper()
	public, err := os.ReadFile(r.key + ".pub")
	if err != nil {
		r.t.Fatal(err)
	}
	note := func(word string) string {
		argv, _ := json.Marshal([]string{"/bin/sh", "-c", "echo " + word + " >> " + r.stopped}) // strings
		return string(argv)
	}
	r.write(r.fleet, fmt.Sprintf(`fleet: registry
policy: {tries-per-rung: 1, backoff: 1s, backoff-max: 1s, incident-failures: 100%%}
tiers:
  - {name: only, asks: L3, gate: {success: 100%%, soak: 1s, max-failed: 0, max-unreachable: 0}}
services:
  - {name: register, tier: only, rpo: 30d}
repositories:
  vault: {restic: %q, password: "file:%s", program: %q}
backups:
  - name: people
    host: db1
    kind: files
    repository: vault
    engine: sqlite
    target: %q
    part: %q
    options: {file: people.db, scratch: %q}
    stop: %s
    start: %s
ladders:
  both:
    - {name: ssh, kind: ssh, environment: linux, estimate: 20m, port: %d, host-keys: [%q]}
    - {name: restore, kind: restore, estimate: 1m}
defaults: {os: linux, edr: {product: edr-linux}}
hosts:
  - {name: db1, service: register, address: 127.0.0.1, data: %s, agent: true, ladder: both}
`, r.vault, r.password, filepath.Join(r.dir, "restic-on-a-line"), r.data, r.data, r.dir, note("stopped"), note("started"),
		freePort(r.t, "127.0.0.1"), strings.TrimSpace(string(public)), data))
}

// point names one of the three as commands print it.
func (r *registry) point(day int) string { return "people vault/" + r.points[day-1][:12] }

// begin starts the responder's coordinator and the host's agent, and has the repository listed.
func (r *registry) begin() {
	r.t.Helper()
	r.open()
	r.await("the agent lists the repository", func() bool { _, code := r.try("backups", "scan"); return code == exitDone })
}

// waveZero: no point was ever verified, and the newest is damaged. The incident has them checked by itself, and goes back to the newest good one.
func (r *registry) waveZero() {
	r.begin()
	r.declare()
	out, code := r.try("incident", "plan", "--why")
	r.said("plan", out, code, exitDone, "repair: it is stateless, and cannot be restored", "restore is out of the question: data set people: none of 3 restore points may be used",
		"3 verified no further than L0 where L3 is asked")
	out, code = r.try("host", "restore", "db1")
	r.said("offer of nothing", out, code, exitDone, "none of 3 restore points may be used")
	if held := r.held(); len(held) != 0 {
		r.t.Errorf("held, though nothing can be restored: %q", held)
	}
	out, code = r.try("backups", "jobs")
	r.said("work that nobody has asked for", out, code, exitDone, "no work on backups is under way")
	r.known([3]string{"L0 never checked", "L0 never checked", "L0 never checked"})
	r.withWaveZero()
	r.await("wave zero has found a point to restore", func() bool {
		out, code = r.try("host", "restore", "db1")
		return strings.Contains(out, "from people")
	})
	r.said("offer", out, code, exitDone, "from "+r.point(2), "lost: nothing")
	r.known([3]string{"L0 never checked", "L3 passed", "L2 QUARANTINED by engine: it failed at L3 (sqlite integrity_check)"})
	out, code = r.try("incident", "show")
	r.said("incident", out, code, exitDone, "wave zero: nothing is left to check")
	out, code = r.try("incident", "plan", "--why")
	r.said("plan that others have read", out, code, exitDone, "would now be done otherwise", "db1 restore restore", "restore from "+r.point(2)+": it is stateless, and back sooner")
	r.await("what was found is held", func() bool { return slices.Equal(r.held(), r.points[1:2]) })
	if v := r.host(); v.Phase != "waiting" || len(v.Attempts) > 0 {
		r.t.Fatalf("before the plan is approved: %+v", v)
	}

	r.approvePlan()
	r.await("db1 is recovered", func() bool { return r.host().Phase == "recovered" })
	if v := r.host(); len(v.Attempts) != 1 || v.Attempts[0].Rung != "restore" || v.Attempts[0].Class != "succeeded" {
		r.t.Errorf("attempts: %+v", v.Attempts)
	}
	r.settled(2, "old-copy/people/1")
}

// withWaveZero declares the incident anew, with a wave zero.
func (r *registry) withWaveZero() {
	r.t.Helper()
	r.run("incident", "abort", "--reason", "it wants a wave zero")
	out, code := r.try("incident", "declare", "EDR update", "--cutoff", "1m", "--wave-zero")
	r.said("declaration", out, code, exitDone, "wave zero: 1 data set without a restore point that is verified as far as is asked (people)")
}

// waits: the plan is approved before wave zero has found anything, and the repair reaches nobody. The host waits for the checks, which holds nothing,
// and is restored when one of them has passed.
func (r *registry) waits() {
	r.begin()
	r.declare()
	r.write(r.cut, "") // so that the checks, which restore beside, take their time
	r.withWaveZero()
	r.approvePlan()
	r.await("the repair has reached nobody", func() bool { return len(r.host().Attempts) == 1 && r.host().Attempts[0].Class == "unreachable" })
	out, code := r.try("host", "list")
	r.said("hosts", out, code, exitDone, "waiting", "its restore points are being verified: data set people: none of 3 restore points may be used", "checks are on their way")
	if w := r.incident().Waves[0]; w.Status != "open" {
		r.t.Errorf("while the host waits, its wave is %s", w.Status)
	}
	if err := os.Remove(r.cut); err != nil {
		r.t.Fatal(err)
	}
	r.await("db1 is recovered", func() bool { return r.host().Phase == "recovered" })
	if v := r.host(); len(v.Attempts) != 2 || v.Attempts[1].Rung != "restore" || v.Attempts[1].Class != "succeeded" {
		r.t.Errorf("attempts: %+v", v.Attempts)
	}
	out, code = r.try("report", "-o", "md")
	r.said("report", out, code, exitDone, "the restore points of 1 data set are being verified", "rung restore follows when one of its restore points is verified")
	r.settled(2, "old-copy/people/2", "re-enter/people", "replication")
}

// cancelled: in the middle of a slow restore a person finds another way. Nothing has happened then, twice, and the third time it goes through.
func (r *registry) cancelled() {
	r.begin()
	out, code := r.try("backups", "verify", "people", "--level", "L3")
	r.said("verify", out, code, exitDone, "L3 passed")
	r.write(r.narrow, "")
	r.declare()
	out, code = r.try("host", "cancel", "db1", "--reason", "too soon")
	r.said("cancel of nothing", out, code, exitRefused, "no attempt on db1 is under way")
	r.await("the point is held", func() bool { return slices.Equal(r.held(), r.points[2:]) })
	r.approvePlan() // the repair that goes first finds nobody at the SSH port
	r.letGo(2, "the vendor has a repair after all", func() {})
	if locks := r.restic("--no-lock", "list", "locks"); locks != "" {
		r.t.Errorf("left in the repository: locks %q", locks)
	}
	r.again("the vendor's repair did nothing")
	r.letGo(3, "now it does", func() { // the wish is on disk, and the next coordinator and agent know of it; the lock of the dead restic is taken away by who meets it
		for _, c := range []*exec.Cmd{r.agent, r.server} {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		r.await("nobody restores any more", func() bool { return len(r.restoring()) == 0 })
		r.serve()
		r.startAgent()
	})

	if err := os.Remove(r.narrow); err != nil {
		r.t.Fatal(err)
	}
	r.again("it never will")
	r.await("db1 is recovered", func() bool { return r.host().Phase == "recovered" })
	if v := r.host(); len(v.Attempts) != 4 || v.Attempts[3].Rung != "restore" || v.Attempts[3].Class != "succeeded" {
		r.t.Errorf("attempts: %+v", v.Attempts)
	}
	if said, err := os.ReadFile(r.stopped); string(said) != "stopped\nstarted\n" {
		r.t.Errorf("the host's programs: %q, %v", said, err)
	}
	out, code = r.try("report", "-o", "md")
	r.said("report", out, code, exitDone, "the vendor has a repair after all", "now it does")
	r.settled(3, "old-copy/people/4", "re-enter/people", "replication")
}

// again orders the restore once more. Nothing else holds it: that the repair before it has reached nobody no longer counts.
func (r *registry) again(reason string) {
	r.t.Helper()
	r.run("host", "retry", "db1", "--rung", "restore", "--reason", reason)
}

// letGo cancels the attempt of that number in the middle of its restore. meanwhile happens once a person was told that it will be.
func (r *registry) letGo(attempt int, reason string, meanwhile func()) {
	r.t.Helper()
	before := digest(r.t, r.data)
	r.inTheMiddle(attempt)
	if n := len(strings.Fields(r.restic("--no-lock", "list", "locks"))); n != 1 || len(r.restoring()) == 0 {
		r.t.Errorf("in the middle of a restore there are %d locks and the processes %q", n, r.restoring())
	}
	out, code := r.try("host", "cancel", "db1")
	r.said("cancel without a reason", out, code, exitUsage, "host cancel needs --reason")
	r.run("host", "cancel", "db1", "--reason", reason)
	meanwhile()
	r.await("the restore is let go of", func() bool { return r.host().Phase != "attempting" })
	out, code = r.try("host", "show", "db1")
	r.said("host", out, code, exitDone, "NEEDS-HANDS", "reason let go of, as a person wanted: "+reason, fmt.Sprintf("attempt db1/%d on restore, cancelled: The job was stopped; nothing was swapped.", attempt),
		fmt.Sprintf("db1: operator wants attempt %d to be let go of: %s", attempt, reason), "host hands card db1", "host retry db1", "restore from "+r.point(3))
	r.untouched(before)
}

// inTheMiddle waits until the restore of an attempt has come some way, by what commands show.
func (r *registry) inTheMiddle(attempt int) {
	r.t.Helper()
	var left time.Duration
	r.await("the restore has come some way", func() bool {
		var v struct {
			Host struct {
				Attempts []struct{ Class string }
				Progress struct {
					Stage       string
					Done, Total int64 `json:",string"`
				}
			}
		}
		r.decode(r.run("host", "show", "db1", "-o", "json"), &v)
		p, n := v.Host.Progress, len(v.Host.Attempts)
		left = time.Duration(p.Total-p.Done) * time.Second / narrowRate
		return n == attempt && v.Host.Attempts[n-1].Class == "" && p.Stage == "restoring people" && p.Total > 0 && p.Done > p.Total/10
	})
	out, code := r.try("host", "list")
	r.said("hosts", out, code, exitDone, "attempting", "restoring people:", "% of 2.4 MB")
	if left < 5*time.Second {
		r.t.Fatalf("the restore has %v to go: too little to tell a cancel from an end", left)
	}
}

// untouched fails when anything is left of a restore that was let go of: on the disk, among the processes or in what is thought of the point.
func (r *registry) untouched(before string) {
	r.t.Helper()
	if digest(r.t, r.data) != before {
		r.t.Error("the live data is not as it was")
	}
	r.onlyLiveData()
	if _, err := os.Stat(r.stopped); !os.IsNotExist(err) {
		r.t.Errorf("the host's programs were stopped for a restore that did not come to its swap: %v", err)
	}
	if lines := r.restoring(); len(lines) > 0 {
		r.t.Errorf("processes are left: %q", lines)
	}
	r.known([3]string{"L0 never checked", "L0 never checked", "L3 held by"})
	out, code := r.try("host", "debts")
	r.said("debts", out, code, exitDone, "no debt is open")
}

// restoring are the command lines of processes that restore beside the live data.
func (r *registry) restoring() (lines []string) {
	r.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		r.t.Fatalf("processes: %v", err)
	}
	for _, file := range files {
		if line, _ := os.ReadFile(file); strings.Contains(string(line), "--target="+r.data+".blackstart-new-") { // one may have ended
			lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return lines
}

// known holds what is known of the points of the three days against what the list says.
func (r *registry) known(want [3]string) {
	r.t.Helper()
	out, code := r.try("backups", "list", "people", "--all")
	if code != exitDone {
		r.t.Fatalf("backups list: exit %d: %s", code, out)
	}
	for i, id := range r.points {
		_, line, _ := strings.Cut(out, id[:12])
		line, _, _ = strings.Cut(line, "\n")
		if !strings.Contains(strings.Join(strings.Fields(line), " "), want[i]) {
			r.t.Errorf("the list does not say %q of the point of day %d:\n%s", want[i], i+1, out)
		}
	}
}

// settled holds the disk against a day's backup and against the live data of before, and shows that nothing but its debts keep the
// incident open, that they can be cleared, and that the point is let go of then.
func (r *registry) settled(day int, debts ...string) {
	r.t.Helper()
	command(r.t, "diff", "-r", r.day(day), r.data)
	kept := r.kept()
	if len(kept) != 1 {
		r.t.Fatalf("old copies: %q", kept)
	}
	command(r.t, "diff", "-r", r.day(0), kept[0])
	out, code := r.try("host", "debts")
	r.said("debts", out, code, exitDone, append(debts, kept[0])...)
	r.await("the wave has passed", func() bool { return r.incident().Waves[0].Status == "passed" })
	out, code = r.try("incident", "close")
	r.said("close with open debts", out, code, exitRefused, "debt")
	if err := os.RemoveAll(kept[0]); err != nil { // as docs/backups.md says
		r.t.Fatal(err)
	}
	for _, debt := range debts {
		r.run("host", "debts", "clear", "db1", debt, "--note", "settled by the test")
	}
	r.run("incident", "close")
	r.await("the hold is released", func() bool { return len(r.held()) == 0 })
	if n := len(r.snapshots()); n != 3 {
		r.t.Errorf("%d snapshots are left", n)
	}
}
