package coordinator

import (
	"context"
	"fmt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// jobKey names a job for good: the ids of attempts begin anew with every incident.
type jobKey struct{ incident, id string }

func keyOf(j recovery.Job) jobKey { return jobKey{j.Incident, j.ID} }

type runningJob struct {
	cancel  context.CancelFunc
	dropped bool // cancelled, because it ought not to run any more
}

// reconcile starts the jobs that ought to be running and are not, and cancels those that ought not.
func (c *Coordinator) reconcile(ctx context.Context) {
	want := c.state.Work(c.now())
	wanted := make(map[jobKey]bool, len(want))
	for _, job := range want {
		wanted[keyOf(job)] = true
		if c.jobs[keyOf(job)] == nil {
			c.start(ctx, job)
		}
	}
	for key, job := range c.jobs {
		if !wanted[key] {
			job.dropped = true
			job.cancel()
		}
	}
}

// start runs a job. Its intent is on disk: it follows from the journal.
func (c *Coordinator) start(ctx context.Context, job recovery.Job) {
	ctx, cancel := context.WithCancel(ctx)
	c.jobs[keyOf(job)] = &runningJob{cancel: cancel}
	resumed := c.resumed[keyOf(job)]
	delete(c.resumed, keyOf(job))
	c.cfg.Log.Debug("job starts", "job", job.ID, "kind", job.Kind, "rung", job.Rung.Name, "resumed", resumed)
	c.running.Go(func() {
		defer cancel()
		result := c.run(ctx, job)
		_ = c.send(context.WithoutCancel(ctx), func() { c.finished(job, result, resumed) })
	})
}

// run asks the remedy. A fault of this program in it ends that job alone, with an outcome that nobody knows.
func (c *Coordinator) run(ctx context.Context, job recovery.Job) (result recovery.Result) {
	err := c.guard("job "+job.ID, func() { result = c.cfg.Remedy.Run(ctx, job, c.teller(ctx, job)) })
	if err != nil {
		return recovery.Result{Class: recovery.Lost, Signature: "fault of the coordinator", Detail: err.Error()}
	}
	return result
}

// teller records the steps of a job, each before it is taken.
func (c *Coordinator) teller(ctx context.Context, job recovery.Job) func(recovery.Step, string) error {
	return func(step recovery.Step, note string) error {
		return c.call(ctx, func() error {
			if running := c.jobs[keyOf(job)]; running == nil || running.dropped || job.Incident != c.state.ID {
				return fmt.Errorf("job %s ought not to run any more", job.ID)
			}
			_, err := c.take("engine", recovery.Progressed{Job: job.ID, Host: job.Host.Name, Step: step, Note: note})
			return err
		})
	}
}

// finished brings a job's result to the core.
func (c *Coordinator) finished(job recovery.Job, result recovery.Result, resumed bool) {
	running := c.jobs[keyOf(job)]
	delete(c.jobs, keyOf(job))
	c.dirty = true
	c.cfg.Log.Debug("job ended", "job", job.ID, "class", result.Class, "signature", result.Signature, "detail", result.Detail)
	if job.Incident != c.state.ID {
		return // of an incident that is over
	}
	if running != nil && running.dropped && (result.Class == recovery.Cancelled || result.Class == recovery.Lost) {
		return // we let go of it, so its end says nothing about the host
	}
	if result.Sighting != nil {
		v := *result.Sighting
		v.Host, v.At, v.Answers = job.Host.Name, c.now(), job.ID
		result.Sighting = &v
		c.see(v)
	}
	if _, err := c.take("engine", recovery.Finished{Job: job.ID, Host: job.Host.Name, Result: result, Resumed: resumed}); err != nil && c.failed == nil {
		c.cfg.Log.Error("a result was refused", "job", job.ID, "error", err)
	}
}
