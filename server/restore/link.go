package restore

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Link is one connected agent. A nil Link is that of an agent for which there is no hub: it has no orders, and nothing comes of what
// it hears.
type Link struct {
	hub   *Hub
	host  string
	works bool
	due   chan struct{} // nil: it does no work
}

// Attach makes a host's agent known as connected. works says whether it does work on backups. The caller passes its orders on, with
// Deliver after each Due, brings its reports with Heard, and ends it with Detach. A later Attach for the same host takes over. A nil
// hub has nil links.
func (h *Hub) Attach(host string, works bool) *Link {
	if h == nil {
		return nil
	}
	l := &Link{hub: h, host: host, works: works}
	if works {
		l.due = make(chan struct{}, 1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[host] = l
	if len(h.of[host]) > 0 {
		l.wake()
	}
	return l
}

// Detach ends what Attach began. Work that the agent was given goes on there.
func (l *Link) Detach() {
	if l == nil {
		return
	}
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[l.host] != l {
		return
	}
	delete(h.links, l.host)
	for _, f := range h.of[l.host] {
		h.moved(f)
	}
}

// Due says that there may be orders to deliver.
func (l *Link) Due() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.due
}

func (l *Link) wake() {
	select {
	case l.due <- struct{}{}: // never, when it does no work
	default:
	}
}

// Deliver sends the orders that the agent has not been given on this link, until there are no more or send fails. What was sent
// counts as given: what comes of it is only known from the agent.
func (l *Link) Deliver(send func(Order) error) error {
	for {
		order, f := l.next()
		if f == nil {
			return nil
		}
		if err := send(order); err != nil {
			return err
		}
		l.sent(f)
	}
}

// next takes the order that is due first. There is at most one for each job, and one more for each that is to stop.
func (l *Link) next() (Order, *flight) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[l.host] != l {
		return Order{}, nil // another has taken over
	}
	for _, f := range h.of[l.host] {
		switch {
		case f.on != l:
			f.on = l
			return f.order(), f
		case f.stopping && f.stoppedOn != l:
			f.stoppedOn = l
			return stop(f.job.Incident, f.job.ID), f
		}
	}
	return Order{}, nil
}

// order is what the agent is told of the job. Its own limit leaves time to collect the result.
func (f *flight) order() Order {
	if f.job.Kind == recovery.JobCancel {
		return stop(f.job.Incident, f.job.Of)
	}
	job, left := f.job, time.Until(f.deadline)
	job.Timeout = max(left-min(collectWithin, left/5), time.Second)
	return Order{Job: job}
}

func stop(incident, id string) Order {
	return Order{Job: recovery.Job{Incident: incident, ID: id}, Stop: true}
}

// sent ends a JobCancel. Where somebody waits for the cancelled job it is stopped for good: on another link the agent is told of it
// again, after the job itself.
func (l *Link) sent(f *flight) {
	if f.job.Kind != recovery.JobCancel {
		return
	}
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if of := h.jobs[key{f.job.Incident, f.job.Of}]; of != nil && of.job.Runner == l.host {
		of.stopping = true
		if of.on == l {
			of.stoppedOn = l
		}
	}
	h.end(f, recovery.Result{Class: recovery.Succeeded})
}

// Heard brings what the agent told of a job. It counts only when the agent was given that job, and its end is not known.
func (l *Link) Heard(r Report) {
	if l == nil {
		return
	}
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.jobs[key{r.Incident, r.Job}]
	if f == nil || f.job.Runner != l.host || f.on == nil || f.job.Kind == recovery.JobCancel {
		return
	}
	now := time.Now()
	if r.Result != nil {
		h.end(f, fit(f.job, *r.Result, now))
		return
	}
	f.progress = r.Progress
	f.progress.At = now
	h.moved(f)
}
