package audit

import (
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var steps = []recovery.Step{"", recovery.StepPowerOff, recovery.StepBootTarget, recovery.StepPowerOn, recovery.StepInside, recovery.StepOwnDisk}

func (a *Auditor) progressed(h *host, v *recovery.AttemptProgressed) {
	if v.Step == recovery.StepCancel {
		a.cancelPassedOn(h, v)
		return
	}
	at, to := h.current(), slices.Index(steps, v.Step)
	switch {
	case at == nil || at.id != v.Attempt:
		a.broken(stepsForward, h.name, "%s takes step %s, and is not under way", v.Attempt, v.Step)
		return
	case !fromOutside(h.ladder(at.rung)):
		a.broken(stepsForward, h.name, "%s takes step %s on rung %s, which is only a login", v.Attempt, v.Step, h.ladder(at.rung).Name)
	case to <= at.step:
		a.broken(stepsForward, h.name, "%s takes step %q after %q", v.Attempt, v.Step, steps[at.step])
	}
	at.step = to
	a.oweAll(h, v.Debts)
	if v.Step == recovery.StepBootTarget {
		h.stuck = 0
		if !h.owes(recovery.DebtBootTarget) {
			a.broken(bootTarget, h.name, "%s sets it, and no debt says so", v.Attempt)
		}
	}
}

func (a *Auditor) rescueServed(h *host, v *recovery.RescueServed) {
	at := h.current()
	switch {
	case at == nil || at.id != v.Attempt || h.ladder(at.rung).Kind != recovery.RungRescue:
		a.broken(rescueOnce, h.name, "it is given the rescue system for %s, which is not under way on such a rung", v.Attempt)
		return
	case at.served:
		a.broken(rescueOnce, h.name, "it is given the rescue system for %s a second time", v.Attempt)
	case steps[at.step] != recovery.StepPowerOn:
		a.broken(rescueOnce, h.name, "it is given the rescue system for %s, which has come to step %q", v.Attempt, steps[at.step])
	}
	at.served = true
}

func (a *Auditor) bootTargetCleared(h *host) {
	if !h.owes(recovery.DebtBootTarget) {
		a.broken(bootTarget, h.name, "it is cleared, and was not open")
	}
	a.cleared(h, recovery.DebtBootTarget)
}

func (a *Auditor) bootTargetStuck(h *host) {
	if !h.owes(recovery.DebtBootTarget) {
		a.broken(bootTarget, h.name, "a try to clear it failed, and it was not open")
	}
	h.stuck++
}

func (a *Auditor) owe(h *host, debt string) {
	h.debts = append(h.debts, debt)
	a.debts++
}

func (a *Auditor) oweAll(h *host, debts []recovery.Debt) {
	for _, d := range debts {
		a.owe(h, d.ID)
	}
}

func (a *Auditor) cleared(h *host, debt string) {
	before := len(h.debts)
	h.debts = slices.DeleteFunc(h.debts, func(d string) bool { return d == debt })
	a.debts -= before - len(h.debts)
}

func (a *Auditor) debtCleared(h *host, v *recovery.DebtCleared) {
	switch {
	case !h.owes(v.Debt):
		a.broken(debtsRecorded, h.name, "debt %q is cleared, and was not open", v.Debt)
	case v.Debt == recovery.DebtBootTarget && (h.phase == recovery.Attempting || h.stuck == 0 || v.Note == ""):
		a.broken(bootTarget, h.name, "%s clears it by word (note %q) while the engine sees to it; %d tries have failed", v.By, v.Note, h.stuck)
	}
	if v.Accepted {
		a.livedWith++
	}
	a.cleared(h, v.Debt)
}
