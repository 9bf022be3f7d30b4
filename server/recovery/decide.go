package recovery

import (
	"fmt"
	"slices"
	"time"
)

// Decide judges an input against the state at the time now and returns the facts that follow, each with its reason. It only
// reads. A Tick is decided in steps: apply its events and decide it again until none come back. An error is an *Error: the
// input was not accepted and nothing follows.
func Decide(s *State, in Input, now time.Time) ([]Event, error) {
	now = now.UTC().Round(0) // as it comes back from the journal
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
	case Progressed:
		return s.progressed(v)
	case BootAsked:
		return s.bootAsked(v, now)
	case Restarted:
		return s.restarted(v, now), nil
	case Learnt:
		return s.learnt(v, now), nil
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
		return s.resume(v, now)
	case Revise:
		return s.revise(v)
	case Abort:
		return s.abort(v)
	case Close:
		return s.close(v, now)
	case Retry:
		return s.retry(v)
	case Skip:
		return s.skip(v)
	case Override:
		return s.override(v)
	case ApproveRestore:
		return s.approveRestore(v, now)
	case CancelAttempt:
		return s.cancelAttempt(v)
	case Claim:
		return s.claim(v, now)
	case HandsDone:
		return s.handsDone(v, now)
	}
	return nil, invalid("unknown input %T", in)
}

// restarted freezes the clock for the time in which nobody listened: deadlines, soaks and silences go on where they stood.
func (s *State) restarted(v Restarted, now time.Time) []Event {
	if s.over() {
		return nil
	}
	down := max(now.Sub(v.Alive), 0)
	what := "no coordinator ran for %s"
	if v.Leap {
		what = "the coordinator's machine slept, or its clock was put forward, by %s"
	}
	return []Event{&CoordinatorRestarted{Alive: now.Add(-down), Reason: fmt.Sprintf(what+"; no clock of the incident did either", down.Round(time.Second))}}
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
	d.Began = d.Began.UTC().Round(0)
	if err := checkFleet(d.Fleet); err != nil {
		return nil, err
	}
	if d.Began.After(now) {
		return nil, invalid("the outage cannot have begun in the future (%s)", d.Began.Format(time.RFC3339))
	}
	scope := Scope(d.Fleet, d.Playbook, s.seen, now)
	if d.Cutoff.IsZero() {
		d.Cutoff = d.Began
	}
	d.Cutoff = d.Cutoff.UTC().Round(0)
	if d.Cutoff.After(now) {
		return nil, invalid("the bad content cannot have come in in the future (%s)", d.Cutoff.Format(time.RFC3339))
	}
	points := slices.DeleteFunc(ofFleet(d.Fleet, d.Points), func(p RestorePoint) bool { return p.Gone })
	stock := Stock{Points: learnAll(points), Cutoff: d.Cutoff, Began: d.Began}
	plan := NewPlan(d.Fleet, d.Playbook, scope, stock)
	if len(plan.Waves) == 0 {
		return nil, invalid("no host of fleet %s can have been hit: playbook %s is for %s", d.Fleet.Name, d.Playbook.Name, orNone(d.Playbook.Match.EDR))
	}
	return []Event{
		&IncidentDeclared{Incident: d.Incident, Title: d.Title, Began: d.Began, Playbook: d.Playbook, Fleet: d.Fleet,
			Cutoff: d.Cutoff, WaveZero: d.WaveZero, Points: points, Held: lastKnownGood(d.Fleet, stock), Verifying: d.verifying(stock)},
		&IncidentScoped{Hosts: scope},
		&PlanProposed{Plan: plan},
	}, nil
}

// verifying names what wave zero begins with, as far as anything of it was backed up.
func (d Declare) verifying(s Stock) (names []string) {
	if !d.WaveZero {
		return nil
	}
	k := newStock(&d.Fleet, s)
	for i := range d.Fleet.Hosts {
		for _, set := range k.byHost[d.Fleet.Hosts[i].Name] {
			if k.unverified(set, k.need(&d.Fleet.Hosts[i])) {
				names = append(names, set.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// checkFleet refuses a fleet that the core cannot work on. The fleet file's own check says more, and with its lines.
func checkFleet(f Fleet) error {
	tiers, hosts := map[string]bool{}, map[string]bool{}
	for _, t := range f.Tiers {
		tiers[t.Name] = true
	}
	for _, h := range f.Hosts {
		switch {
		case h.Name == "" || hosts[h.Name]:
			return invalid("host name %q is empty or stands twice in fleet %s: name every host once", h.Name, f.Name)
		case !tiers[h.Tier]:
			return invalid("tier %q of host %s is not in fleet %s: put it to the tiers", h.Tier, h.Name, f.Name)
		}
		hosts[h.Name] = true
	}
	return nil
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
	if s.Aborted {
		return nil, refused("incident %s is being aborted: nothing new starts", s.ID)
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
	if s.Aborted {
		return nil, refused("incident %s is being aborted: nothing is sent any more", s.ID)
	}
	return []Event{&IncidentPaused{Reason: why(v.Reason, "paused by a person")}}, nil
}

// resume lifts the pause and every held wave, or one wave; it accepts the failures that count at this moment. A wave below its
// share has nothing to let go on: it is passed, and only when a person names it.
func (s *State) resume(v Resume, now time.Time) ([]Event, error) {
	if v.Wave < 0 || v.Wave > len(s.Waves) {
		return nil, notFound("there is no wave %d: this incident has %d", v.Wave, len(s.Waves))
	}
	reason := why(v.Reason, "resumed by a person")
	var events []Event
	if v.Wave == 0 && !s.PausedAt.IsZero() {
		events = append(events, &IncidentResumed{Accepted: append(s.failures(0), s.silent(now)...), Reason: reason})
	}
	below := 0
	for _, w := range s.Waves {
		switch {
		case w.HeldBy == "" || v.Wave != 0 && v.Wave != w.N:
			continue
		case w.HeldBy == BreakerBelowShare && v.Wave == 0:
			below = w.N
			continue
		case w.HeldBy == BreakerBelowShare:
			events = append(events, &HoldOverridden{Target: fmt.Sprintf("wave:%d", w.N), Reason: reason})
		}
		events = append(events, &WaveReleased{Wave: w.N, Accepted: s.failures(w.N), Reason: reason})
	}
	switch {
	case len(events) > 0:
		return events, nil
	case below > 0:
		return nil, refused("wave %d is held because too few of it came back: retry hosts, do the hand work, or resume wave %d by name to pass it with what it has", below, below)
	}
	return nil, refused("nothing is paused or held")
}

// silent lists the silences that count towards the mass-silence breaker now.
func (s *State) silent(now time.Time) []Failure {
	var list []Failure
	for _, h := range s.survey(now).quiet {
		if f := s.silence(h); !s.accepted[f.key()] {
			list = append(list, f)
		}
	}
	return list
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
func (s *State) close(v Close, now time.Time) ([]Event, error) {
	switch {
	case s.Aborted:
		return nil, refused("incident %s is being aborted: it closes when what is in flight has ended", s.ID)
	case !s.PausedAt.IsZero():
		return nil, refused("incident %s is paused (%s): resume it first", s.ID, s.Reason)
	case !s.Approved:
		return nil, refused("the plan of incident %s is not approved: approve it, or abort", s.ID)
	}
	if !s.Settled() {
		return nil, refused("incident %s is %s: hosts are still being recovered; wait, skip them or abort", s.ID, s.Status())
	}
	hands, debts := 0, 0
	var exceptions []string
	for _, h := range s.order {
		debts += h.OpenDebts()
		for _, d := range h.Debts {
			if d.Accepted {
				exceptions = append(exceptions, fmt.Sprintf("%s: debt %s accepted by %s: %s", h.Host.Name, d.ID, d.By, d.Note))
			}
		}
		switch h.Phase {
		case NeedsHands:
			hands++
		case Skipped:
			exceptions = append(exceptions, h.Host.Name+" skipped: "+h.Reason)
		}
	}
	if hands > 0 {
		return nil, refused("%s on the hands board: do or skip each first (host list --phase needs-hands)", plural(hands, "host"))
	}
	if debts > 0 {
		return nil, refused("%s open: clear each first (host debts)", plural(debts, "debt"))
	}
	for i, verdict := range s.Verdicts(now) {
		w := s.Waves[i]
		if !w.PassedAt.IsZero() || len(w.Hosts) == 0 {
			continue
		}
		if !verdict.Held {
			return nil, refused("wave %d has not passed its gate yet: %s; wait for it", w.N, verdict.Reason)
		}
		exceptions = append(exceptions, fmt.Sprintf("wave %d has not passed its gate: %s", w.N, w.Reason))
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

func why(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}
