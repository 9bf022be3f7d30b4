package recovery

import (
	"fmt"
	"slices"
)

// before checks an event against the state that it is about to change, by rules told independently of the code.
func (x *sim) before(e Entry) Phase {
	x.tb.Helper()
	s := x.s
	switch v := e.Event.(type) {
	case *AttemptStarted:
		x.mayStart(s.hosts[v.Attempt.Host], v)
		x.mayRestore(s.hosts[v.Attempt.Host], v)
		defer x.vaultBusy() // of those under way before
	case *WaveOpened:
		if v.Wave > 1 {
			w := s.Waves[v.Wave-2]
			if w.OpenedAt.IsZero() || w.PassedAt.IsZero() && s.overrides[fmt.Sprintf("wave:%d", v.Wave)] == "" {
				x.tb.Fatalf("wave %d opens, wave %d is %s", v.Wave, w.N, w.Status())
			}
		}
		if !s.Waves[v.Wave-1].OpenedAt.IsZero() {
			x.tb.Fatalf("wave %d opens twice", v.Wave)
		}
	case *WavePassed:
		w := s.Waves[v.Wave-1]
		n := 0
		for _, h := range w.Hosts {
			if h.Phase == Recovered {
				n++
			}
		}
		if n*100 < w.Size*w.Tier.Gate.SuccessPercent && s.overrides[fmt.Sprintf("wave:%d", v.Wave)] == "" {
			x.tb.Fatalf("wave %d passes with %d of %d", v.Wave, n, w.Size)
		}
		if !s.PausedAt.IsZero() || s.Aborted {
			x.tb.Fatalf("wave %d passes while %s", v.Wave, s.Status())
		}
	case *HostProven:
		x.proofHolds(s.hosts[v.Host], v.Sighting)
	case *AttemptProgressed:
		x.mayStep(s.hosts[v.Host], v)
	case *RescueServed:
		x.mayServe(s.hosts[v.Host], v)
	case *HostRecovered:
		h, m := s.hosts[v.Host], x.far[v.Host]
		if x.outside[v.Host].rescue {
			x.tb.Fatalf("%s recovered, and starts into the rescue system the next time", v.Host)
		}
		if h.Phase != Verifying || h.ProvenAt.IsZero() || s.clock(x.now).Before(h.soakUntil) {
			x.tb.Fatalf("%s recovered out of %s, proven at %v", v.Host, h.Phase, h.ProvenAt)
		}
		x.proofHolds(h, s.seen[v.Host])
		if m.bad > 0 || m.sick || m.good == 0 || m.changed == m.boot && s.Playbook.Reboot == RebootRequired {
			x.tb.Fatalf("%s recovered, and is truly %+v", v.Host, *m)
		}
	}
	if h := s.hosts[hostOf(e.Event)]; h != nil {
		return h.Phase
	}
	return ""
}

// proofHolds tells the rule of design 3.2 again, by the facts alone.
func (x *sim) proofHolds(h *HostState, v Sighting) {
	x.tb.Helper()
	ok := v.Connected && v.BootMode == BootNormal && len(v.Content) == 1 && v.Content[0].Playbook == x.s.Playbook.Digest && v.Content[0].Bad == 0 && v.Content[0].Good > 0 &&
		!v.Content[0].Missing && v.Content[0].Error == ""
	for _, c := range v.Health {
		ok = ok && c.OK
	}
	for _, a := range h.Attempts {
		if a.Result.Class == Succeeded && a.Rung >= 0 && v.BootID == x.bootOf[a.ID] && x.s.Playbook.Reboot == RebootRequired {
			x.tb.Fatalf("%s is proven on %s, the boot in which %s changed it", h.Host.Name, v.BootID, a.ID)
		}
	}
	if n := x.asked[v.Answers]; n > 0 && n != len(x.s.Versions) {
		x.tb.Fatalf("%s is proven in answer to %s, which was asked before the playbook was revised", h.Host.Name, v.Answers)
	}
	if !ok {
		x.tb.Fatalf("%s is proven by %+v", h.Host.Name, v)
	}
}

// mayStart checks an attempt's start against everything that may forbid it.
func (x *sim) mayStart(h *HostState, v *AttemptStarted) {
	x.tb.Helper()
	s := x.s
	fail := func(format string, args ...any) {
		x.tb.Helper()
		x.tb.Fatalf("%s starts: %s", v.Attempt.ID, fmt.Sprintf(format, args...))
	}
	w := s.Waves[h.Wave-1]
	switch {
	case !s.Approved || s.Aborted || !s.PausedAt.IsZero():
		fail("the incident is %s", s.Status())
	case h.Phase != Waiting:
		fail("it is %s", h.Phase)
	case !h.overridden && w.OpenedAt.IsZero():
		fail("wave %d is not open", w.N)
	case !h.overridden && w.HeldBy != "" && w.HeldBy != BreakerBelowShare:
		fail("wave %d is held by %s", w.N, w.HeldBy)
	case h.Host.Ladder[v.Attempt.Rung].Kind == RungHands:
		fail("rung %d is a person's", v.Attempt.Rung)
	case (h.Host.Ladder[v.Attempt.Rung].Reboots || h.Host.Ladder[v.Attempt.Rung].Kind == RungRescue || h.Host.Ladder[v.Attempt.Rung].Kind == RungHelper) && s.Playbook.Reboot == RebootForbidden:
		fail("rung %d restarts", v.Attempt.Rung)
	case v.Attempt.N != len(h.Attempts)+1 || v.Attempt.ID != fmt.Sprintf("%s/%d", h.Host.Name, v.Attempt.N):
		fail("its number is wrong")
	case x.now.Before(s.wall(h.nextAt)):
		fail("it backs off")
	}
	for _, a := range h.Attempts {
		if a.Ended.IsZero() {
			fail("%s is under way", a.ID)
		}
	}
	x.canaryLived(h, v, fail)
	using := map[string]int{}
	grouped := map[string]int{}
	for _, o := range s.order {
		if o.Phase == Attempting {
			if a := o.attempt(); a.Method == MethodRestore {
				for _, repo := range readFrom(a.Restores) {
					using[repo]++
				}
			} else {
				using[ResourceSSH]++
			}
			for _, r := range o.Host.Resources {
				using[r]++
			}
		}
		if rung := o.lastRung(); rung >= 0 && (o.Phase == Attempting || o.Phase == Verifying && o.ProvenAt.IsZero()) {
			for _, r := range o.Host.Ladder[rung].Resources {
				using[r]++
			}
		}
		if o.Phase == Attempting || o.Phase == Verifying && o.ProvenAt.IsZero() {
			for _, g := range o.Host.Groups {
				grouped[g]++
			}
		}
	}
	for _, r := range s.Fleet.Resources {
		if (r.Name == ResourceSSH && v.Attempt.Method != MethodRestore || slices.Contains(readFrom(v.Attempt.Restores), r.Name) || slices.Contains(h.Host.Resources, r.Name) || slices.Contains(h.Host.Ladder[v.Attempt.Rung].Resources, r.Name)) && using[r.Name] >= r.Slots {
			fail("%d of %d slots of %s are taken", using[r.Name], r.Slots, r.Name)
		}
	}
	for _, g := range s.Fleet.Groups {
		if slices.Contains(h.Host.Groups, g.Name) && grouped[g.Name] >= g.MaxAtOnce {
			fail("%d of group %s are in work", grouped[g.Name], g.Name)
		}
	}
	for _, g := range s.Fleet.Groups {
		down := 1
		for _, m := range s.grouped[g.Name] {
			silent := !s.seen[m.Host.Name].Connected
			if m != h && (m.Phase == Attempting || m.Phase == Verifying && m.ProvenAt.IsZero() || silent && (m.Phase == NeedsHands || m.Phase == Waiting && !s.waitsFor(m, h, s.survey(x.now)))) {
				down++
			}
		}
		if slices.Contains(h.Host.Groups, g.Name) && g.MaxDown > 0 && s.seen[h.Host.Name].Connected && down > g.MaxDown {
			fail("%d of group %s would be down", down, g.Name)
		}
	}
	if svc := s.services[h.Host.Service]; svc != nil && !h.overridden {
		for _, need := range svc.Needs {
			if up, why := s.serviceUp(s.services[need]); !up && s.overrides["service:"+need] == "" {
				fail("service %s is down: %s", need, why)
			}
		}
	}
}

// legal holds a move that was just made against the table. Only an event that moves hosts may leave one where it was.
func (x *sim) legal(h *HostState, e Event, from Phase) {
	x.tb.Helper()
	moving := false
	for _, m := range moves {
		moving = moving || m.event == e.Kind()
		if m.from == from && m.event == e.Kind() && slices.Contains(m.to, h.Phase) {
			return
		}
	}
	if ended, ok := e.(*AttemptEnded); moving && !(ok && ended.Late) || h.Phase != from {
		x.tb.Fatalf("%s takes %s from %s to %s, which is no legal move", e.Kind(), h.Host.Name, from, h.Phase)
	}
}

// check holds after every step.
func (x *sim) check() {
	x.tb.Helper()
	s := x.s
	var want, got []string
	recovered := map[int]int{}
	for _, h := range s.order {
		open := 0
		for i, a := range h.Attempts {
			if a.Ended.IsZero() {
				open++
				want = append(want, a.ID)
				if i != len(h.Attempts)-1 {
					x.tb.Fatalf("%s is open and not the last", a.ID)
				}
			}
		}
		if open > 1 || (open == 1) != (h.Phase == Attempting) {
			x.tb.Fatalf("%s is %s with %d attempts open", h.Host.Name, h.Phase, open)
		}
		if h.Phase == Recovered && !h.joined {
			recovered[h.Wave]++
		}
	}
	if s.Closed.IsZero() {
		for _, j := range s.Work(x.now) {
			if j.Kind == JobRestore {
				got = append(got, j.ID)
			} else if j.Kind == JobCancel {
				if a := s.hosts[j.Host.Name].attempt(); a == nil || a.ID != j.Of || a.Cancel == "" {
					x.tb.Fatalf("job %s: nobody wants %s to be let go of", j.ID, j.Of)
				}
			} else if j.Kind == JobRepair {
				got = append(got, j.ID)
				x.runsItsVersion(j)
			} else if h := s.hosts[j.Host.Name]; j.Kind == JobUnboot {
				if h.Phase == Attempting || !h.hasDebt(DebtBootTarget) {
					x.tb.Fatalf("job %s for a host that is %s with debts %v", j.ID, h.Phase, h.Debts)
				}
			} else if h.Phase != Verifying || h.Host.Agent {
				x.tb.Fatalf("job %s for a host that is %s", j.ID, h.Phase)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			x.tb.Fatalf("work is %v, attempts under way are %v", got, want)
		}
	}
	for _, w := range s.Waves {
		if w.recovered != recovered[w.N] {
			x.tb.Fatalf("wave %d counts %d recovered, there are %d", w.N, w.recovered, recovered[w.N])
		}
	}
	for name, svc := range s.services {
		up, _ := s.serviceUp(svc)
		if up == s.upAt[name].IsZero() {
			x.tb.Fatalf("service %s: up %v, since %v", name, up, s.upAt[name])
		}
	}
	x.checkOutside()
	for id, n := range x.starts {
		if n > 1 {
			x.tb.Fatalf("%s was started %d times", id, n)
		}
	}
	if s.Approved && !s.Aborted && s.Closed.IsZero() {
		why := s.Why(x.now)
		for _, h := range s.order {
			if h.Phase == Waiting && (why[h.Host.Name].Text == "" || why[h.Host.Name].Code == WaitNext) {
				x.tb.Fatalf("%s waits without a reason", h.Host.Name)
			}
		}
	}
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for k := range sorted(m) {
		names = append(names, k)
	}
	return names
}
