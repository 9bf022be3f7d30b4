package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// maxSteps is in how many decisions one moment of time must have acted.
const maxSteps = 10_000

// JobKey names a job for good: the ids of attempts begin anew with every incident.
type JobKey struct{ Incident, ID string }

func keyOf(j recovery.Job) JobKey { return JobKey{j.Incident, j.ID} }

// state is what is known of a job that was started.
type state struct{ dropped bool } // it ought not to run any more

// Start is a job that ought to run from now on.
type Start struct {
	recovery.Job
	Resumed bool // an earlier run may have started it
}

// Orders are what follows from a moment: jobs to start, and jobs of earlier orders to cancel.
type Orders struct {
	Start  []Start
	Cancel []JobKey
}

// Dirty reports whether something was applied or has ended since Settle, so that it should be called.
func (e *Engine) Dirty() bool { return e.dirty }

// Settle lets time act until nothing follows any more, and names the jobs to start and to cancel. Their intent is on disk. A job
// counts as running from then on, until Finished.
func (e *Engine) Settle(now time.Time) (Orders, error) {
	err := e.tick(now)
	e.dirty = false
	if err != nil {
		return Orders{}, err
	}
	return e.reconcile(now), nil
}

// tick lets one moment of time act to its end.
func (e *Engine) tick(now time.Time) error {
	if e.story.State.ID == "" {
		return nil
	}
	for range maxSteps {
		entries, err := e.Take("engine", recovery.Tick{}, now)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
	}
	return fmt.Errorf("one moment has led to more than %d decisions: this program has a fault, please report it", maxSteps)
}

func (e *Engine) reconcile(now time.Time) Orders {
	var o Orders
	want := e.story.State.Work(now)
	wanted := make(map[JobKey]bool, len(want))
	for _, job := range want {
		key := keyOf(job)
		wanted[key] = true
		if e.jobs[key] == nil {
			e.jobs[key] = &state{}
			o.Start = append(o.Start, Start{job, e.resumed[key]})
			delete(e.resumed, key)
		}
	}
	for key, job := range e.jobs {
		if !wanted[key] && !job.dropped {
			job.dropped = true
			o.Cancel = append(o.Cancel, key)
		}
	}
	slices.SortFunc(o.Cancel, func(a, b JobKey) int { return cmp.Or(cmp.Compare(a.Incident, b.Incident), cmp.Compare(a.ID, b.ID)) })
	return o
}

// Step records a step of a job before it is taken. An error says that nothing of it may be done.
func (e *Engine) Step(job recovery.Job, step recovery.Step, note string, now time.Time) error {
	if running := e.jobs[keyOf(job)]; running == nil || running.dropped || job.Incident != e.story.State.ID {
		return fmt.Errorf("job %s ought not to run any more", job.ID)
	}
	_, err := e.Take("engine", recovery.Progressed{Job: job.ID, Host: job.Host.Name, Step: step, Note: note}, now)
	return err
}

// Finished brings the result of a job that was started.
func (e *Engine) Finished(start Start, result recovery.Result, now time.Time) error {
	running := e.jobs[keyOf(start.Job)]
	delete(e.jobs, keyOf(start.Job))
	e.dirty = true
	if start.Incident != e.story.State.ID {
		return nil // of an incident that is over
	}
	if running != nil && running.dropped && (result.Class == recovery.Cancelled || result.Class == recovery.Lost) {
		return nil // we let go of it, so its end says nothing about the host
	}
	if result.Sighting != nil && running != nil && !running.dropped { // else these are old facts, that answer nothing
		v := *result.Sighting
		v.Host, v.At, v.Answers = start.Host.Name, now, start.ID
		result.Sighting = &v
		e.see(v)
	}
	_, err := e.Take("engine", recovery.Finished{Job: start.ID, Host: start.Host.Name, Result: result, Resumed: start.Resumed}, now)
	return err
}

// Sighted records what was heard of a host and lets it move the host.
func (e *Engine) Sighted(v recovery.Sighting, now time.Time) error {
	if v.At.IsZero() {
		v.At = now
	}
	merged := e.see(v)
	if e.story.State.ID == "" {
		return nil
	}
	_, err := e.Take("agent:"+v.Host, recovery.Sighted{Sighting: merged}, now)
	return err
}

func (e *Engine) see(v recovery.Sighting) recovery.Sighting {
	merged := e.story.State.See(v)
	e.seen[v.Host] = merged
	e.unsaved[v.Host] = true
	return merged
}

// Seen is the last that was heard of a host.
func (e *Engine) Seen(host string) (recovery.Sighting, bool) {
	v, ok := e.seen[host]
	return v, ok
}

// SaveSightings gives the last words that are not on disk to save. When the journal takes nothing any more, nothing more is decided.
func (e *Engine) SaveSightings(save func([]recovery.Sighting) error) error {
	if len(e.unsaved) == 0 || e.failed != nil {
		return nil
	}
	batch := make([]recovery.Sighting, 0, len(e.unsaved))
	for host := range e.unsaved {
		batch = append(batch, e.seen[host])
	}
	if err := save(batch); err != nil {
		if errors.Is(err, journal.ErrAppend) {
			e.failed = err
		}
		return fmt.Errorf("the last sightings of %d hosts could not be saved: %w", len(batch), err)
	}
	clear(e.unsaved)
	return nil
}
