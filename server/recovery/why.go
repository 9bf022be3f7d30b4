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
	WaitVerifying  = "points-unverified"
	WaitOwned      = "owned"
	WaitHealing    = "healing"
	WaitNext       = "next" // nothing holds it: it starts with the next tick
)

// Why says for every waiting host what it waits for. One pass over the hosts serves them all.
func (s *State) Why(now time.Time) map[string]Reason {
	sv := s.survey(now)
	sv.tells = true
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

// because is a reason. Its text is made only where somebody reads it: a tick judges every waiting host of an estate.
func (sv *survey) because(code, format string, args ...any) (Reason, bool) {
	if !sv.tells {
		return Reason{Code: code}, true
	}
	return Reason{code, fmt.Sprintf(format, args...)}, true
}

// blocked returns what keeps a waiting host from starting, most general first.
func (s *State) blocked(h *HostState, sv *survey, now time.Time) (Reason, bool) {
	if r, held := s.incidentBlocked(); held {
		return r, true
	}
	h = s.chosen(h, sv, now)
	if h.Wave < 1 {
		return Reason{WaitWave, "it belongs to no wave"}, true
	}
	w := s.Waves[h.Wave-1]
	if r, held := s.waveBlocked(w, h, sv); held {
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

func (s *State) waveBlocked(w *WaveState, h *HostState, sv *survey) (Reason, bool) {
	switch {
	case h.overridden:
		return Reason{}, false
	case w.OpenedAt.IsZero() && w.N == 1:
		return sv.because(WaitWave, "wave 1 is not open")
	case w.OpenedAt.IsZero() && sv.tells:
		why, _ := s.mayOpen(w)
		return sv.because(WaitWave, "wave %d is not open: %s", w.N, why)
	case w.OpenedAt.IsZero():
		return sv.because(WaitWave, "")
	case w.holds():
		return sv.because(WaitHeld, "wave %d is held: %s", w.N, w.Reason)
	}
	return Reason{}, false
}

// holds reports whether nothing starts in a wave. That it is below its share stops the next wave, not its own second tries.
func (w *WaveState) holds() bool { return w.HeldBy != "" && w.HeldBy != BreakerBelowShare }

func (s *State) hostBlocked(h *HostState, w *WaveState, sv *survey, now time.Time) (Reason, bool) {
	clock := s.clock(now)
	if owner := s.owner(h, now); owner != "" {
		return sv.because(WaitOwned, "%s has claimed it until %s", owner, s.wall(h.ownedUntil).UTC().Format(time.TimeOnly))
	}
	if clock.Before(s.healBy(h)) {
		return Reason{WaitHealing, "it is up with good content by itself; proof is awaited"}, true
	}
	if s.awaited(h) {
		return sv.because(WaitVerifying, "its restore points are being verified: %s", s.terms().problem(h.Host, &h.Host.Ladder[h.Rung]))
	}
	if !s.usable(h) {
		return sv.because(WaitForbidden, "%s", s.rungProblem(h.Host, h.Rung))
	}
	if clock.Before(h.nextAt) {
		if !sv.tells {
			return Reason{Code: WaitBackoff}, true
		}
		return sv.because(WaitBackoff, "next try at %s UTC; %s", s.wall(h.nextAt).UTC().Format(time.TimeOnly), h.Reason)
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
	if missing := s.approvalMissing(h, h.Rung); missing != "" {
		return sv.because(WaitApproval, "%s", missing)
	}
	if name := sv.fullFor(h.Host, h.Rung, s.readsNext(h)); name != "" {
		return slotIsTaken(name), true
	}
	return Reason{}, false
}

// usable reports whether the rung that the host's next attempt would use leads anywhere.
func (s *State) usable(h *HostState) bool {
	return h.Rung < len(h.Host.Ladder) && s.terms().problem(h.Host, &h.Host.Ladder[h.Rung]) == ""
}

// awaited reports whether that rung cannot be used yet, and all that it lacks is being verified.
func (s *State) awaited(h *HostState) bool {
	return h.Rung < len(h.Host.Ladder) && s.terms().awaited(h.Host, &h.Host.Ladder[h.Rung])
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
				return s.dependencyDown(need, sv)
			}
		}
	}
	r := sv.ramp(s.canaryKey(h))
	if r.recovered == 0 && r.unproven+r.proven > 0 {
		return sv.because(WaitCanary, "one %s host of wave %d must be recovered with this playbook first", h.Host.OS, w.N)
	}
	if limit := min(r.window(), w.Limits.InFlight-r.older); r.unproven >= limit && r.recovered > 0 {
		return sv.because(WaitRamp, "%d %s hosts of wave %d are unproven; the ramp allows %d", r.unproven, h.Host.OS, w.N, max(limit, 0))
	}
	return Reason{}, false
}

func (s *State) dependencyDown(service string, sv *survey) (Reason, bool) {
	if !sv.tells {
		return Reason{Code: WaitDependency}, true
	}
	_, missing := s.serviceUp(s.services[service])
	return sv.because(WaitDependency, "service %s is down: %s", service, missing)
}

func (s *State) groupBlocked(h *HostState, name string, sv *survey) (Reason, bool) {
	g := s.groups[name]
	if g == nil {
		return Reason{}, false
	}
	if n, full := sv.groupFull(g); full {
		return groupIsFull(g, n), true
	}
	if g.MaxDown > 0 && s.connected(h) {
		down := 0
		for _, m := range s.grouped[name] {
			if m.Host != h.Host && (sv.starting[m.Host.Name] || s.down(m) && !s.waitsFor(m, h, sv)) {
				down++
			}
		}
		if down+1 > g.MaxDown {
			return sv.because(WaitGroup, "%d others of group %s are down and this one is up: restarting it would exceed %d", down, name, g.MaxDown)
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
