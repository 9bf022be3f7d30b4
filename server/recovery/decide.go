package recovery

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Decide judges an input against the state at the time now and returns the facts that follow, each with its reason. It only
// reads. A Tick is decided in steps: apply its events and decide it again until none come back. An error is an *Error: the
// input was not accepted and nothing follows.
func Decide(s *State, in Input, now time.Time) ([]Event, error) {
	if d, ok := in.(Declare); ok {
		return s.decideDeclare(d, now)
	}
	if s.ID == "" {
		return nil, notFound("no incident is declared: declare one first")
	}
	switch v := in.(type) {
	case Sighted:
		return s.sighted(v, now)
	case Finished:
		return s.finished(v, now)
	case Tick:
		return s.tick(now), nil
	case Refused:
		return s.refusedAgent(v, now)
	case ClearDebt:
		return s.clearDebt(v)
	}
	if s.over() {
		return nil, refused("incident %s is %s: nothing in it can be changed any more", s.ID, s.Outcome)
	}
	switch v := in.(type) {
	case Approve:
		return s.approve(v)
	case Pause:
		return s.pause(v)
	case Resume:
		return s.resume(v)
	case Abort:
		return s.abort(v)
	case Close:
		return s.close(v)
	case Retry:
		return s.retry(v)
	case Skip:
		return s.skip(v)
	case Override:
		return s.override(v)
	case Claim:
		return s.claim(v, now)
	case HandsDone:
		return s.handsDone(v, now)
	}
	return nil, invalid("unknown input %T", in)
}

func (s *State) decideDeclare(d Declare, now time.Time) ([]Event, error) {
	if s.ID != "" {
		return nil, refused("incident %s exists already", s.ID)
	}
	if d.Incident == "" || len(d.Fleet.Hosts) == 0 {
		return nil, invalid("an incident needs an id and a fleet with at least one host")
	}
	if d.Began.IsZero() {
		d.Began = now
	}
	if d.Began.After(now) {
		return nil, invalid("the outage cannot have begun in the future (%s)", d.Began.Format(time.RFC3339))
	}
	scope := Scope(d.Fleet, d.Playbook, s.seen, now)
	plan := NewPlan(d.Fleet, d.Playbook, scope)
	if len(plan.Waves) == 0 {
		return nil, invalid("no host of fleet %s can have been hit: playbook %s is for %s", d.Fleet.Name, d.Playbook.Name, orNone(d.Playbook.Match.EDR))
	}
	return []Event{
		&IncidentDeclared{Incident: d.Incident, Title: d.Title, Began: d.Began, Playbook: d.Playbook, Fleet: d.Fleet},
		&IncidentScoped{Hosts: scope},
		&PlanProposed{Plan: plan},
	}, nil
}

func (s *State) approve(v Approve) ([]Event, error) {
	if v.Wave != 0 {
		if v.Wave < 1 || v.Wave > len(s.Waves) {
			return nil, notFound("there is no wave %d: this incident has %d", v.Wave, len(s.Waves))
		}
		if w := s.Waves[v.Wave-1]; w.Approved || !w.OpenedAt.IsZero() {
			return nil, refused("wave %d needs no approval: it is %s", v.Wave, w.Status())
		}
		return []Event{&WaveApproved{Wave: v.Wave}}, nil
	}
	if s.Approved {
		return nil, refused("the plan is approved already")
	}
	if v.Digest != s.Plan.Digest {
		return nil, refused("the plan of %s has digest %s, not %q: read the plan, then approve what you read", s.ID, s.Plan.Digest, v.Digest)
	}
	return []Event{&PlanApproved{Digest: v.Digest}}, nil
}

func (s *State) pause(v Pause) ([]Event, error) {
	if !s.PausedAt.IsZero() {
		return nil, refused("incident %s is paused already: %s", s.ID, s.Reason)
	}
	return []Event{&IncidentPaused{Reason: why(v.Reason, "paused by a person")}}, nil
}

// resume lifts the pause and every held wave, or one wave; it accepts the failures that count at this moment.
func (s *State) resume(v Resume) ([]Event, error) {
	reason := why(v.Reason, "resumed by a person")
	var events []Event
	if v.Wave == 0 && !s.PausedAt.IsZero() {
		events = append(events, &IncidentResumed{Accepted: s.failures(0), Reason: reason})
	}
	if v.Wave < 0 || v.Wave > len(s.Waves) {
		return nil, notFound("there is no wave %d: this incident has %d", v.Wave, len(s.Waves))
	}
	for _, w := range s.Waves {
		if w.HeldBy != "" && (v.Wave == 0 || v.Wave == w.N) {
			events = append(events, &WaveReleased{Wave: w.N, Accepted: s.failures(w.N), Reason: reason})
		}
	}
	if len(events) == 0 {
		return nil, refused("nothing is paused or held")
	}
	return events, nil
}

func (s *State) abort(v Abort) ([]Event, error) {
	if s.Aborted {
		return nil, refused("incident %s is being aborted already", s.ID)
	}
	e := &IncidentAborted{Reason: why(v.Reason, "aborted by a person")}
	for _, h := range s.order {
		if rule := h.abortRule(); rule != "" {
			e.Fates = append(e.Fates, AbortFate{Host: h.Host.Name, Rule: rule})
		}
	}
	return []Event{e}, nil
}

func (h *HostState) abortRule() string {
	switch h.Phase {
	case Recovered:
		return "stays recovered"
	case Attempting:
		return "the attempt under way ends by itself and is recorded; no other starts"
	case Verifying:
		return "its proof is awaited and recorded; no other attempt starts"
	case Waiting:
		return "not started; left as it is"
	case NeedsHands:
		return "stays on the hands board"
	}
	return ""
}

// close ends an incident in which nothing is left to do. Skips and accepted failures make it closed-with-exceptions.
func (s *State) close(v Close) ([]Event, error) {
	if !s.Settled() {
		return nil, refused("incident %s is %s: hosts are still being recovered; wait, skip them or abort", s.ID, s.Status())
	}
	hands, debts := 0, 0
	var exceptions []string
	for _, h := range s.order {
		debts += h.OpenDebts()
		switch h.Phase {
		case NeedsHands:
			hands++
		case Skipped:
			exceptions = append(exceptions, h.Host.Name+" skipped: "+h.Reason)
		}
	}
	if hands > 0 {
		return nil, refused("%s still need hands: do or skip them first (host list --phase needs-hands)", plural(hands, "host"))
	}
	if debts > 0 {
		return nil, refused("%s open: clear each first (host debts)", plural(debts, "debt"))
	}
	if n := len(s.accepted); n > 0 {
		exceptions = append(exceptions, plural(n, "failure")+" accepted on resume")
	}
	for target, reason := range sorted(s.overrides) {
		exceptions = append(exceptions, "override of "+target+": "+reason)
	}
	e := &IncidentClosed{Outcome: OutcomeClosed, Exceptions: exceptions, Reason: why(v.Reason, "everything is done")}
	if len(exceptions) > 0 {
		e.Outcome = OutcomeWithExceptions
	}
	return []Event{e}, nil
}

func (s *State) find(host string) (*HostState, error) {
	if h := s.hosts[host]; h != nil {
		return h, nil
	}
	return nil, notFound("host %q is not in the fleet of incident %s", host, s.ID)
}

func (s *State) retry(v Retry) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if s.Aborted {
		return nil, refused("incident %s is being aborted: nothing new starts", s.ID)
	}
	switch h.Phase {
	case Attempting, Verifying:
		return nil, refused("%s is %s: an attempt is under way (%s)", v.Host, h.Phase, h.Reason)
	case Recovered, NotHit:
		return nil, refused("%s is %s: there is nothing to retry", v.Host, h.Phase)
	}
	rung := s.firstRung(h)
	if v.Rung != "" {
		if rung, err = s.rungNamed(h, v.Rung); err != nil {
			return nil, err
		}
	}
	if rung < 0 {
		return nil, refused("%s has no rung that can be used: %s", v.Host, s.rungProblem(h.Host, 0))
	}
	return []Event{&HostReturned{Host: v.Host, Rung: rung, Reason: why(v.Reason, "another try, asked for by a person")}}, nil
}

func (s *State) rungNamed(h *HostState, name string) (int, error) {
	for i, r := range h.Host.Ladder {
		if r.Name != name {
			continue
		}
		if problem := rungProblem(s.Playbook, r); problem != "" {
			return 0, refused("rung %s of %s cannot be used: %s", name, h.Host.Name, problem)
		}
		return i, nil
	}
	return 0, notFound("%s has no rung %q", h.Host.Name, name)
}

func (s *State) skip(v Skip) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if v.Reason == "" {
		return nil, invalid("skipping %s needs a reason: it will stand in the report", v.Host)
	}
	if h.Phase != Waiting && h.Phase != NeedsHands {
		return nil, refused("%s is %s: only a waiting host or one that needs hands can be skipped", v.Host, h.Phase)
	}
	return []Event{&HostSkipped{Host: v.Host, Reason: v.Reason}}, nil
}

func (s *State) override(v Override) ([]Event, error) {
	if v.Reason == "" {
		return nil, invalid("an override needs a reason: it will stand in the report")
	}
	kind, name, _ := strings.Cut(v.Target, ":")
	switch kind {
	case "host":
		if _, err := s.find(name); err != nil {
			return nil, err
		}
	case "service":
		if s.services[name] == nil {
			return nil, notFound("service %q is not in the fleet of incident %s", name, s.ID)
		}
	case "wave":
		if n, err := strconv.Atoi(name); err != nil || n < 1 || n > len(s.Waves) {
			return nil, notFound("there is no wave %q: this incident has %d", name, len(s.Waves))
		}
	default:
		return nil, invalid("%q cannot be overridden: use host:NAME, service:NAME or wave:N", v.Target)
	}
	return []Event{&HoldOverridden{Target: v.Target, Reason: v.Reason}}, nil
}

func (s *State) claim(v Claim, now time.Time) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if owner := s.owner(h, now); owner != "" && owner != v.By {
		return nil, refused("%s belongs to %s until %s", v.Host, owner, s.wall(h.ownedUntil).UTC().Format(time.RFC3339))
	}
	if v.For <= 0 {
		return []Event{&HostClaimed{Host: v.Host, By: v.By}}, nil
	}
	if h.Phase == Attempting || h.Phase == Verifying {
		return nil, refused("%s is %s: one owner at a time, and now it is the engine (%s)", v.Host, h.Phase, h.Reason)
	}
	return []Event{&HostClaimed{Host: v.Host, By: v.By, Until: now.Add(v.For)}}, nil
}

func (s *State) handsDone(v HandsDone, now time.Time) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if owner := s.owner(h, now); owner != "" && owner != v.By {
		return nil, refused("%s belongs to %s until %s", v.Host, owner, s.wall(h.ownedUntil).UTC().Format(time.RFC3339))
	}
	if h.Phase != NeedsHands && h.Phase != Waiting {
		return nil, refused("%s is %s: hand work can be reported for a host that needs hands or waits", v.Host, h.Phase)
	}
	return []Event{&HandsFinished{Host: v.Host, By: v.By, Note: v.Note, Spent: v.Spent, Until: now.Add(s.Playbook.VerifyWithin), Attempt: nextAttemptID(h)}}, nil
}

func (s *State) clearDebt(v ClearDebt) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if !h.hasDebt(v.Debt) {
		return nil, notFound("%s has no open debt %q", v.Host, v.Debt)
	}
	return []Event{&DebtCleared{Host: v.Host, Debt: v.Debt, By: v.By, Note: v.Note}}, nil
}

// refusedAgent records a connection that was not believed, at most once a minute for the same host and reason.
func (s *State) refusedAgent(v Refused, now time.Time) ([]Event, error) {
	if s.over() {
		return nil, nil
	}
	for i := len(s.Refusals) - 1; i >= 0; i-- {
		r := s.Refusals[i]
		if now.Sub(r.At) > time.Minute {
			break
		}
		if r.Host == v.Host && r.Why == v.Why {
			return nil, nil
		}
	}
	return []Event{&AgentRefused{Host: v.Host, Peer: v.Peer, Why: v.Why}}, nil
}

// owner is the person who has claimed the host and whose claim has not run out.
func (s *State) owner(h *HostState, now time.Time) string {
	if h.Owner == "" || s.clock(now).After(h.ownedUntil) {
		return ""
	}
	return h.Owner
}

func nextAttemptID(h *HostState) string { return fmt.Sprintf("%s/%d", h.Host.Name, len(h.Attempts)+1) }

func why(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}
