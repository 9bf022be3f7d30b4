package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// agentWithin is for how long a job waits for an agent that was not told of it.
const agentWithin = 3 * time.Minute

// errand gives a restore, or the wish to let go of one, to the agent that is to do it, as server/restore does.
func (j *job) errand() {
	j.after(j.Timeout, j.overdue)
	if j.Kind == recovery.JobRestore && !j.Resumed { // who may have been told before is waited for
		j.after(agentWithin, func() {
			if j.on == nil {
				j.overdue()
			}
		})
	}
	j.deliver()
}

func (j *job) overdue() {
	if j.on == nil {
		j.end(recovery.Result{Class: recovery.Unreachable, Signature: "agent not connected"})
		return
	}
	j.end(recovery.Result{Class: recovery.Lost, Signature: "agent did not come back"})
}

// deliver tells the agent on its link of this moment what it was not told there.
func (j *job) deliver() {
	h, m := j.h, j.runner
	l := h.links[m.name()]
	if l == nil || j.over {
		return
	}
	if j.Kind == recovery.JobCancel {
		l.bring(func() { m.stops(j.Of, j.m) })
		if of := h.jobs[j.Of]; of != nil {
			of.stopping = true
		}
		j.on = l
		j.after(0, func() { j.end(recovery.Result{Class: recovery.Succeeded}) })
		return
	}
	if j.on == l {
		return
	}
	j.on = l
	left := j.Timeout - (h.w.now - j.began)
	until := h.w.now + max(left-min(10*time.Second, left/5), time.Second)
	l.bring(func() { m.asks(j.Job, until, l) })
	if j.stopping {
		l.bring(func() { m.stops(j.ID, j.m) })
	}
}

// bring takes a word of the coordinator to the agent, in order.
func (l *link) bring(hear func()) {
	w, m, boot := l.m.w, l.m, l.m.boot
	at := max(w.now+w.draw(time.Millisecond, w.odds.latency), l.brought)
	l.brought = at
	w.at(at, func() {
		if !l.cutn && m.boot == boot && m.runs == own {
			hear()
		}
	})
}

// told is the end of a job, as an agent tells it.
func (h *house) told(m *machine, id string, r recovery.Result) {
	r.Sets = slices.Clone(r.Sets)
	for i := range r.Sets {
		r.Sets[i].Checks = slices.Clone(r.Sets[i].Checks)
		for k := range r.Sets[i].Checks {
			if c := &r.Sets[i].Checks[k]; !c.OK || c.At.After(h.moment) {
				c.At = h.moment // it counts from when it is heard
			}
		}
	}
	if j := h.jobs[id]; j != nil && j.Kind == recovery.JobRestore && j.runner == m && j.on != nil {
		j.end(r)
	}
}

// errands delivers what is due to an agent that has just connected.
func (h *house) errands(m *machine) {
	if len(h.w.repositories) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(h.jobs)) {
		if j := h.jobs[id]; j != nil && j.runner == m {
			j.deliver()
		}
	}
}
