// Package coordinator is the one loop of the server: an input comes in, the core decides, the journal appends, the state
// applies, and what ought to run is started. One goroutine owns the state; nothing is sent before its intent is on disk.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Remedy makes one host well, or fetches its proof. It is idempotent by Job.ID and never returns before the outcome is known,
// the job's timeout has passed or ctx has ended.
type Remedy interface {
	Run(ctx context.Context, job recovery.Job) recovery.Result
}

// Config is what a Coordinator needs. All fields but Clock are required.
type Config struct {
	Journal   *journal.Journal
	Remedy    Remedy
	Playbooks *playbook.Library
	Fleet     recovery.Fleet
	Clock     Clock
	Log       hclog.Logger
}

// ErrStopped answers whoever asks a coordinator that has ended or is ending.
var ErrStopped = errors.New("the coordinator has stopped: start it again with the same command; the journal holds everything that was acknowledged")

const (
	inboxSize     = 1024             // inputs waiting; whoever sends more waits
	batchSize     = 256              // inputs taken before time acts once
	sightingFlush = 5 * time.Second  // how much of the last words a crash may lose
	drainTimeout  = 10 * time.Second // for jobs to let go at the end
)

// Coordinator owns the state of the open incident. Its methods may be called from any goroutine.
type Coordinator struct {
	cfg     Config
	inbox   chan func()
	done    chan struct{} // closed when Run has ended
	watch   watchers
	running sync.WaitGroup // jobs

	// Below: owned by the loop.
	state   *recovery.State // the open incident, or the last one, or a blank one that only sees
	entries []recovery.Entry
	past    []past // earlier incidents, oldest first
	seen    map[string]recovery.Sighting
	unsaved map[string]bool // hosts whose sighting is not on disk
	links   map[string]*link
	jobs    map[string]*runningJob
	resumed map[string]bool // jobs that an earlier run had started
	dirty   bool            // something was applied since time last acted
	failed  error           // why the loop must stop
}

type past struct {
	state   *recovery.State
	entries []recovery.Entry
}

// New opens the story where the journal left it. It starts nothing.
func New(cfg Config) (*Coordinator, error) {
	c := &Coordinator{
		cfg: cfg, inbox: make(chan func(), inboxSize), done: make(chan struct{}),
		state: recovery.NewState(), seen: map[string]recovery.Sighting{}, unsaved: map[string]bool{},
		links: map[string]*link{}, jobs: map[string]*runningJob{}, resumed: map[string]bool{},
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load folds every incident of the journal; the last one is the current one.
func (c *Coordinator) load() error {
	ids, err := c.cfg.Journal.Incidents()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if c.state.ID != "" {
			c.past = append(c.past, past{c.state, c.entries})
		}
		c.state, c.entries = recovery.NewState(), nil
		err := c.cfg.Journal.Read(id, func(e recovery.Entry) error {
			c.state.Apply(e)
			c.entries = append(c.entries, e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := c.loadSightings(); err != nil {
		return err
	}
	if c.state.ID == "" || c.state.Outcome != "" {
		return nil
	}
	if _, ok := c.cfg.Playbooks.ByDigest(c.state.Playbook.Digest); !ok {
		return fmt.Errorf("incident %s runs playbook %s with digest %s, which is not among the playbooks given: start with the folder that holds that version", c.state.ID, c.state.Playbook.Name, c.state.Playbook.Digest)
	}
	for _, j := range c.state.Work(c.now()) {
		c.resumed[j.ID] = true
	}
	return nil
}

// loadSightings brings back the last words of every host. Nobody is connected yet; a recovered host is given time to come back
// before its silence counts.
func (c *Coordinator) loadSightings() error {
	seen, err := c.cfg.Journal.Sightings()
	if err != nil {
		return err
	}
	for host, v := range seen {
		v.Connected = false
		if h := c.state.Host(host); h != nil && h.Phase == recovery.Recovered {
			v.At = c.now()
		}
		c.seen[host] = c.state.See(v)
	}
	return nil
}

func (c *Coordinator) now() time.Time { return c.cfg.Clock.Now() }

// Run is the loop. It returns nil when ctx ends, and an error when the journal cannot be written: then nothing more is sent.
// Scripts under way on hosts go on by themselves; the next run joins them.
func (c *Coordinator) Run(ctx context.Context) error {
	defer close(c.done)
	jobs, stop := context.WithCancel(context.Background())
	defer stop()
	flush := time.NewTicker(sightingFlush)
	defer flush.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	c.dirty = true
	for c.failed == nil {
		select {
		case <-ctx.Done():
			c.shutdown(stop)
			return nil
		case in := <-c.inbox:
			in()
			c.drain()
		case <-wake.C:
			c.dirty = true
		case <-flush.C:
			c.saveSightings()
		}
		if c.dirty && c.failed == nil {
			c.dirty = false
			c.settle(jobs)
			c.arm(wake)
		}
	}
	c.cfg.Log.Error("stopped sending: the journal cannot be written", "error", c.failed)
	c.shutdown(stop)
	return fmt.Errorf("stopped sending, because the journal cannot be written: %w", c.failed)
}

// drain takes what else has come in, so that time acts once for many inputs.
func (c *Coordinator) drain() {
	for range batchSize {
		select {
		case in := <-c.inbox:
			in()
		default:
			return
		}
	}
}

// settle lets time act until nothing follows any more, starts and cancels jobs, and tells agents and watchers.
func (c *Coordinator) settle(jobs context.Context) {
	for c.state.ID != "" && c.failed == nil {
		n, err := c.take("engine", recovery.Tick{})
		if err != nil {
			c.cfg.Log.Error("a tick was refused", "error", err)
			break
		}
		if n == 0 {
			break
		}
	}
	if c.failed != nil {
		return
	}
	c.reconcile(jobs)
	c.instructAll()
	c.watch.notify()
}

// arm sets the timer to the next moment at which time alone may change something.
func (c *Coordinator) arm(wake *time.Timer) {
	now := c.now()
	at := c.state.Wake(now)
	if at.IsZero() {
		wake.Stop()
		return
	}
	wake.Reset(max(c.cfg.Clock.Real(at.Sub(now)), time.Millisecond))
}

// take decides an input, appends what follows and applies it, in this order. It returns how many events followed.
func (c *Coordinator) take(actor string, in recovery.Input) (int, error) {
	if c.failed != nil {
		return 0, ErrStopped
	}
	now := c.now()
	events, err := recovery.Decide(c.state, in, now)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	entries := make([]recovery.Entry, len(events))
	for i, e := range events {
		entries[i] = recovery.Entry{Seq: c.state.Seq + uint64(i) + 1, At: now, Actor: actor, Event: e}
	}
	id := c.state.ID
	if d, ok := in.(recovery.Declare); ok {
		id = d.Incident
	}
	if err := c.cfg.Journal.Append(id, c.state.Seq, entries); err != nil {
		c.failed = err
		return 0, fmt.Errorf("%w (%w)", ErrStopped, err)
	}
	for _, e := range entries {
		c.state.Apply(e)
	}
	c.entries = append(c.entries, entries...)
	c.dirty = true
	return len(entries), nil
}

// call runs f in the loop and waits for it. The inbox is bounded: a caller waits for its place until ctx ends.
func (c *Coordinator) call(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	if err := c.send(ctx, func() { answer <- f() }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-c.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Coordinator) send(ctx context.Context, f func()) error {
	select {
	case c.inbox <- f:
		return nil
	case <-c.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shutdown lets go of the jobs and saves the last words. What the jobs report now says nothing about the hosts: their
// attempts stay open in the journal and are joined by the next run.
func (c *Coordinator) shutdown(stop func()) {
	stop()
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	deadline := time.After(drainTimeout)
	for {
		select {
		case <-c.inbox: // whoever waits for an answer learns from done
		case <-ended:
			c.saveSightings()
			return
		case <-deadline:
			c.cfg.Log.Warn("jobs are still running at the end", "jobs", len(c.jobs))
			c.saveSightings()
			return
		}
	}
}
