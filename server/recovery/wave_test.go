package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
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

	f = open(DefaultSSHSlots + 8)
	x = newSim(t, f, testPlaybook()).start(f, testPlaybook())
	if got := len(x.attempting()); got != DefaultSSHSlots {
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
