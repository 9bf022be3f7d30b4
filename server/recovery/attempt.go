package recovery

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// connectAllowance is added to a playbook's timeout for everything round the script: connecting, pushing, collecting.
const connectAllowance = 3 * time.Minute

// firstRung is the first usable rung of a host; without one, a restore whose points are being verified; -1: only people are left.
func (s *State) firstRung(h *HostState) int {
	t := s.terms()
	if rung := t.next(h.Host, 0); rung >= 0 {
		return rung
	}
	return t.nextAwaited(h.Host, 0)
}

// rungProblem lists why each rung from i on cannot be used.
func (s *State) rungProblem(h *Host, i int) string { return s.terms().problems(h, i) }

// finished judges a job's result.
func (s *State) finished(in Finished, now time.Time) ([]Event, error) {
	h := s.hosts[in.Host]
	if h == nil {
		return nil, notFound("job %q ended for host %q, which is not in the fleet", in.Job, in.Host)
	}
	if s.over() {
		return nil, nil
	}
	in.Result = s.asked(in.Result)
	if a := h.attempt(); a != nil && a.ID == in.Job && h.Phase == Attempting {
		return []Event{s.attemptEnded(h, a, in, now)}, nil
	}
	for _, a := range h.Attempts {
		if a.ID == in.Job {
			if a.late {
				return nil, nil
			}
			return []Event{s.late(h, &a, in.Result)}, nil
		}
	}
	if id, ok := strings.CutSuffix(in.Job, cancelSuffix); ok {
		return s.cancelPassedOn(h, id, in.Result), nil
	}
	if h.unboot != nil && h.Phase != Attempting && in.Job == h.unboot.job() {
		return s.unbootEnded(h, in, now), nil
	}
	if h.Phase == Verifying && !h.Host.Agent && in.Job == h.askAt(s.soakOver(h, now)) {
		return []Event{s.verifyEnded(h, in, now)}, nil
	}
	if strings.HasPrefix(in.Job, in.Host+"/") {
		return nil, nil
	}
	return nil, notFound("job %q ended for %s, which never started it", in.Job, in.Host)
}

// late records the result of an attempt that is over. What a restore has swapped in by then leaves its debts all the same, where its end
// was not known.
func (s *State) late(h *HostState, a *Attempt, r Result) *AttemptEnded {
	e := &AttemptEnded{Attempt: a.ID, Host: a.Host, Result: r, Late: true, Rung: h.Rung, Reason: "a late result: the attempt was over already; recorded, changes nothing"}
	if unknown := a.Result.Class == TimedOut || a.Result.Class == Lost; a.Method == MethodRestore && unknown {
		e.Debts = s.restoreDebts(h, a, &r)
	}
	return e
}

// verifyEnded judges what a JobVerify brought. It speaks for itself, whatever else was heard of the host.
func (s *State) verifyEnded(h *HostState, in Finished, now time.Time) Event {
	if in.Result.Sighting == nil {
		missing := "no facts could be fetched over SSH: " + why(in.Result.Detail, string(in.Result.Class))
		return s.unproven(h, missing, missing)
	}
	v := *in.Result.Sighting
	v.Host, v.Answers, v.Connected = in.Host, in.Job, true
	if events := s.judge(h, v, now); len(events) > 0 {
		return events[0]
	}
	missing := s.proof(h, v, now)
	return s.unproven(h, missing, "its facts prove nothing: "+missing)
}

// attemptEnded decides what follows from a result. Policy follows the class.
func (s *State) attemptEnded(h *HostState, a *Attempt, in Finished, now time.Time) Event {
	r := in.known(a.Step)
	e := &AttemptEnded{Attempt: a.ID, Host: h.Host.Name, Result: r, Rung: h.Rung}
	inOwn := a.Rung >= 0 && a.Rung < len(h.Host.Ladder) && !a.outside(h.Host)
	e.Unsure = inOwn && a.Method != MethodRestore && in.Resumed && (r.Class == AuthRefused || r.Class == HostKeyMismatch || r.Class == Cancelled)
	if inOwn && r.Boot == "" && (r.Class == Lost || r.Signature == leaseRanOut || e.Unsure) {
		e.BootSeen = s.seen[h.Host.Name].BootID
	}
	verify := func(reason string) {
		e.Next, e.Until, e.Reason = Verifying, now.Add(s.Playbook.VerifyWithin), reason
	}
	if a.Method == MethodRestore && s.restoreEnded(h, a, e) {
		return e
	}
	what := string(r.Class) + note(firstOf(r.Signature, r.Detail))
	switch r.Class {
	case Succeeded:
		verify(claims(a))
	case NothingFound:
		v, seen := s.seen[h.Host.Name]
		_, probes := ownSystem(h.Host)
		switch {
		case h.Host.Agent && seen && s.looksWell(v):
			verify("the script found nothing and the agent shows good content; proof is awaited")
		case !h.Host.Agent && probes:
			verify("the script found nothing and there is no agent to ask; the probes over SSH will tell")
		default:
			s.climb(h, e, what+": cured, never hit or the wrong place, and no agent shows health")
		}
	case Lost:
		verify("the outcome is unknown; the script may have done its work, so proof is awaited")
	case Cancelled:
		e.Next, e.Reason = Waiting, "stopped before anything was started"
		if s.capped(h) {
			e.Next, e.Reason = NeedsHands, e.Reason+"; "+s.capText(h)
		}
	case Locked:
		e.Next, e.Reason = NeedsHands, string(r.Class)+note(firstOf(r.Detail, r.Signature))+": a person brings the key, nothing is guessed"
	case AuthRefused, HostKeyMismatch:
		e.Next, e.Reason = NeedsHands, what+": never retried by itself, a person must look"
	case Failed:
		s.again(h, e, what, false, now)
	case Unreachable, TimedOut:
		s.again(h, e, what, true, now)
	default:
		e.Next, e.Reason = NeedsHands, fmt.Sprintf("unknown result class %q", r.Class)
	}
	return e
}

func claims(a *Attempt) string {
	if a.Method == MethodRestore {
		return "its agent claims a restore; proof is awaited"
	}
	return "the script claims a repair; proof is awaited"
}

// cancelPassedOn notes that a restore's agent was told to let go of it. What comes of that is the restore's own result.
func (s *State) cancelPassedOn(h *HostState, id string, r Result) []Event {
	a := h.attempt()
	if a == nil || a.ID != id || h.Phase != Attempting || a.Step == StepCancel {
		return nil
	}
	e := &AttemptProgressed{Attempt: a.ID, Host: h.Host.Name, Step: StepCancel, Reason: stepText[StepCancel]}
	if r.Class != Succeeded {
		e.Reason = "its agent could not be told to let go of it" + note(firstOf(r.Signature, r.Detail))
	}
	return []Event{e}
}

// looksWell reports whether a sighting shows a well host, whatever request it answers.
func (s *State) looksWell(v Sighting) bool {
	c, ok := v.content(s.Playbook.Digest)
	healthy, _ := v.healthy()
	return ok && v.Connected && healthy && contentProof(c) == ""
}

// again retries on the same rung while the policy allows it, with growing pauses where waiting can help, then climbs.
// On the last automatic rung it goes on until the cap: a person is dearer than a pause.
func (s *State) again(h *HostState, e *AttemptEnded, what string, backoff bool, now time.Time) {
	p := s.policy()
	last := backoff && s.following(h) < 0
	if h.tries >= p.TriesPerRung && !last || !s.usable(h) { // a revision may have closed the rung under the attempt
		s.climb(h, e, what)
		return
	}
	if s.capped(h) {
		e.Next, e.Reason = NeedsHands, what+"; "+s.capText(h)
		return
	}
	e.Next = Waiting
	e.Reason = fmt.Sprintf("%s; try %d on rung %s follows", what, h.tries+1, rungName(h.Host, h.Rung))
	if backoff {
		pause := p.Backoff
		for i := 1; i < h.tries && pause < p.BackoffMax; i++ {
			pause *= 2
		}
		e.Until = now.Add(min(pause, p.BackoffMax))
	}
}

// climb goes to the next rung, or to the hands board.
func (s *State) climb(h *HostState, e *AttemptEnded, what string) {
	e.Next, e.Rung, e.Reason = s.climbFrom(h, what)
}

func (s *State) climbFrom(h *HostState, what string) (Phase, int, string) {
	if s.capped(h) {
		return NeedsHands, h.Rung, what + "; " + s.capText(h)
	}
	if next := s.following(h); next >= 0 {
		follows := fmt.Sprintf("%s; rung %s follows", what, rungName(h.Host, next))
		if s.terms().awaited(h.Host, &h.Host.Ladder[next]) {
			follows += " when one of its restore points is verified"
		}
		return Waiting, next, follows
	}
	return NeedsHands, h.Rung, what + "; " + s.rungProblem(h.Host, h.Rung+1)
}

func (s *State) capped(h *HostState) bool { return len(h.Attempts)-h.base >= s.policy().MaxAttempts }

func (s *State) capText(h *HostState) string {
	text := plural(len(h.Attempts)-h.base, "attempt") + " made, the cap"
	if at := restoreRung(h.Host); at >= 0 && !h.tried(at) {
		if problem := s.terms().problem(h.Host, &h.Host.Ladder[at]); problem != "" {
			text += "; " + h.Host.Ladder[at].Name + ": " + problem
		}
	}
	return text
}

// proofFailed sends a host that gave no proof in time to its next try.
func (s *State) proofFailed(h *HostState, missing string) Event {
	return s.unproven(h, missing, "no proof within "+s.Playbook.VerifyWithin.String()+": "+missing)
}

// unproven sends a host whose claim was not proven to its next try; what says so in one phrase.
func (s *State) unproven(h *HostState, missing, what string) Event {
	if !h.ProvenAt.IsZero() {
		return s.relapse(h, "no proof at the end of the soak: "+missing, "relapsed: no proof after the soak")
	}
	e := &ProofFailed{Host: h.Host.Name, Missing: missing, Rung: h.Rung}
	if a := h.lastAttempt(); a != nil && a.Method == MethodRestore && a.Result.Class == Lost {
		e.Next, e.Reason = NeedsHands, what+"; nobody knows how far its restore came, or whether an agent is still at it: a person looks"
		return e
	}
	if missing == bootTargetOpen {
		e.Next, e.Reason = NeedsHands, what+"; the host is well, so nothing restarts it again: a person looks at its boot order"
		return e
	}
	if h.tries < s.policy().TriesPerRung && !s.capped(h) && h.lastRung() >= 0 && s.usable(h) {
		e.Next, e.Reason = Waiting, fmt.Sprintf("%s; try %d on rung %s follows", what, h.tries+1, rungName(h.Host, h.Rung))
		return e
	}
	if h.lastRung() < 0 {
		e.Next, e.Reason = NeedsHands, what+"; the hand work needs another look"
		return e
	}
	e.Next, e.Rung, e.Reason = s.climbFrom(h, what)
	return e
}

func rungName(h *Host, i int) string {
	if i >= 0 && i < len(h.Ladder) {
		return h.Ladder[i].Name
	}
	return RungHands
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// sorted ranges over a map in the order of its keys: nothing that is decided may depend on a map's order.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
