package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// unverified is an incident with a wave zero, over one host with data that can be restored as soon as one of its points is verified. It has one
// try on each rung, and nobody may be unreachable.
func unverified(t *testing.T, change func(f *Fleet)) (*sim, *HostState) {
	t.Helper()
	p := testPlaybook()
	f, points := stocked(open(1))
	f.Hosts[0].Data, f.Services[0].RPO = DataReplica, 100*time.Hour
	f.Policy.TriesPerRung, f.Policy.MaxAttempts = 1, 5
	f.Policy.IncidentFailures = Limit{Count: 9}
	f.Tiers[0].Gate.MaxUnreachable, f.Tiers[0].Gate.MaxFailed = Limit{Count: 1, Percent: true}, Limit{Count: 9}
	if change != nil {
		change(&f)
	}
	for i := range points {
		points[i].Checks = nil
	}
	x := newSim(t, f, p)
	x.far["h000"].up = true
	x.hear(x.far["h000"].facts())
	x.must(Declare{Incident: "i-1", Title: "test", Fleet: f, Playbook: p, Points: points, WaveZero: true})
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	x.queue = nil
	return x, x.s.Hosts()[0]
}

// fails ends every attempt on a rung that is no restore.
func (x *sim) fails(h *HostState, class Class) {
	x.tb.Helper()
	for a := h.attempt(); a != nil && a.Method != MethodRestore; a = h.attempt() {
		x.result(h, Result{Class: class, Signature: "exit 3"})
		x.settle()
	}
}

// checked is what the catalog tells of the host's newest point after a check, with no other on its way.
func (x *sim) checked(level Level, ok bool) Learnt {
	p, _ := x.s.Points.Find(PointRef{"h000-disk", "vault", "newest"})
	p.Checks = []PointCheck{{Level: level, OK: ok, At: x.now, By: "test"}}
	if !ok {
		p.Quarantine = &Quarantine{From: p.TakenAt, At: x.now, By: "engine", Reason: "it failed"}
	}
	return Learnt{Points: []RestorePoint{p}}
}

// A host that nothing can repair waits for the checks that wave zero has ordered, holds no wave meanwhile, and is restored when one has passed.
func TestAHostWaitsForItsPointsToBeVerified(t *testing.T) {
	for _, class := range []Class{Unreachable, Failed, NothingFound} {
		x, h := unverified(t, nil)
		x.fails(h, class)
		why := x.s.Why(x.now)["h000"]
		if h.Phase != Waiting || rungName(h.Host, h.Rung) != "restore" || !strings.HasSuffix(h.Reason, "; rung restore follows when one of its restore points is verified") {
			t.Fatalf("%s: %s on rung %s: %s", class, h.Phase, rungName(h.Host, h.Rung), h.Reason)
		}
		if why.Code != WaitVerifying || !strings.Contains(why.Text, "2 verified no further than L0 where L2 is asked, and checks are on their way") {
			t.Errorf("%s: it waits because of %s: %s", class, why.Code, why.Text)
		}
		if w := x.s.Waves[0]; w.HeldBy != "" || class == Unreachable && len(x.s.failures(0)) > 0 {
			t.Errorf("%s: while checks are on their way, wave 1 is held by %q and %d failures count", class, w.HeldBy, len(x.s.failures(0)))
		}
		x.must(x.checked(L4, true))
		x.settle()
		if a := h.attempt(); a == nil || a.Method != MethodRestore || a.Restores[0].Point.ID != "newest" {
			t.Errorf("%s: after a check that passed it is %s: %s", class, h.Phase, h.Reason)
		}
	}
}

// When the checks end and nothing is verified, people are next, and what has failed counts again.
func TestAfterChecksInVainComesAPerson(t *testing.T) {
	for name, end := range map[string]func(x *sim) Learnt{
		"the point is damaged":                  func(x *sim) Learnt { return x.checked(L2, false) },
		"it is verified less than is asked":     func(x *sim) Learnt { return x.checked(L1, true) },
		"the checks could not be made":          func(*sim) Learnt { return Learnt{} },
		"those of another data set are awaited": func(*sim) Learnt { return Learnt{Verifying: []string{"h001-disk", "h000-dis"}} },
	} {
		x, h := unverified(t, nil)
		x.fails(h, Unreachable)
		x.must(end(x))
		x.settle()
		if w := x.s.Waves[0]; h.Phase != NeedsHands || w.HeldBy != BreakerUnreachable || !strings.Contains(h.Reason, "restore: data set h000-disk: none of 2 restore points may be used") {
			t.Errorf("%s: it is %s, and wave 1 is held by %q: %s", name, h.Phase, w.HeldBy, h.Reason)
		}
	}
}

// Nobody waits for checks that would not help, nor for any when there is no wave zero.
func TestNobodyWaitsForChecksInVain(t *testing.T) {
	two := func(f *Fleet) {
		f.DataSets = append(f.DataSets, DataSet{Name: "h000-more", Host: "h000", Kind: PointFiles, Repository: "vault", Target: "/srv/more"})
	}
	for name, c := range map[string]struct {
		change func(f *Fleet)
		news   *Learnt
	}{
		"no check is on its way":             {nil, &Learnt{}},
		"another data set has no point":      {two, nil},
		"no agent would restore it":          {func(f *Fleet) { f.DataSets[0].Runner = "h009" }, nil},
		"the cap is reached":                 {func(f *Fleet) { f.Policy.MaxAttempts = 2 }, nil},
		"its rung restores another data set": {func(f *Fleet) { two(f); f.Hosts[0].Ladder[2].Sets = []string{"h000-more"} }, nil},
	} {
		x, h := unverified(t, c.change)
		if c.news != nil {
			x.must(*c.news)
		}
		x.fails(h, Failed)
		if h.Phase != NeedsHands {
			t.Errorf("%s: it is %s: %s", name, h.Phase, h.Reason)
		}
	}
}

// A host that has no way but its restore is put before nobody while its points are verified.
func TestAHostThatCanOnlyBeRestoredWaitsToo(t *testing.T) {
	for name, change := range map[string]func(f *Fleet){
		"its ladder has no other": func(f *Fleet) {
			f.Hosts[0].Ladder = slices.DeleteFunc(f.Hosts[0].Ladder, func(r Rung) bool { return r.Kind != RungRestore && r.Kind != RungHands })
		},
		"no other can be used": func(f *Fleet) {
			for i := range f.Hosts[0].Ladder {
				f.Hosts[0].Ladder[i].Environment = "beos"
			}
		},
	} {
		x, h := unverified(t, change)
		if why := x.s.Why(x.now)["h000"]; h.Phase != Waiting || why.Code != WaitVerifying {
			t.Fatalf("%s: it is %s: %s (%s)", name, h.Phase, h.Reason, why.Text)
		}
		x.must(x.checked(L2, true))
		x.settle()
		if a := h.attempt(); a == nil || a.Method != MethodRestore {
			t.Errorf("%s: after a check that passed it is %s: %s", name, h.Phase, h.Reason)
		}
	}
}

// A host that a person gives another chance waits for checks as well.
func TestAnotherChanceWaitsForChecks(t *testing.T) {
	x, h := unverified(t, func(f *Fleet) {
		f.Hosts[0].Ladder = slices.DeleteFunc(f.Hosts[0].Ladder, func(r Rung) bool { return r.Kind == RungSSH || r.Kind == RungRescue })
	})
	x.must(Learnt{})
	x.settle()
	if h.Phase != NeedsHands {
		t.Fatalf("without checks it is %s: %s", h.Phase, h.Reason)
	}
	x.refuses(Retry{Host: "h000", Reason: "please"}, KindRefused)
	x.must(Learnt{Verifying: []string{"h000-disk"}})
	x.must(Retry{Host: "h000", Reason: "it is being verified now"})
	x.settle()
	if why := x.s.Why(x.now)["h000"]; h.Phase != Waiting || why.Code != WaitVerifying {
		t.Errorf("it is %s: %s (%s)", h.Phase, h.Reason, why.Text)
	}
}

// People need not wait: who mends it by hand meanwhile says so.
func TestAPersonNeedNotWaitForChecks(t *testing.T) {
	x, h := unverified(t, nil)
	x.fails(h, Failed)
	x.must(HandsDone{Host: "h000", By: "ann", Note: "from the console"})
	if h.Phase != Verifying {
		t.Errorf("it is %s: %s", h.Phase, h.Reason)
	}
}

// A revision of the playbook gives no new chance to a host whose way of repair the version before had as well.
func TestARevisionLeavesWhoWaitsForChecks(t *testing.T) {
	x, h := unverified(t, nil)
	x.fails(h, Failed)
	p := testPlaybook()
	p.Digest = digest2
	x.revised(p)
	if h.Phase != Waiting || rungName(h.Host, h.Rung) != "restore" {
		t.Errorf("it is %s on rung %s: %s", h.Phase, rungName(h.Host, h.Rung), h.Reason)
	}
}

// Only what changes is written down.
func TestChecksOnTheirWayAreNews(t *testing.T) {
	x, _ := unverified(t, nil)
	told := func(names ...string) []string {
		t.Helper()
		events := x.must(Learnt{Verifying: names})
		if len(events) == 0 {
			return []string{"no news"}
		}
		return events[0].(*PointsLearnt).Verifying
	}
	for _, c := range []struct{ say, want []string }{
		{[]string{"h000-disk"}, []string{"no news"}}, // the declaration says so
		{[]string{"nobodys", "h000-disk", "h000-disk"}, []string{"no news"}},
		{nil, nil},
		{[]string{"nobodys"}, []string{"no news"}},
		{[]string{"h000-disk"}, []string{"h000-disk"}},
	} {
		if got := told(c.say...); !slices.Equal(got, c.want) {
			t.Errorf("of %v it notes %v, not %v", c.say, got, c.want)
		}
	}
}

// The declaration of a wave zero names what it begins with: what has points, none of which may be restored as it is.
func TestWhatWaveZeroBeginsWith(t *testing.T) {
	p := testPlaybook()
	f, points := stocked(open(3))
	f.DataSets = append(f.DataSets, DataSet{Name: "h000-a", Host: "h000", Kind: PointFiles, Repository: "vault", Target: "/srv/a"}) // and no point
	f.DataSets = append(f.DataSets, DataSet{Name: "h000-b", Host: "h000", Kind: PointFiles, Repository: "vault", Target: "/srv/b"})
	points = append(points, point("h000-b", "newest", t0.Add(-4*time.Hour), L0))
	for i := range points {
		if points[i].DataSet != "h001-disk" {
			points[i].Checks = nil
		}
	}
	for zero, want := range map[bool][]string{false: nil, true: {"h000-b", "h000-disk", "h002-disk"}} {
		x := newSim(t, f, p)
		declared := x.must(Declare{Incident: "i", Fleet: f, Playbook: p, Points: points, WaveZero: zero})[0].(*IncidentDeclared)
		if !slices.Equal(declared.Verifying, want) {
			t.Errorf("wave zero %v: %v, not %v", zero, declared.Verifying, want)
		}
	}
}

// Only a restore that has not been tried, and that the playbook lets restart what it restarts, is worth waiting for.
func TestWhatIsWorthWaitingFor(t *testing.T) {
	x, h := unverified(t, nil)
	x.fails(h, Failed)
	if h.Rung = 1; x.s.following(h) != 2 {
		t.Fatalf("rung %d follows rung 1", x.s.following(h))
	}
	h.Attempts = append(h.Attempts, Attempt{ID: "h000/3", Rung: 2, Ended: x.now})
	if x.s.following(h) != -1 {
		t.Errorf("a restore that was tried: rung %d follows rung 1", x.s.following(h))
	}
	h.Host.Ladder[2].Reboots = true
	for reboot, want := range map[RebootPolicy]bool{RebootRequired: true, RebootForbidden: false} {
		if got := (terms{Playbook: Playbook{Reboot: reboot}, stock: x.s.stock}).awaited(h.Host, &h.Host.Ladder[2]); got != want {
			t.Errorf("a restore that restarts the host is awaited where a restart is %s: %v", reboot, got)
		}
	}
}

// A check goes on when its agent has lost its connection, and nobody can know whether it does when that is silent for long. No coordinator, no silence.
func TestNobodyWaitsForASilentAgent(t *testing.T) {
	x, h := unverified(t, nil)
	x.fails(h, Failed)
	still := Learnt{Verifying: []string{"h000-disk"}}
	x.far["h000"].up = false
	x.hear(Sighting{Host: "h000", Source: "agent"})
	silent := x.now
	x.advance(4 * time.Minute)
	x.now = x.now.Add(time.Hour)
	x.must(Restarted{Alive: x.now.Add(-time.Hour)})
	x.must(still)
	x.settle()
	if h.Phase != Waiting {
		t.Fatalf("%s of silence, of which no coordinator ran for an hour: it is %s: %s", x.now.Sub(silent), h.Phase, h.Reason)
	}
	x.advance(time.Minute)
	x.must(still)
	x.settle()
	if h.Phase != NeedsHands {
		t.Errorf("after five minutes of silence it is %s: %s", h.Phase, h.Reason)
	}
	x.far["h000"].up = true
	x.hear(x.far["h000"].facts())
	if events := x.must(still); len(events) != 1 || !slices.Equal(events[0].(*PointsLearnt).Verifying, still.Verifying) {
		t.Errorf("when it is back: %+v", events)
	}
}
