package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const digest2 = "sha256:two"

// secondPlaybook is another version of the test's playbook.
func secondPlaybook(change func(p *Playbook)) Playbook {
	p := testPlaybook()
	p.Digest = digest2
	if change != nil {
		change(&p)
	}
	return p
}

// revise brings another version, and its probes to every agent.
func (x *sim) revise(p Playbook, reason string) ([]Event, error) {
	x.tb.Helper()
	if before, ok := x.digests[p.Digest]; ok {
		p = before // a digest names one version
	} else if p.Digest != x.s.Playbook.Digest {
		x.digests[p.Digest] = p
	}
	events, err := x.do(Revise{Playbook: p, Reason: reason})
	if err == nil {
		for _, m := range x.far {
			m.probes = p.Digest
		}
		x.settle()
	}
	return events, err
}

func (x *sim) revised(p Playbook) {
	x.tb.Helper()
	if _, err := x.revise(p, "the vendor has better advice"); err != nil {
		x.tb.Fatalf("revise: %v", err)
	}
}

// asks notes how many versions there were when facts were first asked for.
func (x *sim) asks(id string) {
	if x.asked[id] == 0 {
		x.asked[id] = len(x.s.Versions)
	}
}

// canaryLived tells the rule of the canary again: of the hosts of a wave and OS that a version touched last, one is recovered
// before a second one is worked on.
func (x *sim) canaryLived(h *HostState, v *AttemptStarted, fail func(format string, args ...any)) {
	x.tb.Helper()
	if v.Attempt.Playbook != x.s.Playbook.Digest {
		fail("it runs version %s, and %s is in use", v.Attempt.Playbook, x.s.Playbook.Digest)
	}
	recovered, others := 0, ""
	for _, o := range x.s.order {
		if n := len(o.Attempts); o == h || o.Wave != h.Wave || o.Host.OS != h.Host.OS || n == 0 || o.Attempts[n-1].Rung < 0 || o.Attempts[n-1].Playbook != v.Attempt.Playbook ||
			(o.Attempts[n-1].Method == MethodRestore) != (v.Attempt.Method == MethodRestore) {
			continue
		}
		switch o.Phase {
		case Recovered:
			recovered++
		case Attempting, Verifying:
			others = o.Host.Name
		}
	}
	if recovered == 0 && others != "" && !h.overridden {
		fail("%s is at work with version %s, and no host has recovered with it", others, v.Attempt.Playbook)
	}
}

// runsItsVersion holds a job against the version that its attempt began with.
func (x *sim) runsItsVersion(j Job) {
	x.tb.Helper()
	a := x.s.hosts[j.Host.Name].attempt()
	if a == nil || j.Playbook != a.Playbook {
		x.tb.Fatalf("job %s runs version %s, its attempt is %+v", j.ID, j.Playbook, a)
	}
}

func TestReviseIsRefused(t *testing.T) {
	f := open(3)
	x := newSim(t, f, testPlaybook())
	x.refuses(Revise{Playbook: secondPlaybook(nil), Reason: "r"}, KindNotFound)
	x.must(Declare{Incident: "i-1", Fleet: f, Playbook: testPlaybook()})
	if got := x.refuses(Revise{Playbook: secondPlaybook(nil), Reason: "r"}, KindRefused); !strings.Contains(got, "not approved") {
		t.Error(got)
	}
	x.must(Approve{Digest: x.s.Plan.Digest})
	for what, c := range map[string]struct {
		change func(p *Playbook)
		reason string
		kind   ErrorKind
		want   string
	}{
		"no reason":      {nil, "", KindInvalid, "needs a reason"},
		"other name":     {func(p *Playbook) { p.Name = "other" }, "r", KindRefused, "runs playbook edr, not other"},
		"same version":   {func(p *Playbook) { p.Digest = digest1 }, "r", KindRefused, "already"},
		"no digest":      {func(p *Playbook) { p.Digest = "" }, "r", KindInvalid, "no digest"},
		"not meant for":  {func(p *Playbook) { p.Match.OS = []string{"windows"} }, "r", KindRefused, "h000 takes part"},
		"other products": {func(p *Playbook) { p.Match.EDR = "other" }, "r", KindRefused, "h000 takes part"},
	} {
		if got := x.refuses(Revise{Playbook: secondPlaybook(c.change), Reason: c.reason}, c.kind); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", what, got)
		}
	}
	if len(x.s.Versions) != 1 || x.s.Playbook.Digest != digest1 {
		t.Errorf("a refusal changed %+v", x.s.Versions)
	}
	x.must(Abort{})
	if got := x.refuses(Revise{Playbook: secondPlaybook(nil), Reason: "r"}, KindRefused); !strings.Contains(got, "being aborted") {
		t.Error(got)
	}
	x.settle()
	x.refuses(Revise{Playbook: secondPlaybook(nil), Reason: "r"}, KindRefused)
}

// An attempt under way at the revision ends with the version that it began with; later ones run the new version.
func TestAttemptsKeepTheirVersion(t *testing.T) {
	x, h := one(t, nil)
	before := x.s.Work(x.now)
	if len(before) != 1 || before[0].Playbook != digest1 || !before[0].Reboot {
		t.Fatalf("%+v", before)
	}
	x.revised(secondPlaybook(func(p *Playbook) { p.Reboot, p.Timeout = RebootForbidden, time.Hour }))
	if after := x.s.Work(x.now); len(after) != 1 || !sameJob(after[0], before[0]) {
		t.Fatalf("the revision changed\n%+v to\n%+v", before, after)
	}
	x.result(h, Result{Class: Failed, Signature: "exit 3"})
	if h.Phase != Waiting || h.Failure == nil {
		t.Fatalf("%s %s", h.Phase, h.Reason)
	}
	x.settle()
	jobs := x.s.Work(x.now)
	if len(jobs) != 1 || jobs[0].ID != "h000/2" || jobs[0].Playbook != digest2 || jobs[0].Reboot || jobs[0].Timeout != time.Hour+connectAllowance {
		t.Fatalf("%+v", jobs)
	}
	if h.Attempts[0].Playbook != digest1 || h.Attempts[1].Playbook != digest2 {
		t.Errorf("%+v", h.Attempts)
	}
}

func sameJob(a, b Job) bool {
	return a.ID == b.ID && a.Playbook == b.Playbook && a.Reboot == b.Reboot && a.Timeout == b.Timeout && a.Rung.Name == b.Rung.Name
}

// A rung that the new version closes under an attempt is not tried again: the host climbs.
func TestRevisionClosesARungUnderAnAttempt(t *testing.T) {
	for _, c := range []struct {
		result Result
		rung   int
		want   string
	}{
		{Result{Class: Failed, Signature: "exit 3"}, 1, "rung rescue follows"},
		{Result{Class: Unreachable}, 1, "rung rescue follows"},
	} {
		x, h := one(t, nil)
		x.revised(secondPlaybook(func(p *Playbook) { p.Environments = []string{EnvRescueLinux} }))
		x.result(h, c.result)
		if h.Phase != Waiting || h.Rung != c.rung || !strings.Contains(h.Reason, c.want) {
			t.Errorf("%s: %s on rung %d: %s", c.result.Class, h.Phase, h.Rung, h.Reason)
		}
	}
	x, h := claimed(t, nil)
	x.revised(secondPlaybook(func(p *Playbook) { p.Environments = []string{EnvRescueLinux} }))
	x.advance(10 * time.Minute)
	if h.Phase != Attempting || h.Rung != 1 {
		t.Errorf("%s on rung %d: %s", h.Phase, h.Rung, h.Reason)
	}
}

// Waiting hosts move to the first rung that the new version can use; without one they reach the hands board, and leave it only
// when a person says so.
func TestRevisionMovesWaitingHosts(t *testing.T) {
	f := open(1)
	only := func(env string) func(p *Playbook) { return func(p *Playbook) { p.Environments = []string{env} } }
	p := testPlaybook()
	only(EnvRescueLinux)(&p)
	x := newSim(t, f, p)
	x.must(Declare{Incident: "i-1", Fleet: f, Playbook: p})
	h := x.s.order[0]
	x.must(Approve{Digest: x.s.Plan.Digest})
	if h.Rung != 1 {
		t.Fatalf("rung %d", h.Rung)
	}
	x.must(Revise{Playbook: secondPlaybook(nil), Reason: "a script for the running system"})
	if h.Rung != 0 || h.Phase != Waiting || !strings.Contains(h.Reason, "revised") {
		t.Errorf("rung %d, %s: %s", h.Rung, h.Phase, h.Reason)
	}
	third := secondPlaybook(only(EnvRescueLinux))
	third.Digest = "sha256:three"
	x.must(Revise{Playbook: third, Reason: "no, not there"})
	if h.Rung != 1 || h.Phase != Waiting {
		t.Errorf("rung %d, %s: %s", h.Rung, h.Phase, h.Reason)
	}
	fourth := secondPlaybook(only(EnvWindowsSafeMode))
	fourth.Digest = "sha256:four"
	x.must(Revise{Playbook: fourth, Reason: "nothing works"})
	x.settle()
	if h.Phase != NeedsHands || !strings.Contains(h.Reason, "has no script for") {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.must(Revise{Playbook: secondPlaybook(nil), Reason: "back to the second"}) // a version that was in use may come back
	x.settle()
	if h.Phase != NeedsHands {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.must(Retry{Host: "h000"})
	x.settle()
	if h.Phase != Attempting || h.Attempts[0].Playbook != digest2 {
		t.Errorf("%s: %+v", h.Phase, h.Attempts)
	}
	if len(x.s.Versions) != 5 || x.s.Versions[1].Playbook.Digest != x.s.Versions[4].Playbook.Digest {
		t.Errorf("%+v", x.s.Versions)
	}
}

// A person's choice of a rung is not undone by a version that changes nothing about it.
func TestRevisionLeavesAChosenRung(t *testing.T) {
	x, h := one(t, nil)
	x.result(h, Result{Class: AuthRefused})
	x.must(Pause{})
	x.must(Retry{Host: "h000", Rung: "rescue"})
	x.revised(secondPlaybook(nil))
	if h.Rung != 1 {
		t.Errorf("rung %d: %s", h.Rung, h.Reason)
	}
}

// What was answered, or asked, before the revision proves nothing after it.
func TestProofIsAskedAnew(t *testing.T) {
	x, h := claimed(t, nil)
	x.revised(secondPlaybook(nil))
	both := func(id string) Sighting {
		v := answer(h, "b2", id)
		v.Content = []Content{{Playbook: digest1, Good: 1}, {Playbook: digest2, Good: 1}}
		return v
	}
	x.hear(both("h000/1/verify/0"))
	if got := x.must(Sighted{x.s.seen["h000"]}); len(got) != 0 {
		t.Fatalf("an old answer moves it: %+v", got)
	}
	ask := x.s.Instruct("h000", x.now)
	if !ask.Verify || ask.ID == "h000/1/verify/0" {
		t.Fatalf("%+v", ask)
	}
	x.hear(answer(h, "b2", ask.ID)) // by the old probes
	if got := x.must(Sighted{x.s.seen["h000"]}); len(got) != 0 {
		t.Fatalf("the old version's probes prove it: %+v", got)
	}
	v := answer(h, "b2", ask.ID)
	v.Content[0].Playbook = digest2
	x.see(v)
	if h.ProvenAt.IsZero() {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
}

// A host that soaks is unproven again, has the new version's time for its proof, and soaks from the beginning.
func TestSoakBeginsAnew(t *testing.T) {
	x, h := claimed(t, nil)
	x.see(answer(h, "b2", "h000/1/verify/0"))
	x.advance(14 * time.Minute)
	if h.ProvenAt.IsZero() || !h.Up() {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.revised(secondPlaybook(func(p *Playbook) { p.VerifyWithin, p.Soak = 20*time.Minute, time.Hour }))
	if h.Phase != Verifying || !h.ProvenAt.IsZero() || h.Up() || !x.s.upAt[h.Host.Service].IsZero() {
		t.Fatalf("%s, proven %v: %s", h.Phase, h.ProvenAt, h.Reason)
	}
	x.advance(19 * time.Minute)
	if h.Phase != Verifying {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.far["h000"].boot = 2
	ask := x.s.Instruct("h000", x.now).ID
	v := answer(h, "b2", ask)
	v.Content[0].Playbook = digest2
	x.see(v)
	x.advance(59 * time.Minute)
	if h.Phase != Verifying || h.ProvenAt.IsZero() {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.advance(2 * time.Minute)
	if again := x.s.Instruct("h000", x.now).ID; again == ask {
		t.Fatalf("%s is asked twice", ask)
	} else {
		v.Answers = again
	}
	x.see(v)
	if h.Phase != Recovered || h.provenBy != digest2 {
		t.Fatalf("%s by %s: %s", h.Phase, h.provenBy, h.Reason)
	}
	// The script that touched it was the first version's.
	if !h.hasDebt(DebtRevisit) {
		t.Errorf("debts %+v", h.Debts)
	}

	x, h = claimed(t, nil)
	x.see(answer(h, "b2", "h000/1/verify/0"))
	x.revised(secondPlaybook(nil))
	x.queue = nil
	x.far["h000"].mute = true
	x.advance(11 * time.Minute)
	if h.Phase == Verifying || h.Failure == nil {
		t.Errorf("without a fresh proof it is %s: %s", h.Phase, h.Reason)
	}
}

// The new version's reboot policy holds for the proof of what the old one did.
func TestProofFollowsTheNewRebootPolicy(t *testing.T) {
	x, h := claimed(t, func(_ *Fleet, p *Playbook) { p.Reboot = RebootHelps })
	x.see(answer(h, "b1", "h000/1/verify/0"))
	if h.ProvenAt.IsZero() {
		t.Fatal(h.Reason)
	}
	x.revised(secondPlaybook(nil))
	v := answer(h, "b1", x.s.Instruct("h000", x.now).ID)
	v.Content[0].Playbook = digest2
	x.see(v)
	if !h.ProvenAt.IsZero() {
		t.Fatalf("proven without the restart that the new version requires: %s", h.Reason)
	}
	if missing := x.s.missing(h, x.now); !strings.Contains(missing, "not been restarted") {
		t.Error(missing)
	}
}

// Proofs over SSH are asked anew too; the old job's result changes nothing.
func TestAgentlessProofAfterARevision(t *testing.T) {
	x, h := claimed(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent = false })
	x.revised(secondPlaybook(nil))
	jobs := x.s.Work(x.now)
	if len(jobs) != 1 || jobs[0].ID == "h000/1/verify/0" || jobs[0].Playbook != digest2 {
		t.Fatalf("%+v", jobs)
	}
	v := well(h, "b2")
	v.Content = []Content{{Playbook: digest1, Good: 1}, {Playbook: digest2, Good: 1}}
	if got := x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}}); len(got) != 0 {
		t.Fatalf("an old proof moves it: %+v", got)
	}
	x.far["h000"].boot = 2
	v.Content = v.Content[1:]
	x.must(Finished{Job: jobs[0].ID, Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}})
	if h.ProvenAt.IsZero() {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
}

// The new version begins with a canary of its own, then ramps; hosts that the old one is still at work on only take room.
func TestRevisionBeginsWithACanary(t *testing.T) {
	f := flat(12)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("a wide ramp", func() bool { return len(x.attempting()) >= 4 })
	old := x.attempting()
	x.revised(secondPlaybook(nil))
	fresh := func() (list []string) {
		for _, h := range x.s.order {
			if a := h.attempt(); a != nil && a.Playbook == digest2 {
				list = append(list, h.Host.Name)
			}
		}
		return list
	}
	if got := fresh(); len(got) != 1 || !last[*AttemptStarted](x).Canary {
		t.Fatalf("%v run the new version at once", got)
	}
	if now := x.attempting(); len(now) != len(old)+1 {
		t.Fatalf("under way %v, before %v", now, old)
	}
	canary := x.s.hosts[fresh()[0]]
	most := 0
	x.run("the new version's canary is recovered", func() bool {
		if canary.Phase != Recovered {
			most = max(most, len(fresh()))
		}
		return canary.Phase == Recovered
	})
	if most != 1 {
		t.Errorf("%d ran it before its canary was recovered", most)
	}
	x.run("all back", x.all(Recovered))
	x.countsAddUp()
}

// Work of the old version fills the limit in flight too.
func TestOldVersionsTakeRoom(t *testing.T) {
	f := flat(10)
	f.Tiers[0].Gate.MaxInFlight = 3
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("three at once", func() bool { return len(x.attempting()) == 3 })
	x.queue = nil // no result of them comes
	old := x.attempting()
	x.revised(secondPlaybook(nil))
	x.run("the new version's canary is recovered", func() bool { return x.s.hosts["h006"].Phase == Recovered })
	if now := x.attempting(); !slices.Equal(now, old) {
		t.Fatalf("under way %v, before %v", now, old)
	}
	if why := x.s.Why(x.now)["h007"]; why.Code != WaitRamp {
		t.Errorf("%+v", why)
	}
	for _, host := range old[:2] {
		x.result(x.s.hosts[host], Result{Class: HostKeyMismatch})
	}
	x.settle()
	if now := x.attempting(); len(now) != 3 {
		t.Errorf("under way %v", now)
	}
}

// Recovered hosts owe a visit; the incident does not close before a person has seen to it.
func TestRevisit(t *testing.T) {
	f := open(3)
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, j Job) Result {
		if m.host.Name == "h002" && j.Playbook == digest1 {
			return Result{Class: Failed, Signature: "exit 3"}
		}
		return Result{Class: Succeeded}
	}
	x.start(f, testPlaybook())
	x.run("two are back", func() bool { return x.phases()[Recovered] == 2 && x.s.hosts["h002"].Phase != Attempting })
	failure := x.s.hosts["h002"].Failure
	x.revised(secondPlaybook(nil))
	e := last[*PlaybookRevised](x)
	if !slices.Equal(e.Revisit, []string{"h000", "h001"}) {
		t.Fatalf("revisit %v", e.Revisit)
	}
	for _, name := range e.Revisit {
		h := x.s.hosts[name]
		if h.Phase != Recovered || !h.hasDebt(DebtRevisit) || !strings.Contains(h.Debts[len(h.Debts)-1].What, digest1) || !strings.Contains(h.Debts[len(h.Debts)-1].What, digest2) {
			t.Errorf("%s is %s with %+v", name, h.Phase, h.Debts)
		}
	}
	if failure == nil || x.s.hosts["h002"].Failure != failure {
		t.Errorf("failure %+v, before %+v", x.s.hosts["h002"].Failure, failure)
	}
	if v := x.s.Versions; len(v) != 2 || v[1].Since != x.now || v[1].By != "engine" || v[1].Reason != "the vendor has better advice" {
		t.Errorf("%+v", v)
	}
	x.crash()
	x.must(Retry{Host: "h002"})
	x.settle()
	x.run("settled", func() bool { return x.s.Settled() })
	if h := x.s.hosts["h002"]; h.hasDebt(DebtRevisit) || h.Phase != Recovered {
		t.Errorf("the new version's own host is %s and owes %+v", h.Phase, h.Debts)
	}
	x.must(ClearDebt{Debt: "agent-disabled"})
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	if got := x.refuses(Close{}, KindRefused); !strings.Contains(got, "2 debts open") {
		t.Error(got)
	}
	x.must(ClearDebt{Debt: DebtRevisit, By: "ann", Note: "looked"})
	x.must(Close{})
}

// Going back and forth asks for a visit of those that another version touched, and renews what an open debt tells.
func TestGoingBack(t *testing.T) {
	f := open(2)
	x := newSim(t, f, testPlaybook())
	x.start(f, testPlaybook())
	x.run("back", x.all(Recovered))
	x.revised(secondPlaybook(nil))
	x.revised(testPlaybook())
	if e := last[*PlaybookRevised](x); len(e.Revisit) != 0 || x.s.Playbook.Digest != digest1 {
		t.Errorf("%+v", e)
	}
	third := secondPlaybook(nil)
	third.Digest = "sha256:three"
	x.must(ClearDebt{Host: "h001", Debt: DebtRevisit})
	x.revised(third)
	for name, n := range map[string]int{"h000": 1, "h001": 2} {
		var open []string
		visits := 0
		for _, d := range x.s.hosts[name].Debts {
			if d.ID == DebtRevisit {
				visits++
				if d.Cleared.IsZero() {
					open = append(open, d.What)
				}
			}
		}
		if len(open) != 1 || visits != n || !strings.Contains(open[0], "three") {
			t.Errorf("%s: %d visits, open %q", name, visits, open)
		}
	}
}

// What the old version leaves behind is owed also when the new one leaves nothing.
func TestDebtsFollowTheVersionThatLeftThem(t *testing.T) {
	x, h := claimed(t, nil)
	x.revised(secondPlaybook(func(p *Playbook) { p.Debts = []DebtSpec{{ID: "new", What: "n"}} }))
	x.far["h000"].boot = 2
	x.far["h000"].up, x.far["h000"].bad = true, 0
	v := answer(h, "h000-boot2", x.s.Instruct("h000", x.now).ID)
	v.Content[0].Playbook = digest2
	x.see(v)
	x.run("recovered", x.all(Recovered))
	var ids []string
	for _, d := range h.Debts {
		ids = append(ids, d.ID)
	}
	if !slices.Equal(ids, []string{"agent-disabled", DebtRevisit}) {
		t.Errorf("%v", ids)
	}
}

// A host that came back by itself was proven by the old version's probes: it is visited too.
func TestRevisitOfTheHealed(t *testing.T) {
	f := open(2)
	x := newSim(t, f, testPlaybook())
	x.must(Declare{Incident: "i-1", Fleet: f, Playbook: testPlaybook()})
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.far["h001"].bad = 0
	x.boots(x.far["h001"])
	x.settle()
	x.run("back", x.all(Recovered))
	if n := len(x.s.hosts["h001"].Attempts); n != 0 {
		t.Fatalf("%d attempts", n)
	}
	x.revised(secondPlaybook(nil))
	if e := last[*PlaybookRevised](x); !slices.Equal(e.Revisit, []string{"h000", "h001"}) {
		t.Errorf("revisit %v", e.Revisit)
	}
}

// A recovered host relapses by the new version's probes, and so does one that was never hit.
func TestNewProbesJudgeRecoveredHosts(t *testing.T) {
	f := open(2)
	x := newSim(t, f, testPlaybook())
	x.far["h001"].bad, x.far["h001"].up = 0, true
	x.hear(x.far["h001"].facts())
	x.start(f, testPlaybook())
	x.run("back", func() bool { return x.phases()[Recovered] == 1 && x.phases()[NotHit] == 1 })
	x.revised(secondPlaybook(nil))
	if x.phases()[Recovered] != 1 {
		t.Fatalf("%v", x.phases())
	}
	for _, name := range []string{"h000", "h001"} {
		v := x.far[name].facts()
		v.Content = []Content{{Playbook: digest1, Bad: 1}, {Playbook: digest2, Good: 1}}
		x.see(v)
	}
	if x.phases()[Recovered] != 1 || x.phases()[NotHit] != 1 {
		t.Fatalf("the old version's probes judge: %v", x.phases())
	}
	x.far["h000"].bad, x.far["h001"].bad = 1, 1
	x.see(x.far["h000"].facts())
	x.see(x.far["h001"].facts())
	if got := last[*HostRelapsed](x); got.Host != "h000" || x.s.hosts["h001"].Phase != Waiting {
		t.Errorf("%v, %+v", x.phases(), got)
	}
}

// A revision while the incident is paused is legal, and its clocks stand still meanwhile.
func TestReviseWhilePaused(t *testing.T) {
	x, h := claimed(t, nil)
	x.must(Pause{})
	x.advance(time.Hour)
	x.revised(secondPlaybook(nil))
	x.advance(time.Hour)
	x.must(Resume{})
	x.advance(9 * time.Minute)
	if h.Phase != Verifying {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.advance(2 * time.Minute)
	if h.Phase == Verifying {
		t.Fatalf("%s: %s", h.Phase, h.Reason)
	}
	x.crash()
}

// A person's word for work does not stand for the restart that an earlier version did without: the boot in which its script ran is known.
func TestHandWorkKeepsTheBootOfAnEarlierScript(t *testing.T) {
	x, h := one(t, func(f *Fleet, p *Playbook) { f.Hosts[0].Agent, p.Reboot = false, RebootHelps })
	x.result(h, Result{Class: Succeeded, Boot: "b1"})
	x.must(Finished{Job: "h000/1/verify/0", Host: "h000", Result: Result{Class: TimedOut, Detail: "no facts"}})
	x.must(Pause{})
	x.revised(secondPlaybook(nil))
	x.must(HandsDone{Host: "h000", By: "ann"})
	jobs := x.s.Work(x.now)
	if len(jobs) != 1 || jobs[0].BootBefore != "b1" {
		t.Fatalf("%+v", jobs)
	}
	v := well(h, "b1")
	v.Content[0].Playbook = digest2
	x.must(Finished{Job: jobs[0].ID, Host: "h000", Result: Result{Class: Succeeded, Sighting: &v}})
	if !h.ProvenAt.IsZero() || !strings.Contains(h.Reason, "not been restarted") {
		t.Errorf("%s: %s", h.Phase, h.Reason)
	}
}
