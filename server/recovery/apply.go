package recovery

import (
	"strings"
	"time"
)

// Apply folds one entry into the state. It is total and decides nothing: an entry about something unknown changes nothing.
func (s *State) Apply(e Entry) {
	s.Seq = e.Seq
	switch v := e.Event.(type) {
	case *IncidentDeclared:
		s.declare(v, e.At)
	case *IncidentScoped:
		s.applyScope(v, e.At)
	case *PlanProposed:
		s.applyPlan(v)
	case *PlanApproved:
		s.Approved = true
	case *IncidentPaused:
		if s.PausedAt.IsZero() {
			s.PausedAt = e.At
		}
		s.Breaker, s.Reason = v.Breaker, v.Reason
	case *IncidentResumed:
		if !s.PausedAt.IsZero() {
			s.frozen += e.At.Sub(s.PausedAt)
		}
		s.PausedAt, s.Breaker, s.Reason = time.Time{}, "", v.Reason
		s.accept(v.Accepted)
	case *IncidentAborted:
		s.Aborted, s.Reason = true, v.Reason
	case *IncidentClosed:
		s.Closed, s.Outcome, s.Reason = e.At, v.Outcome, v.Reason
		s.active = map[string]*HostState{}
	case *HoldOverridden:
		s.overrides[v.Target] = v.Reason
		if name, ok := strings.CutPrefix(v.Target, "host:"); ok && s.hosts[name] != nil {
			s.hosts[name].overridden = true
		}
	case *AgentRefused:
		s.Refusals = append(s.Refusals, Refusal{e.At, v.Host, v.Peer, v.Why})
		if len(s.Refusals) > maxRefusals {
			s.Refusals = s.Refusals[len(s.Refusals)-maxRefusals:]
		}
	case *WaveOpened, *WavePassed, *WaveHeld, *WaveReleased, *WaveApproved:
		s.applyWave(v, e.At)
	default:
		s.applyHost(v, e.At)
	}
}

func (s *State) declare(v *IncidentDeclared, at time.Time) {
	s.ID, s.Title, s.Declared, s.Began = v.Incident, v.Title, at, v.Began
	s.Playbook, s.Fleet = v.Playbook, v.Fleet
	wave := map[string]int{}
	for i, t := range s.Fleet.Tiers {
		wave[t.Name] = i + 1
		s.Waves = append(s.Waves, &WaveState{N: i + 1, Tier: t})
	}
	for i := range s.Fleet.Services {
		s.services[s.Fleet.Services[i].Name] = &s.Fleet.Services[i]
	}
	for i := range s.Fleet.Groups {
		s.groups[s.Fleet.Groups[i].Name] = &s.Fleet.Groups[i]
	}
	for i := range s.Fleet.Hosts {
		h := &HostState{Host: &s.Fleet.Hosts[i], Phase: NotHit, Since: at}
		h.Wave = wave[h.Host.Tier]
		s.hosts[h.Host.Name] = h
		s.order = append(s.order, h)
		s.members[h.Host.Service] = append(s.members[h.Host.Service], h)
		for _, g := range h.Host.Groups {
			s.grouped[g] = append(s.grouped[g], h)
		}
	}
}

func (s *State) applyScope(v *IncidentScoped, at time.Time) {
	for _, sc := range v.Hosts {
		h := s.hosts[sc.Host]
		if h == nil {
			continue
		}
		h.Scope = sc
		h.Phase, h.Reason, h.Since = NotHit, sc.Evidence, at
		if sc.Planned {
			h.Phase = Waiting
		}
	}
	s.refreshServices(at)
}

func (s *State) applyPlan(v *PlanProposed) {
	s.Plan = v.Plan
	for _, pw := range v.Plan.Waves {
		if pw.Wave < 1 || pw.Wave > len(s.Waves) {
			continue
		}
		w := s.Waves[pw.Wave-1]
		w.Hosts = w.Hosts[:0]
		for _, ph := range pw.Hosts {
			h := s.hosts[ph.Host]
			if h == nil {
				continue
			}
			h.Method, h.Rung, h.Wave, h.canary = ph.Method, max(ph.Rung, 0), pw.Wave, ph.Canary
			w.Hosts = append(w.Hosts, h)
		}
	}
}

func (s *State) applyWave(e Event, at time.Time) {
	wave := func(n int) *WaveState {
		if n < 1 || n > len(s.Waves) {
			return &WaveState{}
		}
		return s.Waves[n-1]
	}
	switch v := e.(type) {
	case *WaveOpened:
		w := wave(v.Wave)
		w.OpenedAt, w.Size, w.Need, w.Limits, w.Reason = at, v.Size, v.Need, v.Limits, v.Reason
		w.markShare(s.clock(at))
	case *WavePassed:
		w := wave(v.Wave)
		w.PassedAt, w.Reason = at, v.Reason
		if w.HeldBy == BreakerBelowShare {
			w.HeldBy = ""
		}
	case *WaveHeld:
		w := wave(v.Wave)
		w.HeldBy, w.Reason = v.Breaker, v.Reason
	case *WaveReleased:
		w := wave(v.Wave)
		w.HeldBy, w.Reason = "", v.Reason
		s.accept(v.Accepted)
	case *WaveApproved:
		wave(v.Wave).Approved = true
	}
}

func (s *State) accept(fs []Failure) {
	for _, f := range fs {
		s.accepted[f.key()] = true
	}
}

// markShare notes since when enough of the wave is recovered.
func (w *WaveState) markShare(clock time.Time) {
	switch {
	case w.OpenedAt.IsZero() || w.recovered < w.Need:
		w.shareAt = time.Time{}
	case w.shareAt.IsZero():
		w.shareAt = clock
	}
}

func (s *State) applyHost(e Event, at time.Time) {
	h := s.hosts[hostOf(e)]
	if h == nil {
		return
	}
	before, wasRecovered := h.Up(), h.Phase == Recovered
	clock := s.clock(at)
	switch v := e.(type) {
	case *AttemptStarted:
		h.Attempts = append(h.Attempts, v.Attempt)
		h.bootBefore, h.wantBoot, h.proofs, h.ProvenAt = v.BootBefore, false, 0, time.Time{}
		h.move(Attempting, v.Reason, at)
		h.tries++
	case *AttemptEnded:
		s.applyEnded(h, v, at)
	case *HostProven:
		h.move(Verifying, v.Reason, at)
		h.ProvenAt, h.provenBoot, h.soakUntil = at, v.Sighting.BootID, clock.Add(v.SoakUntil.Sub(at))
		h.proofs++
	case *ProofFailed:
		h.move(v.Next, v.Reason, at)
		h.fail(Failure{Host: v.Host, Attempt: h.proofBase(), Class: Failed, Signature: "no proof: " + v.Missing})
		h.retryAt(v.Rung, v.Until, at, clock)
	case *HostRecovered:
		h.move(Recovered, v.Reason, at)
		h.RecoveredAt, h.Failure, h.tries = at, nil, 0
		if h.FirstBack.IsZero() {
			h.FirstBack = at
		}
		for _, d := range v.Debts {
			d.Since = at
			h.Debts = append(h.Debts, d)
		}
	case *HostRelapsed:
		h.move(v.Next, v.Reason, at)
		h.Relapses++
		h.ProvenAt, h.RecoveredAt, h.base = time.Time{}, time.Time{}, len(h.Attempts)
		h.retryAt(v.Rung, time.Time{}, at, clock)
		h.tries = 0
	case *HostNeedsHands:
		h.move(NeedsHands, v.Reason, at)
	case *HostClaimed:
		h.Owner, h.ownedUntil = v.By, time.Time{}
		if v.Until.IsZero() {
			h.Owner = ""
		} else {
			h.ownedUntil = clock.Add(v.Until.Sub(at))
		}
	case *HandsFinished:
		h.Attempts = append(h.Attempts, Attempt{ID: v.Attempt, Host: v.Host, N: len(h.Attempts) + 1, Rung: -1, RungName: RungHands,
			Playbook: s.Playbook.Digest, Started: at.Add(-v.Spent), Ended: at,
			Result: Result{Class: Succeeded, Detail: "done by " + v.By + note(v.Note), Took: v.Spent}})
		h.bootBefore, h.wantBoot, h.proofs, h.ProvenAt = "", true, 0, time.Time{}
		h.move(Verifying, "work done by "+v.By+"; proof is awaited", at)
		h.verifyBy, h.Owner = clock.Add(v.Until.Sub(at)), ""
	case *HostSkipped:
		h.move(Skipped, v.Reason, at)
		h.Owner = ""
	case *HostReturned:
		h.move(Waiting, v.Reason, at)
		h.retryAt(v.Rung, time.Time{}, at, clock)
		h.tries, h.base, h.ProvenAt = 0, len(h.Attempts), time.Time{}
		s.joinWave(h)
	case *DebtCleared:
		for i := range h.Debts {
			if h.Debts[i].ID == v.Debt && h.Debts[i].Cleared.IsZero() {
				h.Debts[i].Cleared, h.Debts[i].By, h.Debts[i].Note = at, v.By, v.Note
			}
		}
	}
	s.afterMove(h, before, wasRecovered, at)
}

// afterMove keeps what is counted in step with the host's phase.
func (s *State) afterMove(h *HostState, wasUp, wasRecovered bool, at time.Time) {
	if h.Phase == Attempting || h.Phase == Verifying && !h.Host.Agent {
		s.active[h.Host.Name] = h
	} else {
		delete(s.active, h.Host.Name)
	}
	if wasUp != h.Up() {
		s.refreshService(h.Host.Service, at)
	}
	if wasRecovered != (h.Phase == Recovered) && h.Wave > 0 {
		w := s.Waves[h.Wave-1]
		if wasRecovered {
			w.recovered--
		} else {
			w.recovered++
		}
		w.markShare(s.clock(at))
	}
}

func (s *State) applyEnded(h *HostState, v *AttemptEnded, at time.Time) {
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.ID == v.Attempt && (a.Ended.IsZero() || v.Late) {
			if a.Ended.IsZero() {
				a.Ended = at
			}
			if !v.Late || a.Result.Class == TimedOut {
				a.Result = v.Result
			}
		}
	}
	if v.Late {
		return
	}
	h.move(v.Next, v.Reason, at)
	clock := s.clock(at)
	switch v.Next {
	case Verifying:
		h.verifyBy = clock.Add(v.Until.Sub(at))
		h.wantBoot = v.Result.Class != NothingFound
		if v.Result.Class == NothingFound {
			h.bootBefore = ""
		}
	default:
		if v.Result.Class != Cancelled {
			h.fail(Failure{Host: v.Host, Attempt: v.Attempt, Class: v.Result.Class, Signature: v.Result.Signature})
		}
		h.retryAt(v.Rung, v.Until, at, clock)
	}
}

func (h *HostState) move(p Phase, reason string, at time.Time) {
	h.Phase, h.Reason, h.Since = p, reason, at
}

func (h *HostState) fail(f Failure) { h.Failure = &f }

// retryAt sets the rung and the earliest time of the next attempt.
func (h *HostState) retryAt(rung int, until, at, clock time.Time) {
	if rung != h.Rung {
		h.tries = 0
	}
	h.Rung, h.nextAt, h.ProvenAt = rung, time.Time{}, time.Time{}
	if !until.IsZero() {
		h.nextAt = clock.Add(until.Sub(at))
	}
}

// joinWave adds a host to its wave that the plan had left out.
func (s *State) joinWave(h *HostState) {
	if h.Wave < 1 {
		return
	}
	w := s.Waves[h.Wave-1]
	for _, x := range w.Hosts {
		if x == h {
			return
		}
	}
	h.Method = MethodRepair
	w.Hosts = append(w.Hosts, h)
}

func (s *State) refreshServices(at time.Time) {
	for name := range s.services {
		s.refreshService(name, at)
	}
}

// refreshService notes since when a service is up.
func (s *State) refreshService(name string, at time.Time) {
	svc := s.services[name]
	if svc == nil {
		return
	}
	up, _ := s.serviceUp(svc)
	switch {
	case !up:
		delete(s.upAt, name)
	case s.upAt[name].IsZero():
		s.upAt[name] = at
	}
}

func hostOf(e Event) string {
	switch v := e.(type) {
	case *AttemptStarted:
		return v.Attempt.Host
	case *AttemptEnded:
		return v.Host
	case *HostProven:
		return v.Host
	case *ProofFailed:
		return v.Host
	case *HostRecovered:
		return v.Host
	case *HostRelapsed:
		return v.Host
	case *HostNeedsHands:
		return v.Host
	case *HostClaimed:
		return v.Host
	case *HandsFinished:
		return v.Host
	case *HostSkipped:
		return v.Host
	case *HostReturned:
		return v.Host
	case *DebtCleared:
		return v.Host
	case *AgentRefused:
		return v.Host
	}
	return ""
}

// HostOf returns the host that an event is about, or "".
func HostOf(e Event) string { return hostOf(e) }

func note(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}
