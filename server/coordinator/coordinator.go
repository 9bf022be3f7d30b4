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
//
// On a rung that has steps it says told before it takes each of them. told returns when the step is on disk; an error of it means
// that the step, and whatever would follow it, must not be taken.
type Remedy interface {
	Run(ctx context.Context, job recovery.Job, told func(step recovery.Step, note string) error) recovery.Result
}

// Config is what a Coordinator needs. All fields but Clock and Heard are required.
type Config struct {
	Journal   *journal.Journal
	Remedy    Remedy
	Playbooks *playbook.Library
	Fleet     recovery.Fleet
	Clock     Clock
	Log       hclog.Logger
	Heard     func(host string) // told whenever a host's agent has connected: whoever lies in wait for it may go. It must not block
}

// ErrStopped answers whoever asks a coordinator that has ended or is ending.
var ErrStopped = errors.New("the coordinator has stopped: start it again with the same command; the journal holds everything that was acknowledged")

const (
	inboxSize     = 1024             // inputs waiting; whoever sends more waits
	batchSize     = 256              // inputs taken before time acts once
	maxSteps      = 10_000           // in which one moment of time must have acted
	sightingFlush = 5 * time.Second  // how much of the last words a crash may lose
	drainTimeout  = 10 * time.Second // for jobs to let go at the end
)

// Coordinator owns the state of the open incident. Its methods may be called from any goroutine.
type Coordinator struct {
	cfg     Config
	inbox   chan func()
	done    chan struct{} // closed when Run has ended
	watch   watchers
	running sync.WaitGroup                                                            // jobs
	fleet   map[string]recovery.Host                                                  // of the fleet file; read only
	write   func(incident string, expectedSeq uint64, entries []recovery.Entry) error // the journal's; a test lets it fail

	// Below: owned by the loop.
	state   *recovery.State // the open incident, or the last one, or a blank one that only sees
	entries []recovery.Entry
	past    []past // earlier incidents, oldest first
	seen    map[string]recovery.Sighting
	unsaved map[string]bool // hosts whose sighting is not on disk
	links   map[string]*Link
	jobs    map[jobKey]*runningJob
	resumed map[jobKey]bool // jobs that an earlier run had started
	alive   time.Time       // when an earlier run was last known to live
	resume  bool            // an incident was open then
	refused refusals
	dirty   bool  // something was applied since time last acted
	failed  error // why the loop must stop
}

type past struct {
	state   *recovery.State
	entries []recovery.Entry
}

// New opens the story where the journal left it. It starts nothing.
func New(cfg Config) (*Coordinator, error) {
	c := &Coordinator{
		cfg: cfg, write: cfg.Journal.Append, inbox: make(chan func(), inboxSize), done: make(chan struct{}),
		state: recovery.NewState(), seen: map[string]recovery.Sighting{}, unsaved: map[string]bool{},
		links: map[string]*Link{}, jobs: map[jobKey]*runningJob{}, resumed: map[jobKey]bool{},
		fleet: make(map[string]recovery.Host, len(cfg.Fleet.Hosts)), refused: refusals{byHost: map[string]int{}},
	}
	for _, h := range cfg.Fleet.Hosts {
		c.fleet[h.Name] = h
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
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
	if c.resume {
		if _, err := c.take("engine", recovery.Restarted{Alive: c.alive}); err != nil && c.failed == nil {
			return err
		}
	}
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
			c.settle(jobs)
			c.dirty = false
			c.arm(wake)
		}
	}
	c.cfg.Log.Error("stopped sending", "error", c.failed)
	c.shutdown(stop)
	return fmt.Errorf("stopped sending: %w", c.failed)
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
	if err := c.tick(); err != nil && c.failed == nil {
		c.cfg.Log.Error("time could not act", "error", err)
	}
	if c.failed != nil {
		return
	}
	c.reconcile(jobs)
	c.instructAll()
	c.watch.notify()
}

// tick lets one moment of time act to its end.
func (c *Coordinator) tick() error {
	if c.state.ID == "" {
		return nil
	}
	for range maxSteps {
		if n, err := c.take("engine", recovery.Tick{}); err != nil || n == 0 {
			return err
		}
	}
	return fmt.Errorf("one moment has led to more than %d decisions: this program has a fault, please report it", maxSteps)
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
	var events []recovery.Event
	var err error
	if fault := c.guard("decision", func() { events, err = recovery.Decide(c.state, in, now) }); fault != nil {
		return 0, fault // to decide is to read: nothing has changed
	}
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
	if err := c.append(id, entries); err != nil {
		return 0, err
	}
	for _, e := range entries {
		c.state.Apply(e)
	}
	c.entries = append(c.entries, entries...)
	c.dirty = true
	return len(entries), nil
}

// append puts entries on disk. When the disk does not take them, or somebody else has written, the loop must stop: memory never
// runs ahead of disk. Entries that the journal refuses for what they are were not written and are not applied.
func (c *Coordinator) append(incident string, entries []recovery.Entry) error {
	err := c.write(incident, c.state.Seq, entries)
	if errors.Is(err, journal.ErrAppend) || errors.Is(err, journal.ErrConflict) {
		c.failed = err
		return fmt.Errorf("%w (%w)", ErrStopped, err)
	}
	if err != nil {
		return fmt.Errorf("this cannot be recorded, so it was not done: %w", err)
	}
	return nil
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
