package recovery

import (
	"fmt"
	"time"
)

// Reason is why a host waits.
type Reason struct {
	Code string
	Text string
}

// Codes of waiting reasons.
const (
	WaitPaused     = "paused"
	WaitAborted    = "aborted"
	WaitApproval   = "needs-approval"
	WaitWave       = "wave-not-open"
	WaitHeld       = "wave-held"
	WaitDependency = "dependency-down"
	WaitGroup      = "group-limit"
	WaitSlot       = "no-slot"
	WaitCanary     = "canary-first"
	WaitRamp       = "ramp"
	WaitBackoff    = "backoff-until"
	WaitForbidden  = "forbidden"
	WaitOwned      = "owned"
	WaitHealing    = "healing"
	WaitNext       = "next" // nothing holds it: it starts with the next tick
)

// Why says for every waiting host what it waits for. One pass over the hosts serves them all.
func (s *State) Why(now time.Time) map[string]Reason {
	sv := s.survey(now)
	reasons := map[string]Reason{}
	for _, h := range s.order {
		if h.Phase != Waiting {
			continue
		}
		r, held := s.blocked(h, sv, now)
		if !held {
			r = Reason{WaitNext, "it starts next"}
		}
		reasons[h.Host.Name] = r
	}
	return reasons
}

// blocked returns what keeps a waiting host from starting, most general first.
func (s *State) blocked(h *HostState, sv *survey, now time.Time) (Reason, bool) {
	if r, held := s.incidentBlocked(); held {
		return r, true
	}
	if h.Wave < 1 {
		return Reason{WaitWave, "it belongs to no wave"}, true
	}
	w := s.Waves[h.Wave-1]
	if r, held := s.waveBlocked(w, h); held {
		return r, true
	}
	return s.hostBlocked(h, w, sv, now)
}

func (s *State) incidentBlocked() (Reason, bool) {
	switch {
	case s.Aborted:
		return Reason{WaitAborted, "the incident is aborted: " + s.Reason}, true
	case !s.PausedAt.IsZero():
		return Reason{WaitPaused, s.Reason}, true
	case !s.Approved:
		return Reason{WaitApproval, "the plan is not approved yet"}, true
	}
	return Reason{}, false
}

func (s *State) waveBlocked(w *WaveState, h *HostState) (Reason, bool) {
	switch {
	case h.overridden:
		return Reason{}, false
	case w.OpenedAt.IsZero():
		text := fmt.Sprintf("wave %d is not open", w.N)
		if why, _ := s.mayOpen(w); w.N > 1 {
			text += ": " + why
		}
		return Reason{WaitWave, text}, true
	case w.HeldBy != "" && w.HeldBy != BreakerBelowShare: // that one stops the next wave, not this one's second tries
		return Reason{WaitHeld, fmt.Sprintf("wave %d is held: %s", w.N, w.Reason)}, true
	}
	return Reason{}, false
}

func (s *State) hostBlocked(h *HostState, w *WaveState, sv *survey, now time.Time) (Reason, bool) {
	clock := s.clock(now)
	if owner := s.owner(h, now); owner != "" {
		return Reason{WaitOwned, fmt.Sprintf("%s has claimed it until %s", owner, s.wall(h.ownedUntil).UTC().Format(time.TimeOnly))}, true
	}
	if clock.Before(s.healBy(h)) {
		return Reason{WaitHealing, "it is up with good content by itself; proof is awaited"}, true
	}
	if !s.usable(h) {
		return Reason{WaitForbidden, s.rungProblem(h.Host, h.Rung)}, true
	}
	if clock.Before(h.nextAt) {
		return Reason{WaitBackoff, fmt.Sprintf("next try at %s UTC; %s", s.wall(h.nextAt).UTC().Format(time.TimeOnly), h.Reason)}, true
	}
	if !h.overridden {
		if r, held := s.orderBlocked(h, w, sv); held {
			return r, true
		}
	}
	for _, name := range h.Host.Groups {
		if r, held := s.groupBlocked(h, name, sv); held {
			return r, true
		}
	}
	return sv.slotBlocked(h.Host, h.Rung)
}

// usable reports whether the rung that the host's next attempt would use leads anywhere.
func (s *State) usable(h *HostState) bool {
	return h.Rung < len(h.Host.Ladder) && rungProblem(s.Playbook, h.Host, &h.Host.Ladder[h.Rung]) == ""
}

// healBy is until when, on the incident clock, a waiting host that came up well by itself is given time to prove it; zero when
// it did not. An agent that then still owes its answer does not keep the host from being repaired.
func (s *State) healBy(h *HostState) time.Time {
	v, ok := s.seen[h.Host.Name]
	if !ok || !h.Host.Agent || !v.Connected || s.evidence(h, v) != "" {
		return time.Time{}
	}
	since := h.Since
	if v.BootAt.After(since) {
		since = v.BootAt
	}
	if h.Wave > 0 && s.Waves[h.Wave-1].OpenedAt.After(since) {
		since = s.Waves[h.Wave-1].OpenedAt
	}
	return s.clock(since).Add(s.Playbook.VerifyWithin)
}

// orderBlocked is what a person may override for one host: dependencies, the canary, the ramp.
func (s *State) orderBlocked(h *HostState, w *WaveState, sv *survey) (Reason, bool) {
	if svc := s.services[h.Host.Service]; svc != nil {
		for _, need := range svc.Needs {
			if !sv.up[need] {
				return Reason{WaitDependency, fmt.Sprintf("service %s is down: %s", need, sv.upWhy[need])}, true
			}
		}
	}
	r := sv.ramp(s.canaryKey(h))
	if r.recovered == 0 && r.unproven+r.proven > 0 {
		return Reason{WaitCanary, fmt.Sprintf("one %s host of wave %d must be recovered with this playbook first", h.Host.OS, w.N)}, true
	}
	if limit := min(r.window(), w.Limits.InFlight); r.unproven >= limit && r.recovered > 0 {
		return Reason{WaitRamp, fmt.Sprintf("%d %s hosts of wave %d are unproven; the ramp allows %d", r.unproven, h.Host.OS, w.N, limit)}, true
	}
	return Reason{}, false
}

func (s *State) groupBlocked(h *HostState, name string, sv *survey) (Reason, bool) {
	g := s.groups[name]
	if g == nil {
		return Reason{}, false
	}
	if r, held := sv.groupFull(g); held {
		return r, true
	}
	if g.MaxDown > 0 && s.connected(h) {
		down := 0
		for _, m := range s.grouped[name] {
			if m != h && (sv.starting[m.Host.Name] || s.down(m) && !s.waitsFor(m, h, sv)) {
				down++
			}
		}
		if down+1 > g.MaxDown {
			return Reason{WaitGroup, fmt.Sprintf("%d others of group %s are down and this one is up: restarting it would exceed %d", down, name, g.MaxDown)}, true
		}
	}
	return Reason{}, false
}

func (s *State) connected(h *HostState) bool { return s.seen[h.Host.Name].Connected }

// down reports whether a group's member serves nobody now. One that a person took out is no longer counted on.
func (s *State) down(m *HostState) bool {
	return !m.Up() && m.Phase != Skipped && (m.working() || !s.connected(m))
}

// waitsFor reports whether m cannot start before h is done: then h must not wait for m.
func (s *State) waitsFor(m, h *HostState, sv *survey) bool {
	if m.Phase != Waiting {
		return false
	}
	return m.Wave > h.Wave && s.Waves[m.Wave-1].OpenedAt.IsZero() || s.waitsForService(m.Host.Service, h.Host.Service, sv)
}

// waitsForService reports whether a service is held by another that is down, directly or through others that are down.
func (s *State) waitsForService(service, other string, sv *survey) bool {
	seen := map[string]bool{service: true}
	for stack := []string{service}; len(stack) > 0; {
		svc := s.services[stack[len(stack)-1]]
		stack = stack[:len(stack)-1]
		if svc == nil {
			continue
		}
		for _, need := range svc.Needs {
			if sv.up[need] {
				continue
			}
			if need == other {
				return true
			}
			if !seen[need] {
				seen[need] = true
				stack = append(stack, need)
			}
		}
	}
	return false
}
