package recovery

import (
	"strings"
	"testing"
	"time"
)

// claimed is a host whose script claims a repair, in boot b1.
func claimed(t *testing.T, change func(f *Fleet, p *Playbook)) (*sim, *HostState) {
	t.Helper()
	f, p := flat(1), testPlaybook()
	if change != nil {
		change(&f, &p)
	}
	x := newSim(t, f, p)
	if f.Hosts[0].Agent {
		v := well(&HostState{Host: &f.Hosts[0]}, "b1")
		v.Content[0].Bad = 1
		x.hear(v)
	}
	x.start(f, p)
	x.queue = nil
	h := x.s.order[0]
	x.far["h000"].bad = 0
	x.result(h, Result{Class: Succeeded, Rebooted: !f.Hosts[0].Agent})
	if h.Phase != Verifying {
		t.Fatal(h.Phase)
	}
	return x, h
}

func answer(h *HostState, boot, id string) Sighting {
	v := well(h, boot)
	v.Answers = id
	return v
}

// Each piece of the proof alone prevents recovery, at its beginning and at the end of the soak.
func TestProofNeedsEveryPiece(t *testing.T) {
	pieces := map[string]struct {
		spoil func(v *Sighting)
		want  string
	}{
		"same boot":      {func(v *Sighting) { v.BootID = "b1" }, "not been restarted"},
		"no boot id":     {func(v *Sighting) { v.BootID = "" }, ""}, // that of b1 is kept
		"bad present":    {func(v *Sighting) { v.Content[0].Bad = 1 }, "bad content is there"},
		"no good":        {func(v *Sighting) { v.Content[0].Good = 0 }, "no good content"},
		"place missing":  {func(v *Sighting) { v.Content[0].Missing = true }, "does not exist"},
		"probe error":    {func(v *Sighting) { v.Content[0].Error = "permission denied" }, "permission denied"},
		"not probed":     {func(v *Sighting) { v.Content = nil }, "not been probed"},
		"other playbook": {func(v *Sighting) { v.Content[0].Playbook = "sha256:two" }, "not been probed"},
		"unhealthy":      {func(v *Sighting) { v.Health[0].OK = false }, "health check disk fails"},
		"not connected":  {func(v *Sighting) { v.Connected = false }, "silent"},
		"stale answer":   {func(v *Sighting) { v.Answers = "h000/0/verify/0" }, "not answered"},
		"no answer":      {func(v *Sighting) { v.Answers = "" }, "not answered"},
		"safe mode":      {func(v *Sighting) { v.BootMode = BootSafe }, "safe mode"},
		"rescue system":  {func(v *Sighting) { v.BootMode = BootRescue }, "rescue mode"},
	}
	for name, piece := range pieces {
		t.Run(name, func(t *testing.T) {
			x, h := claimed(t, nil)
			v := answer(h, "b2", "h000/1/verify/0")
			piece.spoil(&v)
			x.see(v)
			if !h.ProvenAt.IsZero() {
				t.Fatalf("proven by %+v", v)
			}
			x.advance(testPlaybook().VerifyWithin)
			if got := last[*ProofFailed](x); got == nil || !strings.Contains(got.Missing, piece.want) {
				t.Fatalf("missing: %+v, want %q", got, piece.want)
			}
			if h.Failure == nil || !strings.HasPrefix(h.Failure.Signature, "no proof: ") {
				t.Errorf("failure %+v", h.Failure)
			}
		})
		t.Run(name+" at the end of the soak", func(t *testing.T) {
			x, h := claimed(t, nil)
			x.see(answer(h, "b2", "h000/1/verify/0"))
			x.advance(testPlaybook().Soak)
			x.far["h000"].boot = 2
			v := answer(h, "b2", "h000/1/verify/1")
			piece.spoil(&v)
			x.see(v)
			if name != "no boot id" && h.Phase == Recovered {
				t.Fatalf("recovered by %+v", v)
			}
		})
	}
	x, h := claimed(t, nil)
	x.see(answer(h, "b2", "h000/1/verify/0"))
	if h.ProvenAt.IsZero() || !h.Up() {
		t.Fatalf("the complete proof proves nothing: %s", x.s.missing(h, x.now))
	}
	x.advance(testPlaybook().Soak - time.Second)
	x.see(answer(h, "b2", "h000/1/verify/1"))
	if h.Phase != Verifying {
		t.Fatal("the soak ended early")
	}
	x.advance(time.Second)
	if got := x.s.Instruct("h000", x.now); got != (Instruction{ID: "h000/1/verify/1", Verify: true, Playbook: digest1}) {
		t.Errorf("instruction %+v", got)
	}
	x.far["h000"].boot = 2
	x.see(answer(h, "b2", "h000/1/verify/1"))
	if h.Phase != Recovered || h.RecoveredAt.IsZero() || h.FirstBack.IsZero() {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
}

// What a proof wants to know of restarts, by playbook and by what is known of earlier boots.
func TestProofOfARestart(t *testing.T) {
	for name, c := range map[string]struct {
		reboot      RebootPolicy
		before      string // last boot id seen before the attempt
		environment string
		result      Result
		boot        string
		proven      bool
	}{
		"new":                        {RebootRequired, "b1", EnvLinux, Result{Class: Succeeded}, "b2", true},
		"same":                       {RebootRequired, "b1", EnvLinux, Result{Class: Succeeded}, "b1", false},
		"same, helps":                {RebootHelps, "b1", EnvLinux, Result{Class: Succeeded}, "b1", true},
		"same, forbidden":            {RebootForbidden, "b1", EnvLinux, Result{Class: Succeeded}, "b1", true},
		"the script's own":           {RebootRequired, "b1", EnvLinux, Result{Class: Succeeded, Boot: "b2"}, "b2", false},
		"the script's own, unknown":  {RebootRequired, "", EnvLinux, Result{Class: Succeeded, Boot: "b2"}, "b2", false},
		"after the script's own":     {RebootRequired, "", EnvLinux, Result{Class: Succeeded, Boot: "b2"}, "b3", true},
		"unknown, not restarted":     {RebootRequired, "", EnvLinux, Result{Class: Succeeded}, "b2", false},
		"unknown, restart was sent":  {RebootRequired, "", EnvLinux, Result{Class: Succeeded, Rebooted: true}, "b2", true},
		"unknown, out of the rescue": {RebootRequired, "", EnvRescueLinux, Result{Class: Succeeded}, "b2", true},
		"lost":                       {RebootRequired, "b1", EnvLinux, Result{Class: Lost}, "b1", false},
		"lost, new":                  {RebootRequired, "b1", EnvLinux, Result{Class: Lost}, "b2", true},
		"lost, the script's own":     {RebootRequired, "b1", EnvLinux, Result{Class: Lost, Boot: "b2"}, "b2", false},
	} {
		x, h := one(t, func(f *Fleet, p *Playbook) {
			p.Reboot = c.reboot
			f.Hosts[0].Ladder[0].Environment = c.environment
		})
		h.bootAtStart = c.before
		x.far["h000"].bad = 0
		x.result(h, c.result)
		x.see(answer(h, c.boot, "h000/1/verify/0"))
		if (h.Phase == Verifying && !h.ProvenAt.IsZero()) != c.proven {
			t.Errorf("%s: proven %v (%s)", name, !h.ProvenAt.IsZero(), x.s.missing(h, x.now))
		}
	}
}

// A script that finds nothing does not make up for the restart that the repair before it still owes.
func TestNothingFoundAfterARepairStillWantsTheRestart(t *testing.T) {
	x, h := claimed(t, nil)
	x.see(answer(h, "b1", "h000/1/verify/0"))
	x.advance(testPlaybook().VerifyWithin)
	if h.Phase != Attempting {
		t.Fatalf("%s %s", h.Phase, h.Reason)
	}
	x.queue = nil
	x.see(well(h, "b1"))
	x.result(h, Result{Class: NothingFound})
	x.see(answer(h, "b1", "h000/2/verify/0"))
	if h.Phase != Verifying || !h.ProvenAt.IsZero() {
		t.Fatalf("%s, proven %s", h.Phase, h.ProvenAt)
	}
	x.see(answer(h, "b2", "h000/2/verify/0"))
	if h.ProvenAt.IsZero() {
		t.Fatal(x.s.missing(h, x.now))
	}
}

// A script that failed, or was stopped in mid-run, may have changed the host all the same: what finds nothing after it proves only with
// a restart. (Found by the simulator.)
func TestNothingFoundAfterAFailureWantsARestart(t *testing.T) {
	for name, c := range map[string]struct {
		result Result
		same   bool // the boot in which it ran proves
	}{
		"failed":                 {Result{Class: Failed, Signature: "exit 3", Boot: "b1"}, false},
		"stopped in mid-run":     {Result{Class: TimedOut, Boot: "b1"}, false},
		"nothing was started":    {Result{Class: Unreachable}, true},
		"it never came to a run": {Result{Class: TimedOut}, true},
	} {
		x, h := one(t, nil)
		x.result(h, c.result)
		x.settle()
		x.run(name+": the next attempt", func() bool { return h.Phase == Attempting })
		x.queue = nil
		x.see(well(h, "b1"))
		x.result(h, Result{Class: NothingFound})
		x.see(answer(h, "b1", h.proofBase()+"/verify/0"))
		if h.Phase != Verifying || h.ProvenAt.IsZero() == c.same {
			t.Errorf("%s: %s, proven %v (%s)", name, h.Phase, !h.ProvenAt.IsZero(), x.s.missing(h, x.now))
		}
		x.see(answer(h, "b2", h.proofBase()+"/verify/0"))
		if h.ProvenAt.IsZero() {
			t.Errorf("%s: after a restart it lacks: %s", name, x.s.missing(h, x.now))
		}
	}
}

// A late result moves no host, but what it tells of a boot counts: nobody is proven in it. So it is where the lease ran out.
func TestLateNewsOfABootCounts(t *testing.T) {
	for name, boot := range map[string]string{"a late success": "b1", "the lease ran out": "b1", "another boot": "b2"} {
		x, h := one(t, nil)
		h.bootAtStart = "b1"
		lease := Result{Class: TimedOut, Signature: leaseRanOut}
		if name == "a late success" {
			lease.Signature = "no end in time"
		}
		x.result(h, lease)
		if name == "a late success" {
			x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Succeeded, Boot: "b1"}})
		}
		x.see(answer(h, boot, "h000/1/verify/0"))
		if got, want := !h.ProvenAt.IsZero(), boot != "b1"; got != want {
			t.Errorf("%s: proven %v in %s (%s)", name, got, boot, h.Reason)
		}
	}
}

// A boot that was heard of by the end of a lost attempt does not stand for the one in which its script ran.
func TestLostAndNothingKnownOfItsBoot(t *testing.T) {
	x, h := one(t, nil)
	h.bootAtStart = ""
	x.see(well(h, "b2"))
	x.result(h, Result{Class: Lost})
	for _, boot := range []string{"b2", "b3"} {
		x.see(answer(h, boot, "h000/1/verify/0"))
		if !h.ProvenAt.IsZero() {
			t.Fatalf("proven in %s: %s", boot, h.Reason)
		}
	}
}

// Where nobody knows in which boot a lost script ran, the last one that was heard of by then proves nothing either. (Found by the
// simulator.)
func TestLostInAnUnknownBoot(t *testing.T) {
	for environment, proves := range map[string]bool{EnvLinux: false, EnvRescueLinux: true} {
		x, h := one(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Ladder[0].Environment = environment })
		h.bootAtStart = "b1"
		x.see(well(h, "b2"))
		x.result(h, Result{Class: Lost})
		x.see(answer(h, "b2", "h000/1/verify/0"))
		if got := !h.ProvenAt.IsZero(); got != proves {
			t.Errorf("%s: proven %v in the boot that was heard of", environment, got)
		}
		x.see(answer(h, "b3", "h000/1/verify/0"))
		if h.ProvenAt.IsZero() {
			t.Errorf("%s: after a restart it lacks: %s", environment, x.s.missing(h, x.now))
		}
	}
}

func TestSoak(t *testing.T) {
	proven := func(t *testing.T) (*sim, *HostState) {
		x, h := claimed(t, nil)
		x.see(answer(h, "b2", "h000/1/verify/0"))
		return x, h
	}
	t.Run("bad again", func(t *testing.T) {
		x, h := proven(t)
		v := well(h, "b2")
		v.Content[0].Bad = 1
		x.see(v)
		if h.Phase != Waiting || h.Relapses != 1 || h.Failure == nil || h.Failure.Signature != relapsedBad {
			t.Fatalf("%s %+v", h.Phase, h.Failure)
		}
	})
	t.Run("restarts and soaks anew", func(t *testing.T) {
		x, h := proven(t)
		x.advance(14 * time.Minute)
		v := well(h, "b3")
		v.Answers = x.s.Instruct("h000", x.now).ID
		x.see(v)
		if h.proofs != 2 || !h.soakUntil.Equal(x.now.Add(15*time.Minute)) {
			t.Fatalf("%d proofs, soak until %s", h.proofs, h.soakUntil)
		}
		for boot, want := range []Phase{Verifying, Waiting} {
			v := well(h, []string{"b4", "b5"}[boot])
			v.Answers = x.s.Instruct("h000", x.now).ID
			x.see(v)
			if h.Phase != want {
				t.Fatalf("boot %d: %s", boot, h.Phase)
			}
		}
	})
	t.Run("silent at its end", func(t *testing.T) {
		x, h := proven(t)
		x.see(Sighting{Host: "h000"})
		x.advance(15*time.Minute + 10*time.Minute - time.Second)
		if h.Phase != Verifying {
			t.Fatal(h.Phase)
		}
		x.advance(time.Second)
		if h.Relapses != 1 || !strings.Contains(last[*HostRelapsed](x).Reason, "silent") {
			t.Fatalf("%d relapses, %s", h.Relapses, h.Phase)
		}
	})
}

func TestRelapses(t *testing.T) {
	f := flat(1)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	h, m := x.s.order[0], x.far["h000"]
	for n := 1; n <= 3; n++ {
		x.run("recovered", func() bool { return h.Phase == Recovered })
		if h.tries != 0 || h.Failure != nil {
			t.Fatalf("%d tries, %+v", h.tries, h.Failure)
		}
		m.bad = 1
		x.see(m.facts())
		if h.Relapses != n || !h.RecoveredAt.IsZero() || !h.ProvenAt.IsZero() || h.FirstBack.IsZero() {
			t.Fatalf("relapse %d: %+v", n, *h)
		}
		x.settle()
	}
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "relapse 3, more than 2 go to a person") {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
	if len(h.Debts) != 1 || count[*HostRecovered](x) != 3 {
		t.Errorf("an open debt is owed once: %+v", h.Debts)
	}
}

// An answer from before a relapse does not prove that the host is well after it.
func TestAnOldAnswerDoesNotUndoARelapse(t *testing.T) {
	f := flat(1)
	f.Policy.MaxRelapses = 5
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	h, m := x.s.order[0], x.far["h000"]
	x.run("recovered", func() bool { return h.Phase == Recovered })
	m.mute = true
	x.down(m)
	x.advance(5 * time.Minute)
	if h.Relapses != 1 || h.Phase != Attempting {
		t.Fatalf("%d relapses, %s", h.Relapses, h.Phase)
	}
	x.queue = nil
	x.result(h, Result{Class: Unreachable})
	v := m.facts()
	v.Answers = m.answered
	x.see(v)
	if h.Phase != Waiting {
		t.Fatalf("%s by an answer to %s", h.Phase, v.Answers)
	}
	if got := x.s.Instruct("h000", x.now).ID; got == m.answered {
		t.Errorf("asks %s again", got)
	}
}

func TestHealedByItself(t *testing.T) {
	f := testFleet(6)
	x := newSim(t, f, testPlaybook())
	v := well(&HostState{Host: &f.Hosts[4]}, "b1")
	v.Content[0].Bad = 1
	x.hear(v)
	v = well(&HostState{Host: &f.Hosts[4]}, "b2")
	x.hear(v)
	x.start(f, testPlaybook())
	h := x.s.order[4]
	x.far["h004"].bad = 0
	if h.Scope.Class != SelfHealed || h.Phase != Waiting {
		t.Fatalf("%s %s", h.Scope.Class, h.Phase)
	}
	v.Answers = "h004/0/verify/0"
	x.see(v) // its wave is not open: healing needs no wave
	if h.Phase != Verifying || h.ProvenAt.IsZero() {
		t.Fatalf("%s %s", h.Phase, h.Reason)
	}
	x.advance(15 * time.Minute)
	v.Answers = "h004/0/verify/1"
	x.see(v)
	if h.Phase != Recovered || len(h.Attempts) != 0 || len(h.Debts) != 0 {
		t.Fatalf("%s %+v", h.Phase, h.Debts)
	}
	// One that healed says nothing about the playbook: the wave still wants its canary.
	sv := x.s.survey(x.now)
	if r := sv.ramp(x.s.canaryKey(h)); *r != (ramp{}) {
		t.Errorf("ramp %+v", *r)
	}
}

// A host that comes up well by itself is given time to prove it, and no more than that.
func TestHealingIsWaitedForButNotForEver(t *testing.T) {
	f := flat(1)
	x := newSim(t, f, testPlaybook())
	v := well(&HostState{Host: &f.Hosts[0]}, "b1")
	v.Content[0].Bad = 1
	x.hear(v)
	x.hear(well(&HostState{Host: &f.Hosts[0]}, "b2"))
	x.far["h000"].mute = true
	x.start(f, testPlaybook())
	h := x.s.order[0]
	if got := x.s.Why(x.now)["h000"]; got.Code != WaitHealing {
		t.Fatalf("%+v", got)
	}
	x.advance(testPlaybook().VerifyWithin - time.Second)
	if h.Phase != Waiting {
		t.Fatal(h.Phase)
	}
	x.advance(time.Second)
	if h.Phase != Attempting {
		t.Fatalf("%s: %+v", h.Phase, x.s.Why(x.now)["h000"])
	}
}

func TestNotHitHostTurnsBad(t *testing.T) {
	f := flat(3)
	x := newSim(t, f, testPlaybook())
	x.far["h001"].bad, x.far["h001"].up = 0, true
	x.hear(x.far["h001"].facts())
	x.start(f, testPlaybook())
	h := x.s.order[1]
	if h.Phase != NotHit || x.s.Waves[0].Size != 2 {
		t.Fatalf("%s, size %d", h.Phase, x.s.Waves[0].Size)
	}
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	x.far["h001"].bad = 1
	x.see(x.far["h001"].facts())
	if h.Phase != Waiting || !h.joined || x.s.Waves[0].Size != 2 {
		t.Fatalf("%s, joined %v, size %d", h.Phase, h.joined, x.s.Waves[0].Size)
	}
	if got := x.s.standing(x.s.Waves[0], x.s.survey(x.now).waves[0], x.now); got.Settled >= got.Size {
		t.Errorf("settled %d of %d while one is in work", got.Settled, got.Size)
	}
	x.settle()
	x.run("recovered", x.all(Recovered))
	if x.s.Waves[0].recovered != 2 {
		t.Errorf("%d recovered count for a size of 2", x.s.Waves[0].recovered)
	}
}
