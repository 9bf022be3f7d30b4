package restore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	defaultTimeout = time.Hour        // of a job that has none
	connectWithin  = 3 * time.Minute  // for an agent that has not been told of a job
	collectWithin  = 10 * time.Second // how much earlier than the job the agent's own limit ends, so that its result can still be had
	tellEvery      = time.Second      // Changed is told of one job
)

// Signatures of results that no agent told.
const (
	signatureAway      = "agent not connected"
	signatureGone      = "agent did not come back"
	signatureSilent    = "no end in time"
	signatureCancelled = "cancelled in mid-run"
)

// Hub stands between whoever wants a job done and the agents that do it. Make one with New. It has no goroutine of its own: whoever
// runs a job waits for it, and whoever serves an agent passes its orders on.
type Hub struct {
	// Changed, when set, is told that a job has come further, at most once a second for each, and that one has ended. It must neither
	// block nor ask the hub, and is to be set before the hub is used.
	Changed func()

	// ConnectWithin is how long a job waits for an agent that has not been told of it yet; 0 means three minutes. It is to be set before
	// the hub is used. An agent that has been told is waited for as long as the job's time lasts.
	ConnectWithin time.Duration

	mu    sync.Mutex
	links map[string]*Link     // the connected agents, by host
	jobs  map[key]*flight      // under way
	of    map[string][]*flight // the same by runner, in the order in which they came
}

type key struct{ incident, id string }

// flight is a job under way, for as long as somebody waits for it.
type flight struct {
	job       recovery.Job
	deadline  time.Time
	waiting   int   // callers of Run
	on        *Link // over which the agent was told last; nil: never, so it has not begun by our doing
	stopping  bool  // it was cancelled: its agent is told so on every link
	stoppedOn *Link // over which it was told so last
	progress  recovery.Progress
	told      time.Time   // when Changed was last told
	later     *time.Timer // tells it once more
	done      chan struct{}
	result    recovery.Result // to be read once done is closed
}

// New returns a hub without agents and jobs.
func New() *Hub {
	return &Hub{links: map[string]*Link{}, jobs: map[key]*flight{}, of: map[string][]*flight{}}
}

// Run gives a job to the agent of job.Runner and waits for its result. A job that is under way already, here or on the agent, is
// joined. It waits for an agent that is not connected, and gives the job again to one that comes back; the job's time runs meanwhile.
// When ctx ends it lets go: the agent goes on, and the same id joins it. Work is only stopped by a JobCancel, which has succeeded
// once the agent was told.
func (h *Hub) Run(ctx context.Context, job recovery.Job) recovery.Result {
	if why := unfit(job); why != "" {
		return recovery.Result{Class: recovery.Failed, Signature: "not work for an agent", Detail: why}
	}
	f, joined := h.board(job)
	h.decline(f)
	timer := time.NewTimer(time.Until(f.deadline))
	defer timer.Stop()
	connect := time.NewTimer(cmp.Or(h.ConnectWithin, connectWithin))
	defer connect.Stop()
	for waits := true; waits; {
		select {
		case <-f.done:
			waits = false
		case <-connect.C:
			waits = !h.away(f)
		case <-timer.C:
			h.overdue(f)
			waits = false
		case <-ctx.Done():
			if h.leave(f) {
				waits = false
				continue
			}
			return recovery.Result{
				Class: recovery.Lost, Signature: signatureCancelled, Joined: joined,
				Detail: "The wait for work of an agent was given up; the agent may be doing it, and the same id joins it.",
			}
		}
	}
	res := f.result
	res.Joined = res.Joined || joined
	return res
}

// unfit says in a sentence why a job cannot be given to an agent; "" when it can.
func unfit(job recovery.Job) string {
	switch job.Kind {
	case recovery.JobRestore, recovery.JobList, recovery.JobCheck, recovery.JobHold:
		if len(job.Sets) == 0 {
			return fmt.Sprintf("The job %s names no data set.", job.ID)
		}
	case recovery.JobCancel:
		if job.Of == "" {
			return fmt.Sprintf("The job %s does not say which job to let go of.", job.ID)
		}
	default:
		return fmt.Sprintf("A job of the kind %q is not done by agents.", job.Kind)
	}
	if job.Runner == "" {
		return fmt.Sprintf("The job %s does not say whose agent is to do it.", job.ID)
	}
	return ""
}

// board begins to wait for a job.
func (h *Hub) board(job recovery.Job) (f *flight, joined bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := key{job.Incident, job.ID}
	if f = h.jobs[k]; f != nil {
		f.waiting++
		return f, true
	}
	timeout := job.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	f = &flight{job: job, deadline: time.Now().Add(timeout), waiting: 1, done: make(chan struct{})}
	h.jobs[k] = f
	h.of[job.Runner] = append(h.of[job.Runner], f)
	if l := h.links[job.Runner]; l != nil {
		l.wake()
	}
	return f, false
}

// leave ends one wait for a job. It reports whether the job has ended by now.
func (h *Hub) leave(f *flight) (ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-f.done:
		return true
	default:
	}
	if f.waiting--; f.waiting == 0 {
		h.forget(f)
	}
	return false
}

// decline ends a job at once whose agent is connected and was not started for such work, unless it may be at it from before.
func (h *Hub) decline(f *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[f.job.Runner]; f.on == nil && l != nil && !l.works && !f.job.Resumed {
		h.expire(f)
	}
}

// away ends a job of which its agent has not been told in time. It reports whether it did.
func (h *Hub) away(f *flight) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	// A wish to cancel holds as long as the work may go on, and an agent that an earlier coordinator may have told is one that was told.
	if f.on != nil || f.job.Kind == recovery.JobCancel || f.job.Resumed {
		return false
	}
	h.expire(f)
	return true
}

// overdue ends a job whose time is over. Its agent keeps a limit of its own and would have told of it.
func (h *Hub) overdue(f *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(f)
}

// expire ends a job for which no more is waited. The lock is held.
func (h *Hub) expire(f *flight) {
	runner := f.job.Runner
	l := h.links[runner]
	res := recovery.Result{Class: recovery.Lost, Signature: signatureGone}
	switch {
	case f.on == nil && l != nil && !l.works:
		res = recovery.Result{Class: recovery.Unreachable, Signature: signatureAway}
		res.Detail = fmt.Sprintf("The agent of %s is connected but does no work on backups; to allow that, put restore = yes into its settings and start it again.", runner)
	case f.on == nil:
		res = recovery.Result{Class: recovery.Unreachable, Signature: signatureAway}
		res.Detail = fmt.Sprintf("The agent of %s did not connect in time, so nothing was started; see that it runs and reaches the coordinator.", runner)
	case !h.reaches(f):
		res.Detail = fmt.Sprintf("The agent of %s was given the work and did not come back in time, so nobody knows how far it came; look at the machine before another attempt.", runner)
	default:
		res.Signature = signatureSilent
		res.Detail = fmt.Sprintf("The agent of %s is connected but has not told how the work ended, though its time is over; look at the machine before another attempt.", runner)
	}
	h.end(f, res)
}

// reaches reports whether the job's agent is connected and was told of it there.
func (h *Hub) reaches(f *flight) bool { return f.on != nil && h.links[f.job.Runner] == f.on }

// end brings a job's result to all who wait for it.
func (h *Hub) end(f *flight, res recovery.Result) {
	select {
	case <-f.done:
		return
	default:
	}
	f.result = res
	close(f.done)
	h.forget(f)
	h.tell()
}

func (h *Hub) forget(f *flight) {
	runner := f.job.Runner
	delete(h.jobs, key{f.job.Incident, f.job.ID})
	h.of[runner] = slices.DeleteFunc(h.of[runner], func(g *flight) bool { return g == f })
	if len(h.of[runner]) == 0 {
		delete(h.of, runner)
	}
	if f.later != nil {
		f.later.Stop()
	}
}

// Progress is how far a job under way has come; false when it is not under way.
func (h *Hub) Progress(incident, job string) (recovery.Progress, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.jobs[key{incident, job}]
	if f == nil || f.job.Kind == recovery.JobCancel {
		return recovery.Progress{}, false
	}
	p := f.progress
	if !h.reaches(f) {
		p.Stage, p.Rate, p.Left = "waiting for the agent of "+f.job.Runner, 0, 0
	}
	return p, true
}

// moved tells of a job's progress: now, or when a second has passed since it was told of last.
func (h *Hub) moved(f *flight) {
	switch since := time.Since(f.told); {
	case h.Changed == nil || f.later != nil:
	case since >= tellEvery:
		f.told = time.Now()
		h.tell()
	default:
		f.later = time.AfterFunc(tellEvery-since, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			f.later, f.told = nil, time.Now()
			h.tell()
		})
	}
}

func (h *Hub) tell() {
	if h.Changed != nil {
		h.Changed()
	}
}
