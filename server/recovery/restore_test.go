package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// vaulted is an incident over n like hosts that can be restored.
func vaulted(t *testing.T, n int, change func(f *Fleet, p *Playbook, points []RestorePoint) []RestorePoint) *sim {
	t.Helper()
	p := testPlaybook()
	f, points := stocked(open(n))
	if change != nil {
		points = change(&f, &p, points)
	}
	x := newSim(t, f, p)
	for _, name := range sortedNames(x.far) { // up, with bad content: their agents can restore them
		x.far[name].up = true
		x.hear(x.far[name].facts())
	}
	x.must(Declare{Incident: "i-1", Title: "test", Fleet: f, Playbook: p, Points: points})
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	return x
}

func (x *sim) planned(host string) PlannedHost {
	x.tb.Helper()
	for _, w := range x.s.Plan.Waves {
		for _, h := range w.Hosts {
			if h.Host == host {
				return h
			}
		}
	}
	x.tb.Fatalf("%s is not in the plan", host)
	return PlannedHost{}
}

func TestBestIsVerifiedOlderThanTheCutoffAndNotQuarantined(t *testing.T) {
	at := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	set := &DataSet{Name: "db", Repository: "vault", Copies: []string{"far"}}
	good := func(id string, taken time.Time, level Level) RestorePoint { return point("db", id, taken, level) }
	in := func(repo string, p RestorePoint) RestorePoint { p.Repository = repo; return p }
	logs := func(p RestorePoint, until time.Time) RestorePoint {
		p.Kind, p.Until = PointDatabase, until
		return p
	}
	suspect := func(p RestorePoint, from time.Time) RestorePoint {
		p.Quarantine = &Quarantine{From: from, At: t0, By: "ann", Reason: "count is not count distinct"}
		return p
	}
	gone := func(p RestorePoint) RestorePoint { p.Gone = true; return p }
	failed := func(p RestorePoint, level Level, when time.Time) RestorePoint {
		p.Checks = append(p.Checks, PointCheck{Level: level, At: when, By: "test"})
		return p
	}
	for _, c := range []struct {
		name   string
		points []RestorePoint
		want   string
		moment time.Time
		why    string
	}{
		{name: "nothing is known", why: "no restore point is known"},
		{"the newest that is good enough", []RestorePoint{good("a", at(-30), L3), good("b", at(-20), L4), good("c", at(-10), L2)}, "b", at(-20), ""},
		{"never by recency alone", []RestorePoint{good("a", at(-30), L3), good("b", at(-1), L0)}, "a", at(-30), ""},
		{"not from after the cutoff", []RestorePoint{good("a", at(-30), L3), good("b", at(1), L4)}, "a", at(-30), ""},
		{"not from the cutoff itself", []RestorePoint{good("a", at(0), L3)}, "", time.Time{}, "none of 1 restore point may be used: 1 not older than the cutoff 2024-07-19 06:30"},
		{"not in quarantine", []RestorePoint{good("a", at(-30), L3), suspect(good("b", at(-20), L4), at(-25))}, "a", at(-30), ""},
		{"the point is older than what is suspect", []RestorePoint{suspect(good("b", at(-20), L4), at(-10))}, "b", at(-20), ""},
		{"a lifted quarantine", []RestorePoint{{PointRef: PointRef{"db", "vault", "b"}, TakenAt: at(-20), Checks: []PointCheck{{Level: L4, OK: true, At: at(-19)}}, Quarantine: &Quarantine{From: at(-30), At: t0, Lifted: true}}}, "b", at(-20), ""},
		{"gone", []RestorePoint{gone(good("b", at(-20), L4)), good("a", at(-30), L3)}, "a", at(-30), ""},
		{"logs reach the cutoff", []RestorePoint{logs(good("a", at(-30), L3), at(5))}, "a", at(0).Add(-time.Second), ""},
		{"logs end before it", []RestorePoint{logs(good("a", at(-30), L3), at(-2))}, "a", at(-2), ""},
		{"logs up to what is suspect", []RestorePoint{suspect(logs(good("a", at(-30), L3), at(5)), at(-12))}, "a", at(-12).Add(-time.Second), ""},
		{"the own repository before a copy", []RestorePoint{in("far", good("b", at(-20), L4)), good("b", at(-20), L3)}, "b", at(-20), ""},
		{"a copy with newer data before it", []RestorePoint{in("far", good("b", at(-10), L4)), good("a", at(-20), L3)}, "b", at(-10), ""},
		{"a later check at a lower level failed", []RestorePoint{failed(good("b", at(-20), L4), L2, at(-2))}, "", time.Time{}, "none of 1 restore point may be used: 1 verified no further than L0 where L3 is asked"},
		{"an earlier check failed", []RestorePoint{failed(good("b", at(-20), L4), L3, at(-20))}, "b", at(-20), ""},
		{"why none", []RestorePoint{good("a", at(-30), L1), good("b", at(-20), L2), suspect(good("c", at(-10), L4), at(-25)), good("d", at(2), L4), gone(good("e", at(-3), L4))}, "", time.Time{},
			"none of 5 restore points may be used: 2 verified no further than L2 where L3 is asked, 1 quarantined: count is not count distinct, 1 not older than the cutoff 2024-07-19 06:30, 1 no longer in the repository"},
	} {
		best, why := learnAll(c.points).Best(set, L3, t0)
		if best.Point.ID != c.want || !best.Moment.Equal(c.moment) || why != c.why {
			t.Errorf("%s: %s/%s at %s (%s)", c.name, best.Point.Repository, best.Point.ID, best.Moment, why)
		}
		if c.name == "the own repository before a copy" && best.Point.Repository != "vault" {
			t.Errorf("%s: %s", c.name, best.Point.Repository)
		}
	}
}

// Two that tell each other everything come to know the same, in whatever order they are told.
func TestPointsAgree(t *testing.T) {
	p := point("db", "a", t0.Add(-time.Hour), L2)
	later := p
	later.SeenAt, later.Gone = t0, true
	checked := p
	checked.Checks = []PointCheck{{Level: L2, At: t0, By: "test"}, {Level: L3, OK: true, At: t0.Add(-time.Minute), By: "test"}}
	odd := p
	odd.Quarantine = &Quarantine{From: p.TakenAt, At: t0, By: "ann", Reason: "odd"}
	lifted := p
	lifted.Quarantine = &Quarantine{From: p.TakenAt, At: t0.Add(time.Minute), By: "ann", Reason: "was not", Lifted: true}
	words := []RestorePoint{p, later, checked, odd, lifted}
	want := learnAll(words)
	for i := range words {
		turned := append(slices.Clone(words[i:]), words[:i]...)
		slices.Reverse(turned)
		got := learnAll(turned)
		for _, w := range words {
			if got.Learn(w) {
				t.Errorf("order %d: %+v is still news", i, w)
			}
		}
		a, _ := want.Find(p.PointRef)
		b, _ := got.Find(p.PointRef)
		if a.Gone != b.Gone || a.Level() != b.Level() || a.Quarantined() != b.Quarantined() || !slices.Equal(a.Checks, b.Checks) {
			t.Errorf("order %d: %s %+v, want %s %+v", i, b.Level(), b, a.Level(), a)
		}
	}
}

// A word on a data set holds for points that come later, until it is lifted.
func TestADataSetIsQuarantined(t *testing.T) {
	b := learnAll([]RestorePoint{point("db", "old", t0.Add(-40*time.Hour), L4), point("db", "new", t0.Add(-10*time.Hour), L4)})
	b.Quarantine("db", nil, Quarantine{From: t0.Add(-20 * time.Hour), At: t0, By: "ann", Reason: "damage"})
	b.Learn(point("db", "newer", t0.Add(-time.Hour), L4))
	if best, _ := b.Best(&DataSet{Name: "db"}, L1, time.Time{}); best.Point.ID != "old" {
		t.Errorf("best is %q", best.Point.ID)
	}
	b.Quarantine("db", nil, Quarantine{At: t0.Add(time.Hour), By: "ann", Reason: "no damage", Lifted: true})
	if best, _ := b.Best(&DataSet{Name: "db"}, L1, time.Time{}); best.Point.ID != "newer" {
		t.Errorf("best is %q after the quarantine was lifted", best.Point.ID)
	}
}

// The method rule of design 3.4, host by host.
func TestMethodRule(t *testing.T) {
	slow := func(f *Fleet) { // repair takes two hours, a restore less than four minutes
		for i := range f.Hosts[0].Ladder {
			if r := &f.Hosts[0].Ladder[i]; r.Kind == RungSSH {
				r.Estimate = 2 * time.Hour
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(f *Fleet, points []RestorePoint) []RestorePoint
		method Method
		reason string // part of it
		other  string // part of what would change the choice
	}{
		{"stateless, repair is the quicker", func(f *Fleet, p []RestorePoint) []RestorePoint {
			f.DataSets[0].Size, p[0].Size, p[1].Size = 100*gb, 100*gb, 100*gb
			return p
		}, MethodRepair, "repair: it is stateless, and back no later, after 5 min against 19 min by restore", "restore from h000-disk vault/newest, if that took less than 5 min in all"},
		{"stateless, restore is the quicker", func(f *Fleet, p []RestorePoint) []RestorePoint { slow(f); return p }, MethodRestore,
			"restore from h000-disk vault/newest: it is stateless, and back sooner, after 4 min against 2 h by repair", "repair, if that took less than 4 min in all"},
		{"stateless, nothing to restore", func(f *Fleet, _ []RestorePoint) []RestorePoint { slow(f); return nil }, MethodRepair,
			"repair: it is stateless, and cannot be restored", "restore is out of the question: data set h000-disk: no restore point is known"},
		{"stateless, and no way to repair it", func(f *Fleet, p []RestorePoint) []RestorePoint {
			f.Hosts[0].Ladder = f.Hosts[0].Ladder[2:]
			return p
		}, MethodRestore, "no way to repair it can be used", "repair, if a rung of its ladder could be used"},
		{"a replica is repaired first, however slow that is", func(f *Fleet, p []RestorePoint) []RestorePoint { slow(f); f.Hosts[0].Data = DataReplica; return p }, MethodRepair,
			"repair first", "restore from h000-disk vault/newest when every way above has failed: 240 min of data would be lost, more than the RPO of 0 min"},
		{"primary data is repaired in place", func(f *Fleet, p []RestorePoint) []RestorePoint { slow(f); f.Hosts[0].Data = DataPrimary; return p }, MethodRepair,
			"repair in place", "when every way above has failed: it holds primary data, and 240 min of it would be lost"},
		{"primary data without a good point", func(f *Fleet, p []RestorePoint) []RestorePoint {
			f.Hosts[0].Data = DataPrimary
			return []RestorePoint{point("h000-disk", "newest", t0.Add(-time.Hour), L2)}
		}, MethodRepair, "repair in place", "restore is out of the question: data set h000-disk: none of 1 restore point may be used: 1 verified no further than L2 where L3 is asked"},
	} {
		x := vaulted(t, 1, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint { return c.change(f, p) })
		h := x.planned("h000")
		if h.Method != c.method || !strings.Contains(h.Reason, c.reason) || !strings.Contains(h.Otherwise, c.other) {
			t.Errorf("%s: %s: %s | otherwise %s", c.name, h.Method, h.Reason, h.Otherwise)
		}
		if a := x.s.Host("h000").attempt(); a == nil || (a.Method == MethodRestore) != (c.method == MethodRestore) {
			t.Errorf("%s: it starts with %+v", c.name, a)
		}
	}
}

// Stateless hosts spread over both ways, so that all are back sooner than by either alone; those with data are repaired.
func TestTheMixIsQuickest(t *testing.T) {
	last := func(change func(f *Fleet)) (time.Duration, map[Method]int) {
		x := vaulted(t, 40, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
			f.Resources = append(f.Resources, Resource{Name: ResourceSSH, Slots: 4})
			f.Policy.MaxInFlight = 4
			for i := range f.Hosts {
				for n := range f.Hosts[i].Ladder {
					f.Hosts[i].Ladder[n].Estimate = 6 * time.Minute
				}
			}
			change(f)
			return p
		})
		var last time.Duration
		methods := map[Method]int{}
		for _, h := range x.s.Plan.Waves[0].Hosts {
			last = max(last, h.Queue+h.Estimate)
			methods[h.Method]++
		}
		return last, methods
	}
	without := func(kinds ...string) func(f *Fleet) {
		return func(f *Fleet) {
			for i := range f.Hosts {
				f.Hosts[i].Ladder = slices.DeleteFunc(f.Hosts[i].Ladder, func(r Rung) bool { return slices.Contains(kinds, r.Kind) })
			}
		}
	}
	mix, methods := last(func(*Fleet) {})
	repair, _ := last(without(RungRestore))
	restore, _ := last(without(RungSSH))
	if methods[MethodRepair] == 0 || methods[MethodRestore] == 0 || mix >= repair || mix >= restore {
		t.Errorf("mix %s %v, repair alone %s, restore alone %s", mix, methods, repair, restore)
	}
}

// What this incident shows of a repository and of repairs corrects the choice of those that come later.
func TestEstimatesLearn(t *testing.T) {
	l := newLearned()
	r := &Repository{Name: "vault", Slots: 4, Bandwidth: 100 << 20}
	l.transferred("vault", 60<<20, time.Minute)
	if got := l.rate(r); got != 100<<20 {
		t.Errorf("one case is believed: %v", got)
	}
	l.transferred("vault", 60<<20, time.Minute)
	if got := l.rate(r); got != 4<<20 {
		t.Errorf("1 MB/s on each of 4 slots makes %v", got)
	}
	l.transferred("vault", 1<<40, time.Second)
	if got := l.rate(r); got != 100<<20 {
		t.Errorf("more than the fleet file gives: %v", got)
	}
	for range leastExperience {
		l.proven(RungSSH, 10*time.Minute, 30*time.Minute)
	}
	if got := l.correct(RungSSH, 5*time.Minute); got != 15*time.Minute {
		t.Errorf("repairs that take three times as long: %s", got)
	}
	if got := l.correct(RungRescue, 5*time.Minute); got != 5*time.Minute {
		t.Errorf("another kind of rung: %s", got)
	}
}

// In a running incident repairs that take far longer than was thought send stateless hosts that wait to the repository.
func TestTheChoiceFollowsExperience(t *testing.T) {
	x := vaulted(t, 12, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		f.Resources = append(f.Resources, Resource{Name: ResourceSSH, Slots: 2})
		f.Policy.MaxInFlight = 64
		for i := range f.Hosts {
			f.Hosts[i].Ladder[0].Estimate = 30 * time.Second // and it takes three minutes at least
			f.Hosts[i].Ladder = slices.Delete(f.Hosts[i].Ladder, 1, 2)
		}
		return p
	})
	n := 0
	for _, h := range x.s.Plan.Waves[0].Hosts {
		if h.Method == MethodRestore {
			n++
		}
	}
	x.run("all recovered", x.all(Recovered))
	restored := 0
	for _, h := range x.s.Hosts() {
		if h.Attempts[0].Method == MethodRestore {
			restored++
		}
	}
	if restored <= n {
		t.Errorf("%d were restored, and %d were planned to be", restored, n)
	}
}

// exhausted is an incident whose host has failed on every rung above its restore.
func exhausted(t *testing.T, data DataClass, rpo time.Duration) (*sim, *HostState) {
	x := vaulted(t, 1, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		f.Hosts[0].Data = data
		f.Services[0].RPO = rpo
		return p
	})
	x.queue = nil
	h := x.s.Hosts()[0]
	for range 4 {
		if a := h.attempt(); a != nil && a.Method != MethodRestore {
			x.result(h, Result{Class: Failed, Signature: "exit 3"})
			x.settle()
		}
	}
	if h.Rung != 2 {
		t.Fatalf("it is %s on rung %d: %s", h.Phase, h.Rung, h.Reason)
	}
	return x, h
}

func TestPrimaryDataWaitsForAPersonsWord(t *testing.T) {
	x, h := exhausted(t, DataPrimary, 100*time.Hour)
	why := x.s.Why(x.now)["h000"]
	if h.Phase != Waiting || why.Code != WaitApproval || !strings.Contains(why.Text, "240 min of it would be lost") {
		t.Fatalf("%s: %s %s", h.Phase, why.Code, why.Text)
	}
	x.refuses(ApproveRestore{Host: "h000", Loss: 3 * time.Hour}, KindRefused) // less than it is
	x.must(ApproveRestore{Host: "h000", Loss: 4 * time.Hour, Reason: "the department agrees"})
	x.refuses(ApproveRestore{Host: "h000", Loss: 4 * time.Hour}, KindRefused)
	x.settle()
	a := h.attempt()
	if a == nil || a.Method != MethodRestore || len(a.Restores) != 1 || a.Restores[0].Point.ID != "newest" {
		t.Fatalf("%s: %+v", h.Phase, a)
	}
}

// A consent is to these points: when one of them turns out bad, the older one wants another.
func TestAConsentIsToThesePoints(t *testing.T) {
	x, h := exhausted(t, DataPrimary, 0)
	x.must(ApproveRestore{Host: "h000", Loss: 4 * time.Hour})
	p, _ := x.s.Points.Find(PointRef{"h000-disk", "vault", "newest"})
	p.Checks = []PointCheck{{Level: L4, At: x.now, By: "invariant people-unique", Detail: "812 against 811"}}
	p.Quarantine = &Quarantine{From: p.TakenAt, At: x.now, By: "engine", Reason: "it failed at L4"}
	x.must(Learnt{Points: []RestorePoint{p}})
	x.settle()
	why := x.s.Why(x.now)["h000"]
	if h.Phase != Waiting || why.Code != WaitApproval || !strings.Contains(why.Text, "vault/older") {
		t.Fatalf("%s: %s %s", h.Phase, why.Code, why.Text)
	}
}

func TestAReplicaIsRestoredWithinItsRPO(t *testing.T) {
	if _, h := exhausted(t, DataReplica, 5*time.Hour); h.Phase != Attempting {
		t.Errorf("within the RPO: %s, %s", h.Phase, h.Reason)
	}
	x, h := exhausted(t, DataReplica, 3*time.Hour)
	if why := x.s.Why(x.now)["h000"]; h.Phase != Waiting || why.Code != WaitApproval || !strings.Contains(why.Text, "more than the RPO of 180 min") {
		t.Errorf("beyond the RPO: %s, %s", h.Phase, why.Text)
	}
}

// A person cannot have primary data replaced before it was tried to repair it.
func TestPrimaryDataIsRepairedFirstAlsoWhenAPersonAsks(t *testing.T) {
	x := vaulted(t, 1, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint { f.Hosts[0].Data = DataPrimary; return p })
	x.queue = nil
	h := x.s.Hosts()[0]
	x.result(h, Result{Class: AuthRefused})
	if text := x.refuses(Retry{Host: "h000", Rung: "restore"}, KindRefused); !strings.Contains(text, "rung rescue has not been tried") {
		t.Errorf("refused with %s", text)
	}
}

func TestEndsOfARestore(t *testing.T) {
	set := func(swapped bool, checks ...PointCheck) []SetResult {
		return []SetResult{{DataSet: "h000-disk", Repository: "vault", Point: "newest", Swapped: swapped, Kept: "/srv/data.blackstart-old", Checks: checks}}
	}
	bad := PointCheck{Level: L2, At: t0.Add(time.Hour), By: "restore", Detail: "pack missing"}
	for _, c := range []struct {
		name   string
		result Result
		phase  Phase
		rung   string // of the next attempt
		reason string
		debts  []string
	}{
		{"restored", Result{Class: Succeeded, Sets: set(true)}, Verifying, "", "its agent claims a restore; proof is awaited", []string{"old-copy/h000-disk/1", "re-enter/h000-disk", "replication"}},
		{"restored without a swap", Result{Class: Succeeded, Sets: set(false)}, NeedsHands, "", "swapped nothing in", nil},
		{"the start after the swap failed", Result{Class: Failed, Signature: "start failed after the swap", Sets: set(true)}, NeedsHands, "", "data was swapped in", []string{"old-copy/h000-disk/1", "re-enter/h000-disk", "replication"}},
		{"the point is bad", Result{Class: Failed, Signature: SignatureDamagedPoint, Sets: set(false, bad)}, Attempting, "restore", "", nil},
		{"no room", Result{Class: Failed, Signature: "not enough space"}, Attempting, "restore", "", nil},
		{"the repository is locked", Result{Class: Unreachable, Signature: "repository locked"}, Waiting, "restore", "unreachable: repository locked; try 2 on rung restore follows", nil},
		{"the password is refused", Result{Class: AuthRefused, Signature: "repository password refused"}, NeedsHands, "", "a person must look", nil},
		{"nobody knows", Result{Class: Lost}, Verifying, "", "the outcome is unknown", nil},
	} {
		x, h := exhausted(t, DataReplica, 100*time.Hour)
		h.Attempts = h.Attempts[len(h.Attempts)-1:]
		h.Attempts[0].ID, h.Attempts[0].N, h.base = "h000/1", 1, 0
		x.must(Finished{Job: "h000/1", Host: "h000", Result: c.result})
		for range 3 {
			for _, e := range x.s.tick(x.now) {
				x.s.Apply(Entry{Seq: x.s.Seq + 1, At: x.now, Event: e})
			}
		}
		reason := h.Reason
		if h.Phase == Attempting {
			reason = ""
		}
		if h.Phase != c.phase || c.rung != "" && rungName(h.Host, h.Rung) != c.rung || !strings.Contains(reason, c.reason) {
			t.Errorf("%s: %s on rung %d: %s", c.name, h.Phase, h.Rung, h.Reason)
		}
		var debts []string
		for _, d := range h.Debts {
			debts = append(debts, d.ID)
		}
		if !slices.Equal(debts, c.debts) {
			t.Errorf("%s: debts %v", c.name, debts)
		}
		if c.name == "the point is bad" && (h.attempt().Restores[0].Point.ID != "older") {
			t.Errorf("%s: next from %s", c.name, h.attempt().Restores[0].Point.ID)
		}
	}
}

// The checks of a restore answer what the incident's fleet asks of the data set, whatever the agent says.
func TestAChecksQuestionIsNoted(t *testing.T) {
	noted := func(invariants ...Invariant) (by []string) {
		x, h := exhausted(t, DataReplica, 100*time.Hour)
		for i := range x.s.Fleet.DataSets {
			x.s.Fleet.DataSets[i].Invariants = invariants
		}
		a := h.attempt()
		sent := []SetResult{{DataSet: "h000-disk", Repository: "vault", Point: "newest", Swapped: true, Checks: []PointCheck{
			{Level: L2, OK: true, At: x.now, By: "restore", Of: "lie"}, {Level: L3, OK: true, At: x.now, By: "engine"}, {Level: L4, OK: true, At: x.now, By: "invariants", Of: "lie"}}}}
		x.must(Finished{Job: a.ID, Host: "h000", Result: Result{Class: Succeeded, Sets: sent}})
		if sent[0].Checks[0].Of != "lie" {
			t.Error("the caller's result was changed")
		}
		for _, p := range x.s.Found() {
			for _, c := range p.Checks {
				if c.By != "test" {
					by = append(by, c.Level.String()+" "+c.Of)
				}
			}
		}
		return by
	}
	one, other := noted(), noted(Invariant{Name: "rows", SQL: "select 1", Expect: "= 1"})
	if len(one) != 3 || one[0] != "L2 " || len(one[1]) != len("L3 0123456789abcdef") || one[1][2:] != one[2][2:] {
		t.Errorf("noted %q", one)
	}
	if len(other) != 3 || other[0] != "L2 " || other[1] == one[1] || other[2] == one[2] {
		t.Errorf("with another invariant %q, without %q", other, one)
	}
}

// A stateless host whose quick restore fails is repaired; the restore is not tried again.
func TestAfterAFailedRestoreComesRepair(t *testing.T) {
	x := vaulted(t, 1, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		for i := range f.Hosts[0].Ladder {
			if f.Hosts[0].Ladder[i].Kind == RungSSH {
				f.Hosts[0].Ladder[i].Estimate = 2 * time.Hour
			}
		}
		f.Policy.MaxAttempts = 20
		return p
	})
	x.queue = nil
	h := x.s.Hosts()[0]
	var rungs []string
	for h.Phase == Attempting {
		rungs = append(rungs, h.attempt().RungName)
		x.result(h, Result{Class: Failed, Signature: "exit 3"})
		x.settle()
	}
	if want := []string{"restore", "restore", "own", "own", "rescue", "rescue"}; !slices.Equal(rungs, want) || h.Phase != NeedsHands {
		t.Errorf("rungs %v, then %s: %s", rungs, h.Phase, h.Reason)
	}
}

func TestARestoreIsLetGoOf(t *testing.T) {
	x, h := exhausted(t, DataReplica, 100*time.Hour)
	a := h.attempt()
	x.refuses(CancelAttempt{Host: "h000"}, KindInvalid)
	x.must(CancelAttempt{Host: "h000", Reason: "the wrong morning"})
	x.settle()
	if !strings.Contains(h.Reason, "is being let go of, as a person wants: the wrong morning") {
		t.Errorf("it says %q", h.Reason)
	}
	cancel, ok := x.jobs[a.ID+"/cancel"]
	if !ok || cancel.Kind != JobCancel || cancel.Of != a.ID || cancel.Runner != "h000" {
		t.Fatalf("jobs %v", x.jobs)
	}
	x.crash() // the wish outlives the coordinator
	h = x.s.Hosts()[0]
	x.jobs, x.starts = map[string]Job{}, map[string]int{}
	x.settle()
	if _, ok := x.jobs[a.ID+"/cancel"]; !ok {
		t.Fatalf("after a restart the jobs are %v", x.jobs)
	}
	x.finish(x.jobs[a.ID+"/cancel"], Result{Class: Succeeded})
	x.settle()
	if _, again := x.jobs[a.ID+"/cancel"]; again || h.Phase != Attempting {
		t.Fatalf("its agent is told again, or it is %s", h.Phase)
	}
	x.crash() // and perhaps the agent with it, which then remembers nothing
	h = x.s.Hosts()[0]
	x.jobs, x.starts = map[string]Job{}, map[string]int{}
	x.must(Restarted{Alive: x.now})
	x.settle()
	if _, ok := x.jobs[a.ID+"/cancel"]; !ok {
		t.Fatalf("after another restart the jobs are %v", x.jobs)
	}
	x.result(h, Result{Class: Cancelled})
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "the wrong morning") {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

// A restore that a person lets go of does not bring the failures of lower rungs back: that a repair reached nobody holds no wave then.
func TestALetGoRestoreHoldsNoWave(t *testing.T) {
	for _, c := range []struct {
		failed, end Class
		counts      bool
	}{
		{Unreachable, Cancelled, false},
		{Failed, Cancelled, true},
		{Unreachable, AuthRefused, true}, // a failure of its own
	} {
		x, h := exhausted(t, DataReplica, 100*time.Hour)
		h.Failure.Class = c.failed
		if n := len(x.s.failures(0)); (n > 0) != (c.failed == Failed) {
			t.Fatalf("%s: while the restore goes on, %d failures count", c.failed, n)
		}
		x.must(CancelAttempt{Host: "h000", Reason: "the wrong morning"})
		x.result(h, Result{Class: c.end})
		if n := len(x.s.failures(0)); h.Phase != NeedsHands || (n > 0) != c.counts {
			t.Errorf("%s, then %s: %s, and %d failures count", c.failed, c.end, h.Phase, n)
		}
	}
}

// The job names everything that its agent needs, and a restart only where the host itself is to be restarted.
func TestRestoreJob(t *testing.T) {
	x := vaulted(t, 2, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		for i := range f.Hosts {
			f.Hosts[i].Ladder = f.Hosts[i].Ladder[2:]
		}
		f.DataSets[1].Runner = "h000"
		f.DataSets[0].Engine, f.DataSets[0].Invariants = EnginePostgreSQL, []Invariant{{Name: "unique", SQL: "select 1, 1", Expect: "equal"}}
		p[0].Kind, p[0].Until = PointDatabase, t0.Add(time.Hour)
		return p
	})
	own, helped := x.jobs["h000/1"], x.jobs["h001/1"]
	if own.Kind != JobRestore || own.Runner != "h000" || !own.Reboot || len(own.Sets) != 1 {
		t.Fatalf("own: %+v", own)
	}
	w := own.Sets[0]
	if w.Set.Name != "h000-disk" || w.Repository.Name != "vault" || w.Point.ID != "newest" || w.Level != L4 || !w.Target.Equal(t0.Add(-time.Second)) || w.Point.Size != 10*gb {
		t.Errorf("work: %+v", w)
	}
	if helped.Runner != "h000" || helped.Reboot || helped.Sets[0].Level != L2 {
		t.Errorf("by a helper: %+v", helped)
	}
}

// The last known good points are held while the incident is open.
func TestHolds(t *testing.T) {
	x := vaulted(t, 2, nil)
	var ids []string
	for _, r := range x.s.Holds() {
		ids = append(ids, r.String())
	}
	if want := []string{"h000-disk vault/newest", "h001-disk vault/newest"}; !slices.Equal(ids, want) {
		t.Errorf("held: %v", ids)
	}
	x.must(Abort{Reason: "over"})
	for range 10 {
		for _, h := range x.s.Hosts() {
			if a := h.attempt(); a != nil {
				x.must(Finished{Job: a.ID, Host: h.Host.Name, Result: Result{Class: Failed}})
			}
		}
		x.settle()
	}
	if !x.s.over() || x.s.Holds() != nil {
		t.Errorf("%s, and held are %v", x.s.Status(), x.s.Holds())
	}
}

// A point that had expired before the incident is nothing to it, until its repository has it again.
func TestWhatWasGoneIsLeftOut(t *testing.T) {
	var lost RestorePoint
	x := vaulted(t, 1, func(_ *Fleet, _ *Playbook, points []RestorePoint) []RestorePoint {
		lost = points[0]
		lost.ID, lost.Gone, lost.SeenAt = "lost", true, t0.Add(-time.Hour)
		return append(points, lost)
	})
	known := func() bool { _, ok := x.s.Points.Find(lost.PointRef); return ok }
	if known() {
		t.Error("it was declared with the others")
	}
	if events := x.must(Learnt{Points: []RestorePoint{lost}}); len(events) > 0 || known() {
		t.Errorf("it is news: %v", events)
	}
	back := lost
	back.Gone, back.SeenAt = false, x.now
	x.must(Learnt{Points: []RestorePoint{back}})
	if !known() {
		t.Error("its repository has it again, which is no news")
	}
	lost.SeenAt = x.now.Add(time.Second)
	x.must(Learnt{Points: []RestorePoint{lost}})
	if p, _ := x.s.Points.Find(lost.PointRef); !p.Gone {
		t.Error("it is gone once more, which is no news")
	}
}

// Wave zero names what is to be verified before it can be restored.
func TestWaveZero(t *testing.T) {
	p := testPlaybook()
	f, points := stocked(open(3))
	points[0].Checks, points[1].Checks = nil, nil // h000: known, never verified
	points = slices.DeleteFunc(points, func(p RestorePoint) bool { return p.DataSet == "h001-disk" })
	x := newSim(t, f, p)
	x.must(Declare{Incident: "i", Fleet: f, Playbook: p, Points: points, WaveZero: true})
	if got := x.s.Unverified(); !slices.Equal(got, []string{"h000-disk"}) {
		t.Fatalf("unverified: %v", got)
	}
	if slices.Contains(x.s.Holds(), points[0].PointRef) {
		t.Error("it is held before anything is known of it")
	}
	points[0].Checks = []PointCheck{{Level: L1, OK: true, At: x.now, By: "test"}}
	x.must(Learnt{Points: points[:1]})
	if got := x.s.Unverified(); len(got) > 0 {
		t.Errorf("still unverified: %v", got)
	}
	if !slices.Contains(x.s.Holds(), points[0].PointRef) {
		t.Error("what it found may expire before it is needed")
	}
	if events := x.must(Learnt{Points: points[:1]}); len(events) > 0 {
		t.Errorf("old news make %v", events)
	}
}

// Who reads a plan after more is known of restore points is told what has changed, and the plan stays what it was.
func TestDrift(t *testing.T) {
	p := testPlaybook()
	f, points := stocked(open(3))
	for i := range f.Hosts {
		f.Hosts[i].Ladder = slices.DeleteFunc(f.Hosts[i].Ladder, func(r Rung) bool { return r.Kind != RungRestore && r.Kind != RungHands })
	}
	unchecked := slices.Clone(points)
	unchecked[0].Checks, unchecked[1].Checks = nil, nil // h000: known, never verified
	x := newSim(t, f, p)
	x.must(Declare{Incident: "i", Fleet: f, Playbook: p, Points: unchecked, WaveZero: true})
	digest := x.s.Plan.Digest
	if got := x.s.Drift(); len(got) > 0 || x.planned("h000").Method != MethodHands {
		t.Fatalf("at first: planned %s, now %+v", x.planned("h000").Method, got)
	}
	verified := points[0]
	verified.Checks = []PointCheck{{Level: L1, OK: true, At: x.now, By: "test"}}
	x.must(Learnt{Points: []RestorePoint{verified}})
	got := x.s.Drift()
	if len(got) != 1 || got[0].Host != "h000" || got[0].Method != MethodRestore || !slices.Equal(got[0].Points, []PointRef{verified.PointRef}) {
		t.Fatalf("when it is verified: %+v", got)
	}
	if x.s.Plan.Digest != digest || x.planned("h000").Method != MethodHands {
		t.Error("the plan itself has changed")
	}
	x.must(Approve{Digest: digest})
	if got := x.s.Drift(); len(got) > 0 {
		t.Errorf("when it is approved: %+v", got)
	}
}

// While work waits for a repository, none of its slots is empty.
func TestRestoreSlotsAreKeptBusy(t *testing.T) {
	x := vaulted(t, 40, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		f.Policy.MaxInFlight = 64
		for i := range f.Hosts {
			f.Hosts[i].Ladder = f.Hosts[i].Ladder[2:] // only restore is left
		}
		return p
	})
	busy, offered := time.Duration(0), time.Duration(0)
	for !x.all(Recovered)() {
		running, waits := 0, 0
		why := x.s.Why(x.now)
		for _, h := range x.s.Hosts() {
			switch {
			case h.Phase == Attempting:
				running++
			case h.Phase == Waiting && why[h.Host.Name].Code == WaitSlot:
				waits++
			}
		}
		from := x.now
		if !x.step() {
			t.Fatal("stuck")
		}
		if waits > 0 {
			busy += time.Duration(running) * x.now.Sub(from)
			offered += 4 * x.now.Sub(from)
		}
	}
	if offered == 0 || busy*100 < offered*95 {
		t.Errorf("slots were busy for %s of %s", busy, offered)
	}
}

// A restore by an agent that is not there is no choice for a host that can be repaired.
func TestOnlyAConnectedAgentRestores(t *testing.T) {
	p := testPlaybook()
	f, points := stocked(open(1))
	for i := range f.Hosts[0].Ladder {
		f.Hosts[0].Ladder[i].Estimate *= 100
	}
	f.DataSets[0].Runner = "h000"
	x := newSim(t, f, p)
	x.must(Declare{Incident: "i", Fleet: f, Playbook: p, Points: points})
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	if h := x.s.Hosts()[0]; x.planned("h000").Method != MethodRestore || h.attempt() == nil || h.attempt().Method != "" {
		t.Errorf("planned %+v, started %+v", x.planned("h000"), h.attempt())
	}
}

// When repair and then restore have failed, a person is next, and not repair again.
func TestAfterRepairAndRestoreComesAPerson(t *testing.T) {
	x, h := exhausted(t, DataReplica, 100*time.Hour)
	for range 2 {
		x.result(h, Result{Class: Failed, Signature: "not enough space"})
		x.settle()
	}
	if h.Phase != NeedsHands {
		t.Errorf("%s on rung %d: %s", h.Phase, h.Rung, h.Reason)
	}
}

// A person who has agreed to one point has not agreed to another, even where less is lost by it.
func TestAConsentIsToNoOtherPoint(t *testing.T) {
	x, h := exhausted(t, DataPrimary, 0)
	x.must(ApproveRestore{Host: "h000", Loss: 4 * time.Hour})
	newer := point("h000-disk", "newer", x.s.Began.Add(-time.Hour), L4)
	x.must(Learnt{Points: []RestorePoint{newer}})
	x.settle()
	why := x.s.Why(x.now)["h000"]
	if h.Phase != Waiting || why.Code != WaitApproval || !strings.Contains(why.Text, "vault/newer") {
		t.Fatalf("%s: %s %s", h.Phase, why.Code, why.Text)
	}
}

// A debt may be lived with, with a reason; the incident then ends with an exception.
func TestADebtIsLivedWith(t *testing.T) {
	x := newSim(t, flat(1), testPlaybook()).start(flat(1), testPlaybook())
	x.run("recovered", x.all(Recovered))
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	x.refuses(ClearDebt{Host: "h000", Debt: "agent-disabled", By: "ann", Accepted: true}, KindInvalid)
	x.must(ClearDebt{Host: "h000", Debt: "agent-disabled", By: "ann", Note: "the vendor wants it off until Monday", Accepted: true})
	x.must(Close{})
	e := last[*IncidentClosed](x)
	if e.Outcome != OutcomeWithExceptions || len(e.Exceptions) != 1 || !strings.Contains(e.Exceptions[0], "the vendor wants it off until Monday") {
		t.Errorf("%s: %v", e.Outcome, e.Exceptions)
	}
}

// A later and narrower suspicion does not make a condemned point usable; only a lift does.
func TestANarrowerQuarantineFreesNothing(t *testing.T) {
	set := &DataSet{Name: "db"}
	p := point("db", "a", t0.Add(-30*time.Hour), L4)
	p.Kind, p.Until = PointDatabase, t0.Add(-time.Hour)
	b := learnAll([]RestorePoint{p})
	b.Check(p.PointRef, PointCheck{Level: L4, At: t0, By: "test"})
	b.Quarantine("db", &p.PointRef, Quarantine{From: t0.Add(-2 * time.Hour), At: t0.Add(time.Minute), By: "ann", Reason: "since then for sure"})
	if best, why := b.Best(set, L0, time.Time{}); why == "" {
		t.Errorf("restored to %s", best.Moment)
	}
	b.Quarantine("db", &p.PointRef, Quarantine{At: t0.Add(time.Hour), By: "ann", Lifted: true})
	if _, why := b.Best(set, L0, time.Time{}); why != "" {
		t.Errorf("lifted: %s", why)
	}
}

// That a rung does not reach a host says nothing as long as its restore is left, with one try for each rung too.
func TestAnUnreachedRungDoesNotHoldWhileARestoreIsLeft(t *testing.T) {
	x := vaulted(t, 1, func(f *Fleet, _ *Playbook, p []RestorePoint) []RestorePoint {
		f.Hosts[0].Data, f.Services[0].RPO = DataReplica, 100*time.Hour
		f.Policy.TriesPerRung = 1
		f.Policy.IncidentFailures = Limit{Count: 0}
		f.Tiers[0].Gate.MaxUnreachable = Limit{Count: 0}
		f.Policy.IncidentFailures = Limit{Count: 1, Percent: true}
		return p
	})
	x.queue = nil
	h := x.s.Hosts()[0]
	for range 2 {
		x.result(h, Result{Class: Unreachable})
		x.settle()
	}
	if a := h.attempt(); a == nil || a.Method != MethodRestore || !x.s.PausedAt.IsZero() || x.s.Waves[0].HeldBy != "" {
		t.Errorf("%s: %s; incident %s (%s), wave held by %q", h.Phase, h.Reason, x.s.Status(), x.s.Reason, x.s.Waves[0].HeldBy)
	}
}
