package recovery

import (
	"fmt"
	"slices"
	"time"
)

// Version is one version of the incident's playbook in the time in which it was in use. A version that was taken again stands twice.
type Version struct {
	Playbook Playbook
	Since    time.Time
	By       string // who took it; empty for the version that the incident was declared with
	Reason   string
}

// DebtRevisit is the debt of a recovered host that an older version of the playbook touched. Whether the host wants more is for a
// person to see, whose word clears it.
const DebtRevisit = "revisit"

// revise takes another version of the playbook. What the new one changes:
//
//   - New attempts run it, and what its environments and reboot policy say of a rung holds from here on. A waiting host goes to
//     its first usable rung when the new version closes its own or opens that better one; where none is usable, its wave puts it on
//     the hands board. Hosts that are on the board stay there until a person retries them.
//   - An attempt under way ends by itself with the version that it began with, its restart included, also when the new version
//     forbids restarts: stopped half-way, a host would be left in the rescue system or with half a script.
//   - No proof outlives it. Hosts that soak or await proof are asked anew, must show what the new version's probes want, and soak from
//     the beginning. Recovered hosts stay recovered, relapse by the new probes, and those that an older version touched or proved
//     owe a visit.
//   - Canary and ramp begin again, since they count the hosts that the new version touched. Failures count on until their host is
//     proven or a person accepts them: a revision accepts nothing.
func (s *State) revise(v Revise) ([]Event, error) {
	p := v.Playbook
	switch {
	case s.Aborted:
		return nil, refused("incident %s is being aborted: nothing new starts, with no version of its playbook", s.ID)
	case !s.Approved:
		return nil, refused("the plan of incident %s is not approved, and it names the version: abort, then declare with the version that you want", s.ID)
	case v.Reason == "":
		return nil, invalid("revising playbook %s needs a reason: it will stand in the report", s.Playbook.Name)
	case p.Name != s.Playbook.Name:
		return nil, refused("incident %s runs playbook %s, not %s: a revision is another version of the same playbook", s.ID, s.Playbook.Name, orNone(p.Name))
	case p.Digest == "":
		return nil, invalid("the new version of playbook %s has no digest", p.Name)
	case p.Digest == s.Playbook.Digest:
		return nil, refused("incident %s runs this version of playbook %s already (%s): put the new version among the coordinator's playbooks, then revise", s.ID, p.Name, s.Playbook.Digest)
	}
	e := &PlaybookRevised{Playbook: p, Reason: v.Reason}
	events := []Event{e}
	for _, h := range s.order {
		name := h.Host.Name
		switch {
		case h.Phase == NotHit:
			continue
		case !p.Fits(*h.Host):
			return nil, refused("%s takes part in incident %s, and this version of playbook %s is not meant for it: correct its match", name, s.ID, p.Name)
		case h.Phase == Recovered && s.revisits(h, p.Digest):
			e.Revisit = append(e.Revisit, name)
		}
		t := terms{Playbook: p, stock: s.stock}
		rung := t.next(h.Host, 0)
		moves := rung >= 0 && s.rungMoves(h, p, rung)
		if !moves && restores(h.Host, h.Rung) {
			rung = t.untried(h, h.Rung)
			moves = rung >= 0
		}
		if h.Phase == Waiting && moves {
			events = append(events, &HostReturned{Host: name, Rung: rung, Reason: "the playbook was revised: rung " + rungName(h.Host, rung) + " is the first that is left with its new version"})
		}
	}
	return events, nil
}

// rungMoves reports whether a new version sends a waiting host to its first usable rung: the version closes the host's own rung, or
// opens that better one.
func (s *State) rungMoves(h *HostState, p Playbook, first int) bool {
	ladder := h.Host.Ladder
	t := terms{Playbook: p, stock: s.stock}
	closed := h.Rung >= len(ladder) || t.problem(h.Host, &ladder[h.Rung]) != "" && !t.awaited(h.Host, &ladder[h.Rung])
	return closed || first < h.Rung && s.terms().problem(h.Host, &ladder[first]) != ""
}

// applyRevision makes another version the incident's own.
func (s *State) applyRevision(v *PlaybookRevised, e Entry) {
	if s.ID == "" {
		return
	}
	for _, name := range v.Revisit {
		if h := s.hosts[name]; h != nil {
			h.revisit(revisitText(firstOf(s.touched(h.Attempts), h.provenBy), v.Playbook.Digest), e.At)
		}
	}
	s.Playbook = v.Playbook
	s.Versions = append(s.Versions, Version{Playbook: v.Playbook, Since: e.At, By: e.Actor, Reason: v.Reason})
	for _, h := range s.order {
		h.revised++
		if h.Phase != Verifying {
			continue
		}
		h.proofs, h.ProvenAt, h.verifyBy = 0, time.Time{}, s.clock(e.At).Add(v.Playbook.VerifyWithin)
		h.Reason = "the playbook was revised; proof by its new version is awaited"
	}
	s.refreshServices(e.At)
}

// revisit opens the debt, or renews what an open one tells.
func (h *HostState) revisit(what string, at time.Time) {
	for i := range h.Debts {
		if d := &h.Debts[i]; d.ID == DebtRevisit && d.Cleared.IsZero() {
			d.What, d.Since = what, at
			return
		}
	}
	h.Debts = append(h.Debts, Debt{ID: DebtRevisit, What: what, Since: at})
}

func revisitText(touched, current string) string {
	return fmt.Sprintf("See whether the host wants more: version %s of the playbook touched or proved it, and %s has replaced that.", shortDigest(touched), shortDigest(current))
}

// revisits reports whether a recovered host was touched or proven by another version than this one.
func (s *State) revisits(h *HostState, digest string) bool {
	touched := s.touched(h.Attempts)
	return touched != "" && touched != digest || h.provenBy != digest
}

// touched is the digest of the version with which the last of some attempts that may have changed its host was made, "" for none.
func (s *State) touched(attempts []Attempt) string {
	for _, a := range slices.Backward(attempts) {
		if a.Method == MethodRestore {
			continue // no version of the playbook did anything in it
		}
		switch a.Result.Class {
		case "", Unreachable, AuthRefused, HostKeyMismatch, Cancelled: // nothing was started
		default:
			return s.book(a.Playbook).Digest
		}
	}
	return ""
}

// book is the version with a digest. A digest that was never in use, as strange journals have it, means the one in use.
func (s *State) book(digest string) Playbook {
	for i := len(s.Versions) - 1; i >= 0; i-- {
		if s.Versions[i].Playbook.Digest == digest {
			return s.Versions[i].Playbook
		}
	}
	return s.Playbook
}

// books lists every version that was in use, each once.
func (s *State) books() []Playbook {
	var list []Playbook
	seen := map[string]bool{}
	for _, v := range s.Versions {
		if !seen[v.Playbook.Digest] {
			seen[v.Playbook.Digest] = true
			list = append(list, v.Playbook)
		}
	}
	return list
}

// shortDigest is enough of a digest for people.
func shortDigest(digest string) string {
	const shown = len("sha256:") + 12
	return digest[:min(len(digest), shown)]
}
