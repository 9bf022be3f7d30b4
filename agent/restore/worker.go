package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	atOnce     = 4  // jobs
	maxWaiting = 64 // further jobs
	longest    = 7 * 24 * time.Hour
)

// Config is what a Worker needs.
type Config struct {
	StateDir string // claims and results lie in StateDir/work; one agent at a time
	Host     string
	BootID   func() (string, error)
	Backends map[string]Backend // by kind of repository
	Engines  map[string]Engine
	Restart  func() error // restarts this host; nil: it is not done
	Log      hclog.Logger
}

// Worker does jobs, each of them once. It is safe for concurrent use.
type Worker struct {
	cfg Config
	machine
	dir   string
	lock  *os.File
	ctx   context.Context
	letGo context.CancelCauseFunc
	group sync.WaitGroup
	rooms sync.Mutex // one job at a time looks for room

	mu     sync.Mutex
	closed bool
	claims map[string]bool // on disk, by name; true: the job has ended
	jobs   map[string]*job
	fresh  int    // jobs that have no claim yet, or had none when they were asked for
	queue  []*job // wait for their turn, in order
	active []*job // have their turn
}

// machine is what a test replaces.
type machine struct {
	room  func(path string) (disk string, free int64, err error)
	run   func(ctx context.Context, argv []string, said string) error // see runProgram
	fail  func(from, to string) error                                 // see mover
	step  func(what string)                                           // after everything that a crash would find; in the field it does nothing
	moves bool                                                        // names can be exchanged
}

// job is one that is asked for, or that an earlier process has left in need of care. The fields below the line are the Worker's lock's.
type job struct {
	name   string
	work   Work
	busy   bool // there is no room for it
	known  bool // there is a claim of it
	kept   bool // and a result
	ctx    context.Context
	stop   context.CancelCauseFunc
	turn   chan struct{} // closed: it has its turn
	urgent chan struct{} // something is to be told at once
	news   chan struct{} // something is to be told in time
	gone   chan struct{} // closed: everything is told

	targets      []string
	incident, id string // as it is told of

	asked  bool // somebody wants it done, or stopped
	joined bool // somebody else had asked before
	told   func(Report)
	report Report
	meter  meter
	shares []share
	over   bool
}

// Why a job is let go of.
var (
	errStopped   = errors.New("the job was stopped")
	errClosing   = errors.New("the agent stops")
	errOutOfTime = errors.New("the job's time is over")
)

// New makes a Worker, and takes care of what an earlier one has left in its folder: a swap that has begun is brought to its end,
// stopped programs are started, and what lies half restored beside is removed. An error says that no job can be done here.
func New(cfg Config) (*Worker, error) {
	return newWorker(cfg, machine{room: room, run: runProgram, step: func(string) {}, moves: canExchange})
}

func newWorker(cfg Config, m machine) (*Worker, error) {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.BootID == nil {
		cfg.BootID = func() (string, error) { return "", nil }
	}
	state, err := filepath.Abs(cfg.StateDir)
	if err == nil {
		err = os.MkdirAll(filepath.Join(state, "work"), 0o700)
	}
	if err == nil {
		state, err = filepath.EvalSymlinks(state)
	}
	if err != nil {
		return nil, fmt.Errorf("folder for backup work: %w", err)
	}
	cfg.StateDir = state
	w := &Worker{cfg: cfg, machine: m, dir: filepath.Join(state, "work"), jobs: map[string]*job{}}
	if w.lock, err = lock(filepath.Join(w.dir, "lock")); err != nil {
		return nil, fmt.Errorf("folder for backup work: %w", err)
	}
	if w.claims, _, err = prune(w.dir, time.Now()); err != nil {
		return nil, errors.Join(fmt.Errorf("folder for backup work: %w", err), w.lock.Close())
	}
	w.ctx, w.letGo = context.WithCancelCause(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, ended := range w.claims {
		if _, err := os.Stat(filepath.Join(w.dir, name, workFile)); !ended && err == nil {
			w.begin(name, Work{})
		}
	}
	return w, nil
}

// Do has a job done, or joins it. told gets how it stands now and then, and its Result in the end, from one goroutine for each job that it
// must not hold up for long. A later Do of the same job replaces told. A job that ended before tells its Result again, as Joined. Do itself
// returns at once. After Close, and when Close comes before the end, there is no Result: the next process takes the job up when it is asked
// for again.
func (w *Worker) Do(work Work, told func(Report)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	name := claimName(work.Incident, work.Job)
	j, running := w.jobs[name]
	if !running {
		j = w.begin(name, work)
	}
	j.told, j.asked, j.joined = told, true, running || j.known
	j.incident, j.id = work.Incident, work.Job
	if running {
		wake(j.urgent)
	}
}

// Stop lets go of a job before its swap: it ends as Cancelled. A job that is not known ends so too, should it be asked for later. After
// the swap has begun it goes on to its end.
func (w *Worker) Stop(incident, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	name := claimName(incident, id)
	j := w.jobs[name]
	if j == nil {
		if w.claims[name] {
			return
		}
		j = w.begin(name, Work{Incident: incident, Job: id})
	}
	j.asked = true
	j.stop(errStopped)
}

// Close lets go of every job that has not begun to swap, waits for those that have, and returns when nothing is left running.
func (w *Worker) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.letGo(errClosing)
	w.group.Wait()
	_ = w.lock.Close()
}

// begin starts a job's goroutines. The lock is held.
func (w *Worker) begin(name string, work Work) *job {
	j := &job{
		name: name, work: work, turn: make(chan struct{}), gone: make(chan struct{}),
		urgent: make(chan struct{}, 1), news: make(chan struct{}, 1), report: Report{Stage: "waiting"},
	}
	j.kept, j.known = w.claims[name]
	j.ctx, j.stop = context.WithCancelCause(w.ctx)
	if !j.known {
		j.busy = w.fresh >= atOnce+maxWaiting
		w.fresh++
	}
	w.jobs[name] = j
	w.group.Add(2)
	go w.tell(j)
	go func() {
		defer w.group.Done()
		r := w.outcome(j)
		w.end(j, r)
		<-j.gone
		w.restart(j, r)
		j.stop(nil)
	}()
	return j
}

// outcome does the job. Without a Result it is for a later process, or for whoever asks again.
func (w *Worker) outcome(j *job) (r *Result) {
	t := &task{Worker: w, job: j}
	defer func() {
		if p := recover(); p != nil {
			w.cfg.Log.Error("a fault of this program", "job", j.name, "panic", p, "stack", string(debug.Stack()))
			r = t.broken()
		}
	}()
	switch {
	case j.busy:
		return &Result{Class: Unreachable, Signature: "agent busy", Detail: fmt.Sprintf("%d jobs run and wait on this agent already; ask again later.", atOnce+maxWaiting)}
	case j.kept:
		return t.again()
	}
	return t.do()
}

// end gives the turn back, and has the Result told.
func (w *Worker) end(j *job, r *Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active = slices.DeleteFunc(w.active, func(o *job) bool { return o == j })
	if !j.known {
		w.fresh--
	}
	w.next()
	j.report.Result, j.over = r, true
	wake(j.urgent)
}

// wait is for the job's turn: not too many at once, never two with the same target, and in order.
func (w *Worker) wait(ctx context.Context, j *job, targets []string) error {
	w.mu.Lock()
	j.targets = targets
	w.queue = append(w.queue, j)
	w.next()
	w.mu.Unlock()
	select {
	case <-j.turn:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-j.turn: // it came just now
		return nil
	default:
	}
	w.queue = slices.DeleteFunc(w.queue, func(o *job) bool { return o == j })
	w.next() // who waited for its targets
	return context.Cause(ctx)
}

// next gives turns to whoever can have one. The lock is held.
func (w *Worker) next() {
	taken := [][]string{}
	for _, j := range w.active {
		taken = append(taken, j.targets)
	}
	w.queue = slices.DeleteFunc(w.queue, func(j *job) bool {
		free := len(w.active) < atOnce && !slices.ContainsFunc(taken, func(others []string) bool { return meet(j.targets, others) })
		if taken = append(taken, j.targets); !free {
			return false // and whoever wants the same targets waits behind it
		}
		w.active = append(w.active, j)
		close(j.turn)
		return true
	})
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return overlap(x, y) })
	})
}

// forget says that nobody has asked for a job, which is then nobody's until somebody does.
func (w *Worker) forget(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !j.asked {
		delete(w.jobs, j.name)
	}
	return !j.asked
}

// onDisk remembers that there is a claim, and whether there is a result in it. When there are many, the old ones are removed.
func (w *Worker) onDisk(name string, ended bool) {
	w.mu.Lock()
	w.claims[name] = ended
	many := ended && len(w.claims) > 2*keepClaims
	w.mu.Unlock()
	if !many {
		return
	}
	_, removed, err := prune(w.dir, time.Now())
	if err != nil {
		w.cfg.Log.Warn("claims of old cannot be removed", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range removed {
		delete(w.claims, name)
	}
}

// restart restarts the host when a kept result that somebody was told says that this is to follow, and it has not.
func (w *Worker) restart(j *job, r *Result) {
	w.mu.Lock()
	told := j.told != nil
	w.mu.Unlock()
	if r == nil || !told || !r.Rebooted || w.cfg.Restart == nil || w.ctx.Err() != nil {
		return
	}
	if boot, err := w.cfg.BootID(); err != nil || boot != r.Boot {
		return
	}
	w.cfg.Log.Info("restarting this host, as the job wants", "job", j.name)
	if err := w.cfg.Restart(); err != nil {
		w.cfg.Log.Error("this host could not be restarted; restart it by hand", "job", j.name, "error", err)
	}
}
