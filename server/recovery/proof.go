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
	if v.BootMode != "" && v.BootMode != BootNormal {
		return "it is booted in " + v.BootMode + " mode"
	}
	if s.Playbook.Reboot == RebootRequired && h.wantBoot && h.bootBefore != "" && v.BootID == h.bootBefore {
		return "it has not been restarted since the attempt (same boot id)"
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
	return ""
}

// proofReason tells what a complete proof rested on.
func (s *State) proofReason(h *HostState, v Sighting) string {
	c, _ := v.content(s.Playbook.Digest)
	boot := "boot id " + v.BootID
	switch {
	case h.wantBoot && h.bootBefore != "" && v.BootID != h.bootBefore:
		boot = "new boot id " + v.BootID
	case h.wantBoot && h.bootBefore == "":
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
	c, probed := v.content(s.Playbook.Digest)
	bad := v.Connected && probed && c.Bad > 0
	switch h.Phase {
	case NotHit:
		if bad && s.Playbook.Fits(*h.Host) {
			return []Event{&HostReturned{Host: h.Host.Name, Rung: s.firstRung(h), Reason: "it was not hit and now reports bad content"}}, nil
		}
	case Recovered:
		if bad {
			return []Event{s.relapse(h, "it reports bad content again")}, nil
		}
	case Waiting, NeedsHands:
		if s.proof(h, v, now) == "" {
			return []Event{s.proven(h, v, "healed without an attempt of ours: ", now)}, nil
		}
	case Verifying:
		return s.verify(h, v, bad, now), nil
	}
	return nil, nil
}

func (s *State) verify(h *HostState, v Sighting, bad bool, now time.Time) []Event {
	if h.ProvenAt.IsZero() {
		if s.proof(h, v, now) != "" {
			return nil
		}
		return []Event{s.proven(h, v, "", now)}
	}
	switch {
	case bad:
		return []Event{s.relapse(h, "bad content came back during the soak")}
	case v.Connected && v.BootID != h.provenBoot && h.proofs >= 3:
		return []Event{s.relapse(h, "it keeps restarting during the soak")}
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
	env := h.repairedIn()
	for _, d := range s.Playbook.Debts {
		if env != "" && !h.hasDebt(d.ID) && (len(d.Environments) == 0 || slices.Contains(d.Environments, env)) {
			e.Debts = append(e.Debts, Debt{ID: d.ID, What: d.What})
		}
	}
	return e
}

// relapse sends a host that had been proven back to work, or to a person when it happens too often.
func (s *State) relapse(h *HostState, why string) Event {
	e := &HostRelapsed{Host: h.Host.Name, Next: Waiting, Rung: s.firstRung(h), Reason: why}
	if h.Relapses+1 > s.policy().MaxRelapses {
		e.Next = NeedsHands
		e.Reason += fmt.Sprintf("; relapse %d, more than %d go to a person", h.Relapses+1, s.policy().MaxRelapses)
	} else if e.Rung < 0 {
		e.Next, e.Rung = NeedsHands, h.Rung
	}
	return e
}

// Instruction is what a host's agent should be told now.
type Instruction struct {
	ID     string
	Verify bool // gather fresh facts and answer with the ID; false: stand by
}

// Instruct returns what a host's agent should be told now. The same ID need not be sent twice on one stream.
func (s *State) Instruct(host string, now time.Time) Instruction {
	h := s.hosts[host]
	if h == nil || s.over() {
		return Instruction{}
	}
	switch h.Phase {
	case Verifying, Waiting, NeedsHands:
		return Instruction{ID: h.askAt(s.soakOver(h, now)), Verify: true}
	}
	return Instruction{}
}
