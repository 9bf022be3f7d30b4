package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// needsHands: a host goes to the board unasked only when no rung leads to it, and its wave is open.
func (a *Auditor) needsHands(h *host) {
	switch {
	case !a.approved:
		a.broken(approvalFirst, h.name, "it goes to the hands board before the plan is approved")
	case a.clock.paused():
		a.broken(pauseStops, h.name, "it goes to the hands board while paused")
	case a.aborted:
		a.broken(abortStops, h.name, "it goes to the hands board after the abort")
	case !h.wave.opened && !h.overridden:
		a.broken(waveFirst, h.name, "it goes to the hands board, and wave %d is not open", h.wave.n)
	case h.rung < len(h.awaited) && h.awaited[h.rung]:
		a.broken(checksAwaited, h.name, "it goes to the hands board, and its restore points are being verified")
	case slices.ContainsFunc(h.choices(), h.canUse):
		a.broken(ladderOrder, h.name, "it goes to the hands board, and rung %s can be used", h.ladder(h.rung).Name)
	}
	h.phase = recovery.NeedsHands
}

// claimedNow is the person to whom a host belongs at this moment, or "".
func (a *Auditor) claimedNow(h *host) string {
	if a.now().After(h.ownedUntil) {
		return ""
	}
	return h.owner
}

func (a *Auditor) claimed(h *host, v *recovery.HostClaimed) {
	if owner := a.claimedNow(h); owner != "" && owner != v.By {
		a.broken(oneOwner, h.name, "%s claims it, and it belongs to %s", v.By, owner)
	}
	if v.Until.IsZero() {
		h.owner = ""
		return
	}
	if h.phase != recovery.Waiting && h.phase != recovery.NeedsHands {
		a.broken(oneOwner, h.name, "%s claims it while it is %s", v.By, h.phase)
	}
	h.owner, h.ownedUntil = v.By, a.later(v.Until)
}

// handsFinished is a person's claim, and counts as an attempt.
func (a *Auditor) handsFinished(h *host, v *recovery.HandsFinished) {
	if owner := a.claimedNow(h); owner != "" && owner != v.By {
		a.broken(oneOwner, h.name, "%s has worked on it, and it belongs to %s", v.By, owner)
	}
	if want := fmt.Sprintf("%s/%d", h.name, len(h.attempts)+1); v.Attempt != want {
		a.broken(attemptNumbers, h.name, "hand work is called %s, the next number is %s", v.Attempt, want)
	}
	before := h.bootBefore
	if before == "" {
		before = h.scopeBoot
	}
	h.change = &change{boots: known(before), restarted: true}
	h.attempts = append(h.attempts, attempt{id: v.Attempt, rung: -1, class: recovery.Succeeded, playbook: a.playbook.Digest, ended: true})
	h.phase, h.proofs, h.proven, h.owner = recovery.Verifying, 0, false, ""
}

func (a *Auditor) skipped(h *host, v *recovery.HostSkipped) {
	if v.Reason == "" {
		a.broken(honestOutcome, h.name, "it is skipped without a reason")
	}
	h.phase, h.owner, h.failure = recovery.Skipped, "", nil
}

func (a *Auditor) returned(h *host, v *recovery.HostReturned) {
	if a.aborted {
		a.broken(abortStops, h.name, "it is put back to work")
	}
	h.phase = recovery.Waiting
	h.retry(v.Rung, time.Time{})
	h.tries, h.base, h.named = 0, len(h.attempts), v.Named
	if !h.member {
		h.member, h.joined = true, h.wave.opened
		h.wave.members++
	}
}
