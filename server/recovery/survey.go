package recovery

import (
	"strings"
	"time"
)

// survey is one pass over all hosts: the counts that breakers, gates and the scheduler judge by. It is rebuilt for each
// tick, so that nothing counted can drift from the state.
type survey struct {
	usage
	waves     []tally // by wave, index 0 is wave 1
	canaries  map[canaryKey]*ramp
	starting  map[string]bool // hosts whose attempt this very tick starts
	up        map[string]bool
	choices   map[string]weighing // of hosts that may choose between repair and restore; nil: not made yet
	tells     bool                // reasons are wanted with their text
	quiet     []*HostState        // recovered hosts that have been silent for half of Policy.SilentAfter or longer
	recovered int
	failures  int // hosts with a failure that counts, over the whole incident
	planned   int
	inFlight  int // attempts under way and proofs awaited
}

// tally is one wave in numbers.
type tally struct {
	recovered           int // of those that the wave's size counts
	left                int // not settled: automatic work is left
	failed, unreachable int
	critical            string // a critical host that is not recovered yet
	signatures          map[string]int
}

// ramp is how far one canary group has come. Only hosts that the playbook was tried on count: one that healed by itself or by
// hand says nothing about it.
type ramp struct {
	recovered int // at least one is a canary that lived
	proven    int // recovered, or proven and soaking
	unproven  int // being worked on
	older     int // being worked on with another version of the playbook: they only take room in the limit
}

// window is how many unproven hosts the ramp allows. Each round of proofs doubles it: 1, 2, 4 …
func (r *ramp) window() int { return r.proven + 1 }

func (s *State) survey(now time.Time) *survey {
	sv := &survey{
		usage: newUsage(s.Fleet.Resources), waves: make([]tally, len(s.Waves)),
		canaries: map[canaryKey]*ramp{}, starting: map[string]bool{}, up: make(map[string]bool, len(s.services)),
	}
	half := s.policy().SilentAfter / 2
	for _, h := range s.order {
		s.count(sv, h, now, half)
	}
	for name := range s.services {
		sv.up[name] = !s.upAt[name].IsZero()
	}
	for target := range s.overrides {
		if service, ok := strings.CutPrefix(target, "service:"); ok {
			sv.up[service] = true
		}
	}
	return sv
}

func (s *State) count(sv *survey, h *HostState, now time.Time, half time.Duration) {
	if h.Wave < 1 || h.Phase == NotHit {
		return
	}
	sv.planned++
	t := &sv.waves[h.Wave-1]
	r := &ramp{}
	if h.lastRung() >= 0 {
		r = sv.ramp(s.touchedKey(h))
		if now := sv.ramp(s.canaryKey(h)); now != r && h.working() {
			now.older++
		}
	}
	if !h.settled() {
		t.left++
	}
	if h.Phase != Recovered && h.Host.Critical && t.critical == "" {
		t.critical = h.Host.Name
	}
	if h.working() {
		r.unproven++
		for _, g := range h.Host.Groups {
			sv.group[g]++
		}
	}
	switch h.Phase {
	case Recovered:
		sv.recovered++
		if !h.joined {
			t.recovered++
		}
		r.recovered++
		r.proven++
		if s.silentFor(h, now) >= half {
			sv.quiet = append(sv.quiet, h)
		}
	case Attempting:
		sv.inFlight++
		sv.take(h.Host, h.lastRung(), h.reads(), 1)
	case Verifying:
		sv.inFlight++
		if h.ProvenAt.IsZero() {
			sv.takeAll(rungResources(h.Host, h.lastRung()), 1)
		} else {
			r.proven++
		}
	}
	if f := h.Failure; s.failureCounts(h) {
		sv.failures++
		t.fail(f)
	}
}

func (t *tally) fail(f *Failure) {
	if f.Class == Unreachable {
		t.unreachable++
		return
	}
	t.failed++
	if t.signatures == nil {
		t.signatures = map[string]int{}
	}
	t.signatures[firstOf(f.Signature, string(f.Class))]++
}

func (sv *survey) ramp(k canaryKey) *ramp {
	r := sv.canaries[k]
	if r == nil {
		r = &ramp{}
		sv.canaries[k] = r
	}
	return r
}

// serviceUp reports whether a service serves: every critical host and enough of the others are up. It names the first
// thing that is missing.
func (s *State) serviceUp(svc *Service) (bool, string) {
	hosts := s.members[svc.Name]
	up := 0
	for _, h := range hosts {
		if h.Up() {
			up++
		} else if h.Host.Critical {
			return false, "its critical host " + h.Host.Name + " is " + string(h.Phase)
		}
	}
	percent := svc.UpPercent
	if percent == 0 {
		percent = 50
	}
	if need := ceilPercent(len(hosts), percent); up < need {
		return false, plural(up, "host") + " of " + plural(need, "host") + " needed up"
	}
	return true, ""
}

// failureCounts reports whether a host's last failure counts towards a limit. A rung that does not reach a host says nothing as
// long as others are left, nor when another has worked: of a looping estate hardly a host is reached by the first.
func (s *State) failureCounts(h *HostState) bool {
	if h.Failure == nil || s.accepted[h.Failure.key()] {
		return false
	}
	if h.Failure.Class != Unreachable {
		return true
	}
	switch h.Phase {
	case Waiting, Attempting:
		return s.following(h) < 0 && h.failedOn() == h.Rung && h.tries >= s.policy().TriesPerRung // and not on a rung that it has climbed from
	case Verifying:
		return false
	case NeedsHands: // unless a person has let go of the attempt on a rung above that one
		a := h.lastAttempt()
		return a == nil || a.Result.Class != Cancelled || a.Rung == h.failedOn()
	}
	return true
}

// failures lists the failures that count now, of one wave or (0) of all.
func (s *State) failures(wave int) []Failure {
	var list []Failure
	for _, h := range s.order {
		if s.failureCounts(h) && (wave == 0 || h.Wave == wave) {
			list = append(list, *h.Failure)
		}
	}
	return list
}

func ceilPercent(n, percent int) int { return (n*percent + 99) / 100 }

// whole turns a limit into a whole number of hosts: a percentage is rounded down.
func (l Limit) whole(size int) int {
	if l.Percent {
		return size * l.Count / 100
	}
	return l.Count
}
