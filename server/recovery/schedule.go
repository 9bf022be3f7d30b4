package recovery

import (
	"fmt"
	"slices"
	"time"
)

// startAttempts starts whatever may start: wave by wave; canaries, then critical hosts, then the rest; scarce slots are
// shared between councils.
func (s *State) startAttempts(sv *survey, now time.Time) []Event {
	if _, held := s.incidentBlocked(); held {
		return nil
	}
	var events []Event
	for _, w := range s.Waves {
		if (w.OpenedAt.IsZero() || w.holds()) && !w.anyOverridden() {
			continue
		}
		for rank := range ranks {
			q := w.candidates(rank)
			for h := q.next(sv); h != nil; h = q.next(sv) {
				if sv.slots[ResourceSSH] <= 0 && !s.chooses {
					return events
				}
				if _, held := s.blocked(h, sv, now); !held {
					events = append(events, s.start(s.chosen(h, sv, now), sv, now))
				}
			}
		}
	}
	return events
}

// anyOverridden reports whether a waiting host of the wave need not wait for it.
func (w *WaveState) anyOverridden() bool {
	return slices.ContainsFunc(w.Hosts, func(h *HostState) bool { return h.overridden && h.Phase == Waiting })
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
	case h.canary && h.Failure == nil: // a canary that failed lets another go before it
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
	best, found := sv.turn(q.councils, func(c string) bool { return len(q.hosts[c]) > 0 })
	if !found {
		return nil
	}
	h := q.hosts[best][0]
	q.hosts[best] = q.hosts[best][1:]
	return h
}

// leaseSlack is what the lease of an attempt allows beyond twice its timeout. The remedy's own timeouts end every attempt long
// before; the lease only keeps a host from being lost when they do not.
const leaseSlack = time.Hour

// start makes the intent to act and books it in the survey.
func (s *State) start(h *HostState, sv *survey, now time.Time) Event {
	timeout := attemptTimeout(s.Playbook, h.Host, h.Rung)
	r := sv.ramp(s.canaryKey(h))
	e := &AttemptStarted{
		Attempt: Attempt{ID: nextAttemptID(h), Host: h.Host.Name, N: len(h.Attempts) + 1, Rung: h.Rung, RungName: rungName(h.Host, h.Rung),
			Playbook: s.Playbook.Digest, Started: now, Timeout: timeout, Deadline: s.clock(now).Add(2*timeout + leaseSlack)},
		BootBefore: s.seen[h.Host.Name].BootID,
		Canary:     r.recovered == 0 && r.proven+r.unproven == 0,
		Reason:     fmt.Sprintf("attempt %d on rung %s", len(h.Attempts)+1, rungName(h.Host, h.Rung)),
	}
	if e.Canary {
		e.Reason += fmt.Sprintf(", canary for %s in wave %d", h.Host.OS, h.Wave)
	}
	if restores(h.Host, h.Rung) {
		s.startRestore(e, h, sv)
	} else if above := s.above(h); above != "" {
		e.Reason += "; " + above
	}
	if h.overridden {
		e.Reason += ", its holds lifted by a person"
	}
	r.unproven++
	for _, g := range h.Host.Groups {
		sv.group[g]++
	}
	sv.starting[h.Host.Name] = true
	sv.take(h.Host, h.Rung, readFrom(e.Attempt.Restores), 1)
	return e
}
