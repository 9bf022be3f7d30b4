package audit

import (
	"fmt"
	"strconv"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (a *Auditor) judgeWave(e recovery.Event) {
	switch v := e.(type) {
	case *recovery.WaveOpened:
		if w := a.wave(v.Wave); w != nil {
			a.waveOpened(w, v)
		}
	case *recovery.WavePassed:
		if w := a.wave(v.Wave); w != nil {
			a.wavePassed(w)
		}
	case *recovery.WaveHeld:
		if w := a.wave(v.Wave); w != nil {
			a.waveHeld(w, v)
		}
	case *recovery.WaveReleased:
		if w := a.wave(v.Wave); w != nil {
			w.heldBy = ""
			a.accept(v.Accepted)
		}
	case *recovery.WaveApproved:
		if w := a.wave(v.Wave); w != nil {
			w.approved = true
		}
	}
}

func (a *Auditor) wave(n int) *wave {
	if n < 1 || n > len(a.waves) {
		a.broken(waveOrder, "", "there is no wave %d", n)
		return nil
	}
	return a.waves[n-1]
}

// overrideWave lifts the one hold that there is: a closed wave opens, an open one passes with what it has.
func (a *Auditor) overrideWave(name string) {
	n, _ := strconv.Atoi(name)
	w := a.wave(n)
	switch {
	case w == nil:
	case w.opened:
		w.waived = true
	default:
		w.forced = true
	}
}

// gatesMove: opening, passing and holding is refused by a pause, an abort, or a plan that nobody approved.
func (a *Auditor) gatesMove(w *wave, what string) {
	switch {
	case !a.approved:
		a.broken(approvalFirst, "", "wave %d %s before the plan is approved", w.n, what)
	case a.clock.paused():
		a.broken(pauseStops, "", "wave %d %s while paused", w.n, what)
	case a.aborted:
		a.broken(abortStops, "", "wave %d %s after the abort", w.n, what)
	}
}

func (a *Auditor) waveOpened(w *wave, v *recovery.WaveOpened) {
	a.gatesMove(w, "opens")
	if w.opened {
		a.broken(waveOrder, "", "wave %d opens twice", w.n)
	}
	if w.n > 1 {
		before := a.waves[w.n-2]
		switch {
		case !before.opened:
			a.broken(waveOrder, "", "wave %d opens, wave %d is closed", w.n, before.n)
		case w.forced:
		case !before.passed:
			a.broken(waveOrder, "", "wave %d opens, wave %d has not passed its gate", w.n, before.n)
		case before.tier.Gate.Approval && !w.approved:
			a.broken(waveOrder, "", "wave %d opens, and no person has approved that", w.n)
		}
	}
	a.waveFixed(w, v)
	w.opened, w.size, w.need, w.limits = true, v.Size, v.Need, v.Limits
	w.markShare(a.now())
}

func (a *Auditor) waveFixed(w *wave, v *recovery.WaveOpened) {
	g := w.tier.Gate
	limits := recovery.Limits{Failed: roundedDown(g.MaxFailed, w.members), Unreachable: roundedDown(g.MaxUnreachable, w.members), InFlight: g.MaxInFlight}
	if limits.InFlight == 0 {
		limits.InFlight = a.policy.MaxInFlight
	}
	if need := roundedUp(w.members, g.SuccessPercent); v.Size != w.members || v.Need != need || v.Limits != limits {
		a.broken(waveNumbers, "", "wave %d opens with size %d, need %d and limits %+v; it has %d hosts, needs %d, and its limits are %+v",
			w.n, v.Size, v.Need, v.Limits, w.members, need, limits)
	}
}

func (a *Auditor) wavePassed(w *wave) {
	a.gatesMove(w, "passes")
	over := a.overLimits(w)
	switch {
	case !w.opened || w.passed:
		a.broken(waveOrder, "", "wave %d passes; open %v, passed before %v", w.n, w.opened, w.passed)
	case over != "":
		a.broken(waveGate, "", "wave %d passes with %s", w.n, over)
	case w.heldBy != "" && w.heldBy != recovery.BreakerBelowShare:
		a.broken(waveGate, "", "wave %d passes while it is held (%s)", w.n, w.heldBy)
	case w.size == 0 || w.waived:
	case w.recovered < w.need:
		a.broken(waveGate, "", "wave %d passes with %d recovered of %d needed", w.n, w.recovered, w.need)
	case w.criticalDown > 0:
		a.broken(waveGate, "", "wave %d passes with %d critical hosts not recovered", w.n, w.criticalDown)
	case a.now().Sub(w.shareAt) < w.tier.Gate.Soak:
		a.broken(gateSoak, "", "wave %d passes when its share has held for %s of %s", w.n, a.now().Sub(w.shareAt), w.tier.Gate.Soak)
	}
	w.passed = true
	if w.heldBy == recovery.BreakerBelowShare { // other breakers go on holding the wave's stragglers
		w.heldBy = ""
	}
}

func (a *Auditor) waveHeld(w *wave, v *recovery.WaveHeld) {
	a.gatesMove(w, "is held")
	if !w.opened || v.Breaker == "" {
		a.broken(waveOrder, "", "wave %d is held by %q; open %v", w.n, v.Breaker, w.opened)
	}
	w.heldBy = v.Breaker
}

// overLimits says which of a wave's limits is exceeded now, or "".
func (a *Auditor) overLimits(w *wave) string {
	if !w.opened {
		return ""
	}
	switch {
	case w.unreachable > w.limits.Unreachable:
		return fmt.Sprintf("%d unreachable, its limit is %d", w.unreachable, w.limits.Unreachable)
	case w.failed > w.limits.Failed:
		return fmt.Sprintf("%d failed, its limit is %d", w.failed, w.limits.Failed)
	}
	for signature, n := range w.signatures {
		if n >= a.policy.SameSignature {
			return fmt.Sprintf("%d that fail alike (%s), its limit is %d", n, signature, a.policy.SameSignature)
		}
	}
	return ""
}

// surveyLimits notes which limits are exceeded before an entry. Attempts that start one after the other were decided together, so
// those after the first are judged by what was known to it: a host's last try on its last rung may make its silence count.
func (a *Auditor) surveyLimits(e recovery.Event) {
	_, starts := e.(*recovery.AttemptStarted)
	if starts && !a.starting {
		inWork := len(a.hosts) - a.inPhase[recovery.NotHit]
		a.tooMany = a.failures > roundedDown(a.policy.IncidentFailures, inWork)
		for _, w := range a.waves {
			w.over = a.overLimits(w)
		}
	}
	a.starting = starts
}
