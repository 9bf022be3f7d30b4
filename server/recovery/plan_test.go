package recovery

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// smallEstate has one of everything that a plan must tell apart.
func smallEstate() (Fleet, map[string]Sighting) {
	f := testFleet(3)
	f.Hosts = nil
	add := func(name string, tier int, change func(h *Host)) {
		h := Host{Name: name, Service: fmt.Sprintf("svc%d", tier), Tier: fmt.Sprintf("tier%d", tier), OS: "linux", Data: DataNone, Ladder: rungs(), Agent: true, EDR: EDR{Product: "edr"}}
		change(&h)
		f.Hosts = append(f.Hosts, h)
	}
	nothing := func(*Host) {}
	add("app1", 1, func(h *Host) { h.Data = DataReplica })
	add("app2", 1, func(h *Host) { h.Ladder = h.Ladder[1:] })
	add("app3", 1, func(h *Host) { h.Agent, h.Ladder = false, h.Ladder[1:] })
	add("app4", 1, func(h *Host) { h.Ladder[0].Environment = EnvWindowsSafeMode })
	add("db1", 1, func(h *Host) { h.Data, h.Critical = DataPrimary, true })
	add("dc1", 0, func(h *Host) { h.Groups = []string{"pair0"}; h.Critical = true })
	add("dc2", 0, func(h *Host) { h.Groups = []string{"pair0"}; h.Ladder[0].Estimate = time.Minute })
	add("hands1", 2, func(h *Host) { h.Ladder = h.Ladder[2:] })
	add("mac1", 2, func(h *Host) { h.EDR.Product = "" })
	add("ns1", 0, nothing)
	add("well1", 2, nothing)
	add("win1", 2, func(h *Host) { h.OS = "windows-2019"; h.Ladder[0].Environment = EnvWindowsSafeMode })
	seen := map[string]Sighting{}
	for _, name := range []string{"well1", "ns1"} {
		bad := 0
		if name == "ns1" {
			bad = 2
		}
		seen[name] = Sighting{}.Merge(Sighting{Host: name, At: t0.Add(-time.Minute), Connected: true, Source: "agent", BootID: "b", BootMode: BootNormal,
			Content: []Content{{Playbook: digest1, Bad: bad, Good: 1}}, Health: []Check{{Name: "disk", OK: true}}})
	}
	return f, seen
}

func TestPlanGolden(t *testing.T) {
	f, seen := smallEstate()
	plan := NewPlan(f, testPlaybook(), Scope(f, testPlaybook(), seen, t0), Stock{})
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", append(data, '\n'))
}

// The same input gives the same plan, byte for byte, in whatever order the fleet file names its hosts and services.
func TestPlanIsDeterministic(t *testing.T) {
	f, seen := smallEstate()
	f.Hosts = append(f.Hosts, testFleet(60).Hosts...)
	want := NewPlan(f, testPlaybook(), Scope(f, testPlaybook(), seen, t0), Stock{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 20 {
		g := f
		g.Hosts, g.Services = slices.Clone(f.Hosts), slices.Clone(f.Services)
		r.Shuffle(len(g.Hosts), func(i, j int) { g.Hosts[i], g.Hosts[j] = g.Hosts[j], g.Hosts[i] })
		r.Shuffle(len(g.Services), func(i, j int) { g.Services[i], g.Services[j] = g.Services[j], g.Services[i] })
		if got := NewPlan(g, testPlaybook(), Scope(g, testPlaybook(), seen, t0), Stock{}); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order gives another plan: %s, %s", got.Digest, want.Digest)
		}
	}
}

func TestPlanOrder(t *testing.T) {
	f, seen := smallEstate()
	plan := NewPlan(f, testPlaybook(), Scope(f, testPlaybook(), seen, t0), Stock{})
	var got []string
	for _, w := range plan.Waves {
		for _, h := range w.Hosts {
			mark := ""
			if h.Canary {
				mark = "*"
			}
			got = append(got, h.Host+mark)
		}
		got = append(got, "|")
	}
	// Canaries first (they risk least), then critical hosts, then those that free most, then the quickest.
	want := []string{"ns1*", "dc2*", "dc1*", "|", "app1*", "app2*", "app4*", "db1", "app3", "|", "win1*", "hands1", "|"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(plan.Excluded) != 2 || plan.Excluded[0].Host != "mac1" || plan.Excluded[1].Host != "well1" {
		t.Errorf("excluded %+v", plan.Excluded)
	}
	if p := (Playbook{}); NewPlan(Fleet{}, p, nil, Stock{}).Waves != nil {
		t.Error("a plan out of nothing has waves")
	}
}

func TestDependents(t *testing.T) {
	f := Fleet{Services: []Service{{Name: "a"}, {Name: "b", Needs: []string{"a"}}, {Name: "c", Needs: []string{"a", "b"}}, {Name: "d", Needs: []string{"c"}},
		{Name: "x", Needs: []string{"y", "nobody"}}, {Name: "y", Needs: []string{"x"}}}}
	want := map[string]int{"a": 3, "b": 2, "c": 1, "d": 0, "x": 1, "y": 1} // diamonds count once; cycles end
	if got := dependents(f); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// estate is n hosts with a service for every twenty, in a graph of needs.
func estate(n int) (Fleet, []HostScope) {
	r := rand.New(rand.NewPCG(1, 2))
	f := Fleet{Name: "bench", Policy: DefaultPolicy()}
	tiers := 6
	for i := range tiers {
		f.Tiers = append(f.Tiers, Tier{Name: fmt.Sprintf("t%d", i), Gate: GatePolicy{SuccessPercent: 95, MaxFailed: Limit{100, true}, MaxUnreachable: Limit{100, true}}})
	}
	services := max(n/20, tiers)
	for i := range services {
		s := Service{Name: fmt.Sprintf("s%d", i), Tier: f.Tiers[i*tiers/services].Name}
		for range 2 {
			if i > 0 {
				s.Needs = append(s.Needs, f.Services[r.IntN(i)].Name)
			}
		}
		f.Services = append(f.Services, s)
	}
	for i := range n {
		s := f.Services[i%services]
		f.Hosts = append(f.Hosts, Host{Name: fmt.Sprintf("h%06d", i), Service: s.Name, Tier: s.Tier, OS: "linux", Data: DataNone, Ladder: rungs(), Agent: true, EDR: EDR{Product: "edr"}})
	}
	return f, Scope(f, testPlaybook(), nil, t0)
}

func BenchmarkNewPlan(b *testing.B) {
	for _, n := range []int{934, 10_000, 100_000} {
		f, scope := estate(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewPlan(f, testPlaybook(), scope, Stock{})
			}
		})
	}
}

func BenchmarkTick(b *testing.B) {
	for _, n := range []int{934, 10_000} {
		f, _ := estate(n)
		x := newSim(b, f, testPlaybook())
		x.must(Declare{Incident: "i", Fleet: f, Playbook: testPlaybook()})
		x.must(Approve{Digest: x.s.Plan.Digest})
		x.tick()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decide(x.s, Tick{}, x.now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What was read is what is approved, scripts included: another playbook makes another plan.
func TestPlanDigestCoversThePlaybook(t *testing.T) {
	f, p := testFleet(12), testPlaybook()
	one := NewPlan(f, p, Scope(f, p, nil, t0), Stock{})
	p.Digest += "x"
	if other := NewPlan(f, p, Scope(f, p, nil, t0), Stock{}); other.Digest == one.Digest {
		t.Error("two playbooks have one plan digest")
	}
}
