package recovery

import (
	"slices"
	"testing"
	"time"
)

// Corners that a mutation of the code once went through unseen.

func TestProofFailedGoesOn(t *testing.T) {
	fails := func(x *sim, h *HostState) {
		x.advance(testPlaybook().VerifyWithin)
		x.queue = nil
	}
	// Two tries per rung, each claimed and not proven, then the next rung, then a person.
	x, h := claimed(t, nil)
	for _, want := range []struct {
		phase Phase
		rung  int
	}{{Attempting, 0}, {Attempting, 1}, {Attempting, 1}, {NeedsHands, 1}} {
		fails(x, h)
		if h.Phase != want.phase || h.Rung != want.rung {
			t.Fatalf("after %d attempts %s on rung %d (%s), want %+v", len(h.Attempts), h.Phase, h.Rung, h.Reason, want)
		}
		if h.Phase == Attempting {
			x.result(h, Result{Class: Succeeded})
		}
	}
	// Hand work without proof goes back to the person.
	x.must(HandsDone{Host: "h000", By: "ann"})
	fails(x, h)
	if h.Phase != NeedsHands {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
	// The cap holds here too.
	x, h = claimed(t, func(f *Fleet, _ *Playbook) { f.Policy.MaxAttempts = 1 })
	fails(x, h)
	if h.Phase != NeedsHands {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

func TestDebtsAreOwedOncePerRepair(t *testing.T) {
	f := flat(1)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	h, m := x.s.order[0], x.far["h000"]
	x.run("recovered", func() bool { return h.Phase == Recovered })
	x.must(ClearDebt{Host: "h000", Debt: "agent-disabled", By: "ann"})
	x.must(Pause{})
	m.bad = 1
	x.see(m.facts())
	m.bad = 0 // it heals by itself
	m.boot++
	m.answered = ""
	x.see(m.facts())
	x.settle()
	x.advance(time.Minute)
	x.must(Resume{})
	x.settle()
	x.run("recovered again", func() bool { return h.Phase == Recovered })
	if len(h.Attempts) != 1 || len(h.Debts) != 1 {
		t.Errorf("%d attempts, debts %+v", len(h.Attempts), h.Debts)
	}
}

func TestOutOfScopeHostsStayOut(t *testing.T) {
	f := flat(2)
	f.Hosts[1].EDR.Product = "other"
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.see(x.far["h001"].facts())
	if x.s.hosts["h001"].Phase != NotHit {
		t.Error("a host that the playbook is not for is taken in")
	}
	f = flat(2)
	x = newSim(t, f, testPlaybook())
	x.far["h001"].bad = 0
	x.far["h001"].up = true
	x.hear(x.far["h001"].facts())
	x.start(f, testPlaybook())
	x.must(Abort{})
	x.far["h001"].bad = 1
	x.see(x.far["h001"].facts())
	if x.s.hosts["h001"].Phase != NotHit {
		t.Error("an aborted incident takes a host in")
	}
}

func TestAHostOnTheHandsBoardMayComeBackByItself(t *testing.T) {
	x, h := one(t, nil)
	x.result(h, Result{Class: AuthRefused})
	x.far["h000"].bad = 0
	x.see(answer(h, "b2", x.s.Instruct("h000", x.now).ID))
	if h.Phase != Verifying || h.ProvenAt.IsZero() {
		t.Errorf("%s", h.Phase)
	}
}

func TestAnAbortedIncidentIsNotPausedBySilence(t *testing.T) {
	f := open(10)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("most are back", func() bool { return x.phases()[Recovered] >= 8 })
	x.see(x.far["h000"].facts())
	x.far["h000"].bad = 1
	x.see(x.far["h000"].facts())
	x.far["h000"].bad = 0
	x.must(Abort{})
	for _, m := range x.far {
		if x.s.hosts[m.host.Name].Phase == Recovered {
			m.up = false
			x.hear(Sighting{Host: m.host.Name})
		}
	}
	x.now = x.now.Add(time.Hour)
	sv := x.s.survey(x.now)
	if len(sv.quiet) < 4 || x.s.silences(sv, x.now) != nil {
		t.Errorf("%d quiet", len(sv.quiet))
	}
}

// A sighting that was seen but not judged before a crash still counts when the wait for it ends.
func TestExpiryTakesAProofInHand(t *testing.T) {
	x, h := claimed(t, nil)
	x.hear(answer(h, "b2", "h000/1/verify/0"))
	x.advance(testPlaybook().VerifyWithin)
	if h.Phase != Verifying || h.ProvenAt.IsZero() {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

func TestAPassedWaveIsNotHeldForItsShare(t *testing.T) {
	f := open(2)
	f.Policy.MaxRelapses = -1 // every relapse goes to a person
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	w := x.s.Waves[0]
	x.run("passed", func() bool { return !w.PassedAt.IsZero() })
	x.far["h000"].bad = 1
	x.see(x.far["h000"].facts())
	x.settle()
	if x.s.hosts["h000"].Phase != NeedsHands || w.HeldBy != "" || w.Status() != "passed" {
		t.Errorf("%s, held by %q", x.s.hosts["h000"].Phase, w.HeldBy)
	}
}

func TestAHeldWaveDoesNotPass(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) {
		f.Tiers[0].Gate.SuccessPercent, f.Tiers[0].Gate.MaxFailed = 50, Limit{Count: 1}
	}, firstN(2, Result{Class: HostKeyMismatch}))
	w := x.s.Waves[0]
	x.run("held", func() bool { return w.HeldBy != "" })
	for _, name := range []string{"h000", "h001"} { // their failures end, the hold does not: a person must look
		m := x.far[name]
		m.bad = 0
		x.boots(m)
		x.must(HandsDone{Host: name, By: "ann"})
	}
	x.settle()
	x.run("all recovered", x.all(Recovered))
	x.advance(time.Hour)
	if !w.PassedAt.IsZero() || w.HeldBy != BreakerFailed {
		t.Fatalf("%s by %s", w.Status(), w.HeldBy)
	}
	x.must(Resume{})
	x.settle()
	if w.PassedAt.IsZero() {
		t.Error("it does not pass after the resume")
	}
}

// Hosts that join a wave after it opened do not make up for those that it was opened with.
func TestJoinedHostsDoNotFillTheShare(t *testing.T) {
	f := open(4)
	f.Tiers[0].Gate.SuccessPercent = 100
	x := newSim(t, f, testPlaybook())
	x.far["h003"].bad, x.far["h003"].up = 0, true
	x.hear(x.far["h003"].facts())
	x.script = func(m *machine, _ Job) Result {
		if m.host.Name == "h000" {
			return Result{Class: HostKeyMismatch}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	x.far["h003"].bad = 1
	x.see(x.far["h003"].facts())
	x.settle()
	x.run("settled", func() bool { return x.s.Settled() })
	st := x.s.standing(x.s.Waves[0], x.s.survey(x.now).waves[0], x.now)
	if x.phases()[Recovered] != 3 || st.Recovered != 2 || st.Size != 3 || x.s.Waves[0].HeldBy != BreakerBelowShare {
		t.Errorf("%v, %+v", x.phases(), st)
	}
}

// Critical hosts go before fairness between councils.
func TestCriticalBeforeFair(t *testing.T) {
	f := open(12)
	f.Resources = []Resource{{Name: ResourceSSH, Slots: 2}}
	for i := range f.Hosts {
		f.Hosts[i].OS, f.Hosts[i].Council = "linux", "other"
		if i >= 9 {
			f.Hosts[i].Critical, f.Hosts[i].Council = true, "one"
		}
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("the canaries are done", func() bool {
		return len(x.attempting()) == 2 && x.s.hosts["h001"].Phase != Attempting && x.s.hosts["h002"].Phase != Attempting
	})
	if got := x.attempting(); !slices.Equal(got, []string{"h009", "h010"}) {
		t.Errorf("%v", got)
	}
}

func TestJobsRestartWhatThePlaybookWants(t *testing.T) {
	for _, c := range []struct {
		policy  RebootPolicy
		reboots bool // of the rung
		want    bool
	}{{RebootRequired, false, true}, {RebootRequired, true, true}, {RebootHelps, false, false}, {RebootHelps, true, true}, {RebootForbidden, false, false}} {
		x, h := one(t, func(f *Fleet, p *Playbook) {
			p.Reboot = c.policy
			f.Hosts[0].Ladder[0].Reboots = c.reboots
		})
		j := x.s.Work(x.now)[0]
		if j.Reboot != c.want {
			t.Errorf("%+v: %v", c, j.Reboot)
		}
		if j.ID != "h000/1" || j.Kind != JobRepair || j.Rung.Name != "own" || j.Timeout != testPlaybook().Timeout+connectAllowance || j.Host.Name != h.Host.Name || j.Incident != "i-1" {
			t.Errorf("%+v", j)
		}
	}
}

// Wake names every moment at which time alone changes something, to the nanosecond.
func TestWake(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func() *sim
		after   time.Duration
	}{
		"claim": {func() *sim {
			x, h := one(t, nil)
			x.result(h, Result{Class: AuthRefused})
			x.must(Claim{Host: "h000", By: "ann", For: time.Hour})
			x.must(Retry{Host: "h000"})
			return x
		}, time.Hour + 1},
		"healing": {func() *sim {
			f := flat(1)
			x := newSim(t, f, testPlaybook())
			x.hear(well(&HostState{Host: &f.Hosts[0]}, "b1"))
			x.s.seen["h000"] = Sighting{Host: "h000", Connected: true, BootID: "b1", BootAt: t0, WasBad: []string{digest1}, Content: []Content{{Playbook: digest1, Good: 1}}}
			return x.start(f, testPlaybook())
		}, 10 * time.Minute},
		"half silent": {func() *sim {
			f := flat(1)
			x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
			x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
			x.down(x.far["h000"])
			return x
		}, 150 * time.Second},
		"silent": {func() *sim {
			f := flat(1)
			x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
			x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
			x.down(x.far["h000"])
			x.now = x.now.Add(3 * time.Minute)
			return x
		}, 2 * time.Minute},
		"backoff": {func() *sim {
			x, h := one(t, nil)
			x.result(h, Result{Class: Unreachable})
			return x
		}, time.Minute},
		"proof": {func() *sim { x, _ := claimed(t, nil); return x }, 10 * time.Minute},
		"soak": {func() *sim {
			x, h := claimed(t, nil)
			x.see(answer(h, "b2", "h000/1/verify/0"))
			return x
		}, 15 * time.Minute},
		"proof after the soak": {func() *sim {
			x, h := claimed(t, nil)
			x.see(answer(h, "b2", "h000/1/verify/0"))
			x.now = x.now.Add(15 * time.Minute)
			return x
		}, 10 * time.Minute},
	} {
		x := c.prepare()
		if got := x.s.Wake(x.now).Sub(x.now); got != c.after {
			t.Errorf("%s: wakes after %s, want %s", name, got, c.after)
		}
	}
	if !NewState().Wake(t0).IsZero() {
		t.Error("nothing is declared, and it wakes")
	}
}

func TestAQuestionIsNewForEachAttemptAndSoak(t *testing.T) {
	x, h := claimed(t, nil)
	ask := func(want string) {
		t.Helper()
		if got := x.s.Instruct("h000", x.now); got.ID != want || got.Verify != (want != "") {
			t.Fatalf("asks %+v, want %s", got, want)
		}
	}
	ask("h000/1/verify/0")
	x.see(answer(h, "b2", "h000/1/verify/0"))
	ask("h000/1/verify/0") // nothing is asked during the soak
	x.advance(15 * time.Minute)
	ask("h000/1/verify/1")
	x.far["h000"].boot = 2
	x.see(answer(h, "b2", "h000/1/verify/1"))
	ask("")
	x.must(Pause{})
	v := well(h, "b2")
	v.Content[0].Bad = 1
	x.see(v)
	if h.Phase != Waiting {
		t.Fatal(h.Phase)
	}
	x.see(answer(h, "b2", "h000/1/verify/0"))
	if h.Phase != Waiting {
		t.Fatal("an answer from before the relapse proves that it is well")
	}
	x.must(Resume{})
	x.see(v)
	x.settle()
	ask("")
	x.queue = nil
	x.result(h, Result{Class: Succeeded})
	ask("h000/2/verify/0")
}

func TestAProvenHostFailsNoMore(t *testing.T) {
	x, h := one(t, nil)
	x.result(h, Result{Class: Unreachable})
	x.see(answer(h, "b2", x.s.Instruct("h000", x.now).ID))
	if h.Failure != nil || len(x.s.failures(0)) != 0 {
		t.Errorf("%+v", h.Failure)
	}
}

func TestARelapseStartsTheCapAnew(t *testing.T) {
	x, h := claimed(t, func(f *Fleet, _ *Playbook) { f.Policy.MaxAttempts = 2 })
	x.see(answer(h, "b2", "h000/1/verify/0"))
	v := well(h, "b2")
	v.Content[0].Bad = 1
	x.see(v)
	x.settle()
	x.result(h, Result{Class: Failed})
	if h.Phase != Waiting {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

func TestNothingFoundOnAnUntouchedHostWantsNoRestart(t *testing.T) {
	x, h := one(t, nil)
	h.bootAtStart = "b1"
	x.far["h000"].bad = 0
	x.see(well(h, "b1"))
	x.result(h, Result{Class: NothingFound})
	x.see(answer(h, "b1", "h000/1/verify/0"))
	if h.ProvenAt.IsZero() {
		t.Errorf("%s: %s", h.Phase, x.s.missing(h, x.now))
	}
}

func TestHandWorkWantsARestartToo(t *testing.T) {
	x, h := one(t, nil)
	h.bootAtStart = "b1"
	x.result(h, Result{Class: AuthRefused})
	x.must(HandsDone{Host: "h000", By: "ann"})
	x.far["h000"].bad = 0
	x.see(answer(h, "b1", "h000/2/verify/0"))
	if !h.ProvenAt.IsZero() {
		t.Fatal("proven in the boot from before")
	}
	x.see(answer(h, "b2", "h000/2/verify/0"))
	if h.ProvenAt.IsZero() {
		t.Errorf("%s: %s", h.Phase, x.s.missing(h, x.now))
	}
}

func TestPlanFreesMostFirst(t *testing.T) {
	f := flat(4)
	f.Services = []Service{{Name: "svc0", Tier: "tier0"}, {Name: "dns", Tier: "tier0"}, {Name: "app", Tier: "tier0", Needs: []string{"dns"}}}
	f.Hosts[3].Service = "dns"
	for i := range f.Hosts {
		f.Hosts[i].Groups = []string{"g"}
	}
	plan := NewPlan(f, testPlaybook(), Scope(f, testPlaybook(), nil, t0), Stock{})
	if got := plan.Waves[0].Hosts[0].Host; got != "h003" {
		t.Errorf("%s goes first", got)
	}
}
