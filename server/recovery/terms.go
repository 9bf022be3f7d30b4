package recovery

import (
	"slices"
	"strings"
)

// terms are what decides whether a rung can be used: the playbook, and what there is to restore.
type terms struct {
	Playbook
	stock   *stock                 // nil: nothing is ever restored
	reaches func(host string) bool // whether a host's agent is connected; nil: it is not known, and every one is taken to be
}

func (s *State) terms() terms { return terms{Playbook: s.Playbook, stock: s.stock} }

// termsNow also know whose agent is connected.
func (s *State) termsNow() terms {
	t := s.terms()
	t.reaches = func(host string) bool { return s.seen[host].Connected }
	return t
}

// runnable holds the environments in which this version can run a script.
var runnable = map[string]bool{EnvLinux: true, EnvRescueLinux: true}

// climbable holds the kinds of rung that need no person.
var climbable = map[string]bool{RungSSH: true, RungRace: true, RungRescue: true, RungHelper: true, RungRestore: true}

// problem returns why a rung of a host cannot be used, or "".
func (t terms) problem(h *Host, r *Rung) string {
	switch {
	case r.Kind == RungHands:
		return "it is a person's"
	case !climbable[r.Kind]:
		return "this version knows no rungs of kind " + r.Kind
	case r.Restarts() && t.Reboot == RebootForbidden:
		return "it restarts the host, which playbook " + t.Name + " forbids"
	case r.Kind == RungRestore:
		_, problem := t.stock.offer(h, r)
		return problem
	case r.Kind == RungRescue && h.Power == nil:
		return "nothing switches the host on and off"
	case !t.HasEnvironment(r.Environment):
		return "playbook " + t.Name + " has no script for " + r.Environment
	case !runnable[r.Environment]:
		return "this version cannot run scripts in " + r.Environment
	}
	return ""
}

// awaited reports whether a rung that cannot be used lacks nothing but points that are being verified.
func (t terms) awaited(h *Host, r *Rung) bool {
	return r.Kind == RungRestore && (!r.Restarts() || t.Reboot != RebootForbidden) && t.stock.awaited(h, r)
}

// nextAwaited is the first such rung at or after i, or -1.
func (t terms) nextAwaited(h *Host, i int) int {
	for ; i < len(h.Ladder); i++ {
		if t.awaited(h, &h.Ladder[i]) {
			return i
		}
	}
	return -1
}

// next is the first usable rung at or after i, or -1 when only people are left.
func (t terms) next(h *Host, i int) int {
	for ; i < len(h.Ladder); i++ {
		if t.problem(h, &h.Ladder[i]) == "" {
			return i
		}
	}
	return -1
}

// problems lists why each rung from i on cannot be used.
func (t terms) problems(h *Host, i int) string {
	var list []string
	for ; i < len(h.Ladder); i++ {
		if r := &h.Ladder[i]; r.Kind != RungHands {
			if problem := t.problem(h, r); problem != "" {
				list = append(list, r.Name+": "+problem)
			}
		}
	}
	if list == nil {
		return "no automatic rung is left"
	}
	return strings.Join(list, "; ")
}

// following is the usable rung after the host's own: one below it, or, where a restore went first because it was quicker, one above it that
// has not been tried; without one, a restore whose points are being verified. A restore is not tried again. -1: only people are left.
func (s *State) following(h *HostState) int {
	t := s.terms()
	if h.Rung < len(h.Host.Ladder) && h.Host.Ladder[h.Rung].Kind == RungRestore {
		for i := range h.Rung {
			if !h.tried(i) && t.problem(h.Host, &h.Host.Ladder[i]) == "" {
				return i
			}
		}
	}
	i := t.next(h.Host, h.Rung+1)
	for i >= 0 && h.Host.Ladder[i].Kind == RungRestore && h.tried(i) {
		i = t.next(h.Host, i+1)
	}
	if i < 0 {
		for i = t.nextAwaited(h.Host, h.Rung+1); i >= 0 && h.tried(i); {
			i = t.nextAwaited(h.Host, i+1)
		}
	}
	if i >= 0 && h.Host.Ladder[i].Kind == RungRestore {
		if above := t.untried(h, i); above >= 0 {
			return above
		}
	}
	return i
}

// untried is a usable rung above one, never tried in this incident, that a host with data takes before it is restored, or -1.
func (t terms) untried(h *HostState, below int) int {
	if h.Host.Data == DataNone {
		return -1
	}
	for i := range below {
		r := &h.Host.Ladder[i]
		if r.Kind != RungRestore && t.problem(h.Host, r) == "" && !slices.ContainsFunc(h.Attempts, func(a Attempt) bool { return a.Rung == i }) {
			return i
		}
	}
	return -1
}

// tried reports whether a rung was tried since a person, or a relapse, gave the host a new chance.
func (h *HostState) tried(rung int) bool {
	for _, a := range h.Attempts[min(h.base, len(h.Attempts)):] {
		if a.Rung == rung {
			return true
		}
	}
	return false
}
