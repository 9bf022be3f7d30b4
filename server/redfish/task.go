package redfish

import (
	"context"
	"net/http"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// task is what a task monitor may answer with while the work is under way, and some BMCs afterwards.
type task struct {
	State  string `json:"TaskState"`
	Status string `json:"TaskStatus"`
}

// task waits for the end of the work that the BMC accepted with a. A task that is gone, or that waits for something else, tells
// nothing: what is read back afterwards decides.
func (v *visit) task(ctx context.Context, a *answer) (*answer, error) {
	place := a.header.Get("Location")
	if place == "" {
		var body link
		_ = v.decode(a, &body) // an empty one names no task
		place = body.ID
	}
	if place == "" {
		return a, nil
	}
	monitor, err := v.local(place)
	if err != nil {
		return nil, err
	}
	for {
		if !v.wait(ctx, a.retryAfter(v.pace.poll)) {
			return nil, v.taskLate(ctx)
		}
		if a, err = v.send(ctx, http.MethodGet, monitor, nil, ""); err != nil {
			if ctx.Err() != nil {
				return nil, v.taskLate(ctx)
			}
			return nil, err
		}
		if a.status == http.StatusNotFound || a.status == http.StatusGone {
			return &answer{status: http.StatusNoContent}, nil
		}
		if !a.ok() {
			return a, nil // the operation's own answer
		}
		var t task
		if len(a.body) > 0 {
			if err := v.decode(a, &t); err != nil {
				return nil, err
			}
		}
		switch t.State {
		case "Exception", "Killed", "Cancelled":
			return nil, v.taskFailed(a, t.State)
		case "Completed":
			if t.Status == "Critical" {
				return nil, v.taskFailed(a, t.State)
			}
			return a, nil
		case "Pending", "Suspended", "Interrupted", "Service":
			return a, nil
		case "":
			if a.status != http.StatusAccepted {
				return a, nil
			}
		}
	}
}

func (v *visit) taskLate(ctx context.Context) error {
	if err := v.stopped(ctx); err != nil {
		return err
	}
	return v.fail(recovery.TimedOut, "task not done in time", "The BMC at %s works on its task for longer than the call may take; "+
		"give the control a longer timeout, or look at its job queue.", v.where)
}

func (v *visit) taskFailed(a *answer, state string) error {
	m, because := said(a.body), ""
	if m.Text != "" {
		because = ", saying “" + recovery.Clean(v.scrub(m.Text), maxSaid) + "”"
	}
	signature := "BMC's task failed"
	if id := messageID(m.ID); id != "" {
		signature += ": " + id
	}
	return v.fail(recovery.Failed, signature, "The task that the BMC at %s made of the change ended as %s%s; look at its job queue.", v.where, state, because)
}
