package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// mayStart holds the start of an attempt against everything that may forbid it, most general first.
func (a *Auditor) mayStart(h *host, v *recovery.AttemptStarted) {
	a.incidentLets(h)
	a.numbered(h, v)
	a.waveLets(h)
	a.hostLets(h, v.Attempt)
	if a.breach == nil { // the rung exists
		a.restoreLets(h, v.Attempt)
		a.orderLets(h, v)
		a.roomFor(h, v.Attempt)
	}
}

func (a *Auditor) incidentLets(h *host) {
	switch {
	case !a.approved:
		a.broken(approvalFirst, h.name, "an attempt starts before the plan is approved")
	case a.clock.paused():
		a.broken(pauseStops, h.name, "an attempt starts while paused")
	case a.aborted:
		a.broken(abortStops, h.name, "an attempt starts after the abort")
	case a.tooMany:
		a.broken(overLimit, h.name, "an attempt starts while %d hosts of the incident fail", a.failures)
	}
}

func (a *Auditor) numbered(h *host, v *recovery.AttemptStarted) {
	at := v.Attempt
	if now := h.current(); now != nil {
		a.broken(oneAttempt, h.name, "%s starts while %s is under way", at.ID, now.id)
	}
	if n := len(h.attempts) + 1; at.N != n || at.ID != fmt.Sprintf("%s/%d", h.name, n) {
		a.broken(attemptNumbers, h.name, "attempt %d is number %d, called %s", n, at.N, at.ID)
	}
	if at.Playbook != a.playbook.Digest {
		a.broken(approvalFirst, h.name, "%s uses playbook %q, and %q is approved", at.ID, at.Playbook, a.playbook.Digest)
	}
}

func (a *Auditor) waveLets(h *host) {
	w := h.wave
	switch {
	case h.overridden:
	case w.over != "":
		a.broken(overLimit, h.name, "an attempt starts in wave %d with %s", w.n, w.over)
	case !w.opened || !h.member:
		a.broken(waveFirst, h.name, "an attempt starts, wave %d is not open or does not hold it", w.n)
	case w.heldBy != "" && w.heldBy != recovery.BreakerBelowShare: // that one stops the next wave, not this one's second tries
		a.broken(heldWave, h.name, "an attempt starts in wave %d, which is held (%s)", w.n, w.heldBy)
	}
}

func (a *Auditor) hostLets(h *host, at recovery.Attempt) {
	now := a.now()
	rung := h.ladder(at.Rung)
	switch {
	case a.claimedNow(h) != "":
		a.broken(oneOwner, h.name, "%s starts, and %s has claimed the host", at.ID, h.owner)
	case a.playbook.Reboot == recovery.RebootForbidden && restarts(rung):
		a.broken(noReboot, h.name, "%s goes by rung %s, which restarts it", at.ID, rung.Name)
	case !h.canUse(at.Rung) || !slices.Contains(h.choices(), at.Rung):
		a.broken(ladderOrder, h.name, "%s goes by rung %d, which can be used: %v; decided was one of %v", at.ID, at.Rung, h.canUse(at.Rung), h.choices())
	case len(h.attempts)-h.base >= a.policy.MaxAttempts:
		a.broken(attemptCap, h.name, "%s starts after %d others, the cap is %d", at.ID, len(h.attempts)-h.base, a.policy.MaxAttempts)
	case now.Before(h.notBefore):
		a.broken(backoffHolds, h.name, "%s starts %s too early", at.ID, h.notBefore.Sub(now))
	}
}

// orderLets is what a person may lift for one host: what it needs, the canary and the ramp.
func (a *Auditor) orderLets(h *host, v *recovery.AttemptStarted) {
	c, k := a.canary(h, v.Attempt.Rung, a.playbook.Digest), a.kind(h, v.Attempt.Rung)
	first := c.recovered == 0 && c.proven+c.unproven == 0
	if v.Canary != first {
		a.broken(canaryFirst, h.name, "%s is called a canary: %v; %d of its kind are recovered, %d in work or soaking",
			v.Attempt.ID, v.Canary, c.recovered, c.proven+c.unproven)
	}
	if h.overridden {
		return
	}
	if h.service != nil {
		for _, name := range h.service.needs {
			if s := a.services[name]; s == nil || !s.overridden && !s.serves() {
				a.broken(needsFirst, h.name, "%s starts while service %s is down", v.Attempt.ID, name)
			}
		}
	}
	older := k.unproven - c.unproven // in work with another version: they only take room
	switch limit := min(c.proven+1, h.wave.limits.InFlight-older); {
	case first:
	case c.recovered == 0:
		a.broken(canaryFirst, h.name, "%s starts beside the canary: %d of its kind are in work or soaking, none is recovered", v.Attempt.ID, c.proven+c.unproven)
	case c.unproven >= limit:
		a.broken(rampLimit, h.name, "%s starts beside %d unproven of its kind, the ramp allows %d", v.Attempt.ID, c.unproven, limit)
	}
}

// roomFor: nobody lifts the limits of groups and resources.
func (a *Auditor) roomFor(h *host, at recovery.Attempt) {
	for _, g := range h.groups {
		if most := max(1, g.spec.MaxAtOnce); g.working >= most {
			a.broken(groupAtOnce, h.name, "it is the member %d of group %s in work, %d are allowed", g.working+1, g.spec.Name, most)
		}
		if down := g.surelyDown(h); h.heard && h.connected && g.spec.MaxDown > 0 && down >= g.spec.MaxDown {
			a.broken(groupDown, h.name, "it is up, and %d others of group %s are down; %d may be, with it", down, g.spec.Name, g.spec.MaxDown)
		}
	}
	if a.ssh.used >= a.ssh.slots && !h.restores(at.Rung) {
		a.broken(slotsHold, h.name, "%d attempts are under way, %s has %d slots", a.ssh.used, recovery.ResourceSSH, a.ssh.slots)
	}
	for _, r := range a.taken(h, at.Rung, at.Restores) {
		if r.used >= r.slots {
			a.broken(slotsHold, h.name, "%d of %d slots of a resource are taken", r.used, r.slots)
		}
	}
}

// surelyDown counts the members but one that serve nobody: they are being worked on, or silent on the hands board. Those that
// only wait may wait for this very host, and are not counted.
func (g *group) surelyDown(but *host) int {
	n := 0
	for _, m := range g.members {
		if m != but && (m.working() || m.phase == recovery.NeedsHands && m.heard && !m.connected) {
			n++
		}
	}
	return n
}

func (a *Auditor) attemptStarted(h *host, v *recovery.AttemptStarted) {
	at := v.Attempt
	h.attempts = append(h.attempts, attempt{id: at.ID, n: at.N, rung: at.Rung, playbook: at.Playbook, canary: a.canary(h, at.Rung, at.Playbook), kind: a.kind(h, at.Rung),
		restore: h.restores(at.Rung), restores: at.Restores, runner: at.Runner})
	if at.Rung != h.rung {
		h.rung, h.tries = at.Rung, 0
	}
	h.named = false
	h.phase, h.bootBefore, h.proofs, h.proven = recovery.Attempting, v.BootBefore, 0, false
	h.tries++
}

// mayEnd: only the attempt under way ends; a late result is of one that is over.
func (a *Auditor) mayEnd(h *host, v *recovery.AttemptEnded) {
	at := h.find(v.Attempt)
	if at != nil && a.forbidsReboot(at.playbook) && v.Result.Rebooted {
		a.broken(noReboot, h.name, "%s restarted it", v.Attempt)
	}
	switch {
	case v.Late && (at == nil || !at.ended || at.late):
		a.broken(lateIsNothing, h.name, "a late result of %s, which was never made, is not over, or has brought one before", v.Attempt)
	case v.Late && (v.Next != "" || !v.Until.IsZero()):
		a.broken(lateIsNothing, h.name, "a late result of %s takes it to %q", v.Attempt, v.Next)
	case v.Late:
	case at == nil || at.ended:
		a.broken(endsOnce, h.name, "%s ends, and is not under way", v.Attempt)
	}
}

func (a *Auditor) attemptEnded(h *host, v *recovery.AttemptEnded) {
	at := h.find(v.Attempt)
	if at == nil || a.breach != nil {
		return
	}
	own := h.ladder(at.rung).Environment == recovery.EnvLinux || at.restore && at.runner == h.name
	if v.Result.Boot != "" && own && changes(v.Result.Class) {
		h.ranIn = append(h.ranIn, v.Result.Boot)
	}
	if v.Late {
		at.late = true
		if at.class == recovery.TimedOut || at.class == recovery.Lost { // it is known now what came of it
			a.restoreFound(h, at, v)
			at.class = v.Result.Class
		}
		a.oweAll(h, v.Debts)
		return
	}
	follows := h.following()
	a.classAllows(h, at, v, follows, a.restoreFound(h, at, v))
	a.oweAll(h, v.Debts)
	at.ended, at.class = true, v.Result.Class
	if v.Result.BootTarget == recovery.BootTargetDisk {
		a.cleared(h, recovery.DebtBootTarget)
	}
	h.phase = v.Next
	if v.Next == recovery.Verifying {
		if v.Result.Class != recovery.NothingFound {
			h.change = &change{boots: known(h.bootBefore, v.Result.Boot), restarted: v.Result.Rebooted || !own}
		}
		return
	}
	if v.Result.Class == recovery.Cancelled {
		h.tries = max(0, h.tries-1)
	} else {
		h.fail(v.Result.Class, v.Result.Signature)
	}
	h.retry(v.Rung, a.later(v.Until))
}

// changes: after a result of these classes a script may have changed the system that it ran in.
func changes(c recovery.Class) bool {
	switch c {
	case recovery.Succeeded, recovery.Failed, recovery.TimedOut, recovery.Lost:
		return true
	}
	return false
}

func known(boots ...string) []string {
	return slices.DeleteFunc(boots, func(b string) bool { return b == "" })
}

// restoreFound judges what a restore has left, and believes what its checks have shown. It reports whether one of them has condemned a point
// and the host can still be restored from another.
func (a *Auditor) restoreFound(h *host, at *attempt, v *recovery.AttemptEnded) (another bool) {
	if !at.restore {
		return false
	}
	a.swapLeaves(h, at, v)
	return a.found(h, v.Result) && h.canUse(at.rung)
}

// classAllows holds what follows from a result against its class; follows is the rung that came next when it was decided.
func (a *Auditor) classAllows(h *host, at *attempt, v *recovery.AttemptEnded, follows int, another bool) {
	class := v.Result.Class
	if at.restore && a.restoreEnds(h, at, v) {
		return
	}
	var may []recovery.Phase
	switch class {
	case recovery.AuthRefused, recovery.HostKeyMismatch, recovery.Locked:
		if v.Next != recovery.NeedsHands {
			a.broken(personLooks, h.name, "%s ends with %s and leads to %s", v.Attempt, class, v.Next)
		}
		return
	case recovery.Succeeded, recovery.Lost:
		may = []recovery.Phase{recovery.Verifying}
	case recovery.NothingFound:
		may = []recovery.Phase{recovery.Verifying, recovery.NeedsHands}
		if v.Rung != h.rung {
			may = append(may, recovery.Waiting)
		}
	case recovery.Failed, recovery.Unreachable, recovery.TimedOut, recovery.Cancelled:
		may = []recovery.Phase{recovery.Waiting, recovery.NeedsHands}
	default:
		may = []recovery.Phase{recovery.NeedsHands}
	}
	if !slices.Contains(may, v.Next) {
		a.broken(classDecides, h.name, "%s ends with %q and leads to %s", v.Attempt, class, v.Next)
	}
	if v.Next == recovery.Waiting {
		if !another || class != recovery.Failed || v.Rung != h.rung { // from another point it is restored on the same rung, however often
			a.climbs(h, v.Rung, class, follows)
		}
		a.backsOff(h, v)
	}
}

// climbs: the engine stays on a rung while it has tries left, or takes the next that can be used. What was stopped is no try, and on
// its last rung a host that is not reached is waited for until the cap: a person is dearer than a pause.
func (a *Auditor) climbs(h *host, rung int, class recovery.Class, follows int) {
	waits := class == recovery.Cancelled || follows < 0 && (class == recovery.Unreachable || class == recovery.TimedOut)
	if rung == h.rung && h.tries >= a.policy.TriesPerRung && !waits {
		a.broken(triesPerRung, h.name, "another try follows try %d on rung %s, %d are allowed", h.tries, h.ladder(rung).Name, a.policy.TriesPerRung)
	}
	if rung != h.rung && rung != follows {
		a.broken(ladderOrder, h.name, "rung %d follows rung %d, and the next that can be used is %d", rung, h.rung, follows)
	}
}

// backsOff: another try on the same rung of a host that was not reached waits, each time twice as long.
func (a *Auditor) backsOff(h *host, v *recovery.AttemptEnded) {
	if class := v.Result.Class; v.Rung != h.rung || class != recovery.Unreachable && class != recovery.TimedOut {
		return
	}
	pause := a.policy.Backoff
	for range h.tries - 1 {
		pause = min(2*pause, a.policy.BackoffMax)
	}
	pause = min(pause, a.policy.BackoffMax)
	if until := v.Until.Sub(a.at); v.Until.IsZero() || until < pause {
		a.broken(backoffHolds, h.name, "try %d was %s, and a pause of %s follows instead of %s", h.tries, v.Result.Class, max(until, time.Duration(0)), pause)
	}
}
