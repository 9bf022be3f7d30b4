package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (a *Auditor) proven(h *host, v *recovery.HostProven) {
	s := &v.Sighting
	switch {
	case s.Host != h.name || !s.Connected:
		a.broken(proofComplete, h.name, "it is proven by the words of %q, connected %v", s.Host, s.Connected)
	case s.BootMode != "" && s.BootMode != recovery.BootNormal:
		a.broken(proofComplete, h.name, "it is proven in boot mode %s", s.BootMode)
	case lacks(s, a.playbook.Digest) != "":
		a.broken(proofComplete, h.name, "it is proven, and %s", lacks(s, a.playbook.Digest))
	case h.owes(recovery.DebtBootTarget):
		a.broken(proofComplete, h.name, "it is proven, and may start into the rescue system the next time")
	}
	a.restarted(h, s.BootID)
	a.answers(h, s)
	if soak := v.SoakUntil.Sub(a.at); soak < a.playbook.Soak {
		a.broken(soakHeld, h.name, "its soak is to last %s, the playbook wants %s", soak, a.playbook.Soak)
	}
	h.phase, h.proven, h.provenBoot, h.soakUntil = recovery.Verifying, true, s.BootID, a.later(v.SoakUntil)
	h.proofs++
	h.provenBy = a.playbook.Digest
	h.failure = nil
}

// lacks says what a sighting's facts lack for a well host, or "".
func lacks(s *recovery.Sighting, digest string) string {
	i := slices.IndexFunc(s.Content, func(c recovery.Content) bool { return c.Playbook == digest })
	if i < 0 {
		return "its content was not probed"
	}
	c := s.Content[i]
	if c.Bad > 0 || c.Good == 0 || c.Missing || c.Error != "" {
		return fmt.Sprintf("its probes found %d bad and %d good (place missing %v, error %q)", c.Bad, c.Good, c.Missing, c.Error)
	}
	for _, check := range s.Health {
		if !check.OK {
			return "its check " + check.Name + " fails"
		}
	}
	return ""
}

// restarted: where the playbook wants it, the host has been restarted since we last changed it.
func (a *Auditor) restarted(h *host, boot string) {
	if a.playbook.Reboot != recovery.RebootRequired {
		return
	}
	c := h.change
	switch {
	case c != nil && boot == "":
		a.broken(proofRestart, h.name, "it is proven, and its boot id is not known")
	case c != nil && slices.Contains(c.boots, boot):
		a.broken(proofRestart, h.name, "it is proven in boot %s, as before the attempt", boot)
	case c != nil && len(c.boots) == 0 && !c.restarted:
		a.broken(proofRestart, h.name, "it is proven in boot %s, and nothing tells of a restart since the attempt", boot)
	case slices.Contains(h.ranIn, boot):
		a.broken(proofRestart, h.name, "it is proven in boot %s, in which a script of ours ran", boot)
	}
}

// answers: the question was asked after the last attempt, and after the last relapse or soak. During a soak the first one stands,
// for a host that restarted.
func (a *Auditor) answers(h *host, s *recovery.Sighting) {
	n := h.proofs
	if h.proven && a.now().Before(h.soakUntil) {
		n--
		if s.BootID == h.provenBoot {
			a.broken(proofAnswer, h.name, "it is proven again in boot %s in the midst of its soak", s.BootID)
		}
	}
	last := h.name + "/0"
	if k := len(h.attempts); k > 0 {
		last = h.attempts[k-1].id
	}
	if h.revised > 0 {
		last += fmt.Sprintf("/revision/%d", h.revised)
	}
	if want := fmt.Sprintf("%s/verify/%d", last, n); s.Answers != want {
		a.broken(proofAnswer, h.name, "its proof answers %q, the question was %s", s.Answers, want)
	}
}

func (a *Auditor) recovered(h *host, v *recovery.HostRecovered) {
	if left := h.soakUntil.Sub(a.now()); !h.proven || left > 0 {
		a.broken(soakHeld, h.name, "it is recovered; proven %v, %s of its soak left", h.proven, max(left, 0))
	}
	a.oweAll(h, v.Debts)
	for _, p := range a.books {
		for _, d := range p.Debts {
			if !h.owes(d.ID) && h.left(p.Digest, d) {
				a.broken(debtsRecorded, h.name, "the work has left debt %q, and it is not recorded", d.ID)
			}
		}
	}
	if h.touchedByOther(a.playbook.Digest, h.accounted) && !h.owes(recovery.DebtRevisit) {
		a.broken(revisitNamed, h.name, "another version of the playbook touched it, and no debt says so")
	}
	h.phase, h.failure, h.tries, h.owner, h.accounted = recovery.Recovered, nil, 0, "", len(h.attempts)
}

// left: work with a version since the last recovery that may have helped leaves a debt in its environments; of hand work nothing is known.
func (h *host) left(digest string, d recovery.DebtSpec) bool {
	return slices.ContainsFunc(h.attempts[h.accounted:], func(at attempt) bool {
		helped := !at.restore && at.playbook == digest && (at.class == recovery.Succeeded || at.class == recovery.Lost)
		return helped && (at.rung < 0 || len(d.Environments) == 0 || slices.Contains(d.Environments, h.ladder(at.rung).Environment))
	})
}

func (a *Auditor) proofFailed(h *host, v *recovery.ProofFailed) {
	if h.proven {
		a.broken(legalMove, h.name, "its proof failed, and had been given: that is a relapse")
	}
	if v.Next == recovery.Waiting && h.lostRestore() {
		a.broken(neverTogether, h.name, "it is not proven after a restore of which nobody knows how far it came, and another attempt follows: a person looks first")
	}
	if v.Next == recovery.Waiting {
		a.climbs(h, v.Rung, recovery.Failed, h.following())
		if h.lastRung() < 0 {
			a.broken(classDecides, h.name, "hand work was not proven, and a script follows")
		}
	}
	h.phase = v.Next
	h.fail(recovery.Failed, "no proof: "+v.Missing)
	h.retry(v.Rung, a.later(v.Until))
}

func (a *Auditor) relapsed(h *host, v *recovery.HostRelapsed) {
	if h.phase == recovery.Verifying && !h.proven {
		a.broken(legalMove, h.name, "it relapses, and was not proven")
	}
	h.relapses++
	if h.relapses > a.policy.MaxRelapses && v.Next != recovery.NeedsHands {
		a.broken(relapseCap, h.name, "relapse %d leads to %s, after %d a person looks", h.relapses, v.Next, a.policy.MaxRelapses)
	}
	signature := v.Signature
	if signature == "" {
		signature = "relapsed"
	}
	h.phase, h.base = v.Next, len(h.attempts)
	h.fail(recovery.Failed, signature)
	h.retry(v.Rung, time.Time{})
	h.tries = 0
}
