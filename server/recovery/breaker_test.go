package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGateJudge(t *testing.T) {
	base := Standing{Size: 10, Need: 9, Recovered: 9, Settled: 9, Limits: Limits{Failed: 2, Unreachable: 3}, SignatureLimit: 4, ShareFor: time.Hour}
	gate := Gate{GatePolicy{Soak: 10 * time.Minute}}
	for name, c := range map[string]struct {
		change  func(w *Standing)
		pass    bool
		breaker string
		reason  string
	}{
		"passes":                     {func(*Standing) {}, true, "", "9 of 10 recovered, 9 needed, soaked for 10m0s"},
		"at the limits":              {func(w *Standing) { w.Failed, w.Unreachable, w.SignatureCount = 2, 3, 3 }, true, "", "9 of 10"},
		"failed":                     {func(w *Standing) { w.Failed = 3 }, false, BreakerFailed, "3 failed, more than the limit of 2"},
		"unreachable":                {func(w *Standing) { w.Unreachable = 4 }, false, BreakerUnreachable, "4 unreachable, more than the limit of 3"},
		"alike":                      {func(w *Standing) { w.Signature, w.SignatureCount = "exit 3", 4 }, false, BreakerSignature, "4 hosts fail alike: exit 3"},
		"no signature limit":         {func(w *Standing) { w.SignatureLimit, w.SignatureCount = 0, 4 }, true, "", ""},
		"below its share":            {func(w *Standing) { w.Recovered, w.Settled = 8, 10 }, false, BreakerBelowShare, "all of 10 are settled and 8 are recovered"},
		"not settled":                {func(w *Standing) { w.Recovered, w.Settled = 8, 9 }, false, "", "8 of 9 needed are recovered"},
		"critical missing":           {func(w *Standing) { w.CriticalUnrecovered = "dc1" }, false, "", "critical host dc1 is not recovered yet"},
		"critical missing, settled":  {func(w *Standing) { w.CriticalUnrecovered, w.Settled = "dc1", 10 }, false, BreakerBelowShare, "critical host dc1 is not recovered"},
		"soaks":                      {func(w *Standing) { w.ShareFor = 9 * time.Minute }, false, "", "the wave soaks for 1m0s more"},
		"just reached":               {func(w *Standing) { w.ShareFor = -1 }, false, "", "soaks for 10m0s more"},
		"soaked to the second":       {func(w *Standing) { w.ShareFor = 10 * time.Minute }, true, "", ""},
		"limits count before shares": {func(w *Standing) { w.Failed, w.Recovered = 3, 10 }, false, BreakerFailed, ""},
		"empty":                      {func(w *Standing) { *w = Standing{ShareFor: -1} }, true, "", "no host"},
	} {
		w := base
		c.change(&w)
		got := gate.Judge(w)
		if got.Pass != c.pass || got.Held != (c.breaker != "") || got.Breaker != c.breaker || got.Reason == "" || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, c := range []struct {
		l          Limit
		size, want int
	}{{Limit{5, true}, 10, 0}, {Limit{5, true}, 20, 1}, {Limit{5, true}, 39, 1}, {Limit{3, false}, 1, 3}, {Limit{}, 100, 0}, {Limit{100, true}, 7, 7}} {
		if got := c.l.whole(c.size); got != c.want {
			t.Errorf("%+v of %d is %d, want %d", c.l, c.size, got, c.want)
		}
	}
	for _, c := range [][3]int{{10, 90, 9}, {10, 91, 10}, {1, 50, 1}, {3, 50, 2}, {0, 90, 0}, {7, 0, 0}, {7, 100, 7}} {
		if got := ceilPercent(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %d", c, got)
		}
	}
}

// failing is an open wave whose hosts named by bad end with a result.
func failing(t *testing.T, n int, change func(f *Fleet), result func(name string) Result) *sim {
	t.Helper()
	f := open(n)
	f.Policy.TriesPerRung = 1
	change(&f)
	x := newSim(t, f, testPlaybook())
	x.script = func(m *machine, _ Job) Result { return result(m.host.Name) }
	return x.start(f, testPlaybook())
}

func firstN(n int, r Result) func(string) Result {
	return func(name string) Result {
		if name < "h0"+string(rune('0'+n/10))+string(rune('0'+n%10)) {
			return r
		}
		return Result{Class: Succeeded}
	}
}

func TestFailedLimitHoldsTheWave(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) {
		f.Tiers[0].Gate.MaxFailed = Limit{Count: 25, Percent: true} // 2
		f.Resources = []Resource{{Name: ResourceSSH, Slots: 4}}
	}, firstN(4, Result{Class: Failed, Signature: "exit 3"}))
	w := x.s.Waves[0]
	x.run("held", func() bool { return w.HeldBy != "" })
	if w.HeldBy != BreakerFailed || w.Limits.Failed != 2 || w.Status() != "held" {
		t.Fatalf("%s by %s, limits %+v", w.Status(), w.HeldBy, w.Limits)
	}
	if got := x.s.Why(x.now)["h009"]; got.Code != WaitHeld || !strings.Contains(got.Text, "more than the limit of 2") {
		t.Errorf("%+v", got)
	}
	before := count[*AttemptStarted](x)
	x.advance(time.Hour)
	if count[*AttemptStarted](x) != before {
		t.Error("a held wave starts attempts")
	}
	failures := len(x.s.failures(1))
	x.must(Resume{Wave: 1, Reason: "known, a disk"})
	released := last[*WaveReleased](x)
	if len(released.Accepted) != failures || failures < 3 || released.Accepted[0].Signature != "exit 3" || len(x.s.failures(1)) != 0 {
		t.Fatalf("accepted %+v of %d", released.Accepted, failures)
	}
	x.settle()
	if w.HeldBy != "" || count[*AttemptStarted](x) == before {
		t.Fatal("the wave does not go on")
	}
	// Only new failures hold again: three more.
	n := 0
	for _, h := range x.s.order {
		if h.Phase == Attempting && n < 2 {
			x.result(h, Result{Class: Failed, Signature: "exit 4"})
			n++
		}
	}
	x.tick()
	if n != 2 || w.HeldBy != "" {
		t.Fatalf("held by what was accepted: %s", w.Reason)
	}
	x.settle()
	for _, h := range x.s.order {
		if h.Phase == Attempting && len(x.s.failures(1)) < 3 {
			x.result(h, Result{Class: Failed, Signature: "exit 4"})
		}
	}
	x.tick()
	if w.HeldBy != BreakerFailed {
		t.Fatalf("three new ones do not hold: %v", x.s.failures(1))
	}
}

func TestUnreachableHasItsOwnLimit(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) {
		f.Tiers[0].Gate.MaxFailed, f.Tiers[0].Gate.MaxUnreachable = Limit{}, Limit{Count: 2}
	}, firstN(3, Result{Class: Unreachable}))
	w := x.s.Waves[0]
	x.run("held", func() bool { return w.HeldBy != "" })
	if w.HeldBy != BreakerUnreachable {
		t.Errorf("held by %s", w.HeldBy)
	}
}

func TestSameSignature(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) { f.Policy.SameSignature = 3 }, func(name string) Result {
		return Result{Class: Failed, Signature: map[string]string{"h000": "a", "h001": "b", "h002": "a", "h003": "b", "h004": "b"}[name]}
	})
	w := x.s.Waves[0]
	for i, h := range slices.Clone(x.s.order[:5]) {
		x.result(h, Result{Class: Failed, Signature: []string{"a", "b", "a", "b", "b"}[i]})
		x.tick()
		if (w.HeldBy != "") != (i == 4) {
			t.Fatalf("after %d: held by %q", i+1, w.HeldBy)
		}
	}
	if w.HeldBy != BreakerSignature || !strings.Contains(w.Reason, "3 hosts fail alike: b") {
		t.Errorf("%s: %s", w.HeldBy, w.Reason)
	}
}

func TestIncidentLimitPausesEverything(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) { f.Policy.IncidentFailures = Limit{Count: 25, Percent: true} }, firstN(0, Result{}))
	for i, h := range slices.Clone(x.s.order[:3]) {
		x.result(h, Result{Class: []Class{Failed, TimedOut, HostKeyMismatch}[i]})
		x.tick()
		if (x.s.Breaker != "") != (i == 2) {
			t.Fatalf("after %d: %q", i+1, x.s.Breaker)
		}
	}
	if x.s.Breaker != BreakerIncident || x.s.Status() != "paused" || !strings.Contains(x.s.Reason, "3 of 10 hosts fail") {
		t.Errorf("%s: %s", x.s.Breaker, x.s.Reason)
	}
	x.must(Resume{})
	if got := last[*IncidentResumed](x); len(got.Accepted) != 3 {
		t.Errorf("accepted %+v", got.Accepted)
	}
	x.tick()
	if x.s.Breaker != "" || !x.s.PausedAt.IsZero() {
		t.Error("what was accepted pauses again")
	}
}

func TestMassSilence(t *testing.T) {
	f := open(10)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("recovered", x.all(Recovered))
	for _, name := range []string{"h000", "h001", "h002"} {
		x.down(x.far[name])
	}
	x.advance(time.Minute)
	for _, name := range []string{"h003", "h004"} {
		x.down(x.far[name])
	}
	x.far["h004"].mute = true
	x.advance(91 * time.Second)
	if x.s.Breaker != "" || len(x.s.survey(x.now).quiet) != 3 {
		t.Fatal("three of ten are no mass")
	}
	x.advance(58 * time.Second)
	if x.s.Breaker != "" || x.phases()[Recovered] != 10 {
		t.Fatal("too early")
	}
	x.run("paused", func() bool { return x.s.Breaker == BreakerSilence || x.phases()[Recovered] < 7 })
	if x.s.Breaker != BreakerSilence {
		x.dump()
		t.Fatalf("%s", x.s.Reason)
	}
	recovered := x.phases()[Recovered]
	x.advance(time.Hour)
	if x.phases()[Recovered] != recovered {
		t.Fatal("a pause does not freeze the clock of silence")
	}
	x.must(Resume{Reason: "the switch is back"})
	accepted := 0
	for _, a := range last[*IncidentResumed](x).Accepted {
		if a.Class == silent && strings.HasPrefix(a.Signature, "silent since ") {
			accepted++
		}
	}
	if accepted < 2 {
		t.Errorf("accepted %+v", last[*IncidentResumed](x).Accepted)
	}
	x.settle()
	if x.s.Breaker != "" {
		t.Fatalf("it pauses again at once: %s", x.s.Reason)
	}
	if x.phases()[Recovered] != recovered {
		t.Fatal("the hour of the pause counts as silence")
	}
	x.boots(x.far["h003"])
	x.settle()
	x.advance(3 * time.Minute)
	if got := x.s.hosts["h004"]; got.Relapses != 1 {
		t.Errorf("one that stays silent has relapsed: %s, %d", got.Phase, got.Relapses)
	}
}

func TestBelowShareHoldsAndHandWorkFreesIt(t *testing.T) {
	x := failing(t, 4, func(f *Fleet) {}, firstN(2, Result{Class: HostKeyMismatch}))
	w := x.s.Waves[0]
	x.run("held", func() bool { return w.HeldBy != "" })
	if w.HeldBy != BreakerBelowShare || w.Need != 4 {
		t.Fatalf("%s, need %d", w.HeldBy, w.Need)
	}
	if got := x.refuses(Resume{}, KindRefused); !strings.Contains(got, "wave 1 is held because too few") {
		t.Error(got)
	}
	// A second try is not stopped by it.
	x.script = func(*machine, Job) Result { return Result{Class: Succeeded} }
	x.must(Retry{Host: "h000"})
	x.settle()
	if got := x.attempting(); !slices.Equal(got, []string{"h000"}) {
		t.Fatalf("%v: %+v", got, x.s.Why(x.now))
	}
	m := x.far["h001"]
	m.bad = 0
	x.boots(m)
	x.must(HandsDone{Host: "h001", By: "ann"})
	x.settle()
	x.run("passed", func() bool { return !w.PassedAt.IsZero() })
	if w.HeldBy != "" || w.Status() != "passed" || x.s.hosts["h001"].Phase != Recovered {
		t.Errorf("%s, %s", w.Status(), x.s.hosts["h001"].Phase)
	}
}

// A wave that is held below its share goes on with second tries, and its limits hold it for good when those fail too. (Found by the
// simulator.)
func TestBelowShareHidesNoLimit(t *testing.T) {
	x := failing(t, 4, func(f *Fleet) { f.Tiers[0].Gate.MaxFailed = Limit{Count: 2} }, firstN(2, Result{Class: HostKeyMismatch}))
	w := x.s.Waves[0]
	x.run("held", func() bool { return w.HeldBy == BreakerBelowShare })
	relapsed := x.s.hosts["h002"]
	x.far["h002"].bad = 1
	x.see(x.far["h002"].facts())
	x.tick()
	if w.HeldBy != BreakerFailed || relapsed.Phase != Waiting {
		t.Fatalf("with three failures and a limit of two it is held by %q, and h002 is %s", w.HeldBy, relapsed.Phase)
	}
	x.settle()
	if got := x.attempting(); len(got) != 0 {
		t.Errorf("%v start all the same", got)
	}
	x.must(Resume{Wave: 1, Reason: "known"})
	x.settle()
	if got := x.attempting(); !slices.Equal(got, []string{"h002"}) {
		t.Errorf("after the failures were accepted %v are at work", got)
	}
}

func TestBelowShareIsPassedByName(t *testing.T) {
	x := failing(t, 4, func(f *Fleet) {
		f.Tiers = append(f.Tiers, Tier{Name: "later", Gate: f.Tiers[0].Gate})
		f.Hosts[3].Tier = "later"
	}, firstN(1, Result{Class: HostKeyMismatch}))
	x.run("held", func() bool { return x.s.Waves[0].HeldBy != "" })
	x.must(Resume{Wave: 1, Reason: "without h000"})
	x.settle()
	if x.s.Waves[0].PassedAt.IsZero() || x.s.Waves[1].OpenedAt.IsZero() || x.s.overrides["wave:1"] != "without h000" {
		t.Errorf("%s, %s, %v", x.s.Waves[0].Status(), x.s.Waves[1].Status(), x.s.overrides)
	}
}

// A wave that has passed is still held when its stragglers fail, and that does not close the next one.
func TestAPassedWaveCanStillBeHeld(t *testing.T) {
	x := failing(t, 10, func(f *Fleet) {
		f.Tiers[0].Gate.SuccessPercent, f.Tiers[0].Gate.MaxFailed, f.Tiers[0].Gate.Soak = 50, Limit{Count: 1}, 0
		f.Tiers = append(f.Tiers, Tier{Name: "later", Gate: f.Tiers[0].Gate})
		f.Hosts[9].Tier = "later"
		f.Resources = []Resource{{Name: ResourceSSH, Slots: 5}}
	}, firstN(0, Result{}))
	x.run("passed", func() bool { return !x.s.Waves[0].PassedAt.IsZero() })
	w := x.s.Waves[0]
	for _, h := range w.Hosts {
		if h.Phase == Attempting {
			x.result(h, Result{Class: AuthRefused})
		} else if h.Phase == Recovered && len(x.s.failures(1)) < 2 {
			x.far[h.Host.Name].bad = 1
			x.see(x.far[h.Host.Name].facts())
		}
	}
	x.tick()
	if w.HeldBy != BreakerFailed || x.s.Waves[1].HeldBy != "" || x.s.Waves[1].OpenedAt.IsZero() {
		t.Errorf("%q, %q", w.HeldBy, x.s.Waves[1].HeldBy)
	}
}

// Relapses count as failures until the host is proven again: a vendor who pushes the bad file again stops the sending.
func TestRelapsesTripTheBreakers(t *testing.T) {
	f := open(10)
	f.Policy.SameSignature = 3
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("recovered", x.all(Recovered))
	for _, name := range []string{"h000", "h001", "h002"} {
		x.far[name].bad = 1
		x.see(x.far[name].facts())
	}
	x.tick()
	if x.s.Waves[0].HeldBy != BreakerSignature || !strings.Contains(x.s.Waves[0].Reason, relapsedBad) {
		t.Errorf("%q: %s", x.s.Waves[0].HeldBy, x.s.Waves[0].Reason)
	}
}

func TestGateSoak(t *testing.T) {
	f := open(4)
	f.Tiers[0].Gate.SuccessPercent, f.Tiers[0].Gate.Soak = 50, 30*time.Minute
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	w := x.s.Waves[0]
	x.run("share", func() bool { return !w.shareAt.IsZero() })
	since := x.now
	x.advance(29 * time.Minute)
	for _, name := range []string{"h000", "h001", "h002"} {
		x.far[name].bad = 1
		x.see(x.far[name].facts())
	}
	if !w.shareAt.IsZero() {
		t.Fatal("the share is lost and its soak goes on")
	}
	x.settle()
	x.run("passed", func() bool { return !w.PassedAt.IsZero() })
	if w.PassedAt.Sub(since) < 59*time.Minute {
		t.Errorf("passed after %s", w.PassedAt.Sub(since))
	}
}

// Of a looping estate hardly a host is reached by its first rung: that holds no wave while other rungs are left. What no rung
// reaches counts.
func TestUnreachableCountsWhenNoRungIsLeft(t *testing.T) {
	f := outward(open(10), 10)
	f.Policy.TriesPerRung = 2
	f.Tiers[0].Gate.MaxUnreachable = Limit{Count: 1}
	for i := range f.Hosts {
		f.Hosts[i].Ladder = []Rung{f.Hosts[i].Ladder[0], f.Hosts[i].Ladder[3], f.Hosts[i].Ladder[4]} // own, helper, hands
	}
	x := newSim(t, f, testPlaybook())
	held := func() bool { return x.s.Waves[0].HeldBy != "" }
	tried := map[string]bool{}
	x.script = func(_ *machine, j Job) Result {
		tried[j.Rung.Name] = true
		return Result{Class: Unreachable, Signature: "no route"}
	}
	x.start(f, testPlaybook())
	x.run("all hosts have tried their first rung twice", func() bool {
		for _, h := range x.s.order {
			if h.Rung == 0 {
				if held() {
					t.Fatalf("the wave is held while rungs are left: %s", x.s.Waves[0].Reason)
				}
				return false
			}
		}
		return true
	})
	x.run("the wave is held", held)
	out := 0
	for _, h := range x.s.order {
		if h.Phase == NeedsHands || h.Rung == 1 && h.tries >= 2 {
			out++
		}
	}
	if w := x.s.Waves[0]; w.HeldBy != BreakerUnreachable || out < 2 || !tried["own"] || !tried["helper"] {
		t.Errorf("held by %s with %d hosts out of rungs, tried %v", w.HeldBy, out, tried)
	}
}
