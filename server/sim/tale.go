package sim

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// tale is what a script will do on a machine, and how long it takes. Exit of a success is how many bad files it leaves: it may lie.
func (w *World) tale(m *machine, j recovery.Job) (recovery.Result, time.Duration) {
	took := w.draw(time.Second, 90*time.Second)
	o := w.odds
	if w.calm {
		o.lies, o.halves, o.nothing, o.fails, o.hangs, o.strange = 0, 0, 0, 0, 0, 0
	}
	switch {
	case w.chance(o.hangs):
		return recovery.Result{}, j.Timeout + time.Hour
	case w.chance(o.fails):
		return recovery.Result{Class: recovery.Failed, Exit: 3, Signature: pick(w, "exit 3: disk full", "exit 3: disk full", "exit 4: read only")}, took
	case w.chance(o.strange):
		return recovery.Result{Class: "strange"}, took
	case w.chance(o.nothing), m.found(j.Playbook) == 0 && w.chance(900):
		return recovery.Result{Class: recovery.NothingFound}, took
	case w.chance(o.lies), w.chance(o.halves):
		return recovery.Result{Class: recovery.Succeeded, Exit: 1}, took
	}
	return recovery.Result{Class: recovery.Succeeded}, took
}
