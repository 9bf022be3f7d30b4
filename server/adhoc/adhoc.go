// Package adhoc runs one playbook on some hosts without an incident. It is a small loop in the coordinator's order: the core
// decides (recovery.AdHoc), the journal appends, the state applies, and only then the attempts are started. Results that come
// in while the disk is busy are written together with the starts that they make room for, so a run costs one write for each
// batch, however many hosts it has. Nothing is looked at again and again: the loop sleeps until a result comes.
package adhoc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Remedy makes the attempts; see coordinator.Remedy, whose contract is the same.
type Remedy interface {
	Run(ctx context.Context, job recovery.Job) recovery.Result
}

// Config is what a run needs. Progress may be nil.
type Config struct {
	Journal  *journal.Journal // of this run alone
	Actor    string           // who runs it: "operator:NAME"
	Log      hclog.Logger
	Progress func(recovery.RunCounts) // told in the loop after each write: it must be quick
}

// ErrStopped says that a run was stopped with hosts left that have no result. The same journal takes it up again.
var ErrStopped = errors.New("the run was stopped before every host had its result")

// Run is a run in its loop. It is for one goroutine.
type Run struct {
	cfg   Config
	write func(run string, expectedSeq uint64, entries []recovery.Entry) error // the journal's; a test lets it fail
	state *recovery.AdHoc
	ended chan recovery.Finished // has room for every host: no attempt ever waits to tell its result
	heal  Remedy
}

// New opens the journal's run; there is none when the state's ID is empty. Declare makes one.
func New(cfg Config) (*Run, error) {
	r := &Run{cfg: cfg, write: cfg.Journal.Append, state: recovery.NewAdHoc()}
	ids, err := cfg.Journal.Incidents()
	if err != nil {
		return nil, err
	}
	switch len(ids) {
	case 0:
		return r, nil
	case 1:
	default:
		return nil, fmt.Errorf("the journal holds %d incidents, and a run's holds one: it is not the journal of a run", len(ids))
	}
	err = cfg.Journal.Read(ids[0], func(e recovery.Entry) error {
		r.state.Apply(e)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case r.state.ID != ids[0]:
		return nil, fmt.Errorf("the journal holds incident %s and no run: it is steered with `blackstart incident`", ids[0])
	}
	return r, nil
}

// State is how the run stands. It must not be read while Go runs.
func (r *Run) State() *recovery.AdHoc { return r.state }

// Declare puts the run on disk. Nothing is sent yet.
func (r *Run) Declare(d *recovery.RunDeclared) error {
	if r.state.ID != "" {
		return fmt.Errorf("the journal holds run %s already: take that up, or use another folder", r.state.ID)
	}
	return r.append(d.Run, []recovery.Event{d}, time.Now())
}

// Go works on a declared run until every host has its result. Attempts that an earlier Go left under way are joined by their ids. When ctx ends,
// nothing more is started; Go returns ErrStopped once what is under way has ended. It returns at once when the journal cannot
// be written: then nothing more is sent, and scripts on hosts go on by themselves.
func (r *Run) Go(ctx context.Context, remedy Remedy) error {
	r.heal = remedy
	jobs, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	r.ended = make(chan recovery.Finished, len(r.state.Hosts))
	running := 0
	for _, job := range r.state.Work() {
		r.start(jobs, job, true)
		running++
	}
	stop := ctx.Done()
	var done []recovery.Finished
	for {
		now := time.Now()
		events := r.state.Decide(done, ctx.Err() != nil, now)
		if err := r.append(r.state.ID, events, now); err != nil {
			letGo()
			for range running {
				<-r.ended
			}
			return fmt.Errorf("stopped sending: %w", err)
		}
		for _, e := range events {
			if started, ok := e.(*recovery.AttemptStarted); ok {
				if job, ok := r.state.Job(started.Attempt.Host); ok {
					r.start(jobs, job, false)
					running++
				}
			}
		}
		switch {
		case !r.state.Ended.IsZero():
			return nil
		case running == 0 && ctx.Err() != nil:
			return ErrStopped
		case running == 0:
			return fmt.Errorf("run %s has hosts left and nothing under way: this program has a fault, please report it", r.state.ID)
		}
		done = done[:0]
		select {
		case <-stop:
			stop = nil // once is enough; what is under way ends by itself
		case e := <-r.ended:
			done = append(done, e)
			running--
			running -= r.drain(&done)
		}
	}
}

// drain takes the results that have come in meanwhile.
func (r *Run) drain(done *[]recovery.Finished) int {
	for n := 0; ; n++ {
		select {
		case e := <-r.ended:
			*done = append(*done, e)
		default:
			return n
		}
	}
}

// append puts events on disk and then into the state.
func (r *Run) append(run string, events []recovery.Event, now time.Time) error {
	if len(events) == 0 {
		return nil
	}
	entries := make([]recovery.Entry, len(events))
	for i, e := range events {
		entries[i] = recovery.Entry{Seq: r.state.Seq + uint64(i) + 1, At: now, Actor: r.actor(e), Event: e}
	}
	if err := r.write(run, r.state.Seq, entries); err != nil {
		return err
	}
	for _, e := range entries {
		r.state.Apply(e)
	}
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.state.Counts())
	}
	return nil
}

func (r *Run) actor(e recovery.Event) string {
	if _, ok := e.(*recovery.RunDeclared); ok && r.cfg.Actor != "" {
		return r.cfg.Actor
	}
	return "engine"
}

// start makes an attempt. Its intent is on disk.
func (r *Run) start(ctx context.Context, job recovery.Job, resumed bool) {
	go func() {
		result := r.attempt(ctx, job)
		r.ended <- recovery.Finished{Job: job.ID, Host: job.Host.Name, Result: result, Resumed: resumed}
	}()
}

// attempt asks the remedy. A fault of this program in it ends that attempt alone, with an outcome that nobody knows.
func (r *Run) attempt(ctx context.Context, job recovery.Job) (result recovery.Result) {
	defer func() {
		if p := recover(); p != nil {
			r.cfg.Log.Error("a fault of this program", "job", job.ID, "panic", p, "stack", string(debug.Stack()))
			result = recovery.Result{Class: recovery.Lost, Signature: "fault of this program", Detail: "This program has a fault, of which the log has the details; please report it. The script may have run."}
		}
	}()
	return r.heal.Run(ctx, job)
}
