package recovery

import (
	"strings"
	"testing"
	"time"
)

// outsideSim is one host that only the rescue rung can help, with an incident under way.
func outsideSim(t *testing.T, change func(*Fleet)) (*sim, *HostState, *outsider) {
	t.Helper()
	f := outward(open(1), 4)
	f.Hosts[0].Ladder = f.Hosts[0].Ladder[2:] // rescue, helper, hands
	if change != nil {
		change(&f)
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	return x, x.s.hosts["h000"], x.outside["h000"]
}

func (x *sim) kinds(host string) string {
	var list []string
	for _, e := range x.entries {
		if hostOf(e.Event) == host {
			k := e.Event.Kind()
			if p, ok := e.Event.(*AttemptProgressed); ok {
				k = "step " + string(p.Step)
			}
			list = append(list, k)
		}
	}
	return strings.Join(list, ", ")
}

func TestRescueGoesStepByStepAndLeavesNoBootTarget(t *testing.T) {
	x, h, o := outsideSim(t, nil)
	x.run("it is recovered", func() bool { return h.Phase == Recovered })
	want := "attempt-started, step power-off, step boot-target, step power-on, rescue-served, step inside, step own-disk, attempt-ended, host-proven, host-recovered"
	if got := x.kinds("h000"); got != want {
		t.Errorf("story\n%s\nwant\n%s", got, want)
	}
	if o.rescue || o.cycles["h000/1"] != 1 || len(h.Debts) == 0 {
		t.Errorf("%+v with debts %+v", o, h.Debts)
	}
	for _, d := range h.Debts {
		if d.ID == DebtBootTarget && (d.Cleared.IsZero() || d.By != "engine" || d.Since.IsZero()) {
			t.Errorf("debt %+v", d)
		}
	}
}

func TestTheRescueSystemIsServedOnceAndOnlyWhenWaitedFor(t *testing.T) {
	x, h, o := outsideSim(t, nil)
	if text := x.refuses(BootAsked{Host: "h000"}, KindRefused); !strings.Contains(text, "does not wait") {
		t.Errorf("before it is switched on: %s", text)
	}
	o.never = true // it asks, is served, and comes up with its own disk all the same
	x.run("it waits", func() bool { return h.Attempts[0].Step == StepPowerOn })
	if got := x.s.RescueBoots(); len(got) != 1 || got[0] != (RescueBoot{"i-1", "h000/1", "h000"}) {
		t.Errorf("rescue boots %v", got)
	}
	if text := x.refuses(BootAsked{Host: "h000"}, KindRefused); !strings.Contains(text, "once each") {
		t.Errorf("a second time: %s", text)
	}
	x.crash()
	x.refuses(BootAsked{Host: "h000"}, KindRefused)
	x.refuses(BootAsked{Host: "nobody"}, KindNotFound)
	h = x.s.hosts["h000"]
	x.settle()
	x.run("the attempt ends", func() bool { return !h.Attempts[0].Ended.IsZero() })
	if text := x.refuses(BootAsked{Host: "h000"}, KindRefused); !strings.Contains(text, "no attempt on h000 wants") {
		t.Errorf("afterwards: %s", text)
	}
	if got := x.s.RescueBoots(); len(got) != 0 {
		t.Errorf("rescue boots %v", got)
	}
}

func TestTheRescueSystemIsNotServedTooLate(t *testing.T) {
	x, h, _ := outsideSim(t, nil)
	for _, s := range []Step{StepPowerOff, StepBootTarget, StepPowerOn} {
		x.must(Progressed{Job: "h000/1", Host: "h000", Step: s})
	}
	x.now = x.now.Add(h.Host.Ladder[0].waits() + time.Second)
	if text := x.refuses(BootAsked{Host: "h000"}, KindRefused); !strings.Contains(text, "too long") {
		t.Error(text)
	}
}

func TestStepsOnlyGoForwardAndOnlyOfTheAttemptUnderWay(t *testing.T) {
	x, h, _ := outsideSim(t, nil)
	step := func(s Step) Progressed {
		return Progressed{Job: "h000/1", Host: "h000", Step: s, Note: "by \x1b[31mbmc\nof dc1"}
	}
	x.must(step(StepPowerOn))
	if want := "rung rescue: switching it on and waiting for the rescue system: by bmc of dc1"; h.Reason != want {
		t.Errorf("reason %q, want %q", h.Reason, want)
	}
	if again := x.must(step(StepPowerOn)); len(again) != 0 {
		t.Errorf("the same step again: %v", again)
	}
	x.refuses(step(StepPowerOff), KindRefused)
	x.refuses(step("sideways"), KindInvalid)
	x.refuses(step(""), KindInvalid)
	x.refuses(Progressed{Job: "h000/2", Host: "h000", Step: StepInside}, KindRefused)
	x.refuses(Progressed{Job: "h000/1", Host: "nobody", Step: StepInside}, KindNotFound)
	if j := x.s.Work(x.now); len(j) != 1 || j[0].Step != StepPowerOn {
		t.Errorf("work %+v", j)
	}
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Failed}})
	x.refuses(step(StepInside), KindRefused)
}

// The coordinator may be killed at any moment: the host is switched on for the rescue system once, and the script runs once.
func TestACrashAtAnyStepRepeatsNothing(t *testing.T) {
	for n := range 40 {
		x, h, o := outsideSim(t, nil)
		for i := 0; h.Phase != Recovered; i++ {
			if i == n {
				x.crash()
				h = x.s.hosts["h000"]
				x.settle()
			}
			if i > 400 || !x.step() {
				x.dump()
				t.Fatalf("crash at %d: stuck", n)
			}
		}
		if o.cycles["h000/1"] != 1 || x.starts["h000/1"] != 1 || len(h.Attempts) != 1 {
			t.Errorf("crash at %d: %d cycles, %d executions, %d attempts", n, o.cycles["h000/1"], x.starts["h000/1"], len(h.Attempts))
		}
	}
}

func TestABootTargetThatStaysIsClearedByWorkOfItsOwn(t *testing.T) {
	x, h, o := outsideSim(t, nil)
	o.forgets = true
	x.run("the target is set", func() bool { return o.rescue && h.Attempts[0].Step == StepPowerOn })
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Lost}}) // nothing was read back
	x.far["h000"].bad = 0
	x.settle()
	if j := x.s.Work(x.now); len(j) != 1 || j[0].Kind != JobUnboot || j[0].ID != "h000/1/unboot/1" || j[0].Rung.Name != "rescue" {
		t.Fatalf("work %+v", j)
	}
	o.deaf = true
	x.run("a try fails", func() bool { return h.unboot.tries == 2 })
	x.boots(x.far["h000"])
	x.run("it lacks only that", func() bool { return x.s.missing(h, x.now) == bootTargetOpen })
	x.refuses(Close{}, KindRefused)
	o.deaf = false
	x.run("it is recovered", func() bool { return h.Phase == Recovered })
	if o.rescue || h.hasDebt(DebtBootTarget) || len(h.Attempts) != 1 {
		t.Errorf("%+v, debts %+v, %d attempts", o, h.Debts, len(h.Attempts))
	}
}

// A well host whose BMC is dead is not restarted again: it goes to a person, whose word counts once a try of ours has failed.
func TestOnlyTheBootTargetIsMissing(t *testing.T) {
	x, h, o := outsideSim(t, func(f *Fleet) { f.Policy.BackoffMax = 30 * time.Second })
	x.run("it is inside", func() bool { return h.Attempts[0].Step == StepInside })
	o.deaf = true
	x.refuses(ClearDebt{Host: "h000", Debt: DebtBootTarget, By: "ann", Note: "looked"}, KindRefused)
	x.run("it needs hands", func() bool { return h.Phase == NeedsHands })
	if !strings.Contains(h.Reason, "a person looks at its boot order") || len(h.Attempts) != 1 {
		t.Errorf("%s after %d attempts", h.Reason, len(h.Attempts))
	}
	stuck := 0
	for _, e := range x.entries {
		if _, ok := e.Event.(*BootTargetStuck); ok {
			stuck++
		}
	}
	if stuck < 2 {
		t.Errorf("%d tries to clear it", stuck)
	}
	x.refuses(ClearDebt{Host: "h000", Debt: DebtBootTarget, By: "ann"}, KindRefused)
	x.refuses(ClearDebt{Debt: DebtBootTarget, By: "ann"}, KindRefused)
	o.rescue = false
	x.must(ClearDebt{Host: "h000", Debt: DebtBootTarget, By: "ann", Note: "seen at the console"})
	x.see(x.far["h000"].facts())
	x.settle()
	x.run("it is recovered", func() bool { return h.Phase == Recovered })
	if j := x.s.Work(x.now); len(j) != 0 {
		t.Errorf("work %v", j)
	}
}

// While an attempt works on the host, no job that clears its boot target is under way, so none can have cleared it. (Found by the
// simulator.)
func TestALateUnbootSaysNothingDuringAnAttempt(t *testing.T) {
	x, h, o := outsideSim(t, nil)
	x.run("the target is set", func() bool { return o.rescue && h.Attempts[0].Step == StepBootTarget })
	if got := x.must(Finished{Job: "h000/1/unboot/1", Host: "h000", Result: Result{Class: Succeeded, BootTarget: BootTargetDisk}}); len(got) != 0 {
		t.Errorf("it is taken for news: %+v", got[0])
	}
	if h.unboot == nil || !h.hasDebt(DebtBootTarget) {
		t.Errorf("%+v, debts %+v", h.unboot, h.Debts)
	}
}

func TestAnAbortDoesNotLeaveABootTargetWithoutATry(t *testing.T) {
	x, h, o := outsideSim(t, nil)
	o.forgets = true
	x.run("the target is set", func() bool { return o.rescue && h.Attempts[0].Step == StepPowerOn })
	o.deaf = true
	x.must(Abort{Reason: "test"})
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: AuthRefused}})
	x.settle()
	x.run("it is closed", func() bool { return x.s.over() })
	if h.unboot == nil || h.unboot.tries != triesAtAbort || !h.hasDebt(DebtBootTarget) {
		t.Errorf("%+v, debts %+v", h.unboot, h.Debts)
	}
}

func TestANetworkBootLeavesNothingToClear(t *testing.T) {
	x, h, _ := outsideSim(t, func(f *Fleet) { f.Hosts[0].Ladder[0].Boot = nil })
	for _, s := range []Step{StepPowerOff, StepPowerOn} {
		x.must(Progressed{Job: "h000/1", Host: "h000", Step: s})
	}
	x.must(BootAsked{Host: "h000", Peer: "192.0.2.1:80"})
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Failed}})
	if len(h.Debts) != 0 || h.unboot != nil {
		t.Errorf("debts %+v", h.Debts)
	}
}

func TestALockedDiskGoesToAPersonWithItsKeyID(t *testing.T) {
	x, h, _ := outsideSim(t, nil)
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Locked, Signature: "volume locked", Detail: "LUKS volume 7f3c has no key"}})
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "LUKS volume 7f3c") {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

// A host that was restarted after the attempt and answers with bad content has disproven the claim: nobody waits the whole time.
func TestBadContentAfterAnotherRestartDisprovesAtOnce(t *testing.T) {
	f := open(1)
	x := newSim(t, f, testPlaybook())
	m := x.far["h000"]
	m.up = true
	x.hear(m.facts())
	x.start(f, testPlaybook())
	h := x.s.hosts["h000"]
	m.noBoot = true // the simulator plays no restart of its own
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Lost, Boot: m.bootID()}})
	until := h.verifyBy
	answer := func() {
		v := m.facts()
		v.Answers = h.askAt(false)
		x.see(v)
	}
	answer()
	if h.Phase != Verifying {
		t.Fatalf("%s by an answer out of the boot before: the script may still run there", h.Phase)
	}
	m.boot++
	answer()
	if h.Phase != Waiting || !strings.Contains(h.Reason, "after another restart") || !x.s.clock(x.now).Before(until) {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}

// A coordinator that was killed while it waited for the rescue system knows that no script had been started: nobody waits for a proof.
func TestAnUnreachedRescueIsNotLostAfterACrash(t *testing.T) {
	for step, want := range map[Step]Class{StepPowerOn: Unreachable, StepInside: Lost, StepOwnDisk: Lost} {
		x, h, _ := outsideSim(t, nil)
		x.must(Progressed{Job: "h000/1", Host: "h000", Step: step})
		x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Unreachable, Signature: "rescue system does not answer"}, Resumed: true})
		if got := h.Attempts[0].Result.Class; got != want || (h.Phase == Verifying) != (want == Lost) {
			t.Errorf("after %s: %s and %s, want %s", step, got, h.Phase, want)
		}
	}
}
