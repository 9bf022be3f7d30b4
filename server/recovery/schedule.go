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
	case w.HeldBy != "":
		return Reason{WaitHeld, fmt.Sprintf("wave %d is held: %s", w.N, w.Reason)}, true
	}
	return Reason{}, false
}

func (s *State) hostBlocked(h *HostState, w *WaveState, sv *survey, now time.Time) (Reason, bool) {
	clock := s.clock(now)
	if owner := s.owner(h, now); owner != "" {
		return Reason{WaitOwned, fmt.Sprintf("%s has claimed it until %s", owner, s.wall(h.ownedUntil).UTC().Format(time.TimeOnly))}, true
	}
	if v, ok := s.seen[h.Host.Name]; ok && s.looksWell(v) {
		return Reason{WaitHealing, "it is up with good content by itself; proof is awaited"}, true
	}
	if h.Rung >= len(h.Host.Ladder) || rungProblem(s.Playbook, h.Host.Ladder[h.Rung]) != "" {
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
	return slotBlocked(h, sv)
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
	if n := sv.group[name]; n >= g.MaxAtOnce {
		return Reason{WaitGroup, fmt.Sprintf("%d of group %s are being worked on, the most allowed", n, name)}, true
	}
	if v, ok := s.seen[h.Host.Name]; g.MaxDown > 0 && ok && v.Connected {
		down := 0
		for _, m := range s.grouped[name] {
			if m != h && !m.Up() {
				down++
			}
		}
		if down+1 > g.MaxDown {
			return Reason{WaitGroup, fmt.Sprintf("%d others of group %s are down and this one is up: restarting it would exceed %d", down, name, g.MaxDown)}, true
		}
	}
	return Reason{}, false
}

func slotBlocked(h *HostState, sv *survey) (Reason, bool) {
	if sv.slots[ResourceSSH] <= 0 {
		return Reason{WaitSlot, "no free slot on " + ResourceSSH}, true
	}
	for _, name := range h.Host.Resources {
		if n, ok := sv.slots[name]; ok && n <= 0 {
			return Reason{WaitSlot, "no free slot on " + name}, true
		}
	}
	return Reason{}, false
}

// startAttempts starts whatever may start: wave by wave; canaries, then critical hosts, then the rest; scarce slots are
// shared between councils.
func (s *State) startAttempts(sv *survey, now time.Time) []Event {
	if _, held := s.incidentBlocked(); held {
		return nil
	}
	var events []Event
	for _, w := range s.Waves {
		for rank := range ranks {
			q := w.candidates(rank)
			for h := q.next(sv); h != nil; h = q.next(sv) {
				if sv.slots[ResourceSSH] <= 0 {
					return events
				}
				if _, held := s.blocked(h, sv, now); !held {
					events = append(events, s.start(h, sv, now))
				}
			}
		}
	}
	return events
}

// queue hands out hosts: always the next one of the council that has the fewest attempts under way.
type queue struct {
	councils []string
	hosts    map[string][]*HostState
}

// ranks of hosts inside a wave: canaries, critical hosts, the others.
const ranks = 3

func (h *HostState) rank() int {
	switch {
	case h.canary:
		return 0
	case h.Host.Critical:
		return 1
	}
	return 2
}

// candidates are the waiting hosts of one rank, in the plan's order.
func (w *WaveState) candidates(rank int) *queue {
	q := &queue{hosts: map[string][]*HostState{}}
	for _, h := range w.Hosts {
		if h.Phase != Waiting || h.rank() != rank {
			continue
		}
		c := h.Host.Council
		if q.hosts[c] == nil {
			q.councils = append(q.councils, c)
		}
		q.hosts[c] = append(q.hosts[c], h)
	}
	return q
}

func (q *queue) next(sv *survey) *HostState {
	best := ""
	found := false
	for _, c := range q.councils {
		if len(q.hosts[c]) > 0 && (!found || sv.councils[c] < sv.councils[best]) {
			best, found = c, true
		}
	}
	if !found {
		return nil
	}
	h := q.hosts[best][0]
	q.hosts[best] = q.hosts[best][1:]
	return h
}

// start makes the intent to act and books it in the survey.
func (s *State) start(h *HostState, sv *survey, now time.Time) Event {
	timeout := s.Playbook.Timeout + connectAllowance
	r := sv.ramp(s.canaryKey(h))
	e := &AttemptStarted{
		Attempt: Attempt{ID: nextAttemptID(h), Host: h.Host.Name, N: len(h.Attempts) + 1, Rung: h.Rung, RungName: rungName(h.Host, h.Rung),
			Playbook: s.Playbook.Digest, Started: now, Timeout: timeout, Deadline: s.clock(now).Add(2 * timeout)},
		BootBefore: s.seen[h.Host.Name].BootID,
		Canary:     r.recovered == 0 && r.proven+r.unproven == 0,
		Reason:     fmt.Sprintf("attempt %d on rung %s", len(h.Attempts)+1, rungName(h.Host, h.Rung)),
	}
	if e.Canary {
		e.Reason += fmt.Sprintf(", canary for %s in wave %d", h.Host.OS, h.Wave)
	}
	if h.overridden {
		e.Reason += ", its holds lifted by a person"
	}
	r.unproven++
	for _, g := range h.Host.Groups {
		sv.group[g]++
	}
	sv.take(h, 1)
	return e
}

// Work lists the jobs that ought to be running at the time now, in the order of host names. It follows from the journal
// alone, so a restarted coordinator knows what it was doing.
func (s *State) Work(now time.Time) []Job {
	if s.over() {
		return nil
	}
	jobs := make([]Job, 0, len(s.active))
	for _, h := range sorted(s.active) {
		if j, ok := s.job(h, now); ok {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func (s *State) job(h *HostState, now time.Time) (Job, bool) {
	j := Job{Incident: s.ID, Host: *h.Host, Playbook: s.Playbook.Digest}
	if a := h.attempt(); a != nil && h.Phase == Attempting {
		j.ID, j.Kind, j.Rung, j.Timeout = a.ID, JobRepair, h.Host.Ladder[a.Rung], a.Timeout
		// A rescue system must be left for the host's own; a running system restarts only where the playbook wants it.
		j.Reboot = s.Playbook.Reboot == RebootRequired || j.Rung.Reboots && s.Playbook.Reboot != RebootForbidden
		return j, true
	}
	soakOver := s.soakOver(h, now)
	rung, ok := ownSystem(h.Host)
	if h.Phase != Verifying || h.Host.Agent || !ok || !h.ProvenAt.IsZero() && !soakOver {
		return j, false
	}
	j.ID, j.Kind, j.Rung, j.Timeout = h.askAt(soakOver), JobVerify, rung, s.Playbook.VerifyWithin
	if h.wantBoot && s.Playbook.Reboot == RebootRequired {
		j.BootBefore = h.bootBefore
	}
	return j, true
}

// ownSystem is the first rung into the host's own running system, the only place where proof can be fetched over SSH.
func ownSystem(h *Host) (Rung, bool) {
	for _, r := range h.Ladder {
		if r.Kind == RungSSH && r.Environment == EnvLinux {
			return r, true
		}
	}
	return Rung{}, false
}

// Wake is the next moment at which time alone may change something: a deadline, a soak's or a pause's end. Zero: none.
func (s *State) Wake(now time.Time) time.Time {
	var wake time.Time
	if s.over() || !s.Approved || !s.PausedAt.IsZero() {
		return wake
	}
	clock := s.clock(now)
	at := func(t time.Time) {
		if t = s.wall(t); t.After(now) && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	for _, h := range s.order {
		switch h.Phase {
		case Attempting:
			at(h.attempt().Deadline)
		case Verifying:
			if h.ProvenAt.IsZero() {
				at(h.verifyBy)
			} else {
				at(h.soakUntil)
				at(h.soakUntil.Add(s.Playbook.VerifyWithin))
			}
		case Waiting:
			at(h.nextAt)
			if h.Owner != "" {
				at(h.ownedUntil.Add(1))
			}
		case Recovered:
			if v := s.seen[h.Host.Name]; h.Host.Agent && !v.Connected {
				silent := s.policy().SilentAfter
				at(clock.Add(v.At.Add(silent / 2).Sub(now)))
				at(clock.Add(v.At.Add(silent).Sub(now)))
			}
		}
	}
	for _, w := range s.Waves {
		if !w.shareAt.IsZero() && w.PassedAt.IsZero() {
			at(w.shareAt.Add(w.Tier.Gate.Soak))
		}
	}
	return wake
}
