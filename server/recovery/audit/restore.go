package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// consent is a person's to these points and no others, as long as no more is lost.
type consent struct {
	points []recovery.PointRef
	loss   time.Duration
}

func (h *host) restores(rung int) bool { return h.ladder(rung).Kind == recovery.RungRestore }

// tried: since a person or a relapse gave the host a new chance.
func (h *host) tried(rung int) bool {
	return slices.ContainsFunc(h.attempts[min(h.base, len(h.attempts)):], func(at attempt) bool { return at.rung == rung })
}

// free: a stateless host that nothing was tried on takes the quicker of repair and restore, unless a person has named its rung.
func (h *host) free() bool {
	return h.phase == recovery.Waiting && h.spec.Data == recovery.DataNone && !h.named && len(h.attempts) == h.base && h.firstRestore() >= 0
}

func (h *host) firstRestore() int {
	return slices.IndexFunc(h.spec.Ladder, func(r recovery.Rung) bool { return r.Kind == recovery.RungRestore })
}

// firstRepair is the first rung that can be used and is no restore, or -1.
func (h *host) firstRepair() int {
	for i := range h.usable {
		if h.usable[i] && !h.restores(i) {
			return i
		}
	}
	return -1
}

// choices are the rungs between which the host's next attempt may choose.
func (h *host) choices() []int {
	if !h.free() {
		return []int{h.rung}
	}
	return []int{h.rung, h.firstRepair(), h.firstRestore()}
}

// following is the rung that comes after the host's own: the next that can be used, but for a restore that was tried. Where a restore
// went first, those above it that were not tried come before. After all these, a restore whose points are being verified.
func (h *host) following() int {
	var rungs []int
	if h.restores(h.rung) {
		for i := range h.rung {
			if !h.tried(i) {
				rungs = append(rungs, i)
			}
		}
	}
	for i := h.rung + 1; i < len(h.usable); i++ {
		if !h.restores(i) || !h.tried(i) {
			rungs = append(rungs, i)
		}
	}
	for _, i := range rungs {
		switch above := h.untried(i); {
		case !h.usable[i]:
		case h.restores(i) && above >= 0:
			return above
		default:
			return i
		}
	}
	for i := h.rung + 1; i < len(h.awaited); i++ {
		if h.awaited[i] && !h.tried(i) {
			if above := h.untried(i); above >= 0 {
				return above
			}
			return i
		}
	}
	return -1
}

// untried is a rung above one that can be used and was never tried: data that can be lost is repaired by it before it is restored. -1: none.
func (h *host) untried(rung int) int {
	for i := range rung {
		if h.spec.Data != recovery.DataNone && h.usable[i] && !h.restores(i) && !slices.ContainsFunc(h.attempts, func(x attempt) bool { return x.rung == i }) {
			return i
		}
	}
	return -1
}

// plannedOn are the rungs that a plan may put a host on: its first repair; without one, or where nothing can be lost, its restore.
func (h *host) plannedOn() []int {
	repair, restore := h.firstRepair(), h.firstRestore()
	switch {
	case !h.canUse(restore):
		return []int{repair}
	case repair < 0:
		return []int{restore}
	case h.spec.Data == recovery.DataNone:
		return []int{repair, restore}
	}
	return []int{repair}
}

// restoreLets holds what an attempt restores against what the journal knows of it.
func (a *Auditor) restoreLets(h *host, at recovery.Attempt) {
	restores := h.restores(at.Rung)
	if !restores && (at.Method == recovery.MethodRestore || len(at.Restores) > 0 || at.Runner != "") || restores && at.Method != recovery.MethodRestore {
		a.broken(restoreTold, h.name, "%s goes by rung %s, with method %q, and names %d points", at.ID, h.ladder(at.Rung).Name, at.Method, len(at.Restores))
	}
	if !restores {
		return
	}
	sets := a.vault.goal(h.spec, h.ladder(at.Rung))
	same := slices.EqualFunc(sets, at.Restores, func(d *recovery.DataSet, r recovery.Restore) bool { return d.Name == r.Point.DataSet })
	if !same || len(sets) == 0 || at.Runner != runner(sets[0]) {
		a.broken(restoreTold, h.name, "%s restores %d of %d data sets, by the agent of %q", at.ID, len(at.Restores), len(sets), at.Runner)
		return
	}
	oldest := at.Restores[0].Moment
	for _, r := range at.Restores {
		a.pointLets(h, at.ID, r)
		if r.Moment.Before(oldest) {
			oldest = r.Moment
		}
	}
	a.lossLets(h, at, max(a.vault.began.Sub(oldest), 0))
}

// pointLets: what may be restored is the newest data that is good by all that is known.
func (a *Auditor) pointLets(h *host, id string, r recovery.Restore) {
	p := a.vault.points[r.Point]
	if p == nil {
		a.broken(knownGood, h.name, "%s restores from %s, of which nothing is known", id, r.Point)
		return
	}
	moment, no := p.newest(h.need(), a.vault.cutoff)
	best, _ := a.vault.newest(r.Point.DataSet, h.need())
	switch {
	case no != "":
		a.broken(knownGood, h.name, "%s restores from %s, %s", id, r.Point, no)
	case r.Moment.After(moment) || r.Moment.Before(p.TakenAt):
		a.broken(knownGood, h.name, "%s restores the data of %s from %s, which has good data from %s to %s", id, r.Moment, r.Point, p.TakenAt, moment)
	case r.Moment.Before(best):
		a.broken(knownGood, h.name, "%s restores the data of %s from %s, and there is good data of %s", id, r.Moment, r.Point, best)
	}
}

// lossLets: data that people would miss is given up by a person, and the only copy when nothing else has helped.
func (a *Auditor) lossLets(h *host, at recovery.Attempt, loss time.Duration) {
	primary := h.spec.Data == recovery.DataPrimary
	if h.spec.Data == recovery.DataNone {
		return
	}
	rpo := a.vault.rpo[h.spec.Service]
	c := h.consent
	agreed := c != nil && loss <= c.loss && slices.EqualFunc(c.points, at.Restores, func(p recovery.PointRef, r recovery.Restore) bool { return p == r.Point })
	if (primary || loss > rpo) && !agreed {
		a.broken(restoreConsent, h.name, "%s loses %s of %s data, its RPO is %s, and no person has approved that from these points", at.ID, loss, h.spec.Data, rpo)
	}
	if above := h.untried(at.Rung); primary && above >= 0 {
		a.broken(repairFirst, h.name, "%s restores primary data, and rung %s was never tried", at.ID, h.ladder(above).Name)
	}
}

func (a *Auditor) byPerson() bool { return strings.HasPrefix(a.actor, "operator:") }

func (a *Auditor) restoreApproved(h *host, v *recovery.RestoreApproved) {
	if !a.byPerson() {
		a.broken(restoreConsent, h.name, "%s approves its restore: only a person can", a.actor)
	}
	h.consent = &consent{v.Points, v.Loss}
}

func (a *Auditor) cancelAsked(h *host, v *recovery.AttemptCancelAsked) {
	at := h.current()
	switch {
	case !a.byPerson() || v.Reason == "":
		a.broken(restoreCancel, h.name, "%s lets go of %s (%q): a person does, and says why", a.actor, v.Attempt, v.Reason)
	case at == nil || at.id != v.Attempt || !at.restore:
		a.broken(restoreCancel, h.name, "%s is to be let go of, and is no restore under way", v.Attempt)
	default:
		at.cancel = true
	}
}

// cancelPassedOn: an agent is told what a person has asked for.
func (a *Auditor) cancelPassedOn(h *host, v *recovery.AttemptProgressed) {
	at := h.current()
	if at == nil || at.id != v.Attempt || !at.cancel {
		a.broken(restoreCancel, h.name, "an agent is told to let go of %s, and no person wants that", v.Attempt)
		return
	}
	at.cancel, at.cancelled = false, true
}

// cancelAnew: nobody knows whether an agent that was told has outlived the coordinator that told it.
func (a *Auditor) cancelAnew() {
	for _, h := range a.hosts {
		if at := h.current(); at != nil && at.cancelled {
			at.cancel = true
		}
	}
}

// restoreEnds holds the end of a restore against what it has done: it reports whether its class has nothing more to say.
func (a *Auditor) restoreEnds(h *host, at *attempt, v *recovery.AttemptEnded) (settled bool) {
	swapped := slices.ContainsFunc(v.Result.Sets, func(x recovery.SetResult) bool { return x.Swapped })
	switch class := v.Result.Class; {
	case class == recovery.Succeeded && !swapped:
		a.broken(swapOwed, h.name, "%s has succeeded, and swapped nothing in", at.id)
	case class == recovery.Succeeded:
		return false
	case swapped && v.Next != recovery.NeedsHands:
		a.broken(swapOwed, h.name, "%s ends with %s after its swap, and leads to %s: a person looks", at.id, class, v.Next)
	case class == recovery.TimedOut && v.Result.Signature == leaseRanOut && v.Next != recovery.NeedsHands:
		a.broken(neverTogether, h.name, "nobody knows how far %s came, and it leads to %s: a person looks first", at.id, v.Next)
	case class == recovery.Cancelled && (at.cancel || at.cancelled) && v.Next != recovery.NeedsHands:
		a.broken(restoreCancel, h.name, "%s was let go of as a person wanted, and leads to %s: that person says what comes next", at.id, v.Next)
	}
	return v.Next == recovery.NeedsHands
}

// leaseRanOut is the signature of an attempt that the engine let go of without a result.
const leaseRanOut = "lease ran out"

// lostRestore: an agent may still be at it.
func (h *host) lostRestore() bool {
	n := len(h.attempts)
	return n > 0 && h.attempts[n-1].restore && h.attempts[n-1].class == recovery.Lost
}

// swapLeaves: what was swapped in leaves the old copy, and what people have to enter again, as debts, whenever its result comes.
func (a *Auditor) swapLeaves(h *host, at *attempt, v *recovery.AttemptEnded) {
	owed := func(id string) bool {
		return h.owes(id) || slices.ContainsFunc(v.Debts, func(d recovery.Debt) bool { return d.ID == id })
	}
	for _, x := range v.Result.Sets {
		if !x.Swapped {
			continue
		}
		moment := x.Moment
		for _, r := range at.restores {
			if moment.IsZero() && r.Point.DataSet == x.DataSet {
				moment = r.Moment
			}
		}
		wants := map[string]bool{
			fmt.Sprintf("%s/%s/%d", recovery.DebtOldCopy, x.DataSet, at.n): x.Kept != "",
			recovery.DebtReEnter + "/" + x.DataSet:                         h.spec.Data != recovery.DataNone && moment.Before(a.vault.began),
			recovery.DebtReplication:                                       h.spec.Data == recovery.DataReplica,
		}
		for debt, wanted := range wants {
			if wanted && !owed(debt) {
				a.broken(swapOwed, h.name, "%s has swapped %s in, and debt %q is not recorded", at.id, x.DataSet, debt)
			}
		}
	}
}
