package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

// Promises lists what is held against every step of every world: what only the world can know, then what the journal alone tells.
func Promises() []audit.Invariant {
	return append([]audit.Invariant{
		{Name: "intent-before-act", Promise: "Nothing is sent, and no step taken, before its intent is on disk.", Source: "rule: decide, append, apply, act"},
		{Name: "sent-as-recorded", Promise: "What is sent is what was recorded: the version of the playbook, the rung, the time it has, and a restart only where that version wants it.", Source: "field truth 11; rule: decide, append, apply, act"},
		{Name: "told-to-stop", Promise: "What ought not to run any more is told to stop.", Source: "design 3.1, Work"},
		{Name: "proof-tells-what-it-saw", Promise: "The reason of a proof names the boot and the counts that its facts have, and calls no boot new that was there before.", Source: "field truth 12: a decision returns its reason"},
		{Name: "executes-at-most-once", Promise: "A script is started at most once for an attempt id, whatever crashes.", Source: "rule: exactly one attempt at a time, once"},
		{Name: "one-script-at-a-time", Promise: "No script starts on a host while another one runs there.", Source: "rule: exactly one attempt at a time, once"},
		{Name: "one-power-cycle", Promise: "A host is switched on for the rescue system at most once for an attempt id.", Source: "rule: exactly one attempt at a time, once"},
		{Name: "swaps-at-most-once", Promise: "A host's data is swapped at most once for an attempt id, whatever crashes.", Source: "rule: exactly one attempt at a time, once"},
		{Name: "repair-or-restore", Promise: "No script runs on a host while its data is being restored, and the other way round.", Source: "design 3.4: never together"},
		{Name: "repository-slots", Promise: "No more restores read a repository at one moment than it has slots.", Source: "field truth 10"},
		{Name: "bad-is-not-restored", Promise: "Nothing that is truly bad is restored once the journal knows a check that failed.", Source: "field truth 8"},
		{Name: "nothing-is-lost", Promise: "Wherever data was swapped the old is kept, and owed, until a person clears that.", Source: "field truth 8; design 3.4"},
		{Name: "no-forbidden-reboot", Promise: "We restart no host whose playbook forbids it.", Source: "field truth 2"},
		{Name: "recovered-is-well", Promise: "A host that is recovered was truly well when it gave its last proof.", Source: "field truth 4; rule: proof"},
		{Name: "stale-changes-nothing", Promise: "The result of an attempt that is over, or never was, changes nothing.", Source: "rule: exactly one attempt at a time, once"},
		{Name: "waits-for-a-true-reason", Promise: "Every waiting host has a reason, and the reason is true.", Source: "field truth 12"},
		{Name: "replay-equals-live", Promise: "The fold of what is on disk is the state in memory, at any moment.", Source: "design 3.1"},
		{Name: "journal-opens", Promise: "What was written can be read again, whatever crashed.", Source: "design 3.1"},
		{Name: "silence-is-not-relapse", Promise: "Many recovered hosts that go silent together stop all sending; they are not sent back to work.", Source: "design 3.3, mass silence"},
		{Name: "clock-stands-still", Promise: "No deadline and no soak runs while the incident is paused, while no coordinator runs, or because a clock was set.", Source: "design 3.3, pause"},
		{Name: "relapse-is-noticed", Promise: "No host stays recovered that reports bad content.", Source: "field truth 7"},
		{Name: "rescue-is-a-debt", Promise: "A host that would start into the rescue system owes it openly.", Source: "field truth 6"},
		{Name: "ends", Promise: "When the world allows it, the incident comes to its end.", Source: "design 3.3: settled or held, never open for ever"},
		{Name: "accounted", Promise: "At the end every host that was truly hit is recovered, skipped, or named by the abort.", Source: "field truth 1"},
		{Name: "declares", Promise: "An incident can be declared when hosts are hit.", Source: "design 3.1"},
		{Name: "no-panic", Promise: "No input and no state makes the core panic.", Source: "how we build"},
		{Name: "no-error", Promise: "No input leads to an error that is not an answer.", Source: "how we build"},
	}, audit.Invariants()...)
}

// judge is told every entry as it comes to the disk.
func (h *house) judge(e recovery.Entry) {
	if h.w.trace != nil {
		h.w.trace("%s %4d %-12s %T %s", h.w.now.Round(time.Second), e.Seq, e.Actor, e.Event, told(e.Event))
	}
	h.read(e)
	h.w.time(e.Event)
	switch v := e.Event.(type) {
	case *recovery.PlaybookRevised:
		h.w.revised, h.w.probed = v.Playbook.Digest == h.w.books[1].Digest, true
		h.w.revisedAt = e.At
		h.w.tally.Revisions++
	case *recovery.HostProven:
		h.tellsWhatItSaw(v)
	case *recovery.HostRecovered:
		h.isWell(v)
	case *recovery.HostRelapsed:
		h.isNoMass(v)
	case *recovery.IncidentPaused, *recovery.IncidentResumed, *recovery.CoordinatorRestarted:
		h.w.quietAt = h.w.now
	}
}

// read lets the auditor read an entry: as it is written, and again in every life.
func (h *house) read(e recovery.Entry) {
	h.w.condemn(e.Event)
	if b := h.audit.See(e); b != nil {
		h.w.breach(b.Invariant, b.Host, "entry %d: %s", b.Seq, b.Detail)
	}
}

func told(e recovery.Event) string {
	data, err := recovery.EncodeEvent(e)
	if err != nil {
		return err.Error()
	}
	const most = 400
	if len(data) > most {
		data = append(data[:most:most], "…"...)
	}
	return string(data)
}

// isWell holds a recovery against what was true when the host's agent looked for its last proof.
func (h *house) isWell(v *recovery.HostRecovered) {
	m := h.w.byName[v.Host]
	seen, _ := h.engine.State().Seen(v.Host)
	var t truth
	looked := false
	for _, c := range seen.Content {
		if n, err := strconv.Atoi(c.Detail); err == nil {
			t, looked = m.looks[n], true
		}
	}
	switch {
	case !looked:
		h.w.breach("recovered-is-well", v.Host, "it is recovered on the answer %q, which it never gave", seen.Answers)
	case !t.well && h.unplaced(m):
		h.w.tally.Unplaced++
	case !t.well:
		h.w.breach("recovered-is-well", v.Host, "it is recovered on the answer %q; in truth: %s", seen.Answers, t.what)
	}
}

// unplaced reports the two known ways in which a host is proven in the boot in which we changed it: the coordinator was killed in mid-attempt, found the
// host unreachable when it was back, and nobody had ever heard of that boot; or a restore was lost whose swap had begun, and its own agent ends that
// when it starts again. The first is told in docs/architecture.md, and both are counted.
func (h *house) unplaced(m *machine) bool {
	x := h.engine.State().Host(m.name())
	for _, a := range slices.Backward(x.Attempts) {
		if a.Result.Class == recovery.Succeeded || a.Result.Class == recovery.Lost {
			inOwn := a.Rung >= 0 && (x.Host.Ladder[a.Rung].Environment == recovery.EnvLinux || a.Runner == m.name())
			return a.Result.Class == recovery.Lost && a.Result.Boot == "" && inOwn && m.changed == m.boot
		}
	}
	return false
}

// isRecorded holds a job against its intent on disk.
func (h *house) isRecorded(j recovery.Job) {
	e := h.disk.started[j.ID]
	if e == nil {
		h.w.breach("intent-before-act", j.Host.Name, "%s is sent and is not on disk", j.ID)
		return
	}
	if j.Kind == recovery.JobRestore {
		h.isRecordedRestore(j, e.Attempt)
		return
	}
	book := h.w.book(e.Attempt.Playbook)
	restart := book.Reboot == recovery.RebootRequired || j.Rung.Restarts() && book.Reboot != recovery.RebootForbidden
	if a := e.Attempt; j.Playbook != a.Playbook || j.Rung.Name != a.RungName || j.Timeout != a.Timeout || j.Reboot != restart {
		h.w.breach("sent-as-recorded", j.Host.Name, "%s is sent with %s on %s for %s, restart %v; recorded was %s on %s for %s", j.ID,
			j.Playbook, j.Rung.Name, j.Timeout, j.Reboot, a.Playbook, a.RungName, a.Timeout)
	}
}

func (h *house) isRecordedRestore(j recovery.Job, a recovery.Attempt) {
	same := slices.EqualFunc(j.Sets, a.Restores, func(x recovery.SetWork, r recovery.Restore) bool {
		return x.Point.PointRef == r.Point && x.Set.Name == r.Point.DataSet && x.Repository.Name == r.Point.Repository && x.Level == r.Level && (x.Target.IsZero() || x.Target.Equal(r.Moment))
	})
	restart := a.Runner == a.Host && h.w.book(a.Playbook).Reboot == recovery.RebootRequired
	if !same || j.Runner != a.Runner || j.Rung.Name != a.RungName || j.Timeout != a.Timeout || j.Reboot != restart {
		h.w.breach("sent-as-recorded", j.Host.Name, "%s is sent to %s for %s, restart %v, with %+v; recorded was %+v", j.ID, j.Runner, j.Timeout, j.Reboot, j.Sets, a)
	}
}

// allWanted holds the jobs that run against those that ought to.
func (h *house) allWanted() {
	if !h.up || h.w.grain > 0 {
		return
	}
	wanted := map[string]bool{}
	for _, j := range h.engine.State().Work(h.moment) {
		wanted[j.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(h.jobs)) {
		if j := h.jobs[id]; !wanted[id] && !j.dropped {
			h.w.breach("told-to-stop", j.m.name(), "%s ought not to run any more, and nobody has told it", id)
		}
	}
}

// tellsWhatItSaw holds the reason of a proof against its facts.
func (h *house) tellsWhatItSaw(v *recovery.HostProven) {
	seen, m := v.Sighting, h.w.byName[v.Host]
	good := 0
	for _, c := range seen.Content {
		if c.Playbook == h.w.playbook().Digest {
			good = c.Good
		}
	}
	before := h.bootBefore(h.engine.State().Host(v.Host))
	switch {
	case !strings.Contains(v.Reason, "boot id "+seen.BootID), !strings.Contains(v.Reason, fmt.Sprintf("%d file", good)), !strings.Contains(v.Reason, fmt.Sprintf("%d health check", len(seen.Health))):
		h.w.breach("proof-tells-what-it-saw", m.name(), "%q, and the facts are of boot %s with %d good and %d checks", v.Reason, seen.BootID, good, len(seen.Health))
	case strings.Contains(v.Reason, "new boot id") && before == seen.BootID:
		h.w.breach("proof-tells-what-it-saw", m.name(), "%q, and that was its boot before the attempt", v.Reason)
	}
}

// bootBefore is the boot that was known before the last attempt that may have changed a host.
func (h *house) bootBefore(x *recovery.HostState) string {
	for _, a := range slices.Backward(x.Attempts) {
		if a.Rung < 0 {
			return "" // a person's work
		}
		if e := h.disk.started[a.ID]; e != nil && (a.Result.Class == recovery.Succeeded || a.Result.Class == recovery.Lost) {
			return e.BootBefore
		}
	}
	return ""
}

// isNoMass holds a relapse by silence against how many others are silent.
func (h *house) isNoMass(v *recovery.HostRelapsed) {
	w := h.w
	p := w.fleet.Policy
	if !strings.Contains(v.Signature, "silent") || w.resumed || w.now-w.quietAt < 2*p.SilentAfter {
		return
	}
	recovered, quiet := 0, 0
	for _, x := range h.engine.State().Hosts() {
		if x.Phase != recovery.Recovered {
			continue
		}
		recovered++
		if seen, ok := h.engine.State().Seen(x.Host.Name); ok && x.Host.Agent && !seen.Connected && h.moment.Sub(seen.At) >= p.SilentAfter/2 {
			quiet++
		}
	}
	if quiet >= 4 && quiet*100 > p.MassSilence*recovered {
		w.breach("silence-is-not-relapse", v.Host, "it has relapsed by silence while %d of %d recovered hosts are silent", quiet, recovered)
	}
}

// haunt brings a result that nobody waits for.
func (h *house) haunt(m *machine, id string, r recovery.Result, resumed bool) {
	if h.jobs[id] != nil {
		return // somebody waits for it
	}
	s := h.engine.State().Host(m.name())
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].Ended.IsZero() && s.Attempts[n-1].ID == id {
		return
	}
	if in := h.engine.State().Instruct(m.name(), h.moment); in.ID == id {
		return
	}
	h.w.tally.Ghosts++
	before := standing(s)
	if err := h.take("engine", recovery.Finished{Job: id, Host: m.name(), Result: r, Resumed: resumed}); err != nil || !h.up {
		return
	}
	if after := standing(s); after != before {
		h.w.breach("stale-changes-nothing", m.name(), "the late result %s of %s changes\n%s\ninto\n%s", r.Class, id, before, after)
	}
}

// standing is a host's state but for the results that are told of it.
func standing(h *recovery.HostState) string {
	c := *h
	c.Attempts, c.Host = nil, nil
	return fmt.Sprintf("%d attempts, %+v", len(h.Attempts), c)
}

// settled holds after every moment has acted to its end.
func (w *World) settled() {
	s := w.house.engine.State()
	if s.ID == "" || s.Outcome != "" || len(w.machines) > 100 && w.tally.Steps%64 > 0 {
		return
	}
	for _, h := range s.Hosts() {
		m := w.byName[h.Host.Name]
		if m.target && !owes(h, recovery.DebtBootTarget) {
			w.breach("rescue-is-a-debt", m.name(), "it would start into the rescue system, and nobody owes anything")
		}
		if seen, _ := s.Seen(m.name()); h.Phase == recovery.Recovered && seen.Connected && seen.At.After(w.revisedAt) && reportsBad(seen, s.Playbook.Digest) {
			w.breach("relapse-is-noticed", m.name(), "it reports bad content, and is recovered")
		}
	}
	w.reasons(s)
}

func reportsBad(v recovery.Sighting, digest string) bool {
	for _, c := range v.Content {
		if c.Playbook == digest && c.Bad > 0 {
			return true
		}
	}
	return false
}

func owes(h *recovery.HostState, debt string) bool {
	for _, d := range h.Debts {
		if d.ID == debt && d.Cleared.IsZero() {
			return true
		}
	}
	return false
}

// conclude is the account at the end.
func (w *World) conclude() {
	s := w.house.engine.State()
	w.tally.Incidents, w.tally.Hosts, w.tally.Passed, w.tally.Entries = 1, len(w.machines), w.now, len(w.house.disk.values)
	w.tally.Outcomes[s.Outcome]++
	if w.failed != nil || w.nothing {
		return
	}
	if w.grain == 0 || w.chance(250) {
		w.house.compare()
	}
	if b := w.house.audit.End(); b != nil {
		w.breach(b.Invariant, b.Host, "%s", b.Detail)
	}
	for _, m := range w.machines {
		w.keptCopies(s, m)
		if s.Aborted && m.target && !m.deaf && w.powered(m) && m.unboots == 0 {
			w.breach("rescue-is-a-debt", m.name(), "the incident was aborted, it would start into the rescue system, and nobody has tried to clear that")
		}
	}
	for _, m := range w.hit {
		h := s.Host(m.name())
		if h.Phase != recovery.Recovered && h.Phase != recovery.Skipped && !s.Aborted {
			w.breach("accounted", m.name(), "it was hit, the incident is %s, and it is %s (%s)", s.Outcome, h.Phase, h.Reason)
		}
	}
}

// keptCopies holds the old data of a machine against what is owed: where the journal knows of a swap there is a debt, and a copy is removed
// only by a person who clears that.
func (w *World) keptCopies(s *recovery.State, m *machine) {
	h := s.Host(m.name())
	for _, c := range m.copies {
		for _, a := range h.Attempts {
			told := a.ID == c.attempt && slices.ContainsFunc(a.Result.Sets, func(x recovery.SetResult) bool { return x.DataSet == c.set && x.Swapped })
			owed := slices.ContainsFunc(h.Debts, func(d recovery.Debt) bool {
				return d.ID == c.debt() && (!c.removed || !d.Cleared.IsZero() && !d.Accepted)
			})
			if told && !owed {
				w.breach("nothing-is-lost", m.name(), "the copy of %s that %s has kept is removed: %v, and its debts are %+v", c.set, c.attempt, c.removed, h.Debts)
			}
		}
	}
}

// stuck says what an incident that does not end waits for.
func (w *World) stuck() string {
	s := w.house.engine.State()
	why := s.Why(w.house.moment)
	var list []string
	for _, h := range s.Hosts() {
		if h.Phase != recovery.Recovered && h.Phase != recovery.NotHit && h.Phase != recovery.Skipped && len(list) < 5 {
			list = append(list, fmt.Sprintf("%s %s (%s; %s; %s)", h.Host.Name, h.Phase, h.Reason, why[h.Host.Name].Text, w.byName[h.Host.Name].truth().what))
		}
	}
	return strings.Join(list, "; ")
}
