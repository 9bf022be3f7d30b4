package audit

import (
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// revise takes another version of the playbook: no proof outlives it, rungs open and close, canary and ramp begin again, and the
// recovered hosts that another version touched or proved owe a visit.
func (a *Auditor) revise(v *recovery.PlaybookRevised) {
	switch {
	case !a.approved:
		a.broken(approvalFirst, "", "the playbook is revised before the plan, which names it, is approved")
	case a.aborted:
		a.broken(abortStops, "", "the playbook is revised after the abort")
	case v.Playbook.Name != a.playbook.Name || v.Playbook.Digest == "" || v.Playbook.Digest == a.playbook.Digest:
		a.broken(revisitNamed, "", "%s %q follows %s %q: a revision is another version of the same playbook",
			v.Playbook.Name, v.Playbook.Digest, a.playbook.Name, a.playbook.Digest)
	}
	a.playbook = v.Playbook
	a.keepBook(v.Playbook)
	for name, h := range a.hosts {
		a.weigh(h, -1)
		owes := h.phase == recovery.Recovered && (h.provenBy != a.playbook.Digest || h.touchedByOther(a.playbook.Digest, 0))
		if named := slices.Contains(v.Revisit, name); named != owes {
			a.broken(revisitNamed, name, "it owes a visit: %v, and the revision names it: %v", owes, named)
		}
		if owes && !h.owes(recovery.DebtRevisit) {
			a.owe(h, recovery.DebtRevisit)
		}
		h.revised++
		if h.phase == recovery.Verifying {
			h.proofs, h.proven = 0, false
		}
		a.lookAgain(h)
		a.weigh(h, 1)
	}
}

// keepBook keeps every version that was in use, once.
func (a *Auditor) keepBook(p recovery.Playbook) {
	if !slices.ContainsFunc(a.books, func(b recovery.Playbook) bool { return b.Digest == p.Digest }) {
		a.books = append(a.books, p)
	}
}

// forbidsReboot: an attempt ends by what its own version says, whatever is in use by then.
func (a *Auditor) forbidsReboot(digest string) bool {
	return slices.ContainsFunc(a.books, func(b recovery.Playbook) bool { return b.Digest == digest && b.Reboot == recovery.RebootForbidden })
}

// touchedByOther: of the attempts from one on, the last that may have changed the host ran another version.
func (h *host) touchedByOther(digest string, from int) bool {
	for _, at := range slices.Backward(h.attempts[from:]) {
		if at.restore {
			continue // no version did anything in it
		}
		switch at.class {
		case "", recovery.Unreachable, recovery.AuthRefused, recovery.HostKeyMismatch, recovery.Cancelled: // nothing was started
		default:
			return at.playbook != digest
		}
	}
	return false
}
