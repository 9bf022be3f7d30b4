// Package coordinator is the one loop of the server: an input comes in, the engine decides, appends and applies, and what ought to
// run is started. One goroutine owns the engine; nothing is sent before its intent is on disk.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/engine"
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

// Config is what a Coordinator needs. All fields but Clock, Points and Heard are required.
type Config struct {
	Journal   *journal.Journal
	Remedy    Remedy
	Playbooks *playbook.Library
	Fleet     recovery.Fleet
	Clock     Clock
	Log       hclog.Logger
	Points    func(ctx context.Context) ([]recovery.RestorePoint, error) // what is known of backups; nil: nothing
	Heard     func(host string)                                          // told whenever a host's agent has connected: whoever lies in wait for it may go. It must not block
}

// ErrStopped answers whoever asks a coordinator that has ended or is ending.
var ErrStopped = engine.ErrStopped

const (
	inboxSize     = 1024             // inputs waiting; whoever sends more waits
	batchSize     = 256              // inputs taken before time acts once
	sightingFlush = 5 * time.Second  // how much of the last words a crash may lose
	drainTimeout  = 10 * time.Second // for jobs to let go at the end
)

// Coordinator owns the state of the open incident. Its methods may be called from any goroutine.
type Coordinator struct {
	cfg     Config
	inbox   *engine.Inbox
	watch   watchers
	running sync.WaitGroup           // jobs
	fleet   map[string]recovery.Host // of the fleet file; read only
	write   engine.Append            // the journal's; a test lets it fail

	// Below: owned by the loop.
	engine  *engine.Engine
	keeper  engine.Timekeeper
	moment  time.Time // the present one
	changed bool      // something happened that the engine need not know and watchers must
	links   map[string]*Link
	jobs    map[engine.JobKey]context.CancelFunc
	refused refusals
}

// New opens the story where the journal left it. It starts nothing.
func New(cfg Config) (*Coordinator, error) {
	c := &Coordinator{
		cfg: cfg, write: cfg.Journal.Append, inbox: engine.NewInbox(inboxSize, ErrStopped),
		links: map[string]*Link{}, jobs: map[engine.JobKey]context.CancelFunc{},
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

// now is the moment in which the present input is judged.
func (c *Coordinator) now() time.Time { return c.moment }

// look takes the time. What it leapt by, no clock of the incident has run.
func (c *Coordinator) look() {
	now, leap := c.keeper.Tell(c.cfg.Clock.Read())
	c.moment = now
	if leap == 0 {
		return
	}
	c.cfg.Log.Warn("this machine slept, or its clock was put forward: deadlines, soaks and silences go on where they stood", "by", leap.Round(time.Second))
	if err := c.engine.Leapt(leap, now); err != nil {
		c.cfg.Log.Error("the leap could not be recorded", "error", err)
	}
}

// Run is the loop. It returns nil when ctx ends, and an error when the journal cannot be written: then nothing more is sent.
// Scripts under way on hosts go on by themselves; the next run joins them.
func (c *Coordinator) Run(ctx context.Context) error {
	defer c.inbox.End()
	jobs, stop := context.WithCancel(context.Background())
	defer stop()
	flush := time.NewTicker(sightingFlush)
	defer flush.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	c.look()
	if err := c.engine.Resume(c.now()); err != nil && c.engine.Failed() == nil {
		return err
	}
	for c.engine.Failed() == nil {
		select {
		case <-ctx.Done():
			c.shutdown(stop)
			return nil
		case in := <-c.inbox.Queue():
			c.look()
			in()
			c.drain()
		case <-wake.C:
			c.look()
			c.changed = true
		case <-flush.C:
			c.look()
			c.saveSightings()
		}
		if (c.changed || c.engine.Dirty()) && c.engine.Failed() == nil {
			c.changed = false
			c.settle(jobs)
			c.arm(wake)
		}
	}
	c.cfg.Log.Error("stopped sending", "error", c.engine.Failed())
	c.shutdown(stop)
	return fmt.Errorf("stopped sending: %w", c.engine.Failed())
}

// drain takes what else has come in, so that time acts once for many inputs.
func (c *Coordinator) drain() {
	for range batchSize {
		select {
		case in := <-c.inbox.Queue():
			c.look()
			in()
		default:
			return
		}
	}
}

// settle lets time act until nothing follows any more, starts and cancels jobs, and tells agents and watchers.
func (c *Coordinator) settle(jobs context.Context) {
	orders, err := c.engine.Settle(c.now())
	if err != nil && c.engine.Failed() == nil {
		c.cfg.Log.Error("time could not act", "error", err)
	}
	if c.engine.Failed() != nil {
		return
	}
	c.follow(jobs, orders)
	c.instructAll()
	c.watch.notify()
}

// arm sets the timer to the next moment at which time alone may change something.
func (c *Coordinator) arm(wake *time.Timer) {
	now := c.now()
	at := c.engine.State().Wake(now)
	if at.IsZero() {
		wake.Stop()
		return
	}
	wake.Reset(max(c.cfg.Clock.Real(at.Sub(now)), time.Millisecond))
}

// take brings an input to the engine. A fault in the decision is logged and ends only that input.
func (c *Coordinator) take(actor string, in recovery.Input) error {
	_, err := c.engine.Take(actor, in, c.now())
	c.logFault(err)
	return err
}

func (c *Coordinator) logFault(err error) {
	var fault *engine.FaultError
	if errors.As(err, &fault) {
		c.cfg.Log.Error("a fault of this program", "in", fault.In, "panic", fault.Panic, "stack", string(fault.Stack))
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
		case <-c.inbox.Queue(): // whoever waits for an answer learns from done
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
