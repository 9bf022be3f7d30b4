package recovery

import (
	"fmt"
	"slices"
	"time"
)

// contentProof returns "" when the probes found good content and no bad, else what is missing.
func contentProof(c Content) string {
	switch {
	case c.Error != "":
		return "its content probe failed: " + c.Error
	case c.Missing:
		return "the place where the content should be does not exist"
	case c.Bad > 0:
		return fmt.Sprintf("bad content is there (%s)", plural(c.Bad, "file"))
	case c.Good == 0:
		return "no good content was found"
	}
	return ""
}

// proof judges a sighting as evidence that the host is well: "" when complete, else what is missing.
func (s *State) proof(h *HostState, v Sighting, now time.Time) string {
	if !v.Connected {
		return "it is silent"
	}
	if h.askAt(s.soakOver(h, now)) != v.Answers {
		return "it has not answered the latest request for facts"
	}
	return s.evidence(h, v)
}

// evidence judges the facts of a sighting, whenever they were asked for: "" when they show a well host, else what is missing.
func (s *State) evidence(h *HostState, v Sighting) string {
	if v.BootMode != "" && v.BootMode != BootNormal {
		return "it is booted in " + v.BootMode + " mode"
	}
	if missing := s.bootProof(h, v); missing != "" {
		return missing
	}
	c, ok := v.content(s.Playbook.Digest)
	if !ok {
		return "its content has not been probed"
	}
	if missing := contentProof(c); missing != "" {
		return missing
	}
	if ok, check := v.healthy(); !ok {
		return "its health check " + check + " fails"
	}
	if h.unboot != nil {
		return bootTargetOpen
	}
	return ""
}

// bootTargetOpen is what a proof lacks, when it lacks nothing else, while the host may start into the rescue system again.
const bootTargetOpen = "its boot target is not proven to be its own disk"

// bootProof asks for a restart after the last change to the host, where the playbook wants one. A script that finds nothing
// afterwards does not make up for the restart that is missing.
func (s *State) bootProof(h *HostState, v Sighting) string {
	switch {
	case s.Playbook.Reboot != RebootRequired || h.changed == nil:
		return ""
	case v.BootID == "":
		return "its boot id is not known"
	case slices.Contains(h.changed.boots, v.BootID):
		return "it has not been restarted since the attempt (same boot id)"
	case h.changed.blind:
		return "it is not known to have been restarted since the attempt (no boot id from before it is known)"
	}
	return ""
}

// proofReason tells what a complete proof rested on.
func (s *State) proofReason(h *HostState, v Sighting) string {
	c, _ := v.content(s.Playbook.Digest)
	boot := "boot id " + v.BootID
	switch {
	case h.changed == nil || v.BootID == "":
	case len(h.changed.boots) > 0 && !slices.Contains(h.changed.boots, v.BootID):
		boot = "new boot id " + v.BootID
	case len(h.changed.boots) == 0:
		boot = "boot id " + v.BootID + " (the one before the attempt is unknown: the host was silent then)"
	}
	return fmt.Sprintf("%s, no bad content, %s of good content, %s passed", boot, plural(c.Good, "file"), plural(len(v.Health), "health check"))
}

// sighted lets a sighting move its host: proof, the end of a soak, a relapse, a healing without us.
func (s *State) sighted(in Sighted, now time.Time) ([]Event, error) {
	v := in.Sighting
	h := s.hosts[v.Host]
	if h == nil || s.over() {
		return nil, nil
	}
	if merged, ok := s.seen[v.Host]; ok {
		v = merged
	}
	return s.judge(h, v, now), nil
}

func (s *State) judge(h *HostState, v Sighting, now time.Time) []Event {
	c, probed := v.content(s.Playbook.Digest)
	bad := v.Connected && probed && c.Bad > 0
	switch h.Phase {
	case NotHit:
		if bad && s.Playbook.Fits(*h.Host) && !s.Aborted {
			return []Event{&HostReturned{Host: h.Host.Name, Rung: s.firstRung(h), Reason: "it was not hit and now reports bad content"}}
		}
	case Recovered:
		if bad {
			return []Event{s.relapse(h, "it reports bad content again", relapsedBad)}
		}
	case Waiting, NeedsHands:
		if s.proof(h, v, now) == "" {
			how := "healed without an attempt of ours: "
			if h.changed != nil {
				how = "its proof came late: "
			}
			return []Event{s.proven(h, v, how, now)}
		}
	case Verifying:
		return s.verify(h, v, c, bad, now)
	}
	return nil
}

// disproven reports whether a host that was restarted after the attempt answers with bad content: waiting longer proves nothing.
func (s *State) disproven(h *HostState, v Sighting, now time.Time) bool {
	return h.changed != nil && len(h.changed.boots) > 0 && v.BootID != "" && !slices.Contains(h.changed.boots, v.BootID) &&
		v.Answers == h.askAt(s.soakOver(h, now))
}

func (s *State) verify(h *HostState, v Sighting, c Content, bad bool, now time.Time) []Event {
	if h.ProvenAt.IsZero() {
		switch {
		case s.proof(h, v, now) == "":
			return []Event{s.proven(h, v, "", now)}
		case bad && s.disproven(h, v, now):
			missing := contentProof(c) + " after another restart"
			return []Event{s.unproven(h, missing, "it is disproven: "+missing)}
		}
		return nil
	}
	switch {
	case bad:
		return []Event{s.relapse(h, "bad content came back during the soak", relapsedBad)}
	case v.Connected && v.BootID != h.provenBoot && h.proofs >= maxProofs:
		return []Event{s.relapse(h, "it keeps restarting during the soak", "relapsed: keeps restarting")}
	case v.Connected && v.BootID != h.provenBoot && s.proof(h, v, now) == "":
		return []Event{s.proven(h, v, "restarted during the soak, which begins again: ", now)}
	case s.soakOver(h, now) && v.BootID == h.provenBoot && s.proof(h, v, now) == "":
		return []Event{s.recovered(h, v)}
	}
	return nil
}

func (s *State) proven(h *HostState, v Sighting, prefix string, now time.Time) Event {
	return &HostProven{Host: h.Host.Name, Sighting: v, SoakUntil: now.Add(s.Playbook.Soak), Reason: prefix + s.proofReason(h, v)}
}

func (s *State) recovered(h *HostState, v Sighting) Event {
	e := &HostRecovered{Host: h.Host.Name, Reason: fmt.Sprintf("the proof held through %s of soak", s.Playbook.Soak)}
	for _, p := range s.books() {
		for _, d := range p.Debts {
			noted := slices.ContainsFunc(e.Debts, func(o Debt) bool { return o.ID == d.ID })
			if !noted && !h.hasDebt(d.ID) && s.owes(h, p, d) {
				e.Debts = append(e.Debts, Debt{ID: d.ID, What: d.What})
			}
		}
	}
	if digest := s.touched(h.Attempts[h.accounted:]); digest != "" && digest != s.Playbook.Digest && !h.hasDebt(DebtRevisit) {
		e.Debts = append(e.Debts, Debt{ID: DebtRevisit, What: revisitText(digest, s.Playbook.Digest)})
	}
	return e
}

// owes reports whether work with a version since the last recovery left a debt: scripts in its environments, or a person's hands,
// of whose ways nothing is known.
func (s *State) owes(h *HostState, p Playbook, d DebtSpec) bool {
	for _, a := range h.Attempts[h.accounted:] {
		switch {
		case a.Method == MethodRestore || s.book(a.Playbook).Digest != p.Digest:
		case a.Result.Class != Succeeded && a.Result.Class != Lost:
		case a.Rung < 0 || len(d.Environments) == 0:
			return true
		case a.Rung < len(h.Host.Ladder) && slices.Contains(d.Environments, h.Host.Ladder[a.Rung].Environment):
			return true
		}
	}
	return false
}

// maxProofs is how often a host may be proven before another restart in the soak counts as a loop.
const maxProofs = 3

// Signatures of relapses.
const (
	relapsedBad    = "relapsed: bad content"
	relapsedSilent = "relapsed: silent"
)

// relapse sends a host that had been proven back to work, or to a person when it happens too often.
func (s *State) relapse(h *HostState, why, signature string) Event {
	e := &HostRelapsed{Host: h.Host.Name, Next: Waiting, Rung: s.firstRung(h), Signature: signature, Reason: why}
	if h.Relapses+1 > s.policy().MaxRelapses {
		e.Next = NeedsHands
		e.Reason += fmt.Sprintf("; relapse %d, more than %d go to a person", h.Relapses+1, s.policy().MaxRelapses)
	} else if e.Rung < 0 {
		e.Next = NeedsHands
		e.Reason += "; " + s.rungProblem(h.Host, 0)
	}
	e.Rung = max(e.Rung, 0)
	return e
}

// Instruction is what a host's agent should be told now.
type Instruction struct {
	ID     string
	Verify bool // gather fresh facts and answer with the ID; false: stand by

	Playbook string // digest of the version whose probes the facts must come from
}

// Instruct returns what a host's agent should be told now. The same ID need not be sent twice on one stream. Hosts that are not in
// work are asked once after a revision: the new version's probes judge them too.
func (s *State) Instruct(host string, now time.Time) Instruction {
	h := s.hosts[host]
	if h == nil || s.over() {
		return Instruction{}
	}
	in := Instruction{Verify: true, Playbook: s.Playbook.Digest}
	switch h.Phase {
	case Verifying, Waiting, NeedsHands:
		in.ID = h.askAt(s.soakOver(h, now))
	default:
		if h.revised == 0 {
			return Instruction{}
		}
		in.ID = fmt.Sprintf("%s/revision/%d", host, h.revised)
	}
	return in
}
