// Package backups keeps the catalog of restore points in peacetime and in an incident: a small loop in the coordinator's order
// (decide, append, apply, act) with a journal of its own. One goroutine owns the catalog; nothing is sent before its intent is on
// disk, but for listings, which do no harm twice and are not written down (catalog.Lasting).
package backups

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// ErrStopped answers whoever asks a keeper that has ended or is ending.
var ErrStopped = engine.ErrStopped

const (
	inboxSize    = 1024             // inputs waiting; whoever sends more waits
	batchSize    = 256              // inputs taken before time acts once
	maxSteps     = 100              // decisions to which one moment may lead
	drainTimeout = 10 * time.Second // for jobs to let go at the end
	restAtLeast  = 10 * time.Millisecond
)

// Config is what a Keeper needs. Clock and Real may be nil: the machine's own time.
type Config struct {
	Journal *journal.Journal // of the backups alone
	Fleet   recovery.Fleet
	// Run does one job through an agent. It is idempotent by Job.ID and returns when the outcome is known, the job's timeout has passed
	// or ctx has ended.
	Run   func(ctx context.Context, job recovery.Job) recovery.Result
	Log   hclog.Logger
	Clock func() (wall time.Time, ran time.Duration) // what the clock shows, and how long it has run
	Real  func(time.Duration) time.Duration          // how long the machine takes for a span of the clock
}

// Keeper keeps the catalog. Its methods may be called from several goroutines.
type Keeper struct {
	cfg     Config
	inbox   *engine.Inbox
	watch   watchers
	running sync.WaitGroup                                                         // jobs
	write   func(story string, expectedSeq uint64, entries []recovery.Entry) error // the journal's; a test lets it fail

	// Below: owned by the loop.
	catalog *catalog.Catalog
	time    engine.Timekeeper
	moment  time.Time // the present one
	dirty   bool      // something has happened since time last acted
	failed  error     // why nothing is decided any more
	jobs    map[string]context.CancelFunc
	alerts  map[string]bool // that were logged and still stand
}

// New reads the story in the journal. Nothing is sent before Run.
func New(cfg Config) (*Keeper, error) {
	if cfg.Clock == nil {
		start := time.Now()
		cfg.Clock = func() (time.Time, time.Duration) { now := time.Now(); return now.Round(0), now.Sub(start) }
	}
	if cfg.Real == nil {
		cfg.Real = func(d time.Duration) time.Duration { return d }
	}
	k := &Keeper{cfg: cfg, write: cfg.Journal.Append, inbox: engine.NewInbox(inboxSize, ErrStopped),
		catalog: catalog.New(cfg.Fleet), jobs: map[string]context.CancelFunc{}, alerts: map[string]bool{}}
	ids, err := cfg.Journal.Incidents()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if id != catalog.Story {
			return nil, fmt.Errorf("the journal holds %q: it is not that of the backups", id)
		}
		err := cfg.Journal.Read(id, func(e recovery.Entry) error {
			k.catalog.Apply(e)
			k.time.NotBefore(e.At)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	k.catalog.Afresh()
	return k, nil
}

// Run is the loop. It returns nil when ctx ends, and an error when the journal cannot be written: then nothing more is sent. Jobs under
// way on agents go on by themselves; the next Run joins them by their ids.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.watch.close()
	defer k.inbox.End()
	jobs, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	k.dirty = true
	for k.failed == nil {
		k.look()
		if k.dirty {
			k.settle(jobs)
			k.arm(wake)
			continue
		}
		select {
		case <-ctx.Done():
			k.shutdown(stop)
			return nil
		case in := <-k.inbox.Queue():
			k.look()
			in()
			k.drain()
		case <-wake.C:
			k.dirty = true
		}
	}
	k.cfg.Log.Error("the catalog of backups has stopped", "error", k.failed)
	k.shutdown(stop)
	return fmt.Errorf("catalog of backups: stopped sending: %w", k.failed)
}

// look takes the time. It never goes back.
func (k *Keeper) look() { k.moment, _ = k.time.Tell(k.cfg.Clock()) }

// drain takes what else has come in, so that time acts once for many inputs.
func (k *Keeper) drain() {
	for range batchSize {
		select {
		case in := <-k.inbox.Queue():
			in()
		default:
			return
		}
	}
}

// settle lets time act until nothing follows any more, starts the jobs that ought to run, and tells people and watchers.
func (k *Keeper) settle(jobs context.Context) {
	k.dirty = false
	for step := 0; ; step++ {
		n, err := k.take("engine", catalog.Tick{})
		if k.failed != nil {
			return
		}
		if err != nil || step == maxSteps {
			k.cfg.Log.Error("time could not act on the backups", "error", err, "steps", step)
			break
		}
		if n == 0 {
			break
		}
	}
	k.dirty = false
	k.follow(jobs)
	k.warn()
	k.watch.notify()
}

// arm sets the timer to the next moment at which time alone may change something.
func (k *Keeper) arm(wake *time.Timer) {
	at := k.catalog.Wake(k.moment)
	if at.IsZero() {
		wake.Stop()
		return
	}
	wake.Reset(max(k.cfg.Real(at.Sub(k.moment)), restAtLeast))
}

// take decides an input, appends what follows and applies it, in this order. It returns how much followed.
func (k *Keeper) take(actor string, in catalog.Input) (int, error) {
	if k.failed != nil {
		return 0, ErrStopped
	}
	var events []recovery.Event
	var err error
	if fault := engine.Guard("decision on backups", func() { events, err = catalog.Decide(k.catalog, in, k.moment) }); fault != nil {
		k.logFault(fault)
		return 0, fault
	}
	if err != nil || len(events) == 0 {
		return 0, err
	}
	entries := make([]recovery.Entry, len(events))
	lasting := make([]recovery.Entry, 0, len(events))
	for i, event := range events {
		entries[i] = recovery.Entry{At: k.moment, Actor: actor, Event: event}
		if k.catalog.Lasting(event) {
			entries[i].Seq = k.catalog.Seq + uint64(len(lasting)) + 1
			lasting = append(lasting, entries[i])
		}
	}
	if err := k.append(lasting); err != nil {
		return 0, err
	}
	for _, e := range entries {
		k.catalog.Apply(e)
	}
	k.dirty = true
	return len(entries), nil
}

// append puts entries on disk. When the disk does not take them, or somebody else has written, nothing more is decided.
func (k *Keeper) append(entries []recovery.Entry) error {
	err := k.write(catalog.Story, k.catalog.Seq, entries)
	if errors.Is(err, journal.ErrAppend) || errors.Is(err, journal.ErrConflict) {
		k.failed = err
		return fmt.Errorf("%w (%w)", ErrStopped, err)
	}
	if err != nil {
		return fmt.Errorf("this cannot be recorded, so it was not done: %w", err)
	}
	return nil
}

// follow starts the jobs that ought to run and do not. What the catalog names once it names until it has ended.
func (k *Keeper) follow(ctx context.Context) {
	for _, job := range k.catalog.Work(k.moment) {
		if k.jobs[job.ID] == nil {
			k.start(ctx, job)
		}
	}
}

func (k *Keeper) start(ctx context.Context, job recovery.Job) {
	ctx, cancel := context.WithCancel(ctx)
	k.jobs[job.ID] = cancel
	k.cfg.Log.Debug("job starts", "job", job.ID, "runner", job.Runner)
	k.running.Go(func() {
		defer cancel()
		result := k.run(ctx, job)
		_ = k.inbox.Send(ctx, func() { k.finished(job, result) })
	})
}

// run asks the agent. A fault of this program in it ends that job alone, with an outcome that nobody knows.
func (k *Keeper) run(ctx context.Context, job recovery.Job) (result recovery.Result) {
	if err := engine.Guard("job "+job.ID, func() { result = k.cfg.Run(ctx, job) }); err != nil {
		k.logFault(err)
		return recovery.Result{Class: recovery.Lost, Signature: "fault of the coordinator", Detail: err.Error()}
	}
	return result
}

func (k *Keeper) logFault(err error) {
	var fault *engine.FaultError
	if errors.As(err, &fault) {
		k.cfg.Log.Error("a fault of this program", "in", fault.In, "panic", fault.Panic, "stack", string(fault.Stack))
	}
}

// finished brings a job's result to the catalog. One that cannot be recorded is tried again as one that was lost, so that it does not
// count as running for ever.
func (k *Keeper) finished(job recovery.Job, result recovery.Result) {
	delete(k.jobs, job.ID)
	k.cfg.Log.Debug("job ended", "job", job.ID, "class", result.Class, "signature", result.Signature, "detail", result.Detail)
	_, err := k.take("agent:"+job.Runner, catalog.Finished{Job: job.ID, Result: result})
	if err == nil || k.failed != nil {
		return
	}
	k.cfg.Log.Error("a result could not be taken", "job", job.ID, "error", err)
	lost := recovery.Result{Class: recovery.Lost, Signature: "result not taken", Detail: "The result could not be taken: " + err.Error()}
	if _, err := k.take("engine", catalog.Finished{Job: job.ID, Result: lost}); err != nil && k.failed == nil {
		k.cfg.Log.Error("the job stays open until the coordinator is started again", "job", job.ID, "error", err)
		k.jobs[job.ID] = func() {} // nothing runs; asking again would bring the same result
	}
}

// warn logs alerts once each.
func (k *Keeper) warn() {
	stand := map[string]bool{}
	for _, a := range k.catalog.Alerts(k.moment) {
		key := a.DataSet + "\x00" + a.Text
		if stand[key] = true; !k.alerts[key] {
			k.cfg.Log.Warn("backups need a look", "data-set", a.DataSet, "since", a.At.Format(time.RFC3339), "what", a.Text)
		}
	}
	k.alerts = stand
}

// shutdown lets go of the jobs and waits for them, but not for ever. What they tell now is not taken: they stay open in the journal, and the
// next Run joins them.
func (k *Keeper) shutdown(stop func()) {
	stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.running.Wait()
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return
		case <-timer.C:
			k.cfg.Log.Warn("jobs on backups did not let go in time")
			return
		case <-k.inbox.Queue(): // nobody is answered any more; whoever asked sees done
		}
	}
}
