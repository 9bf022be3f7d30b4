package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDependenciesHold(t *testing.T) {
	f := open(4)
	f.Services = []Service{{Name: "dns", Tier: "tier0", UpPercent: 100}, {Name: "app", Tier: "tier0", Needs: []string{"dns"}}, {Name: "far", Tier: "later", Needs: []string{"dns", "none"}}}
	f.Tiers = append(f.Tiers, Tier{Name: "later", Gate: f.Tiers[0].Gate})
	f.Tiers[0].Gate.SuccessPercent = 25
	f.Hosts[0].Service, f.Hosts[1].Service, f.Hosts[2].Service = "dns", "dns", "app"
	f.Hosts[3].Service, f.Hosts[3].Tier = "far", "later"
	f.Services[2].Needs = []string{"dns"}
	f.Hosts[1].Critical = false
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, _ Job) Result {
		if m.host.Name == "h001" {
			return Result{Class: AuthRefused}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	if got := x.s.Why(x.now)["h002"]; got != (Reason{WaitDependency, "service dns is down: 0 hosts of 2 hosts needed up"}) {
		t.Errorf("%+v", got)
	}
	x.run("wave 2 opens", func() bool { return !x.s.Waves[1].OpenedAt.IsZero() })
	// The wave is open, and what it needs still is not up: held across waves.
	if got := x.s.Why(x.now)["h003"]; got != (Reason{WaitDependency, "service dns is down: 1 host of 2 hosts needed up"}) {
		t.Errorf("%+v", got)
	}
	x.must(Override{Target: "service:dns", Reason: "hosts file"})
	x.settle()
	if got := x.attempting(); !slices.Equal(got, []string{"h002", "h003"}) {
		t.Errorf("%v", got)
	}
	for _, st := range x.s.Services() {
		if st.Service.Name == "dns" && (st.IsUp || !st.UpAt.IsZero()) {
			t.Errorf("an override makes the service up: %+v", st)
		}
	}
	x.refuses(Override{Target: "service:nobody", Reason: "r"}, KindNotFound)
	x.refuses(Override{Target: "service:dns"}, KindInvalid)
}

func TestServiceUp(t *testing.T) {
	f := flat(4)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	svc := &x.s.Fleet.Services[0]
	for _, c := range []struct {
		percent, recovered int
		critical           bool
		want               bool
	}{{0, 1, false, false}, {0, 2, false, true}, {51, 2, false, false}, {51, 3, false, true}, {100, 3, false, false}, {100, 4, false, true}, {25, 3, true, false}, {25, 4, true, true}} {
		svc.UpPercent = c.percent
		for i, h := range x.s.order {
			h.Phase, h.Host.Critical = Waiting, c.critical && i == 3
			if i < c.recovered {
				h.Phase = Recovered
			}
		}
		if got, why := x.s.serviceUp(svc); got != c.want || (why == "") != got {
			t.Errorf("%+v: %v %s", c, got, why)
		}
	}
}

func TestEmptyWavePasses(t *testing.T) {
	f := testFleet(6)
	for i := range f.Hosts {
		if f.Hosts[i].Tier == "tier0" {
			f.Hosts[i].EDR.Product = "other"
		}
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if w := x.s.Waves[0]; w.PassedAt.IsZero() || w.Size != 0 || x.s.Waves[1].OpenedAt.IsZero() {
		t.Errorf("%+v", w)
	}
}

func TestOverrides(t *testing.T) {
	f := testFleet(12)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.must(Override{Target: "host:h011", Reason: "the payroll runs tonight"})
	x.settle()
	if got := x.attempting(); !slices.Contains(got, "h011") || len(got) != 2 {
		t.Fatalf("host in a closed wave: %v", got)
	}
	x.refuses(Override{Target: "host:nobody", Reason: "r"}, KindNotFound)
	x.refuses(Override{Target: "wave:9", Reason: "r"}, KindNotFound)
	x.refuses(Override{Target: "wave:01", Reason: "r"}, KindNotFound)
	x.refuses(Override{Target: "tier:1", Reason: "r"}, KindInvalid)
	x.refuses(Override{Target: "wave:3", Reason: "r"}, KindRefused) // waves never skip
	x.must(Override{Target: "wave:2", Reason: "now"})
	x.settle()
	if w := x.s.Waves[1]; w.OpenedAt.IsZero() || !w.PassedAt.IsZero() || !x.s.Waves[2].OpenedAt.IsZero() || !x.s.Waves[0].PassedAt.IsZero() {
		t.Fatalf("opening a wave is one hold, passing it another: %s, %s, %s", x.s.Waves[0].Status(), w.Status(), x.s.Waves[2].Status())
	}
	x.must(Override{Target: "wave:2", Reason: "with what it has"})
	x.settle()
	if w := x.s.Waves[1]; w.PassedAt.IsZero() || !strings.Contains(w.Reason, "with what it has") || x.s.Waves[2].OpenedAt.IsZero() {
		t.Fatalf("%s: %s", w.Status(), w.Reason)
	}
	x.refuses(Override{Target: "wave:2", Reason: "again"}, KindRefused)
	x.run("recovered", x.all(Recovered))
	x.run("passed", func() bool { return !x.s.Waves[2].PassedAt.IsZero() })
	for _, h := range x.s.order {
		for _, d := range h.Debts {
			x.must(ClearDebt{Host: h.Host.Name, Debt: d.ID})
		}
	}
	x.must(Close{})
	if x.s.Outcome != OutcomeWithExceptions {
		t.Errorf("closed %s", x.s.Outcome)
	}
}

func TestApprovals(t *testing.T) {
	f := testFleet(6)
	f.Tiers[0].Gate.Approval = true
	x := newSim(t, f, testPlaybook())
	x.refuses(Approve{}, KindNotFound)
	x.must(Declare{Incident: "i", Fleet: f, Playbook: testPlaybook()})
	x.settle()
	if len(x.must(Tick{})) != 0 || x.s.Status() != "declared" || x.s.Why(x.now)["h000"].Code != WaitApproval {
		t.Fatal("something starts before the plan is approved")
	}
	x.refuses(Approve{Digest: "sha256:other"}, KindRefused)
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.refuses(Approve{Digest: x.s.Plan.Digest}, KindRefused)
	x.settle()
	x.refuses(Approve{Wave: 1}, KindRefused)
	x.refuses(Approve{Wave: 4}, KindNotFound)
	x.refuses(Approve{Wave: -1}, KindNotFound)
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	x.advance(time.Hour)
	if why := x.s.Why(x.now)["h002"]; !x.s.Waves[1].OpenedAt.IsZero() || !strings.Contains(why.Text, "a person must approve wave 2") {
		t.Fatalf("%+v", why)
	}
	x.must(Approve{Wave: 2})
	x.settle()
	x.refuses(Approve{Wave: 2}, KindRefused)
	x.run("recovered", x.all(Recovered))
}

func TestDeclareRefuses(t *testing.T) {
	f := flat(2)
	x := newSim(t, f, testPlaybook())
	twice, nowhere := flat(2), flat(2)
	twice.Hosts[1].Name = "h000"
	nowhere.Hosts[0].Tier = "none"
	other := testPlaybook()
	other.Match.EDR = "other"
	for name, d := range map[string]Declare{
		"no id":    {Fleet: f, Playbook: testPlaybook()},
		"no hosts": {Incident: "i", Playbook: testPlaybook()},
		"future":   {Incident: "i", Fleet: f, Playbook: testPlaybook(), Began: x.now.Add(time.Hour)},
		"twice":    {Incident: "i", Fleet: twice, Playbook: testPlaybook()},
		"nowhere":  {Incident: "i", Fleet: nowhere, Playbook: testPlaybook()},
		"nobody":   {Incident: "i", Fleet: f, Playbook: other},
	} {
		if got := x.refuses(d, KindInvalid); got == "" {
			t.Error(name)
		}
	}
	x.start(f, testPlaybook())
	x.refuses(Declare{Incident: "j", Fleet: f, Playbook: testPlaybook()}, KindRefused)
	if !x.s.Began.Equal(t0) {
		t.Errorf("began %s", x.s.Began)
	}
}
