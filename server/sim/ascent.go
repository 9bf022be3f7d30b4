package sim

import (
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ascent is an attempt that works with power and boot target, or with a helper that attaches the disk. Each step is recorded before it
// is taken; one that was recorded before is taken again, for it may not have been done.
type ascent struct {
	*job
	taken recovery.Step // the last that is on record
}

func (a *ascent) steps() []recovery.Step {
	if a.Rung.Kind == recovery.RungHelper {
		return []recovery.Step{recovery.StepPowerOff, recovery.StepInside, recovery.StepOwnDisk}
	}
	return []recovery.Step{recovery.StepPowerOff, recovery.StepBootTarget, recovery.StepPowerOn, recovery.StepInside, recovery.StepOwnDisk}
}

func (a *ascent) begin() {
	next := max(slices.Index(a.steps(), a.taken), 0)
	a.after(a.h.w.draw(time.Second, 10*time.Second), func() { a.take(next) })
}

// take records a step and takes it.
func (a *ascent) take(n int) {
	step := a.steps()[n]
	again := step == a.taken
	if !a.record(step) {
		return
	}
	acts := map[recovery.Step]func(int, bool){
		recovery.StepPowerOff: a.powerOff, recovery.StepBootTarget: a.bootTarget, recovery.StepPowerOn: a.powerOn,
		recovery.StepInside: a.inside, recovery.StepOwnDisk: a.ownDisk,
	}
	acts[step](n, again)
}

// record puts a step on disk. Without that nothing of it may be done.
func (a *ascent) record(step recovery.Step) bool {
	h, w := a.h, a.h.w
	h.look()
	if !h.up {
		return false
	}
	err := h.engine.Step(a.Job, step, "", h.moment)
	h.must(err)
	switch {
	case !h.up:
		return false
	case err != nil:
		a.end(recovery.Result{Class: recovery.Lost, Signature: "cancelled in mid-run"})
		return false
	case !h.disk.steps[a.ID+" "+string(step)]:
		w.breach("intent-before-act", a.m.name(), "step %s of %s is taken and is not on disk", step, a.ID)
	}
	a.taken = step
	return true
}

func (a *ascent) next(n int) {
	a.after(a.h.w.draw(time.Second, 30*time.Second), func() { a.take(n + 1) })
}

func (a *ascent) failed(signature string) {
	a.end(recovery.Result{Class: recovery.Failed, Signature: signature})
}

func (a *ascent) powerOff(n int, _ bool) {
	if !a.h.w.powered(a.m) {
		a.end(recovery.Result{Class: recovery.Unreachable, Signature: "power control silent"})
		return
	}
	a.h.w.restarts(a.m, a.Job)
	a.m.down(off)
	a.next(n)
}

func (a *ascent) bootTarget(n int, _ bool) {
	if a.m.deaf {
		a.m.switchOn()
		a.failed("boot target did not change")
		return
	}
	a.m.target = true
	a.next(n)
}

func (a *ascent) powerOn(n int, again bool) {
	if !again || a.m.runs == off {
		a.m.cycles[a.ID]++
		if a.m.cycles[a.ID] > 1 {
			a.h.w.breach("one-power-cycle", a.m.name(), "%s was switched on for the rescue system %d times", a.ID, a.m.cycles[a.ID])
		}
		a.m.switchOn()
	}
	a.await(n, a.h.w.now+within(a.Rung))
}

// await waits for the rescue system's login.
func (a *ascent) await(n int, until time.Duration) {
	switch {
	case a.m.runs == rescue && a.h.w.connected(a.m):
		a.take(n + 1)
	case a.h.w.now > until:
		r := recovery.Result{Class: recovery.TimedOut, Signature: "no rescue system"}
		if !a.m.deaf {
			a.m.target, r.BootTarget = false, recovery.BootTargetDisk
		}
		a.end(r)
	default:
		a.after(a.h.w.draw(5*time.Second, 20*time.Second), func() { a.await(n, until) })
	}
}

// inside runs the script on the host's disk, or joins it there.
func (a *ascent) inside(n int, _ bool) {
	in := rescue
	if a.Rung.Kind == recovery.RungHelper {
		in = a.m.runs // whatever: the disk is at the helper
	}
	if a.m.runs != in || !a.h.w.connected(a.m) {
		a.end(recovery.Result{Class: recovery.Lost, Signature: "the rescue system has gone"})
		return
	}
	s := a.m.claim(a.Job, in, a.limit())
	a.claimed = true
	if s.runs > 1 {
		a.h.w.breach("executes-at-most-once", a.m.name(), "%s was started %d times", a.ID, s.runs)
	}
	a.join(n, s)
}

func (a *ascent) join(n int, s *script) {
	if !s.ended && a.m.current == s {
		a.after(a.h.w.draw(time.Second, a.h.w.odds.notice), func() { a.join(n, s) })
		return
	}
	a.next(n)
}

// ownDisk gives the host its own disk back and starts it from there.
func (a *ascent) ownDisk(int, bool) {
	r := recovery.Result{Class: recovery.Lost, Signature: "what came of it is not known"}
	if s := a.m.claims[a.ID]; s != nil && s.ended {
		r = s.result
		r.Exit = 0
	}
	if !a.m.deaf {
		a.m.target, r.BootTarget = false, recovery.BootTargetDisk
	}
	r.Rebooted = true
	a.m.down(off)
	a.m.switchOn()
	a.end(r)
}
