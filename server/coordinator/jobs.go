package coordinator

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func keyOf(j recovery.Job) engine.JobKey { return engine.JobKey{Incident: j.Incident, ID: j.ID} }

// follow starts the jobs that ought to be running and are not, and cancels those that ought not.
func (c *Coordinator) follow(ctx context.Context, orders engine.Orders) {
	for _, start := range orders.Start {
		c.start(ctx, start)
	}
	for _, key := range orders.Cancel {
		if cancel := c.jobs[key]; cancel != nil {
			cancel()
		}
	}
}

// start runs a job. Its intent is on disk: it follows from the journal.
func (c *Coordinator) start(ctx context.Context, start engine.Start) {
	ctx, cancel := context.WithCancel(ctx)
	c.jobs[keyOf(start.Job)] = cancel
	c.cfg.Log.Debug("job starts", "job", start.ID, "kind", start.Kind, "rung", start.Rung.Name, "resumed", start.Resumed)
	c.running.Go(func() {
		defer cancel()
		job := start.Job
		job.Resumed = start.Resumed
		result := c.run(ctx, job)
		_ = c.inbox.Send(context.WithoutCancel(ctx), func() { c.finished(start, result) })
	})
}

// run asks the remedy. A fault of this program in it ends that job alone, with an outcome that nobody knows.
func (c *Coordinator) run(ctx context.Context, job recovery.Job) (result recovery.Result) {
	err := engine.Guard("job "+job.ID, func() { result = c.cfg.Remedy.Run(ctx, job, c.teller(ctx, job)) })
	if err != nil {
		c.logFault(err)
		return recovery.Result{Class: recovery.Lost, Signature: "fault of the coordinator", Detail: err.Error()}
	}
	return result
}

// teller records the steps of a job, each before it is taken.
func (c *Coordinator) teller(ctx context.Context, job recovery.Job) func(recovery.Step, string) error {
	return func(step recovery.Step, note string) error {
		return c.inbox.Call(ctx, func() error {
			err := c.engine.Step(job, step, note, c.now())
			c.logFault(err)
			return err
		})
	}
}

// finished brings a job's result to the engine.
func (c *Coordinator) finished(start engine.Start, result recovery.Result) {
	delete(c.jobs, keyOf(start.Job))
	c.cfg.Log.Debug("job ended", "job", start.ID, "class", result.Class, "signature", result.Signature, "detail", result.Detail)
	if err := c.engine.Finished(start, result, c.now()); err != nil && c.engine.Failed() == nil {
		c.logFault(err)
		c.cfg.Log.Error("a result was refused", "job", start.ID, "error", err)
	}
}
