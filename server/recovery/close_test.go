package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestClose(t *testing.T) {
	f := open(3)
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, _ Job) Result {
		if m.host.Name == "h002" {
			return Result{Class: HostKeyMismatch}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	if got := x.refuses(Close{}, KindRefused); !strings.Contains(got, "still being recovered") {
		t.Error(got)
	}
	x.run("settled", func() bool { return x.s.Settled() })
	if got := x.refuses(Close{}, KindRefused); !strings.Contains(got, "1 host on the hands board") {
		t.Error(got)
	}
	x.refuses(Skip{Host: "h002"}, KindInvalid)
	x.refuses(Skip{Host: "h000", Reason: "r"}, KindRefused)
	x.refuses(Skip{Host: "nobody", Reason: "r"}, KindNotFound)
	x.must(Skip{Host: "h002", Reason: "scrapped"})
	if x.s.hosts["h002"].Failure != nil {
		t.Error("a skipped host goes on failing")
	}
	if got := x.refuses(Close{}, KindRefused); !strings.Contains(got, "2 debts open") {
		t.Error(got)
	}
	for _, host := range []string{"h000", "h001"} {
		x.must(ClearDebt{Host: host, Debt: "agent-disabled", By: "ann", Note: "on"})
		x.refuses(ClearDebt{Host: host, Debt: "agent-disabled"}, KindNotFound)
	}
	if d := x.s.hosts["h000"].Debts[0]; d.By != "ann" || d.Cleared.IsZero() {
		t.Errorf("%+v", d)
	}
	x.must(Close{})
	got := last[*IncidentClosed](x)
	if got.Outcome != OutcomeWithExceptions || !slices.Contains(got.Exceptions, "h002 skipped: scrapped") || len(got.Exceptions) != 2 ||
		!strings.HasPrefix(got.Exceptions[1], "wave 1 has not passed its gate: ") {
		t.Errorf("%+v", got)
	}
	x.refuses(Close{}, KindRefused)
}

func TestAcceptedFailuresAreExceptions(t *testing.T) {
	f := open(2)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.result(x.s.order[0], Result{Class: Failed})
	x.must(Pause{})
	x.must(Resume{})
	x.settle()
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() && x.s.Settled() })
	for _, h := range x.s.order {
		x.must(ClearDebt{Host: h.Host.Name, Debt: "agent-disabled"})
	}
	x.must(Close{})
	if got := last[*IncidentClosed](x); got.Outcome != OutcomeWithExceptions || !slices.Equal(got.Exceptions, []string{"1 failure accepted on resume"}) {
		t.Errorf("%+v", got)
	}
}

func TestSkipAndPutBack(t *testing.T) {
	x, h := one(t, nil)
	x.result(h, Result{Class: AuthRefused})
	x.must(Skip{Host: "h000", Reason: "later"})
	x.see(answer(h, "b2", "h000/1/verify/0"))
	if h.Phase != Skipped {
		t.Fatalf("a skipped host moves by itself to %s", h.Phase)
	}
	x.see(Sighting{Host: "h000"})
	x.must(Retry{Host: "h000", Rung: "rescue"})
	if h.Phase != Waiting || h.Rung != 1 {
		t.Fatalf("%s on rung %d", h.Phase, h.Rung)
	}
	x.settle()
	x.refuses(Retry{Host: "h000"}, KindRefused) // attempting
	x.refuses(Retry{Host: "nobody"}, KindNotFound)
	x.result(h, Result{Class: Unreachable})
	x.must(Retry{Host: "h000", Rung: "rescue"}) // waiting, with a pause that the person does not want
	x.settle()
	if h.Phase != Attempting {
		t.Errorf("%s: %+v", h.Phase, x.s.Why(x.now))
	}
}

func TestRefusedAgentsAreRecordedOnceAMinute(t *testing.T) {
	x, _ := one(t, nil)
	r := Refused{Host: "h000", Peer: "192.0.2.9:1", Why: "wrong name"}
	for i, want := range []int{1, 0, 0, 1} {
		if got := len(x.must(r)); got != want {
			t.Errorf("time %d: %d events", i, got)
		}
		x.now = x.now.Add(25 * time.Second)
	}
	if got := len(x.must(Refused{Host: "h001", Why: "wrong name"})); got != 1 {
		t.Error("another host's is not recorded")
	}
	for i := range 3 * maxRefusals {
		x.now = x.now.Add(time.Hour)
		x.must(r)
		_ = i
	}
	if len(x.s.Refusals) != maxRefusals {
		t.Errorf("%d kept", len(x.s.Refusals))
	}
}

func TestForecast(t *testing.T) {
	f := flat(20)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := x.s.Forecast(x.now); !got.Earliest.IsZero() || !strings.Contains(got.Reason, "no pace") {
		t.Errorf("%+v", got)
	}
	x.run("half", func() bool { return x.phases()[Recovered] >= 7 })
	got := x.s.Forecast(x.now)
	if !got.Earliest.After(x.now) || got.Latest.Before(got.Earliest) || got.PerHour <= 0 {
		t.Errorf("%+v", got)
	}
	x.run("all", x.all(Recovered))
	if got := x.s.Forecast(x.now); !strings.Contains(got.Reason, "nothing is left") || !got.Earliest.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestVerdictsAndStatus(t *testing.T) {
	f := testFleet(6)
	x := newSim(t, f, testPlaybook())
	if x.s.Settled() {
		t.Error("nothing is settled")
	}
	x.must(Declare{Incident: "i", Fleet: f, Playbook: testPlaybook()})
	if v := x.s.Verdicts(x.now); v[0].Reason != "the plan is not approved yet" {
		t.Errorf("%+v", v)
	}
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	v := x.s.Verdicts(x.now)
	if v[0].Pass || v[0].Held || v[0].Reason != "0 of 2 needed are recovered" || v[1].Reason != "wave 1 has not passed its gate" || x.s.Status() != "running" {
		t.Errorf("%+v, %s", v, x.s.Status())
	}
	if w := x.s.Waves; w[0].Status() != "open" || w[1].Status() != "closed" {
		t.Errorf("%s %s", w[0].Status(), w[1].Status())
	}
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	if v := x.s.Verdicts(x.now); !v[0].Pass {
		t.Errorf("%+v", v)
	}
	if st := x.s.Services(); len(st) != 3 || !st[0].IsUp || st[0].Up != 2 || st[0].UpAt.IsZero() || st[1].IsUp || st[1].Reason == "" || !st[0].RTOAt.Equal(t0.Add(4*time.Hour)) {
		t.Errorf("%+v", st)
	}
}

// A wave that only soaks is waited for: closing early would make an exception of nothing.
func TestCloseWaitsForTheLastGate(t *testing.T) {
	f := open(2)
	f.Tiers[0].Gate.Soak = time.Hour
	p := testPlaybook()
	p.Debts = nil
	x := newSim(t, f, p).start(f, p)
	x.run("settled", func() bool { return x.s.Settled() })
	if got := x.refuses(Close{}, KindRefused); !strings.Contains(got, "wave 1 has not passed its gate yet: enough hosts are recovered; the wave soaks for") {
		t.Error(got)
	}
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	x.must(Close{})
	if got := last[*IncidentClosed](x); got.Outcome != OutcomeClosed {
		t.Errorf("%+v", got)
	}
}
