package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCanaryThenRamp(t *testing.T) {
	f := flat(20)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := x.attempting(); !slices.Equal(got, []string{"h000"}) || !last[*AttemptStarted](x).Canary {
		t.Fatalf("canary %v", got)
	}
	x.run("the canary is back", func() bool { return x.s.order[0].Phase == Recovered })
	var rounds []int
	for len(x.attempting()) > 0 {
		x.queue = nil
		rounds = append(rounds, len(x.attempting()))
		for _, h := range x.s.order {
			if h.Phase == Attempting {
				x.far[h.Host.Name].bad = 0
				x.result(h, Result{Class: Succeeded, Rebooted: true})
				x.see(answer(h, "b2", h.Host.Name+"/1/verify/0"))
			}
		}
		x.settle()
	}
	if want := []int{2, 4, 8, 5}; !slices.Equal(rounds, want) {
		t.Errorf("rounds of %v, want %v", rounds, want)
	}
	for _, e := range x.entries {
		if v, ok := e.Event.(*AttemptStarted); ok && v.Attempt.Host != "h000" && v.Canary {
			t.Error("a second canary")
		}
	}
}

// The canary must be recovered, not only proven, before the others start.
func TestOthersWaitForTheCanarysSoak(t *testing.T) {
	f := flat(3)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	h := x.s.order[0]
	x.run("proven", func() bool { return !h.ProvenAt.IsZero() })
	if got := x.s.Why(x.now)["h001"]; got.Code != WaitCanary || !strings.Contains(got.Text, "linux host of wave 1") {
		t.Errorf("%+v", got)
	}
	x.run("recovered", func() bool { return h.Phase == Recovered })
	if got := x.attempting(); !slices.Equal(got, []string{"h001", "h002"}) {
		t.Errorf("%v", got)
	}
}

func TestRampHasAnUpperEnd(t *testing.T) {
	for _, c := range []struct{ wave, policy, want int }{{3, 64, 3}, {0, 2, 2}} {
		f := flat(20)
		f.Tiers[0].Gate.MaxInFlight, f.Policy.MaxInFlight = c.wave, c.policy
		x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
		most := 0
		x.run("recovered", func() bool {
			n := 0
			for _, h := range x.s.order {
				if h.working() {
					n++
				}
			}
			most = max(most, n)
			if why := x.s.Why(x.now)["h019"]; n == c.want && why.Code != "" && why.Code != WaitRamp {
				t.Fatalf("%+v", why)
			}
			return x.phases()[Recovered] == 20
		})
		if most != c.want {
			t.Errorf("%d at once, want %d", most, c.want)
		}
	}
}

func TestEachOSHasItsCanary(t *testing.T) {
	f := flat(4)
	f.Hosts[2].OS, f.Hosts[3].OS = "windows", "windows"
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := x.attempting(); !slices.Equal(got, []string{"h000", "h002"}) {
		t.Errorf("%v", got)
	}
}

func TestAFailedCanaryLetsAnotherGo(t *testing.T) {
	f := flat(4)
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, _ Job) Result {
		if m.host.Name == "h000" {
			return Result{Class: Failed, Signature: "exit 3"}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	x.run("failed", func() bool { return x.s.order[0].Failure != nil })
	if got := x.attempting(); !slices.Equal(got, []string{"h001"}) {
		t.Fatalf("%v", got)
	}
	if !last[*AttemptStarted](x).Canary {
		t.Error("it is no canary")
	}
	// A person takes the only canaries out; then any host may be one.
	f = flat(5)
	x = newSim(t, f, testPlaybook())
	x.must(Declare{Incident: "i", Fleet: f, Playbook: testPlaybook()})
	for _, h := range x.s.order[:3] {
		if !h.canary {
			t.Errorf("%s is not planned to be a canary", h.Host.Name)
		}
		x.must(Skip{Host: h.Host.Name, Reason: "out"})
	}
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	if got := x.attempting(); !slices.Equal(got, []string{"h003"}) {
		t.Errorf("%v", got)
	}
}

func TestGroups(t *testing.T) {
	f := open(4)
	f.Groups = []Group{{Name: "pair", MaxAtOnce: 1}}
	for i := range 3 {
		f.Hosts[i].Groups = []string{"pair"}
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := x.attempting(); len(got) != 2 || !slices.Contains(got, "h003") {
		t.Fatalf("%v", got)
	}
	for name, why := range x.s.Why(x.now) {
		if why != (Reason{WaitGroup, "1 of group pair are being worked on, the most allowed"}) {
			t.Errorf("%s: %+v", name, why)
		}
	}
	x.run("recovered", x.all(Recovered))
}

func TestMaxDownTogether(t *testing.T) {
	pair := func(change func(f *Fleet, x *sim)) *sim {
		f := open(2)
		f.Groups = []Group{{Name: "pair", MaxAtOnce: 2, MaxDown: 1}}
		f.Hosts[0].Groups, f.Hosts[1].Groups = []string{"pair"}, []string{"pair"}
		x := newSim(t, f, testPlaybook())
		change(&f, x)
		return x.start(f, testPlaybook())
	}
	up := func(x *sim, name string) {
		x.far[name].up = true
		x.hear(x.far[name].facts())
	}
	x := pair(func(_ *Fleet, x *sim) { up(x, "h000") })
	if got := x.attempting(); !slices.Equal(got, []string{"h001"}) {
		t.Fatalf("the one that is up starts while the other is down: %v", got)
	}
	if got := x.s.Why(x.now)["h000"]; got.Code != WaitGroup || !strings.Contains(got.Text, "would exceed 1") {
		t.Errorf("%+v", got)
	}
	x.run("recovered", x.all(Recovered))

	x = pair(func(_ *Fleet, x *sim) { up(x, "h000"); up(x, "h001") })
	if got := x.attempting(); len(got) != 1 {
		t.Fatalf("both up and bad: %v", got)
	}
	x.run("recovered", x.all(Recovered))

	x = pair(func(*Fleet, *sim) {})
	if got := x.attempting(); len(got) != 2 {
		t.Fatalf("both down already: %v", got)
	}
	// A partner that can only start afterwards, or that a person took out, is not waited for.
	x = pair(func(f *Fleet, x *sim) {
		up(x, "h000")
		f.Services = append(f.Services, Service{Name: "late", Tier: "tier0", Needs: []string{"svc0"}})
		f.Hosts[1].Service = "late"
	})
	if got := x.attempting(); !slices.Equal(got, []string{"h000"}) {
		t.Fatalf("needs: %v", got)
	}
	x = pair(func(f *Fleet, x *sim) {
		up(x, "h000")
		f.Services = append(f.Services, Service{Name: "late", Tier: "tier0", Needs: []string{"empty"}}, Service{Name: "empty", Tier: "tier0", Needs: []string{"svc0"}})
		f.Hosts[1].Service = "late"
	})
	if got := x.attempting(); !slices.Equal(got, []string{"h001"}) {
		t.Fatalf("needs what is up: %v", got)
	}
	x = pair(func(f *Fleet, x *sim) {
		up(x, "h000")
		f.Tiers = append(f.Tiers, Tier{Name: "later"})
		f.Hosts[1].Tier = "later"
	})
	if got := x.attempting(); !slices.Equal(got, []string{"h000"}) {
		t.Fatalf("later wave: %v", got)
	}
	x = pair(func(f *Fleet, x *sim) { up(x, "h000"); f.Hosts[1].Ladder = nil })
	if got := x.attempting(); len(got) != 0 {
		t.Fatalf("the partner needs hands: %v", got)
	}
	x.must(Skip{Host: "h001", Reason: "scrapped"})
	x.settle()
	if got := x.attempting(); !slices.Equal(got, []string{"h000"}) {
		t.Fatalf("the partner is out: %v", got)
	}
}

func TestResourceSlots(t *testing.T) {
	f := open(6)
	f.Resources = []Resource{{Name: ResourceSSH, Slots: 4}, {Name: "site", Slots: 2}}
	for i := range 4 {
		f.Hosts[i].Resources = []string{"site", "nobody knows"}
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := x.attempting(); !slices.Equal(got, []string{"h000", "h001", "h004", "h005"}) {
		t.Fatalf("%v", got)
	}
	if got := x.s.Why(x.now)["h002"]; got != (Reason{WaitSlot, "no free slot on ssh"}) {
		t.Errorf("%+v", got)
	}
	x.run("one ends", func() bool { return len(x.s.Work(x.now)) != 4 || x.s.order[0].Phase != Attempting })
	x.settle()
	if got := x.attempting(); !slices.Contains(got, "h002") {
		t.Errorf("a free slot is not taken: %v, %+v", got, x.s.Why(x.now))
	}
	x.run("recovered", x.all(Recovered))

	f = open(40)
	x = newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := len(x.attempting()); got != defaultSSHSlots {
		t.Errorf("%d attempts without a word on ssh", got)
	}
}

func TestCouncilsShareFairly(t *testing.T) {
	f := open(30)
	f.Resources = []Resource{{Name: ResourceSSH, Slots: 9}}
	for i := range f.Hosts {
		f.Hosts[i].Council = "large"
		if i >= 24 {
			f.Hosts[i].Council = fmt.Sprintf("small%d", i%2)
		}
	}
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	sv := x.s.survey(x.now)
	if sv.councils["large"] != 3 || sv.councils["small0"] != 3 || sv.councils["small1"] != 3 {
		t.Errorf("%v", sv.councils)
	}
}

// Inside a rank critical hosts go first.
func TestCriticalHostsGoFirst(t *testing.T) {
	f := open(6)
	for i := range f.Hosts {
		f.Hosts[i].OS = "linux"
	}
	f.Hosts[5].Critical = true
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("the second round", func() bool { return len(x.attempting()) == 2 })
	x.run("the third round", func() bool { return slices.Contains(x.attempting(), "h005") })
	if slices.Contains(x.attempting(), "h004") && len(x.attempting()) == 1 {
		t.Errorf("%v", x.attempting())
	}
	if x.s.hosts["h003"].Phase == Recovered {
		t.Error("a host that is not critical went before")
	}
}

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
