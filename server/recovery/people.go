package recovery

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
	if rung < 0 && h.Phase != Skipped {
		return nil, refused("%s has no rung that can be used: %s", v.Host, s.rungProblem(h.Host, 0))
	}
	if problem := s.restoreTooSoon(h, rung, v.Rung); problem != "" {
		return nil, refused("%s", problem)
	}
	return []Event{&HostReturned{Host: v.Host, Rung: rung, Named: v.Rung != "", Reason: why(v.Reason, "another try, asked for by a person")}}, nil
}

// restoreTooSoon says why the restore of primary data that a person names must wait, or "": every way above it comes first.
func (s *State) restoreTooSoon(h *HostState, rung int, named string) string {
	if named == "" || rung < 0 || h.Host.Data != DataPrimary || h.Host.Ladder[rung].Kind != RungRestore {
		return ""
	}
	if above := s.terms().untried(h, rung); above >= 0 {
		return fmt.Sprintf("%s holds primary data, and rung %s has not been tried: it is repaired in place first, and restored when every way above has failed", h.Host.Name, h.Host.Ladder[above].Name)
	}
	return ""
}

func (s *State) rungNamed(h *HostState, name string) (int, error) {
	for i, r := range h.Host.Ladder {
		if r.Name != name {
			continue
		}
		if problem := s.terms().problem(h.Host, &r); problem != "" {
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
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || n > len(s.Waves) || name != strconv.Itoa(n) {
			return nil, notFound("there is no wave %q: this incident has %d", name, len(s.Waves))
		}
		switch w := s.Waves[n-1]; {
		case !w.PassedAt.IsZero():
			return nil, refused("wave %d has passed its gate: there is nothing to override", n)
		case w.OpenedAt.IsZero() && n > 1 && s.Waves[n-2].OpenedAt.IsZero():
			return nil, refused("wave %d cannot open before wave %d is open: waves never skip", n, n-1)
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
	if v.By == "" {
		return nil, invalid("who claims %s? a claim needs a name", v.Host)
	}
	if v.For <= 0 {
		if s.owner(h, now) == "" {
			return nil, refused("%s belongs to nobody: there is no claim to give back", v.Host)
		}
		return []Event{&HostClaimed{Host: v.Host, By: v.By}}, nil
	}
	switch h.Phase {
	case Attempting, Verifying:
		return nil, refused("%s is %s: one owner at a time, and now it is the engine (%s)", v.Host, h.Phase, h.Reason)
	case Recovered, NotHit, Skipped:
		return nil, refused("%s is %s: there is nothing to work on", v.Host, h.Phase)
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
	if v.Accepted && v.Note == "" {
		return nil, invalid("accepting debt %s needs a note: it will stand in the report why it is lived with", v.Debt)
	}
	if v.Host == "" {
		return s.clearDebts(v)
	}
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	if !h.hasDebt(v.Debt) {
		return nil, notFound("%s has no open debt %q", v.Host, v.Debt)
	}
	if problem := h.wordRefused(v); problem != "" {
		return nil, refused("%s", problem)
	}
	return []Event{&DebtCleared{Host: v.Host, Debt: v.Debt, By: v.By, Note: v.Note, Accepted: v.Accepted}}, nil
}

// wordRefused says why a person's word does not clear a debt, or nothing: a boot target is read back by the engine, and only where
// that has failed does it count that somebody has looked.
func (h *HostState) wordRefused(v ClearDebt) string {
	switch {
	case v.Debt != DebtBootTarget:
		return ""
	case v.Accepted:
		return fmt.Sprintf("the boot target of %s cannot be lived with: at its next start the host would boot the rescue system", h.Host.Name)
	case h.Phase == Attempting || h.unboot != nil && h.unboot.tries == 0:
		return fmt.Sprintf("the boot target of %s is still being cleared by the engine: wait for it", h.Host.Name)
	case v.Note == "":
		return fmt.Sprintf("the boot target of %s could not be read back: say with a note who has looked at its boot order, and how", h.Host.Name)
	}
	return ""
}

// clearDebts closes one debt on every host that owes it.
func (s *State) clearDebts(v ClearDebt) ([]Event, error) {
	var events []Event
	for _, h := range s.order {
		if !h.hasDebt(v.Debt) {
			continue
		}
		if problem := h.wordRefused(v); problem != "" {
			return nil, refused("%s", problem)
		}
		events = append(events, &DebtCleared{Host: h.Host.Name, Debt: v.Debt, By: v.By, Note: v.Note, Accepted: v.Accepted})
	}
	if events == nil {
		return nil, notFound("no host has an open debt %q", v.Debt)
	}
	return events, nil
}

// owner is the person who has claimed the host and whose claim has not run out.
func (s *State) owner(h *HostState, now time.Time) string {
	if h.Owner == "" || s.clock(now).After(h.ownedUntil) {
		return ""
	}
	return h.Owner
}

func nextAttemptID(h *HostState) string { return fmt.Sprintf("%s/%d", h.Host.Name, len(h.Attempts)+1) }
