package report

import (
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestHolds pairs every hold with what ended it: a person's release, or the wave's passing.
func TestHolds(t *testing.T) {
	s := recovery.NewState()
	at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
	entries := []recovery.Entry{
		{At: at(0), Actor: "operator:anna", Event: &recovery.IncidentDeclared{Incident: "i", Began: began, Fleet: testFleet(), Playbook: testPlaybook()}},
		{At: at(1), Actor: "engine", Event: &recovery.WaveOpened{Wave: 1, Size: 2, Need: 2}},
		{At: at(2), Actor: "engine", Event: &recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerFailed, Reason: "one failed"}},
		{At: at(3), Actor: "operator:bo", Event: &recovery.WaveReleased{Wave: 1, Reason: "known", Accepted: []recovery.Failure{{Host: "dns-1", Class: recovery.Failed}}}},
		{At: at(4), Actor: "engine", Event: &recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerBelowShare, Reason: "too few"}},
		{At: at(5), Actor: "engine", Event: &recovery.WavePassed{Wave: 1, Reason: "2 of 2 recovered"}},
		{At: at(6), Actor: "engine", Event: &recovery.WaveOpened{Wave: 2, Size: 5, Need: 3}},
		{At: at(7), Actor: "engine", Event: &recovery.WaveHeld{Wave: 2, Breaker: recovery.BreakerSignature, Reason: "alike"}},
	}
	for i := range entries {
		entries[i].Seq = uint64(i + 1)
		s.Apply(entries[i])
	}
	r := Build(s, entries, at(10))
	if len(r.Waves) != 2 || len(r.Waves[0].Holds) != 2 || len(r.Waves[1].Holds) != 1 {
		t.Fatalf("waves %+v", r.Waves)
	}
	first, second, third := r.Waves[0].Holds[0], r.Waves[0].Holds[1], r.Waves[1].Holds[0]
	if !first.ReleasedAt.Equal(at(3)) || first.ReleasedBy != "bo" || first.Accepted != 1 || first.ReleaseReason != "known" {
		t.Errorf("the hold that bo released: %+v", first)
	}
	if !second.ReleasedAt.Equal(at(5)) || second.ReleasedBy != "the engine" || second.ReleaseReason != "2 of 2 recovered" {
		t.Errorf("the hold that passing ended: %+v", second)
	}
	if !third.ReleasedAt.IsZero() || r.Waves[1].Status != "held" {
		t.Errorf("the hold that stands: %+v, wave %s", third, r.Waves[1].Status)
	}
	if d := r.Waves[1].Duration; d != 240 {
		t.Errorf("wave 2 has been open for %v s, want 240", d)
	}
}

// TestServiceFalls follows a service that comes back, is lost with its critical host, and comes back again.
func TestServiceFalls(t *testing.T) {
	w := play(t, func(w *world) {
		dns := Build(w.s, w.entries, w.now).Services[0]
		if dns.Status != ServiceUp || dns.Falls != 0 || !dns.FirstUp.Equal(dns.UpSince) {
			t.Errorf("before the fall: %+v", dns)
		}
		w.bad["dns-1"] = true
		w.phoneHome("dns-1", "")
		fell := w.now
		down := Build(w.s, w.entries, w.now).Services[0]
		if down.Status != ServiceDown || down.Falls != 1 || !down.UpSince.IsZero() || len(down.Down) != 1 || !down.Down[0].Critical {
			t.Errorf("after the fall: %+v", down)
		}
		w.run(20)
		up := Build(w.s, w.entries, w.now).Services[0]
		if up.Status != ServiceUp || up.Falls != 1 || !up.FirstUp.Equal(dns.FirstUp) || !up.UpSince.After(fell) {
			t.Errorf("after its return: %+v", up)
		}
		if up.RTO == nil || !up.RTO.Done.Equal(up.UpSince) {
			t.Errorf("the objective is not judged by the return that lasted: %+v", up.RTO)
		}
	})
	if r := Build(w.s, w.entries, w.now); r.Services[0].Falls != 1 {
		t.Errorf("at the end: %+v", r.Services[0])
	}
}
