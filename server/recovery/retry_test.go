package recovery

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// one is an incident with one host, whose first attempt is under way.
func one(t *testing.T, change func(f *Fleet, p *Playbook)) (*sim, *HostState) {
	t.Helper()
	f, p := flat(1), testPlaybook()
	if change != nil {
		change(&f, &p)
	}
	x := newSim(t, f, p).start(f, p)
	x.queue = nil // the test says what happens
	h := x.s.order[0]
	if h.Phase != Attempting {
		t.Fatalf("%s is %s: %s", h.Host.Name, h.Phase, h.Reason)
	}
	return x, h
}

func (x *sim) result(h *HostState, r Result) {
	x.tb.Helper()
	x.must(Finished{Job: h.Attempts[len(h.Attempts)-1].ID, Host: h.Host.Name, Result: r})
}

func well(h *HostState, boot string) Sighting {
	return Sighting{Host: h.Host.Name, Connected: true, Source: "agent", BootID: boot, BootMode: BootNormal,
		Content: []Content{{Playbook: digest1, Good: 1}}, Health: []Check{{Name: "disk", OK: true}}}
}

func TestRetryByClass(t *testing.T) {
	type want struct {
		phase Phase
		rung  int
		pause time.Duration
	}
	const own, rescue = 0, 1
	for _, c := range []struct {
		class Class
		rung  int
		tries int
		want  want
	}{
		{Succeeded, own, 1, want{Verifying, own, 0}},
		{Succeeded, rescue, 2, want{Verifying, rescue, 0}},
		{NothingFound, own, 1, want{Waiting, rescue, 0}},
		{NothingFound, own, 2, want{Waiting, rescue, 0}},
		{NothingFound, rescue, 1, want{NeedsHands, rescue, 0}},
		{Failed, own, 1, want{Waiting, own, 0}},
		{Failed, own, 2, want{Waiting, rescue, 0}},
		{Failed, own, 3, want{Waiting, rescue, 0}},
		{Failed, rescue, 1, want{Waiting, rescue, 0}},
		{Failed, rescue, 2, want{NeedsHands, rescue, 0}},
		{Unreachable, own, 1, want{Waiting, own, time.Minute}},
		{Unreachable, own, 2, want{Waiting, rescue, 0}},
		{Unreachable, rescue, 1, want{Waiting, rescue, time.Minute}},
		{Unreachable, rescue, 2, want{Waiting, rescue, 2 * time.Minute}},
		{Unreachable, rescue, 4, want{Waiting, rescue, 8 * time.Minute}},
		{Unreachable, rescue, 5, want{Waiting, rescue, 15 * time.Minute}}, // the most
		{TimedOut, own, 1, want{Waiting, own, time.Minute}},
		{TimedOut, own, 2, want{Waiting, rescue, 0}},
		{TimedOut, rescue, 3, want{Waiting, rescue, 4 * time.Minute}},
		{AuthRefused, own, 1, want{NeedsHands, own, 0}},
		{HostKeyMismatch, own, 1, want{NeedsHands, own, 0}},
		{HostKeyMismatch, rescue, 1, want{NeedsHands, rescue, 0}},
		{Lost, own, 1, want{Verifying, own, 0}},
		{Lost, rescue, 2, want{Verifying, rescue, 0}},
		{Cancelled, own, 1, want{Waiting, own, 0}},
		{Cancelled, own, 2, want{Waiting, own, 0}},
		{Class("strange"), own, 1, want{NeedsHands, own, 0}},
	} {
		t.Run(fmt.Sprintf("%s on rung %d, try %d", c.class, c.rung, c.tries), func(t *testing.T) {
			x, h := one(t, nil)
			h.Rung, h.tries = c.rung, c.tries
			h.Attempts[0].Rung = c.rung
			x.result(h, Result{Class: c.class})
			got := want{h.Phase, h.Rung, 0}
			if !h.nextAt.IsZero() {
				got.pause = h.nextAt.Sub(x.now)
			}
			if got != c.want || h.Reason == "" {
				t.Errorf("got %+v (%s), want %+v", got, h.Reason, c.want)
			}
			switch {
			case (h.Failure == nil) != (c.want.phase == Verifying || c.class == Cancelled):
				t.Errorf("failure %+v", h.Failure)
			case h.Failure != nil && (h.Failure.Class != c.class || h.Failure.Attempt != "h000/1"):
				t.Errorf("failure %+v", h.Failure)
			}
			if (c.class == AuthRefused || c.class == HostKeyMismatch) && !strings.Contains(h.Reason, "never retried by itself, a person must look") {
				t.Errorf("reason %s", h.Reason)
			}
			if c.class == Cancelled && h.tries != c.tries-1 {
				t.Errorf("a cancelled attempt counts: %d tries", h.tries)
			}
			if c.want.rung != c.rung && h.tries != 0 {
				t.Errorf("%d tries on a new rung", h.tries)
			}
		})
	}
}

// The cap counts attempts over all rungs since a person last gave the host a chance, whatever the class.
func TestAttemptsAreCapped(t *testing.T) {
	for _, class := range []Class{Failed, Unreachable, NothingFound, Cancelled} {
		x, h := one(t, func(f *Fleet, _ *Playbook) { f.Policy.MaxAttempts = 1 })
		x.result(h, Result{Class: class})
		if h.Phase != NeedsHands || !strings.Contains(h.Reason, "1 attempt made, the cap") {
			t.Errorf("%s: %s, %s", class, h.Phase, h.Reason)
		}
	}
	x, h := one(t, nil)
	x.script = func(*machine, Job) Result { return Result{Class: Unreachable} }
	x.queue = nil
	x.result(h, Result{Class: Unreachable})
	x.run("hands", func() bool { return h.Phase == NeedsHands })
	if len(h.Attempts) != 6 {
		t.Errorf("%d attempts, want the cap of 6", len(h.Attempts))
	}
	x.must(Retry{Host: h.Host.Name})
	if h.Phase != Waiting || h.Rung != 0 {
		t.Fatalf("%s on rung %d", h.Phase, h.Rung)
	}
	x.settle()
	x.run("hands again", func() bool { return h.Phase == NeedsHands })
	if len(h.Attempts) != 12 {
		t.Errorf("%d attempts, want 6 more", len(h.Attempts))
	}
}

func TestNothingFoundNeedsAnAgentThatShowsHealth(t *testing.T) {
	for name, c := range map[string]struct {
		agent  bool
		change func(v *Sighting)
		want   Phase
	}{
		"well":           {true, func(*Sighting) {}, Verifying},
		"silent":         {true, func(v *Sighting) { v.Connected = false }, Waiting},
		"bad":            {true, func(v *Sighting) { v.Content[0].Bad = 1 }, Waiting},
		"no good":        {true, func(v *Sighting) { v.Content[0].Good = 0 }, Waiting},
		"sick":           {true, func(v *Sighting) { v.Health[0].OK = false }, Waiting},
		"other playbook": {true, func(v *Sighting) { v.Content[0].Playbook = "sha256:two" }, Waiting},
		"agentless":      {false, func(v *Sighting) { v.Connected = false }, Verifying}, // the probes over SSH tell
	} {
		x, h := one(t, func(f *Fleet, _ *Playbook) { f.Hosts[0].Agent = c.agent })
		v := well(h, "b1")
		c.change(&v)
		x.see(v)
		x.result(h, Result{Class: NothingFound})
		if h.Phase != c.want {
			t.Errorf("%s: %s (%s), want %s", name, h.Phase, h.Reason, c.want)
		}
	}
}

func TestLadder(t *testing.T) {
	p := testPlaybook()
	x, h := one(t, func(f *Fleet, p *Playbook) { p.Reboot = RebootForbidden })
	x.result(h, Result{Class: Failed})
	x.settle()
	x.result(h, Result{Class: Failed})
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "rescue: it restarts the host, which playbook edr forbids") {
		t.Errorf("a rung that restarts is climbed: %s, %s", h.Phase, h.Reason)
	}
	if got := x.refuses(Retry{Host: "h000", Rung: "rescue"}, KindRefused); !strings.Contains(got, "forbids") {
		t.Error(got)
	}
	x.refuses(Retry{Host: "h000", Rung: "hands"}, KindRefused)
	x.refuses(Retry{Host: "h000", Rung: "what"}, KindNotFound)
	x.must(Retry{Host: "h000", Rung: "own"})

	for name, c := range map[string]struct {
		ladder []Rung
		want   int
	}{
		"first":            {rungs(), 0},
		"no script":        {[]Rung{{Name: "a", Kind: RungSSH, Environment: EnvWindowsSafeMode}, rungs()[1]}, 1},
		"hands only":       {rungs()[2:], -1},
		"nothing":          {nil, -1},
		"not runnable yet": {[]Rung{{Name: "a", Kind: RungSSH, Environment: EnvWindowsSafeMode}}, -1},
	} {
		q := p
		if name == "not runnable yet" {
			q.Environments = append(q.Environments, EnvWindowsSafeMode)
		}
		if got := (terms{Playbook: q}).next(&Host{Ladder: c.ladder}, 0); got != c.want {
			t.Errorf("%s: rung %d, want %d", name, got, c.want)
		}
	}
}

// A host that no rung leads to is a person's as soon as its wave opens, also when it is put back later.
func TestHostsWithoutARungReachTheHandsBoard(t *testing.T) {
	f := testFleet(6)
	for _, i := range []int{0, 4} {
		f.Hosts[i].Ladder = f.Hosts[i].Ladder[2:]
	}
	f.Hosts[1].Ladder = nil
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	for i, want := range []Phase{NeedsHands, NeedsHands, Waiting, Waiting, Waiting, Waiting} {
		if h := x.s.order[i]; h.Phase != want || h.Reason == "" {
			t.Errorf("%s: %s (%s), want %s", h.Host.Name, h.Phase, h.Reason, want)
		}
	}
	x.refuses(Retry{Host: "h000"}, KindRefused)
	x.must(Skip{Host: "h000", Reason: "scrapped"})
	x.must(Retry{Host: "h000", Reason: "not scrapped"})
	x.settle()
	if h := x.s.order[0]; h.Phase != NeedsHands {
		t.Errorf("put back: %s", h.Phase)
	}
	x.must(Override{Target: "host:h004", Reason: "it is on the way"})
	x.settle()
	if h := x.s.order[4]; h.Phase != NeedsHands {
		t.Errorf("overridden in a closed wave: %s", h.Phase)
	}
}

func TestLeases(t *testing.T) {
	x, h := one(t, nil)
	deadline := h.Attempts[0].Deadline
	if got := x.s.Wake(x.now); !got.Equal(deadline) {
		t.Errorf("wake %s, want the lease's end %s", got, deadline)
	}
	x.now = deadline.Add(-time.Second)
	x.tick()
	if h.Phase != Attempting {
		t.Fatal("the lease ended early")
	}
	x.now = deadline
	x.tick()
	if h.Phase != Waiting || h.Failure.Class != TimedOut || h.Failure.Signature != "lease ran out" {
		t.Fatalf("%s, %+v", h.Phase, h.Failure)
	}
	// The late result is recorded once and changes nothing.
	before := fmt.Sprintf("%+v %+v", h.Phase, h.Failure)
	late := x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Succeeded}})
	if len(late) != 1 || !late[0].(*AttemptEnded).Late || h.Attempts[0].Result.Class != Succeeded {
		t.Errorf("late result: %+v", late)
	}
	if again := x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Failed}}); len(again) != 0 || h.Attempts[0].Result.Class != Succeeded {
		t.Errorf("recorded twice: %+v", again)
	}
	if after := fmt.Sprintf("%+v %+v", h.Phase, h.Failure); before != after {
		t.Errorf("%s became %s", before, after)
	}
	x.refuses(Finished{Job: "h000/1", Host: "nobody"}, KindNotFound)
	x.refuses(Finished{Job: "other/1", Host: "h000"}, KindNotFound)
	if got := x.must(Finished{Job: "h000/9", Host: "h000", Result: Result{Class: Succeeded}}); len(got) != 0 {
		t.Errorf("a ghost of an attempt that never was: %+v", got)
	}
}

func TestResumedAndUnreachableIsLost(t *testing.T) {
	x, h := one(t, nil)
	x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: Unreachable}, Resumed: true})
	if h.Phase != Verifying || h.Attempts[0].Result.Class != Lost {
		t.Errorf("%s, %+v", h.Phase, h.Attempts[0].Result)
	}
}

// What a login says that is refused when an attempt is joined is said of this login: the script may have run before, so where a restart is wanted,
// the boot of then proves nothing.
func TestAJoinedAttemptThatIsRefusedMayHaveRun(t *testing.T) {
	for _, class := range []Class{AuthRefused, HostKeyMismatch, Cancelled} {
		for _, resumed := range []bool{true, false} {
			x, h := one(t, func(_ *Fleet, p *Playbook) { p.Reboot = RebootRequired })
			x.hear(Sighting{Host: "h000", Connected: true, Source: "agent", BootID: "b1", BootMode: BootNormal})
			x.must(Pause{Reason: "nothing more is to start"})
			x.must(Finished{Job: "h000/1", Host: "h000", Result: Result{Class: class}, Resumed: resumed})
			for _, boot := range []string{"b1", "b2"} {
				v := well(h, boot)
				v.Answers = h.askAt(false)
				x.see(v)
				if proven := h.Phase == Verifying; proven != (boot == "b2" || !resumed) {
					t.Errorf("%s, joined %v: after the facts of boot %s it is %s: %s", class, resumed, boot, h.Phase, h.Reason)
				}
			}
		}
	}
}

func TestClaims(t *testing.T) {
	x, h := one(t, nil)
	x.refuses(Claim{Host: "h000", By: "ann", For: time.Hour}, KindRefused) // attempting
	x.refuses(HandsDone{Host: "h000", By: "ann"}, KindRefused)
	x.result(h, Result{Class: AuthRefused})
	x.refuses(Claim{Host: "h000", For: time.Hour}, KindInvalid)
	x.refuses(Claim{Host: "h000", By: "ann"}, KindRefused) // nothing to give back
	x.must(Claim{Host: "h000", By: "ann", For: time.Hour})
	x.refuses(Claim{Host: "h000", By: "bob", For: time.Hour}, KindRefused)
	x.refuses(Claim{Host: "h000", By: "bob"}, KindRefused)
	x.refuses(HandsDone{Host: "h000", By: "bob"}, KindRefused)
	x.must(Retry{Host: "h000"})
	x.settle()
	if got := x.s.Why(x.now)["h000"]; got.Code != WaitOwned || !strings.Contains(got.Text, "ann") {
		t.Errorf("why %+v", got)
	}
	x.advance(time.Hour)
	if h.Phase != Waiting {
		t.Fatal("the claim ended early")
	}
	x.advance(time.Second)
	if h.Phase != Attempting {
		t.Fatalf("the claim has not run out: %s", x.s.Why(x.now)["h000"].Text)
	}
	x.result(h, Result{Class: AuthRefused})
	x.must(Claim{Host: "h000", By: "bob", For: time.Hour})
	x.must(Claim{Host: "h000", By: "bob"})
	x.must(Claim{Host: "h000", By: "ann", For: time.Hour})
	x.must(HandsDone{Host: "h000", By: "ann", Spent: 20 * time.Minute, Note: "by hand"})
	if h.Phase != Verifying || h.Owner != "" || h.Attempts[2].Result.Took != 20*time.Minute || h.Attempts[2].Rung != -1 || h.Attempts[2].N != 3 {
		t.Errorf("%s, owner %q, %+v", h.Phase, h.Owner, h.Attempts[2])
	}
	x.refuses(Claim{Host: "h000", By: "ann", For: time.Hour}, KindRefused) // verifying
}

// Hand work that proves nothing is not answered by an attempt nobody asked for.
func TestUnprovenHandWorkStaysWithThePerson(t *testing.T) {
	x, h := one(t, nil)
	x.result(h, Result{Class: AuthRefused})
	x.must(HandsDone{Host: "h000", By: "ann"})
	x.advance(testPlaybook().VerifyWithin)
	if h.Phase != NeedsHands {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}
