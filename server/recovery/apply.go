package recovery

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Apply folds one entry into the state. It is total and decides nothing: an entry about something unknown changes nothing.
func (s *State) Apply(e Entry) {
	s.Seq, e.At = e.Seq, e.At.UTC().Round(0) // as it comes back from the journal
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
		s.endPause(e.At)
		s.Reason = v.Reason
		s.accept(v.Accepted)
	case *CoordinatorRestarted:
		s.lose(v.Alive.UTC().Round(0), e.At)
		s.cancelAnew()
	case *PlaybookRevised:
		s.applyRevision(v, e)
	case *IncidentAborted:
		s.endPause(e.At) // what is in flight must come to its end
		s.Aborted, s.Reason = true, v.Reason
	case *IncidentClosed:
		s.Closed, s.Outcome, s.Reason = e.At, v.Outcome, v.Reason
		s.active = map[string]*HostState{}
	case *HoldOverridden:
		s.applyOverride(v)
	case *AgentRefused:
		s.Refusals = append(s.Refusals, Refusal{e.At, v.Host, v.Peer, v.Why})
		if len(s.Refusals) > maxRefusals {
			s.Refusals = s.Refusals[len(s.Refusals)-maxRefusals:]
		}
	case *PointsLearnt:
		s.applyPoints(v)
	case *WaveOpened, *WavePassed, *WaveHeld, *WaveReleased, *WaveApproved:
		s.applyWave(v, e.At)
	default:
		s.applyHost(v, e.At)
	}
}

func (s *State) declare(v *IncidentDeclared, at time.Time) {
	if s.ID != "" {
		return
	}
	s.ID, s.Title, s.Declared, s.Began = v.Incident, v.Title, at, v.Began
	s.Playbook, s.Fleet = v.Playbook, v.Fleet
	s.Versions = []Version{{Playbook: v.Playbook, Since: at}}
	s.declareStock(v)
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
	slices.SortFunc(s.order, func(x, y *HostState) int { return strings.Compare(x.Host.Name, y.Host.Name) })
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
			h.Method, h.Rung, h.Wave, h.canary = ph.Method, ph.Rung, pw.Wave, ph.Canary
			if h.Rung < 0 {
				h.Rung = max(s.terms().nextAwaited(h.Host, 0), 0)
			}
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
		if w.HeldBy == BreakerBelowShare { // other breakers go on holding the wave's stragglers
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

func (s *State) applyOverride(v *HoldOverridden) {
	s.overrides[v.Target] = v.Reason
	kind, name, _ := strings.Cut(v.Target, ":")
	switch kind {
	case "host":
		if h := s.hosts[name]; h != nil {
			h.overridden = true
		}
	case "wave":
		// It lifts one hold: the one that there is.
		n, _ := strconv.Atoi(name)
		switch {
		case n < 1 || n > len(s.Waves):
		case s.Waves[n-1].OpenedAt.IsZero():
			s.Waves[n-1].forced = v.Reason
		default:
			s.Waves[n-1].waived = v.Reason
		}
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
	case *AttemptProgressed:
		return v.Host
	case *RescueServed:
		return v.Host
	case *BootTargetCleared:
		return v.Host
	case *BootTargetStuck:
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
	case *RestoreApproved:
		return v.Host
	case *AttemptCancelAsked:
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
