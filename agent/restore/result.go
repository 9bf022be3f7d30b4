package restore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// keep has the result on disk before anybody is told.
func (t *task) keep(r *Result) *Result {
	if r == nil {
		return nil
	}
	if err := t.claim.keep(resultFile, r); err != nil {
		t.cfg.Log.Error("a result cannot be kept on disk", "job", t.name, "class", r.Class, "error", err)
		r.Rebooted = false // a restart would have the job done again
		return r
	}
	t.onDisk(t.name, true)
	return r
}

// again is the result of a job that has ended before.
func (t *task) again() *Result {
	c := &claim{dir: filepath.Join(t.dir, t.name), name: t.name, step: t.step}
	r, err := c.result()
	if err == nil && r == nil {
		err = errors.New("it is not there any more")
	}
	if err != nil {
		return t.lost(err)
	}
	return r
}

// lost is for a claim that cannot be read.
func (t *task) lost(err error) *Result {
	t.cfg.Log.Error("a claim cannot be read", "job", t.name, "error", err)
	return &Result{Class: Lost, Signature: "claim cannot be read", Joined: true, Detail: fmt.Sprintf(
		"The job was begun before, and its claim %s cannot be read: %s Look what lies at and beside the target.", filepath.Join(t.dir, t.name), sentence(err.Error()))}
}

// broken is the result of a job that met a fault of this program.
func (t *task) broken() *Result {
	const signature, report = "fault of this program", "This program has a fault, of which the agent's log has the details; please report it."
	switch {
	case t.claim == nil:
		return t.result(&Fault{Failed, signature, report})
	case t.claim.record.Stage == restoring || t.claim.record.Stage == stopping:
		t.undo()
		return t.keep(t.result(&Fault{Failed, signature, report + " Nothing was swapped."}))
	}
	return t.result(&Fault{Lost, signature, report + " The swap had begun, and goes on when the job is asked for again."})
}

// result is how the job ended; a nil error is success.
func (t *task) result(err error) *Result {
	r := &Result{Class: Succeeded, Sets: t.sets, Points: t.points}
	if t.claim != nil {
		r.Took = max(0, time.Since(t.claim.record.Began))
	}
	if boot, err := t.cfg.BootID(); err == nil {
		r.Boot = boot
	}
	var f *Fault
	switch {
	case err == nil:
		r.Rebooted = t.work.Reboot && t.cfg.Restart != nil && r.Boot != ""
	case !errors.As(err, &f):
		r.Class, r.Signature, r.Detail = Failed, "unknown error", sentence(err.Error())
	default:
		r.Class, r.Signature, r.Detail = f.Class, clean(f.Signature, 200), clean(f.Detail, maxSaid)
		if !slices.Contains([]string{Failed, Unreachable, AuthRefused, TimedOut, Lost, Cancelled}, f.Class) {
			r.Class = Failed
		}
	}
	return r
}

// because says what ended a job: what its context says counts for more than what broke by it.
func because(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case errors.Is(cause, errStopped):
		return &Fault{Cancelled, "stopped", "The job was stopped; nothing was swapped."}
	case errors.Is(cause, errOutOfTime):
		return &Fault{TimedOut, "out of time", "The job's time was over; nothing was swapped."}
	}
	return err
}

// local is an error of this machine's disk. Its signature names no path.
func local(err error) error {
	return &Fault{Failed, "local disk error", fmt.Sprintf("This machine's disk does not do what is asked of it: %s", sentence(err.Error()))}
}
