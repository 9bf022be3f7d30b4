package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

// engine drives the real core through an incident in which every repair works, and keeps its journal.
type engine struct {
	tb      testing.TB
	state   *recovery.State
	now     time.Time
	boots   map[string]int
	entries []recovery.Entry
}

func (x *engine) do(in recovery.Input) int {
	x.tb.Helper()
	events, err := recovery.Decide(x.state, in, x.now)
	if err != nil {
		x.tb.Fatalf("%T: %v", in, err)
	}
	for _, e := range events {
		entry := recovery.Entry{Seq: x.state.Seq + 1, At: x.now, Actor: "engine", Event: e}
		x.state.Apply(entry)
		x.entries = append(x.entries, entry)
	}
	return len(events)
}

func (x *engine) tick() {
	for x.do(recovery.Tick{}) > 0 {
	}
}

// answer lets a host that is up say what it is asked.
func (x *engine) answer(host string) {
	in := x.state.Instruct(host, x.now)
	if !in.Verify || x.boots[host] == 0 {
		return
	}
	v := recovery.Sighting{Host: host, At: x.now, Connected: true, Source: "agent", BootID: fmt.Sprintf("%s-boot%d", host, x.boots[host]), BootMode: recovery.BootNormal,
		Content: []recovery.Content{{Playbook: digest, Good: 1}}, Answers: in.ID}
	x.do(recovery.Sighted{Sighting: x.state.See(v)})
}

// minute ends what is under way; who was repaired restarts and answers.
func (x *engine) minute() {
	x.now = x.now.Add(time.Minute)
	for _, j := range x.state.Work(x.now) {
		x.boots[j.Host.Name]++
		x.do(recovery.Finished{Job: j.ID, Host: j.Host.Name, Result: recovery.Result{Class: recovery.Succeeded, Rebooted: j.Reboot}})
	}
	for _, h := range x.state.Hosts() {
		x.answer(h.Host.Name)
	}
	x.tick()
}

// bigEstate is n hosts in three tiers, each of which needs the one before, on sites of 40 slots.
func bigEstate(n int) (recovery.Fleet, recovery.Playbook) {
	f, p := estate()
	one := f.Hosts[0]
	f.Hosts, f.Services, f.Tiers, f.Resources = nil, nil, nil, []recovery.Resource{{Name: "site", Slots: 40}}
	for i := range 3 {
		gate := recovery.GatePolicy{SuccessPercent: 90, Soak: 5 * time.Minute, MaxFailed: recovery.Limit{Count: 5, Percent: true}, MaxUnreachable: recovery.Limit{Count: 5, Percent: true}}
		f.Tiers = append(f.Tiers, recovery.Tier{Name: fmt.Sprint("tier", i), Gate: gate})
		s := recovery.Service{Name: fmt.Sprint("svc", i), Tier: fmt.Sprint("tier", i)}
		if i > 0 {
			s.Needs = []string{fmt.Sprint("svc", i-1)}
		}
		f.Services = append(f.Services, s)
	}
	for i := range n {
		h := one
		k := i * 3 / n
		h.Name, h.Service, h.Tier, h.Resources = fmt.Sprintf("h%03d", i), fmt.Sprint("svc", k), fmt.Sprint("tier", k), []string{"site"}
		h.Critical = i%50 == 0
		f.Hosts = append(f.Hosts, h)
	}
	return f, p
}

func recovered(tb testing.TB, n int) []recovery.Entry {
	tb.Helper()
	f, p := bigEstate(n)
	x := &engine{tb: tb, state: recovery.NewState(), now: t0, boots: map[string]int{}}
	x.do(recovery.Declare{Incident: "i", Fleet: f, Playbook: p})
	x.do(recovery.Approve{Digest: x.state.Plan.Digest})
	x.tick()
	for minutes := 0; ; minutes++ {
		if x.state.Settled() && x.state.Verdicts(x.now)[2].Pass {
			break
		}
		if minutes > 10_000 {
			tb.Fatal("the incident does not end")
		}
		x.minute()
	}
	x.do(recovery.ClearDebt{Debt: "agent-disabled", By: "ann"})
	x.do(recovery.Close{})
	return x.entries
}

func TestTheEnginesOwnJournalPasses(t *testing.T) {
	entries := recovered(t, 60)
	if b := audit.Check(entries); b != nil {
		t.Fatal(b)
	}
	if b := audit.Check(entries[:len(entries)-1]); b != nil {
		t.Fatalf("before its close: %v", b)
	}
	closed, ok := entries[len(entries)-1].Event.(*recovery.IncidentClosed)
	if !ok || closed.Outcome != recovery.OutcomeClosed {
		t.Fatalf("it ends with %+v", entries[len(entries)-1].Event)
	}
}

// No entry of a real journal can be left out, or come twice, and not be missed.
func TestNoEntryCanBeMissedOrDoubled(t *testing.T) {
	entries := recovered(t, 12)
	renumbered := func(list []recovery.Entry) []recovery.Entry {
		for i := range list {
			list[i].Seq = uint64(i + 1)
		}
		return list
	}
	for i, e := range entries {
		without := append(append([]recovery.Entry(nil), entries[:i]...), entries[i+1:]...)
		twice := append(append(append([]recovery.Entry(nil), entries[:i+1]...), e), entries[i+1:]...)
		last := i == len(entries)-1
		if b := audit.Check(renumbered(without)); b == nil && !last {
			t.Errorf("entry %d, %s, is left out and nobody misses it", e.Seq, e.Event.Kind())
		}
		if b := audit.Check(renumbered(twice)); b == nil {
			t.Errorf("entry %d, %s, comes twice and nobody sees it", e.Seq, e.Event.Kind())
		}
	}
}

func BenchmarkAudit934(b *testing.B) {
	entries := recovered(b, 934)
	b.ReportAllocs()
	for b.Loop() {
		if breach := audit.Check(entries); breach != nil {
			b.Fatal(breach)
		}
	}
	b.ReportMetric(float64(len(entries))*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
