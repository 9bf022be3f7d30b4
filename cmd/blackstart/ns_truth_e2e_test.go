//go:build e2e && linux

package main

import (
	"fmt"
	"html"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// checkDisks looks at what is really on the disks, and at what the machines really do.
func (e *sites) checkDisks() {
	t := e.t
	var board struct{ Hosts []hostView }
	e.decode(e.run("host", "hands", "-o", "json"), &board)
	if len(board.Hosts) != 1 || board.Hosts[0].Name != rotated || !strings.Contains(board.Hosts[0].Reason, "wrong host key") {
		t.Errorf("%s alone belongs on the hands board, for its key: %+v", rotated, board.Hosts)
	}
	for _, m := range e.machines {
		h := e.view[m.name]
		boots := m.history()
		now := boots[len(boots)-1]
		switch m.name {
		case unhit:
			if h.Phase != string(recovery.NotHit) || len(m.runs()) > 0 || len(boots) != 1 {
				t.Errorf("%s was never hit and is %s, %d scripts ran, boots %v", m.name, h.Phase, len(m.runs()), boots)
			}
		case rotated:
			if h.Phase != string(recovery.NeedsHands) || len(m.runs()) > 0 || !m.hit() {
				t.Errorf("%s shows another key and is %s, %d scripts ran, hit: %t", m.name, h.Phase, len(m.runs()), m.hit())
			}
			if len(h.Attempts) != 1 || h.Attempts[0].Class != string(recovery.HostKeyMismatch) {
				t.Errorf("%s: one attempt with host-key-mismatch is expected: %+v", m.name, h.Attempts)
			}
		default:
			if h.Phase != string(recovery.Recovered) || m.hit() || now.end != "" {
				t.Errorf("%s is %s (%s), hit: %t, boots %v", m.name, h.Phase, h.Reason, m.hit(), boots)
			}
			kept, _ := filepath.Glob(m.path("var/lib/blackstart/kept/*/*.bin"))
			if len(kept) == 0 {
				t.Errorf("%s: no copy of the bad file was kept", m.name)
			}
		}
		if _, err := os.Stat(m.good); err != nil {
			t.Errorf("%s: the good file is gone: %v", m.name, err)
		}
		for _, r := range m.runs() {
			if r.begun != 1 || len(r.ended) > 1 {
				t.Errorf("%s: the script of attempt %s ran %d times and ended as %v", m.name, r.attempt, r.begun, r.ended)
			}
		}
	}
}

// checkSpecials asserts of each awkward host what it is there for.
func (e *sites) checkSpecials() {
	t := e.t
	rep := e.readReport(e.run("report", "-o", "json"))
	host := map[string]report.Host{}
	for _, h := range rep.Hosts {
		host[h.Name] = h
	}
	last := func(name string) report.Attempt {
		h := host[name]
		if len(h.Attempts) == 0 {
			t.Errorf("%s has no attempt", name)
			return report.Attempt{}
		}
		return h.Attempts[len(h.Attempts)-1]
	}
	for _, name := range []string{certified, noisy, strictHost, noSFTP, fullDisk, crashHost, badLine, cutHost} {
		if a := last(name); a.Class != string(recovery.Succeeded) || !a.Rebooted {
			t.Errorf("%s: its last attempt ended as %s (%s), rebooted: %t", name, a.Class, a.Detail, a.Rebooted)
		}
	}
	for _, name := range []string{cutHost, badLine} {
		if a, runs := last(name), e.byName[name].runs(); !a.Joined || runs[len(runs)-1].attempt != a.ID {
			t.Errorf("%s: its last attempt %s was not joined (%t), or not the last script that ran: %+v", name, a.ID, a.Joined, runs[len(runs)-1])
		}
	}
	for _, m := range e.joinable {
		runs := m.runs()
		id := runs[len(runs)-1].attempt
		if a := last(m.name); a.ID != id || a.Class != string(recovery.Succeeded) || !a.Joined {
			t.Errorf("%s: script %s ran when the coordinator was killed; its last attempt is %s, %s, joined: %t", m.name, id, a.ID, a.Class, a.Joined)
		}
	}
	if connections, stalls, resets := e.line.seen(); connections < 4 || stalls < 1 || resets < 3 {
		t.Errorf("the bad line saw %d connections, %d stalls and %d resets: it was not bad", connections, stalls, resets)
	}
	if a := host[fullDisk].Attempts[0]; a.Class != string(recovery.Failed) || a.Signature != "disk full" {
		t.Errorf("%s: its first attempt ended as %s (%s)", fullDisk, a.Class, a.Signature)
	}
	crashed := e.byName[crashHost].runs()
	if len(crashed) == 0 || len(crashed[0].ended) > 0 {
		t.Errorf("%s: its first script was to be ended by the crash: %+v", crashHost, crashed)
	} else if i := slices.IndexFunc(host[crashHost].Attempts, func(a report.Attempt) bool { return a.ID == crashed[0].attempt }); i < 0 || host[crashHost].Attempts[i].Class != string(recovery.Lost) {
		t.Errorf("%s: the attempt that was cut by a crash is told as %+v", crashHost, host[crashHost].Attempts)
	}
	e.checkJumpHost()
}

// checkJumpHost counts what the one site's jump host has seen: few connections for many hosts, and none that it had to drop.
func (e *sites) checkJumpHost() {
	data, err := os.ReadFile(e.jump.console)
	if err != nil {
		e.t.Fatal(err)
	}
	said := string(data)
	if strings.Contains(said, "MaxStartups") || strings.Contains(said, "drop connection") || strings.Contains(said, "no more sessions") {
		e.t.Errorf("the jump host was asked for more than it gives:\n%s", said)
	}
	attempts := 0
	for name, h := range e.view {
		if strings.HasPrefix(name, "vault") {
			attempts += len(h.Attempts)
		}
	}
	// one of ours before the kill, one after, and OpenSSH's; a few more when a connection idled out
	if logins := strings.Count(said, "Accepted publickey"); logins == 0 || logins > attempts/2 {
		e.t.Errorf("the jump host was logged in to %d times for %d attempts", logins, attempts)
	}
}

func (e *sites) readReport(text string) report.Report {
	var r report.Report
	e.decode(text, &r)
	return r
}

// checkReport holds every line of the final report against the disks, the machines and the execution counters, and the
// Markdown against the JSON.
func (e *sites) checkReport() {
	for _, text := range []string{e.report.json, e.report.md} {
		if i := strings.IndexFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' }); i >= 0 {
			e.t.Errorf("the report passes a control character on: %q", text[max(0, i-60):min(len(text), i+60)])
		}
	}
	r := e.readReport(e.report.json)
	e.checkHead(r)
	e.checkHosts(r)
	e.checkCounts(r)
	e.checkServices(r)
	e.checkAccount(r)
	e.checkMarkdown(r)
}

func (e *sites) differs(what string, got, want any) {
	e.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.t.Errorf("the report says of %s: %v; the truth is %v", what, got, want)
	}
}

func (e *sites) checkHead(r report.Report) {
	e.differs("fleet", r.Fleet, "three-sites")
	e.differs("title", r.Title, "bad content on all but one")
	e.differs("status", r.Status, recovery.OutcomeWithExceptions)
	e.differs("outcome", r.Outcome, recovery.OutcomeWithExceptions)
	e.differs("playbook", r.Playbook.Name, "edr-content-linux")
	e.differs("who declared", r.DeclaredBy, "operator")
	e.differs("who approved", r.Plan.ApprovedBy, "operator")
	now := time.Now()
	order := []time.Time{e.began, r.Began, r.Declared, r.Plan.ApprovedAt, r.Waves[0].OpenedAt, r.Waves[0].PassedAt, r.Waves[1].OpenedAt, r.Waves[1].PassedAt, r.Closed, now}
	for i := 1; i < len(order); i++ {
		if order[i].Before(order[i-1].Truncate(time.Millisecond)) {
			e.t.Errorf("the report's times are out of order: %v", order)
			break
		}
	}
	restarts := 0
	for _, m := range r.Timeline {
		if m.Event == "coordinator-restarted" {
			restarts++
		}
	}
	e.differs("restarts of the coordinator", restarts, 1)
	if r.Forecast != nil {
		e.t.Errorf("a closed incident has a forecast: %+v", r.Forecast)
	}
}

// checkHosts goes through the hosts one by one.
func (e *sites) checkHosts(r report.Report) {
	e.differs("the number of hosts", len(r.Hosts), len(e.machines))
	for _, h := range r.Hosts {
		m := e.byName[h.Name]
		if m == nil {
			e.t.Errorf("the report tells of host %q, which does not exist", h.Name)
			continue
		}
		of := func(what string) string { return h.Name + ": " + what }
		site := strings.TrimRight(m.name, "0123456789")
		e.differs(of("site"), h.Site, site)
		e.differs(of("service"), h.Service, site+"-apps")
		wave := 2
		if site == "hall" {
			wave = 1
		}
		e.differs(of("wave"), h.Wave, wave)
		phase, verdict, scope := recovery.Recovered, report.VerdictHit, recovery.Looping
		switch {
		case m.name == unhit:
			phase, verdict, scope = recovery.NotHit, report.VerdictNotHit, recovery.NeverHit
		case m.name == rotated:
			phase = recovery.Skipped
		case slices.Contains(agentless, m.name):
			scope = recovery.Unknown
		}
		e.differs(of("phase"), h.Phase, phase)
		e.differs(of("verdict"), h.Verdict, verdict)
		e.differs(of("class at declaration"), h.Scope, scope)
		e.checkAttempts(m, h)
		if phase != recovery.Recovered {
			e.differs(of("proof"), h.Proof, (*report.Proof)(nil))
			e.differs(of("debts"), len(h.Debts), 0)
			continue
		}
		boots := m.history()
		if h.Proof == nil {
			e.t.Errorf("%s is recovered without a proof", h.Name)
			continue
		}
		source := "agent"
		if m.coordinator == "" {
			source = "ssh"
		}
		e.differs(of("boot id of the proof"), h.Proof.BootID, boots[len(boots)-1].id)
		e.differs(of("source of the proof"), h.Proof.Source, source)
		e.differs(of("proof by hand"), h.Proof.ByHand, false)
		if len(h.Debts) != 1 || h.Debts[0].ID != "kept-copies" || h.Debts[0].By != "operator" || h.Debts[0].Note != "removed by the test" {
			e.t.Errorf("%s owed its kept copies, cleared by the operator: %+v", h.Name, h.Debts)
		}
	}
}

// checkAttempts holds a host's attempts against the execution counter on its disk.
func (e *sites) checkAttempts(m *machine, h report.Host) {
	runs := map[string]*execution{}
	for _, r := range m.runs() {
		runs[r.attempt] = r
	}
	for i, a := range h.Attempts {
		e.differs(fmt.Sprintf("%s: attempt %d's id", h.Name, i+1), a.ID, fmt.Sprintf("%s/%d", h.Name, i+1))
		e.differs(a.ID+": rung", a.Rung, "ssh")
		if a.Ended.Before(a.Started) || i > 0 && a.Started.Before(h.Attempts[i-1].Ended) {
			e.t.Errorf("%s: two attempts at once, or one that ended before it began: %+v", h.Name, h.Attempts)
		}
		ran := runs[a.ID]
		delete(runs, a.ID)
		outcome := "not run"
		switch {
		case ran != nil && len(ran.ended) == 0:
			outcome = "cut off"
		case ran != nil:
			outcome = ran.ended[0]
		}
		may := map[string][]string{ // what may lie on the disk, by what the report says
			string(recovery.Succeeded):       {"repaired"},
			string(recovery.NothingFound):    {"nothing-found"},
			string(recovery.Unreachable):     {"not run"},
			string(recovery.HostKeyMismatch): {"not run"},
			string(recovery.Failed):          {"not run"},
			string(recovery.TimedOut):        {"not run"},
			string(recovery.Lost):            {"not run", "cut off", "repaired"}, // that is what lost means
		}[a.Class]
		if !slices.Contains(may, outcome) {
			e.t.Errorf("attempt %s is told as %s (%s), and on the disk it is %q", a.ID, a.Class, a.Detail, outcome)
		}
		if a.Class == string(recovery.Succeeded) && (a.Line == "" || !a.Rebooted) {
			e.t.Errorf("attempt %s succeeded with result line %q, rebooted: %t", a.ID, a.Line, a.Rebooted)
		}
		if a.Class == string(recovery.Failed) && (m.name != fullDisk || a.Signature != "disk full") && a.Signature != "no session" {
			e.t.Errorf("attempt %s failed for no reason that is true: %s (%s)", a.ID, a.Signature, a.Detail)
		}
	}
	for id, r := range runs {
		e.t.Errorf("on the disk of %s script %s ran (%+v), and the report tells of no such attempt", h.Name, id, r)
	}
}

// checkCounts counts again what the report counts.
func (e *sites) checkCounts(r report.Report) {
	n := r.Numbers
	hosts := len(e.machines)
	classes, attempts, relapses := map[string]int{}, 0, 0
	for _, h := range r.Hosts {
		relapses += h.Relapses
		for _, a := range h.Attempts {
			attempts++
			classes[a.Class]++
		}
	}
	for what, x := range map[string][2]int{
		"hosts": {n.Hosts, hosts}, "planned hosts": {n.Planned, hosts - 1}, "hit hosts": {n.Hit, hosts - 1}, "not hit hosts": {n.NotHit, 1}, "unknown hosts": {n.Unknown, 0},
		"recovered hosts": {n.Recovered, hosts - 2}, "hosts that need hands": {n.NeedsHands, 0}, "skipped hosts": {n.Skipped, 1}, "waiting hosts": {n.Waiting, 0},
		"hosts worked on": {n.Attempting, 0}, "hosts verified": {n.Verifying, 0}, "hosts left alone": {n.LeftAlone, 1}, "attempts": {n.Attempts, attempts},
		"jobs by hand": {n.HandsFinished, 0}, "relapses": {n.Relapses, relapses}, "open debts": {r.Debts.Open, 0}, "cleared debts": {r.Debts.Cleared, hosts - 2},
	} {
		e.differs(what, x[0], x[1])
	}
	told := map[string]int{}
	for _, c := range n.ByClass {
		told[c.Class] = c.Attempts
	}
	e.differs("attempts by class", told, classes)
	scopes := map[string]int{}
	for _, c := range n.ByScope {
		scopes[c.Class] = c.Hosts
	}
	e.differs("hosts by class at declaration", scopes, map[string]int{"looping": hosts - 1 - len(agentless), "unknown": len(agentless), "never-hit": 1})
	for i, w := range r.Waves {
		of := func(what string) string { return fmt.Sprintf("wave %d: %s", w.Wave, what) }
		size, skipped := 7, 0
		if i == 1 {
			size, skipped = 18, 1
		}
		e.differs(of("size"), w.Size, size)
		e.differs(of("needed"), w.Need, (size*50+99)/100)
		e.differs(of("planned"), w.Planned, size)
		e.differs(of("recovered"), w.Recovered, size-skipped)
		e.differs(of("skipped"), w.Skipped, skipped)
		e.differs(of("need hands"), w.NeedsHands, 0)
		e.differs(of("status"), w.Status, "passed")
		e.differs(of("holds"), len(w.Holds), 0)
		e.differs(of("objective"), w.RTO.Status, report.ObjectiveMet)
	}
}

func (e *sites) checkServices(r report.Report) {
	for i, want := range []struct {
		name         string
		hosts, up    int
		down, status string
	}{{"hall-apps", 7, 7, "", report.ServiceUp}, {"depot-apps", 7, 6, rotated, report.ServiceUp}, {"vault-apps", 12, 12, "", report.ServiceUp}} {
		s := r.Services[i]
		e.differs("service "+strconv.Itoa(i+1), s.Name, want.name)
		e.differs(s.Name+": hosts", s.Hosts, want.hosts)
		e.differs(s.Name+": hosts up", s.Up, want.up)
		e.differs(s.Name+": status", s.Status, want.status)
		e.differs(s.Name+": needed", s.Need, (want.hosts*50+99)/100)
		var down []string
		for _, d := range s.Down {
			down = append(down, d.Host)
		}
		e.differs(s.Name+": down", strings.Join(down, " "), want.down)
		if s.UpSince.Before(r.Declared) || s.UpSince.After(r.Closed) {
			e.t.Errorf("%s is up since %s", s.Name, s.UpSince)
		}
		e.differs(s.Name+": objective", s.RTO.Status, report.ObjectiveMet)
	}
}

// checkAccount looks at exceptions, debts, people, and at what the report says that it does not know.
func (e *sites) checkAccount(r report.Report) {
	x := r.Exceptions
	if len(x.Skips) != 1 || x.Skips[0].Host != rotated || x.Skips[0].By != "operator" || x.Skips[0].Reason != "its host key must be compared on the console first" {
		e.t.Errorf("one host was skipped by the operator: %+v", x.Skips)
	}
	e.differs("accepted failures and overrides", len(x.Accepted)+len(x.Overrides), 0)
	e.differs("refused agents", fmt.Sprint(x.Refused), "[]")
	e.differs("kinds of debts", len(r.Debts.Groups), 1)
	e.differs("jobs of people", r.People.Jobs, 0)
	ssh, lost := 0, map[string]bool{}
	for _, h := range r.Hosts {
		if h.Proof != nil && h.Proof.Source == "ssh" {
			ssh++
		}
		for _, a := range h.Attempts {
			if a.Class == string(recovery.Lost) || a.Class == string(recovery.TimedOut) {
				lost[h.Name] = true
			}
		}
	}
	for _, want := range []string{
		fmt.Sprintf("%d hosts: proven over SSH rather than by an agent, so nothing watches for a relapse after the soak (%s).", ssh, strings.Join(agentless, ", ")),
		fmt.Sprintf(": at least one attempt was lost or timed out, so what its script did before is not known (%s).", strings.Join(slices.Sorted(maps.Keys(lost)), ", ")),
		"When the outage began (", "Recovered means booted with good content",
	} {
		if !slices.ContainsFunc(r.DoesNotKnow, func(s string) bool { return strings.Contains(s, want) }) {
			e.t.Errorf("the report does not say what it does not know: %q is missing in %q", want, r.DoesNotKnow)
		}
	}
	short := strings.Join(r.InShort, "\n")
	for _, want := range []string{
		fmt.Sprintf("hit %d of %d hosts in fleet three-sites by evidence", len(e.machines)-1, len(e.machines)),
		fmt.Sprintf("After %d attempts and 0 jobs by hand, %d hosts are proven well and soaked; needing hands: 0; skipped: 1.", r.Numbers.Attempts, len(e.machines)-2),
		"ended as closed-with-exceptions", "0 of 3 services down, 3 of 3 judged met their RTO, and 0 debts are open.",
	} {
		if !strings.Contains(short, want) {
			e.t.Errorf("the report in short lacks %q:\n%s", want, short)
		}
	}
}

// checkMarkdown accounts for every line of the report for people: each is a heading, a row or a sentence that follows from the
// JSON, and each host with something to tell is told of.
func (e *sites) checkMarkdown(r report.Report) {
	plain := strings.NewReplacer(`\\`, `\`, "\\`", "`", `\*`, "*", `\_`, "_", `\[`, "[", `\]`, "]", `\|`, "|", `\#`, "#", `\~`, "~", `\$`, "$")
	stamp := func(t time.Time) string { return t.UTC().Format(time.DateTime) }
	known := map[string]int{}
	add := func(format string, args ...any) {
		known[strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")]++
	}
	add("# After-action report: incident %s, %s", r.Incident, r.Title)
	for _, s := range slices.Concat(r.InShort, []string{"## The incident", "All times are UTC.", "## Numbers", "## Timeline", "## Waves", "## Services",
		"## Hosts with something to tell", "Failures, relapses, work by hand, skips, overrides and refused agents. The other hosts came back as planned, or had no part.",
		"## Exceptions", "## Debts", "## People's time", "No work by hand was reported.", "## What this report does not know"}) {
		add("%s", s)
	}
	for _, s := range r.DoesNotKnow {
		add("- %s", s)
	}
	for _, m := range r.Timeline {
		add("- %s %s", stamp(m.At), m.Text)
	}
	for _, h := range r.Hosts {
		if len(h.Story) == 0 {
			continue
		}
		add("### %s", h.Name)
		add("Service %s, linux, now %s: %s.", h.Service, h.Phase, h.Reason)
		later := ""
		if h.VerdictWhy != h.Evidence && h.VerdictWhy != h.Scope+": "+h.Evidence {
			later = ": " + h.VerdictWhy
		}
		add("At declaration %s (%s); counted as %s%s.", h.Scope, h.Evidence, h.Verdict, later)
		for _, m := range h.Story {
			add("- %s %s", stamp(m.At), strings.TrimPrefix(m.Text, h.Name+": "))
		}
	}
	x := r.Exceptions
	add("### Recorded at the close (%d)", len(x.Closing))
	for _, s := range x.Closing {
		add("- %s", s)
	}
	add("### Skipped hosts (1)")
	add("- %s %s, by operator: %s", stamp(x.Skips[0].At), rotated, x.Skips[0].Reason)
	if len(x.Relapses) > 0 {
		add("### Relapses (%d)", len(x.Relapses))
		for _, l := range x.Relapses {
			add("- %s %s: %s; then %s", stamp(l.At), l.Host, l.Reason, l.Next)
		}
	}
	n := r.Numbers
	for name, count := range map[string]int{"in the fleet": n.Hosts, "planned": n.Planned, "hit, by evidence": n.Hit, "not hit, by evidence": n.NotHit, "hit or not: unknown": n.Unknown,
		"recovered": n.Recovered, "need hands": n.NeedsHands, "skipped": n.Skipped, "waiting": n.Waiting, "attempt under way": n.Attempting, "proof awaited": n.Verifying,
		"left alone": n.LeftAlone, "all": n.Attempts, "jobs by hand, not counted above": n.HandsFinished, "relapses": n.Relapses} {
		add("| %s | %d |", name, count)
	}
	for _, c := range n.ByClass {
		add("| %s | %d |", c.Class, c.Attempts)
	}
	for _, c := range n.ByScope {
		add("| %s | %d | %s |", c.Class, c.Hosts, c.Meaning)
	}
	add("| Status | %s |", r.Status)
	add("| Fleet | %s |", r.Fleet)
	add("| Outage began | %s |", stamp(r.Began))
	add("| Playbook | %s %s |", r.Playbook.Name, r.Playbook.Digest)
	add("| Plan | %s |", r.Plan.Digest)
	add("| Plan approved | %s by operator |", stamp(r.Plan.ApprovedAt))
	starts := []string{fmt.Sprintf("| Declared | %s by operator, ", stamp(r.Declared)), fmt.Sprintf("| Closed | %s, ", stamp(r.Closed))}
	for _, w := range r.Waves {
		starts = append(starts, fmt.Sprintf("| %d | %s | passed | %d | %d | %d | 0 | %d | %s | %s | ", w.Wave, w.Name, w.Size, w.Need, w.Recovered, w.Skipped, stamp(w.OpenedAt), stamp(w.PassedAt)))
	}
	for _, s := range r.Services {
		starts = append(starts, fmt.Sprintf("| %s | – | – | %s | up | %d of %d (%d needed) | %s", s.Title, s.Tier, s.Up, s.Hosts, s.Need, stamp(s.UpSince)))
	}
	starts = append(starts, fmt.Sprintf("| kept-copies | %s | 0 | %d | – | ", r.Debts.Groups[0].What, r.Debts.Cleared))
	heads := []string{"| | |", "| Hosts | |", "| Attempts | |", "| At declaration | Hosts | Meaning |", "| Debt | What | Open |", "| Wave | Tier |", "| Service | Council |"}

	for line := range strings.Lines(e.report.md) {
		line = strings.Join(strings.Fields(html.UnescapeString(plain.Replace(line))), " ")
		begins := func(s string) bool { return strings.HasPrefix(line, s) }
		switch {
		case line == "", strings.Trim(line, "|- ") == "" && strings.Contains(line, "---"), slices.ContainsFunc(heads, begins):
		case known[line] > 0:
			known[line]--
		default:
			i := slices.IndexFunc(starts, begins)
			if i < 0 {
				e.t.Errorf("nothing accounts for this line of the report: %q", line)
				continue
			}
			starts = slices.Delete(starts, i, i+1)
		}
	}
	for line, left := range known {
		if left > 0 {
			e.t.Errorf("the report for people lacks (%d times): %q", left, line)
		}
	}
	for _, start := range starts {
		e.t.Errorf("the report for people lacks a row that begins with %q", start)
	}
}
