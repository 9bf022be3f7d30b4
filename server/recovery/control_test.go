package recovery

import (
	"strings"
	"testing"
	"time"
)

// While an incident is paused nothing starts and no clock runs: soak, backoff, verification, lease, claim, gate.
func TestPauseFreezesEveryClock(t *testing.T) {
	pause := func(x *sim) {
		x.must(Pause{Reason: "lunch"})
		x.refuses(Pause{}, KindRefused)
		x.settle()
		if !x.s.Wake(x.now).IsZero() {
			t.Errorf("wakes at %s", x.s.Wake(x.now))
		}
		x.now = x.now.Add(100 * time.Hour)
		x.settle()
	}
	resume := func(x *sim) {
		x.must(Resume{})
		x.settle()
	}
	t.Run("lease", func(t *testing.T) {
		x, h := one(t, nil)
		left := x.s.Wake(x.now).Sub(x.now)
		pause(x)
		resume(x)
		if h.Phase != Attempting || x.s.Wake(x.now).Sub(x.now) != left {
			t.Errorf("%s, wake in %s, want %s", h.Phase, x.s.Wake(x.now).Sub(x.now), left)
		}
		x.advance(left)
		if h.Phase != Waiting {
			t.Errorf("%s", h.Phase)
		}
	})
	t.Run("backoff", func(t *testing.T) {
		x, h := one(t, nil)
		x.result(h, Result{Class: Unreachable})
		x.advance(30 * time.Second)
		pause(x)
		if got := x.s.Why(x.now)["h000"]; got != (Reason{WaitPaused, "lunch"}) {
			t.Errorf("%+v", got)
		}
		resume(x)
		x.advance(29 * time.Second)
		if h.Phase != Waiting || x.s.Why(x.now)["h000"].Code != WaitBackoff {
			t.Fatalf("%s, %+v", h.Phase, x.s.Why(x.now))
		}
		x.advance(time.Second)
		if h.Phase != Attempting {
			t.Errorf("%s", h.Phase)
		}
	})
	t.Run("verification", func(t *testing.T) {
		x, h := claimed(t, nil)
		x.advance(4 * time.Minute)
		pause(x)
		if h.Phase != Verifying {
			t.Fatal(h.Phase)
		}
		resume(x)
		x.advance(6*time.Minute - time.Second)
		if h.Phase != Verifying {
			t.Fatal(h.Phase)
		}
		x.advance(time.Second)
		if h.Phase == Verifying {
			t.Error(h.Phase)
		}
	})
	t.Run("soak", func(t *testing.T) {
		x, h := claimed(t, nil)
		x.see(answer(h, "b2", "h000/1/verify/0"))
		x.far["h000"].boot = 2
		x.advance(5 * time.Minute)
		pause(x)
		x.see(answer(h, "b2", "h000/1/verify/1"))
		if h.Phase != Verifying {
			t.Fatal(h.Phase)
		}
		resume(x)
		x.advance(10*time.Minute - time.Second)
		x.see(answer(h, "b2", "h000/1/verify/1"))
		if h.Phase != Verifying || x.s.soakOver(h, x.now) {
			t.Fatal(h.Phase)
		}
		x.advance(time.Second)
		x.see(answer(h, "b2", "h000/1/verify/1"))
		if h.Phase != Recovered {
			t.Error(h.Phase)
		}
	})
	t.Run("a proof during the pause soaks after it", func(t *testing.T) {
		x, h := claimed(t, nil)
		pause(x)
		x.see(answer(h, "b2", "h000/1/verify/0"))
		if h.ProvenAt.IsZero() {
			t.Fatal("in-flight work does not end by itself")
		}
		x.now = x.now.Add(time.Hour)
		resume(x)
		if got := x.s.Wake(x.now).Sub(x.now); got != 15*time.Minute {
			t.Errorf("soaks for %s", got)
		}
	})
	t.Run("claim", func(t *testing.T) {
		x, h := one(t, nil)
		x.result(h, Result{Class: AuthRefused})
		x.must(Claim{Host: "h000", By: "ann", For: time.Hour})
		pause(x)
		if x.s.owner(h, x.now) != "ann" {
			t.Error("the claim ran out in the pause")
		}
		resume(x)
		x.advance(time.Hour + 1)
		if x.s.owner(h, x.now) != "" {
			t.Error("the claim never runs out")
		}
	})
	t.Run("gate", func(t *testing.T) {
		f := open(2)
		x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
		x.run("recovered", x.all(Recovered))
		x.advance(4 * time.Minute)
		pause(x)
		resume(x)
		if !x.s.Waves[0].PassedAt.IsZero() {
			t.Fatal("it soaked in the pause")
		}
		x.advance(time.Minute)
		if x.s.Waves[0].PassedAt.IsZero() {
			t.Error("it does not pass")
		}
	})
	t.Run("two pauses", func(t *testing.T) {
		x, _ := one(t, nil)
		for range 2 {
			x.advance(time.Minute)
			x.must(Pause{})
			x.now = x.now.Add(time.Hour)
			x.must(Resume{})
		}
		at := t0.Add(2*time.Minute + 2*time.Hour)
		if got := x.s.clock(at); !x.now.Equal(at) || !got.Equal(t0.Add(2*time.Minute)) || !x.s.wall(got).Equal(at) {
			t.Errorf("clock %s at %s", got, x.now)
		}
		if got := x.s.clock(t0.Add(31 * time.Minute)); !got.Equal(t0.Add(time.Minute)) {
			t.Errorf("clock in the first pause %s", got)
		}
		if got := x.s.clock(t0.Add(61*time.Minute + 30*time.Second)); !got.Equal(t0.Add(90 * time.Second)) {
			t.Errorf("clock between the pauses %s", got)
		}
	})
}

func TestPauseStartsNothing(t *testing.T) {
	f := open(DefaultSSHSlots + 8)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	flying := x.attempting()
	x.must(Pause{})
	x.advance(10 * time.Minute)
	if len(x.attempting()) != 0 || len(x.phases()) != 2 || x.phases()[Verifying] != len(flying) {
		t.Errorf("in flight work does not end by itself: %v", x.phases())
	}
	x.refuses(Close{}, KindRefused)
	x.must(Resume{Reason: "on"})
	x.settle()
	if len(x.attempting()) == 0 {
		t.Error("nothing starts again")
	}
	x.refuses(Resume{}, KindRefused)
	x.refuses(Resume{Wave: 7}, KindNotFound)
	x.refuses(Resume{Wave: -1}, KindNotFound)
	x.refuses(Resume{Wave: 1}, KindRefused)
}

// An abort says for each host what becomes of it, and closes the incident when what is in flight has ended.
func TestAbort(t *testing.T) {
	f := open(6)
	f.Hosts[3].EDR.Product = "other"
	f.Resources = []Resource{{Name: ResourceSSH, Slots: 1}}
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, _ Job) Result {
		if m.host.Name == "h001" {
			return Result{Class: AuthRefused}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	x.run("one back", func() bool { return x.phases()[Recovered] == 1 && x.phases()[Attempting] == 0 })
	x.must(Retry{Host: "h001"})
	x.script = func(*machine, Job) Result { return Result{Class: AuthRefused} }
	x.settle()
	if x.s.hosts["h001"].Phase != Attempting {
		t.Fatal(x.s.hosts["h001"].Phase)
	}
	x.s.hosts["h005"].Phase = NeedsHands
	x.must(Abort{Reason: "wrong playbook"})
	got := map[string]string{}
	for _, fate := range last[*IncidentAborted](x).Fates {
		got[fate.Host] = string(x.s.hosts[fate.Host].Phase) + ": " + fate.Rule
	}
	for host, h := range x.s.hosts {
		want := string(h.Phase) + ": " + map[Phase]string{Recovered: "stays recovered", Attempting: "the attempt under way ends by itself", Verifying: "its proof is awaited",
			Waiting: "not started", NeedsHands: "stays on the hands board"}[h.Phase]
		if h.Phase == NotHit {
			want = ""
		}
		if !strings.HasPrefix(got[host], want) || want == "" && got[host] != "" {
			t.Errorf("%s: %q, want %q", host, got[host], want)
		}
	}
	x.refuses(Abort{}, KindRefused)
	x.refuses(Pause{}, KindRefused)
	x.refuses(Close{}, KindRefused)
	x.refuses(Retry{Host: "h001"}, KindRefused)
	before := count[*AttemptStarted](x)
	x.settle()
	if x.s.Status() != "aborting" || x.s.Why(x.now)["h004"].Code != WaitAborted && x.s.hosts["h004"].Phase == Waiting {
		t.Errorf("%s", x.s.Status())
	}
	x.run("closed", func() bool { return !x.s.Closed.IsZero() })
	if x.s.Outcome != OutcomeAborted || count[*AttemptStarted](x) != before || len(x.s.Work(x.now)) != 0 {
		t.Errorf("%s, %d attempts started", x.s.Outcome, count[*AttemptStarted](x)-before)
	}
	// Nothing in it can be changed any more; only debts are cleared.
	x.refuses(Skip{Host: "h004", Reason: "r"}, KindRefused)
	for _, in := range []Input{Tick{}, Sighted{well(x.s.hosts["h004"], "b")}, Finished{Job: "h000/1", Host: "h000"}, Refused{Host: "h000"}} {
		if events := x.must(in); len(events) != 0 {
			t.Errorf("%T: %+v", in, events)
		}
	}
	for _, h := range x.s.order {
		for _, d := range h.Debts {
			x.must(ClearDebt{Host: h.Host.Name, Debt: d.ID, By: "ann"})
		}
	}
	if x.s.OpenDebts() != 0 {
		t.Error("debts stay open")
	}
}

func TestAbortWhilePausedAndBeforeApproval(t *testing.T) {
	x, h := claimed(t, nil)
	x.must(Pause{})
	x.now = x.now.Add(time.Hour)
	x.must(Abort{})
	x.settle()
	if !x.s.Closed.IsZero() || h.Phase != Verifying || x.s.Wake(x.now).IsZero() {
		t.Fatal("it does not wait for what is in flight")
	}
	x.run("closed", func() bool { return !x.s.Closed.IsZero() })

	f := open(2)
	x = newSim(t, f, testPlaybook())
	x.must(Declare{Incident: "i", Fleet: f, Playbook: testPlaybook()})
	x.refuses(Close{}, KindRefused)
	x.must(Abort{Reason: "a drill"})
	x.refuses(Approve{Digest: x.s.Plan.Digest}, KindRefused)
	x.settle()
	if x.s.Outcome != OutcomeAborted || count[*AttemptStarted](x) != 0 {
		t.Errorf("%q", x.s.Outcome)
	}
}

// The time in which no coordinator ran is nobody's fault: deadlines go on where they stood, a pause stays one pause, and a
// closed incident takes no notice.
func TestRestartGivesTheLostTimeBack(t *testing.T) {
	x, h := claimed(t, nil) // ten minutes to prove itself
	x.advance(4 * time.Minute)
	alive := x.now
	x.now = x.now.Add(100 * time.Hour)
	x.must(Restarted{Alive: alive})
	x.settle()
	x.advance(6*time.Minute - time.Second)
	if h.Phase != Verifying {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.advance(time.Second)
	if h.Phase == Verifying {
		t.Error("its deadline never came")
	}
	t.Run("while paused", func(t *testing.T) {
		x, h := claimed(t, nil)
		x.advance(4 * time.Minute)
		x.must(Pause{Reason: "lunch"})
		alive := x.now.Add(time.Hour)
		x.now = x.now.Add(50 * time.Hour)
		x.must(Restarted{Alive: alive})
		x.now = x.now.Add(50 * time.Hour)
		x.must(Resume{})
		x.settle()
		x.advance(6*time.Minute - time.Second)
		if h.Phase != Verifying {
			t.Fatalf("%s: %s", h.Phase, h.Reason)
		}
		x.advance(time.Second)
		if h.Phase == Verifying {
			t.Error("its deadline never came")
		}
	})
	t.Run("clock set back", func(t *testing.T) {
		x, _ := claimed(t, nil)
		before := x.s.clock(x.now)
		x.must(Restarted{Alive: x.now.Add(time.Hour)})
		if x.s.clock(x.now) != before {
			t.Error("the clock moved")
		}
	})
}

// There is no forecasting people: while only they can make the work go on, no time is promised.
func TestNoForecastWhilePeopleDecide(t *testing.T) {
	f := open(2)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.must(Pause{Reason: "lunch"})
	if r := x.s.Forecast(x.now); r.Reason != "none while the incident is paused" || !r.Earliest.IsZero() {
		t.Errorf("%+v", r)
	}
	x.must(Resume{})
	x.s.Waves[0].HeldBy = BreakerFailed
	if r := x.s.Forecast(x.now); r.Reason != "none while wave 1 is held" || !r.Earliest.IsZero() {
		t.Errorf("%+v", r)
	}
}
