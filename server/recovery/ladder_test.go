package recovery

import (
	"strings"
	"testing"
	"time"
)

// The whole ladder, top to bottom: each start says why the rungs above it were left.
func TestTheLadderIsClimbedRungByRungWithReasons(t *testing.T) {
	f := outward(open(1), 4)
	f.Policy.TriesPerRung, f.Policy.MaxAttempts = 1, 9
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	h := x.s.hosts["h000"]
	for i, c := range []struct {
		rung   string
		result Result
		want   string // in the reason of the start
	}{
		{"own", Result{Class: Unreachable, Signature: "no route"}, "attempt 1 on rung own"},
		{"race", Result{Class: Unreachable, Signature: "never up"}, "above it own: 1 attempt, the last unreachable: no route"},
		{"rescue", Result{Class: Failed, Signature: "no medium"}, "race: 1 attempt, the last unreachable: never up"},
		{"helper", Result{Class: Failed, Signature: "no disk"}, "rescue: 1 attempt, the last failed: no medium"},
	} {
		x.run(c.rung, func() bool { return len(h.Attempts) == i+1 })
		a := h.Attempts[i]
		if a.RungName != c.rung || !strings.Contains(h.Reason, c.want) {
			t.Errorf("attempt %d is on %s because %q, want %s because %q", i+1, a.RungName, h.Reason, c.rung, c.want)
		}
		x.must(Finished{Job: a.ID, Host: "h000", Result: c.result})
		x.settle()
	}
	for h.Phase == Waiting { // the last automatic rung is tried up to the cap
		n := len(h.Attempts)
		x.run("another try", func() bool { return len(h.Attempts) > n })
		x.must(Finished{Job: h.Attempts[n].ID, Host: "h000", Result: Result{Class: Failed, Signature: "no disk"}})
	}
	if h.Phase != NeedsHands {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	var story []string
	for _, r := range x.s.LadderOf(h) {
		story = append(story, r.Name+": "+r.Text)
	}
	want := "own: 1 attempt, the last unreachable: no route|race: 1 attempt, the last unreachable: never up|rescue: 1 attempt, the last failed: no medium|helper: 1 attempt, the last failed: no disk|hands: not tried"
	if got := strings.Join(story, "|"); got != want {
		t.Errorf("ladder\n%s\nwant\n%s", got, want)
	}
}

// What a playbook forbids closes every rung that restarts, also for a person, and the plan says so.
func TestForbiddenRestartsCloseRescueAndHelper(t *testing.T) {
	p := testPlaybook()
	p.Reboot = RebootForbidden
	f := outward(open(2), 4)
	f.Hosts[1].Ladder = f.Hosts[1].Ladder[2:]
	x := newSim(t, f, p).start(f, p)
	for _, rung := range []string{"rescue", "helper"} {
		if text := x.refuses(Retry{Host: "h001", Rung: rung, Reason: "do it"}, KindRefused); !strings.Contains(text, "forbids") {
			t.Error(text)
		}
	}
	x.must(Override{Target: "host:h001", Reason: "do it"})
	x.settle()
	h := x.s.hosts["h001"]
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "rescue: it restarts the host, which playbook edr forbids; helper: it restarts") {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
	for _, r := range x.s.LadderOf(h)[:2] {
		if !strings.HasPrefix(r.Text, "not allowed: it restarts the host") {
			t.Errorf("%s: %s", r.Name, r.Text)
		}
	}
	if a := x.s.hosts["h000"].Attempts; len(a) != 1 || a[0].RungName != "own" {
		t.Errorf("attempts %+v", a)
	}
}

func TestARescueNeedsPowerAndAKindThatIsKnown(t *testing.T) {
	f := outward(open(1), 4)
	h := &f.Hosts[0]
	if got := (terms{Playbook: testPlaybook()}).problem(h, &h.Ladder[2]); got != "" {
		t.Error(got)
	}
	h.Power = nil
	if got := (terms{Playbook: testPlaybook()}).problem(h, &h.Ladder[2]); got != "nothing switches the host on and off" {
		t.Error(got)
	}
	if got := (terms{Playbook: testPlaybook()}).problem(h, &Rung{Name: "x", Kind: "teleport", Environment: EnvLinux}); got != "this version knows no rungs of kind teleport" {
		t.Error(got)
	}
	if got := (terms{Playbook: testPlaybook()}).problem(h, &h.Ladder[1]); got != "" {
		t.Errorf("a race needs no power: %s", got)
	}
}

// A restart weighs on power and hypervisor until the host is proven, so its slots are held that long.
func TestSlotsOfARungAreHeldUntilTheProof(t *testing.T) {
	f := outward(open(6), 2)
	for i := range f.Hosts {
		f.Hosts[i].Ladder = f.Hosts[i].Ladder[2:]
	}
	x := newSim(t, f, testPlaybook())
	x.start(f, testPlaybook())
	most := 0
	for x.phases()[Recovered] < 6 {
		n := 0
		for _, h := range x.s.order {
			if h.working() {
				n++
			}
		}
		most = max(most, n)
		if !x.step() {
			t.Fatal("stuck")
		}
		for host, r := range x.s.Why(x.now) {
			if x.s.hosts[host].Phase == Waiting && n == 2 && r.Code == WaitSlot && r.Text != "no free slot on power" {
				t.Errorf("%s waits: %s", host, r.Text)
			}
		}
	}
	if most != 2 {
		t.Errorf("%d hosts worked on at once, want 2", most)
	}
}

func TestAnAttemptHasTheTimeThatItsRungTakes(t *testing.T) {
	f := outward(open(1), 4)
	h, p := &f.Hosts[0], testPlaybook()
	base := p.Timeout + connectAllowance
	h.Power.Timeout, h.Ladder[2].Boot.Timeout, h.Ladder[2].Within = 90*time.Second, 30*time.Second, 7*time.Minute
	for rung, want := range []time.Duration{base, base + 5*time.Minute, base + 7*time.Minute + 6*time.Minute + time.Minute, base + 20*time.Minute + 3*time.Minute, base} {
		if got := attemptTimeout(p, h, rung); got != want {
			t.Errorf("rung %d: %s, want %s", rung, got, want)
		}
	}
}

func TestARunClimbsOnlySSH(t *testing.T) {
	f := outward(open(2), 4)
	f.Hosts[1].Ladder = f.Hosts[1].Ladder[1:]
	scripts := []RunScript{{Environment: EnvLinux, Text: "true"}}
	d, err := NewRun(RunRequest{Run: "r", Playbook: testPlaybook(), Scripts: scripts, Fleet: f})
	if err != nil {
		t.Fatal(err)
	}
	if d.Hosts[0].RungName != "own" || d.Hosts[1].Refused != "its ladder has no ssh rung" {
		t.Errorf("%+v", d.Hosts)
	}
	d, err = NewRun(RunRequest{Run: "r", Playbook: testPlaybook(), Scripts: scripts, Fleet: f, Rung: "rescue"})
	if err != nil || !strings.Contains(d.Hosts[0].Refused, "a run takes only rungs of kind ssh") {
		t.Errorf("%+v, %v", d, err)
	}
}
