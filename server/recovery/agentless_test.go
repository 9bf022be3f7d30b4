package recovery

import (
	"strings"
	"testing"
	"time"
)

// Where a host has no agent, the same probes run over SSH.
func TestAgentlessProof(t *testing.T) {
	x, h := claimed(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent = false })
	jobs := x.s.Work(x.now)
	if len(jobs) != 1 || jobs[0].Kind != JobVerify || jobs[0].ID != "h000/1/verify/0" || jobs[0].Rung.Name != "own" || jobs[0].Timeout != 10*time.Minute {
		t.Fatalf("jobs %+v", jobs)
	}
	x.see(answer(h, "b2", "h000/1/verify/1"))
	v := well(h, "b2")
	v.Connected, v.Answers = false, "" // whatever the remedy fills in, the job speaks for itself
	x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}})
	if h.ProvenAt.IsZero() {
		t.Fatalf("%s %s", h.Phase, h.Reason)
	}
	if jobs := x.s.Work(x.now); len(jobs) != 0 {
		t.Fatalf("jobs in the soak: %+v", jobs)
	}
	x.now = x.now.Add(15 * time.Minute)
	if jobs := x.s.Work(x.now); len(jobs) != 1 || jobs[0].ID != "h000/1/verify/1" {
		t.Fatalf("jobs after the soak: %+v", jobs)
	}
	if got := x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}}); len(got) != 0 {
		t.Fatalf("an old proof moves it: %+v", got)
	}
	x.s.See(v)
	w := v
	w.Answers, w.Connected = "h000/1/verify/1", true
	x.hear(w)
	x.far["h000"].boot = 2
	x.must(Finished{Job: "h000/1/verify/1", Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}})
	if h.Phase != Recovered {
		t.Fatalf("%s %s", h.Phase, h.Reason)
	}

	x, h = claimed(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent = false })
	x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: TimedOut, Detail: "no facts"}})
	if h.Phase != Waiting || !strings.Contains(h.Reason, "no facts") {
		t.Errorf("%s %s", h.Phase, h.Reason)
	}
	x, h = claimed(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent = false })
	v.Content = []Content{{Playbook: digest1, Bad: 1, Good: 1}}
	x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}})
	if h.Phase != Waiting || !strings.Contains(h.Reason, "bad content") {
		t.Errorf("%s %s", h.Phase, h.Reason)
	}
}

// The remedy is told which boot is no answer.
func TestVerifyJobKnowsTheBootBefore(t *testing.T) {
	x, h := one(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent = false })
	h.bootAtStart = "b1"
	x.result(h, Result{Class: Succeeded, Boot: "b2"})
	if got := x.s.Work(x.now)[0].BootBefore; got != "b2" {
		t.Errorf("boot before %q", got)
	}
}

func TestDebts(t *testing.T) {
	safe := func(f *Fleet, p *Playbook) {
		p.Debts = []DebtSpec{{ID: "always", What: "a"}, {ID: "own", What: "b", Environments: []string{EnvLinux}}, {ID: "rescue", What: "c", Environments: []string{EnvRescueLinux}}}
	}
	ids := func(h *HostState) string {
		var list []string
		for _, d := range h.Debts {
			list = append(list, d.ID)
		}
		return strings.Join(list, " ")
	}
	for name, c := range map[string]struct {
		attempts []Attempt
		want     string
	}{
		"own":            {[]Attempt{{Rung: 0, Result: Result{Class: Succeeded}}}, "always own"},
		"rescue":         {[]Attempt{{Rung: 1, Result: Result{Class: Succeeded}}}, "always rescue"},
		"own and rescue": {[]Attempt{{Rung: 0, Result: Result{Class: Succeeded}}, {Rung: 1, Result: Result{Class: Succeeded}}}, "always own rescue"},
		"lost":           {[]Attempt{{Rung: 0, Result: Result{Class: Lost}}}, "always own"},
		"failed":         {[]Attempt{{Rung: 0, Result: Result{Class: Failed}}}, ""},
		"hands":          {[]Attempt{{Rung: -1, Result: Result{Class: Succeeded}}}, "always own rescue"},
		"none":           {nil, ""},
	} {
		x, h := claimed(t, safe)
		h.Attempts = c.attempts
		x.s.Apply(Entry{Seq: x.s.Seq + 1, At: x.now, Event: x.s.recovered(h, Sighting{})})
		if got := ids(h); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if again := x.s.recovered(h, Sighting{}).(*HostRecovered); len(again.Debts) != 0 {
			t.Errorf("%s: owed twice: %+v", name, again.Debts)
		}
	}
}
