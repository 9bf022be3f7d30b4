package coordinator

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

type runningJob struct {
	cancel context.CancelFunc
}

// reconcile starts the jobs that ought to be running and are not, and cancels those that ought not.
func (c *Coordinator) reconcile(ctx context.Context) {
	want := c.state.Work(c.now())
	wanted := make(map[string]bool, len(want))
	for _, job := range want {
		wanted[job.ID] = true
		if c.jobs[job.ID] == nil {
			c.start(ctx, job)
		}
	}
	for id, job := range c.jobs {
		if !wanted[id] {
			job.cancel()
		}
	}
}

// start runs a job. Its intent is on disk: it follows from the journal.
func (c *Coordinator) start(ctx context.Context, job recovery.Job) {
	ctx, cancel := context.WithCancel(ctx)
	c.jobs[job.ID] = &runningJob{cancel}
	resumed := c.resumed[job.ID]
	delete(c.resumed, job.ID)
	c.cfg.Log.Debug("job starts", "job", job.ID, "kind", job.Kind, "rung", job.Rung.Name, "resumed", resumed)
	c.running.Go(func() {
		defer cancel()
		result := c.cfg.Remedy.Run(ctx, job)
		_ = c.send(context.WithoutCancel(ctx), func() { c.finished(job, result, resumed) })
	})
}

// finished brings a job's result to the core.
func (c *Coordinator) finished(job recovery.Job, result recovery.Result, resumed bool) {
	delete(c.jobs, job.ID)
	c.dirty = true
	c.cfg.Log.Debug("job ended", "job", job.ID, "class", result.Class, "signature", result.Signature, "detail", result.Detail)
	if v := result.Sighting; v != nil {
		v.Host, v.At, v.Answers = job.Host.Name, c.now(), job.ID
		c.see(*v)
	}
	if _, err := c.take("engine", recovery.Finished{Job: job.ID, Host: job.Host.Name, Result: result, Resumed: resumed}); err != nil && c.failed == nil {
		c.cfg.Log.Error("a result was refused", "job", job.ID, "error", err)
	}
}
