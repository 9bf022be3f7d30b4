// Package engine is the coordinator's loop without its goroutines, its clock and its disk: an input comes in, the core decides,
// the journal appends, the state applies, and what ought to run is named. The coordinator drives it for real, the simulator
// (server/sim) in virtual time; so what the simulator proves is what runs.
package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Append puts entries of an incident on disk behind number expectedSeq, all of them or none, as journal.Append does.
type Append func(incident string, expectedSeq uint64, entries []recovery.Entry) error

// ErrStopped says that an append failed, or that somebody else has written: nothing is decided any more, because memory must not
// run ahead of disk.
var ErrStopped = errors.New("the coordinator has stopped: start it again with the same command; the journal holds everything that was acknowledged")

// FaultError is a panic while something was decided or read. Nothing has changed by it.
type FaultError struct {
	In    string
	Panic any
	Stack []byte
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("this program has a fault (%s): the coordinator's log has the details; please report it", e.In)
}

// Story is one incident: its entries, oldest first, and their fold.
type Story struct {
	State   *recovery.State
	Entries []recovery.Entry
}

// NewStory returns an incident before its first entry.
func NewStory() Story { return Story{State: recovery.NewState()} }

// Add folds one more entry, as journal.Read gives it.
func (s *Story) Add(e recovery.Entry) error {
	s.State.Apply(e)
	s.Entries = append(s.Entries, e)
	return nil
}

// open reports whether the incident is declared and not over.
func (s *Story) open() bool { return s.State.ID != "" && s.State.Outcome == "" }

// Engine owns the state of the open incident. It is for one goroutine.
type Engine struct {
	write   Append
	story   Story   // the open incident, or the last one, or a blank one that only sees
	past    []Story // earlier incidents, oldest first
	seen    map[string]recovery.Sighting
	unsaved map[string]bool   // hosts whose sighting is not on disk
	jobs    map[JobKey]*state // those that were started and have not ended
	resumed map[JobKey]bool   // jobs that an earlier run may have started
	alive   time.Time         // when an earlier run was last known to live
	dirty   bool              // something was applied since time last acted
	failed  error             // why nothing is decided any more
}

// New goes on from stories, oldest first, of which the last is the current one, and from the last words of the hosts. It decides nothing.
func New(write Append, stories []Story, seen map[string]recovery.Sighting) *Engine {
	e := &Engine{write: write, story: NewStory(), seen: map[string]recovery.Sighting{}, unsaved: map[string]bool{}, jobs: map[JobKey]*state{}, resumed: map[JobKey]bool{}}
	if n := len(stories); n > 0 {
		e.past, e.story = stories[:n-1], stories[n-1]
	}
	e.remember(seen)
	return e
}

// remember brings back the last words of every host. Nobody is connected yet. Silences do not grow by the time in which no
// coordinator ran: see recovery.Restarted.
func (e *Engine) remember(seen map[string]recovery.Sighting) {
	if n := len(e.story.Entries); n > 0 {
		e.alive = e.story.Entries[n-1].At
	}
	for _, v := range seen {
		if v.At.After(e.alive) {
			e.alive = v.At
		}
	}
	for host, v := range seen {
		if v.Connected && v.Source == "agent" && v.At.Before(e.alive) {
			v.At = e.alive // it was connected for as long as there was somebody to connect to
		}
		v.Connected = false
		e.seen[host] = e.story.State.See(v)
	}
}

// Alive is when an earlier run was last known to live; zero when there was none. No time of this run may lie before it.
func (e *Engine) Alive() time.Time { return e.alive }

// State is the open incident's, the last one's, or a blank one.
func (e *Engine) State() *recovery.State { return e.story.State }

// Open reports whether an incident is declared and not over.
func (e *Engine) Open() bool { return e.story.open() }

// Stories lists every incident, oldest first; the last is the current one.
func (e *Engine) Stories() []Story {
	if e.story.State.ID == "" {
		return e.past
	}
	return append(e.past[:len(e.past):len(e.past)], e.story)
}

// Failed is why nothing is decided any more, or nil.
func (e *Engine) Failed() error { return e.failed }

// Resume takes up the incident that an earlier run left open: its clock gets back the time in which nobody ran.
func (e *Engine) Resume(now time.Time) error {
	e.dirty = true
	if !e.Open() {
		return nil
	}
	for _, j := range e.story.State.Work(now) {
		e.resumed[keyOf(j)] = true
	}
	_, err := e.Take("engine", recovery.Restarted{Alive: e.alive}, now)
	return err
}

// Take decides an input, appends what follows and applies it, in this order. It returns the entries that followed.
func (e *Engine) Take(actor string, in recovery.Input, now time.Time) ([]recovery.Entry, error) {
	if e.failed != nil {
		return nil, ErrStopped
	}
	events, err := e.decide(in, now)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	s := e.story.State
	entries := make([]recovery.Entry, len(events))
	for i, event := range events {
		entries[i] = recovery.Entry{Seq: s.Seq + uint64(i) + 1, At: now, Actor: actor, Event: event}
	}
	id := s.ID
	if d, ok := in.(recovery.Declare); ok {
		id = d.Incident
	}
	if err := e.append(id, entries); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		s.Apply(entry)
	}
	e.story.Entries = append(e.story.Entries, entries...)
	e.dirty = true
	return entries, nil
}

// decide asks the core. To decide is to read, so a fault in it has changed nothing.
func (e *Engine) decide(in recovery.Input, now time.Time) (events []recovery.Event, err error) {
	fault := Guard("decision", func() { events, err = recovery.Decide(e.story.State, in, now) })
	if fault != nil {
		return nil, fault
	}
	return events, err
}

// append puts entries on disk. When the disk does not take them, or somebody else has written, nothing more is decided. Entries that
// the journal refuses for what they are were not written and are not applied.
func (e *Engine) append(incident string, entries []recovery.Entry) error {
	err := e.write(incident, e.story.State.Seq, entries)
	if errors.Is(err, journal.ErrAppend) || errors.Is(err, journal.ErrConflict) {
		e.failed = err
		return fmt.Errorf("%w (%w)", ErrStopped, err)
	}
	if err != nil {
		return fmt.Errorf("this cannot be recorded, so it was not done: %w", err)
	}
	return nil
}

// Declare opens an incident behind the last one, which must be over.
func (e *Engine) Declare(actor string, in recovery.Declare, now time.Time) error {
	if e.Open() {
		return &recovery.Error{Kind: recovery.KindRefused, Message: "incident " + e.story.State.ID + " is still open: close or abort it first"}
	}
	kept := e.story
	e.story = NewStory()
	e.forgetAnswers()
	for _, v := range e.seen {
		e.story.State.See(v)
	}
	_, err := e.Take(actor, in, now)
	switch {
	case err != nil:
		e.story = kept
	case kept.State.ID != "":
		e.past = append(e.past, kept)
	}
	return err
}

// forgetAnswers forgets what agents have answered: the ids of requests begin anew with every incident, and an answer from the last
// one must prove nothing in this one.
func (e *Engine) forgetAnswers() {
	for host, v := range e.seen {
		if v.Answers != "" {
			v.Answers = ""
			e.seen[host], e.unsaved[host] = v, true
		}
	}
}

// Leapt takes a leap of the machine's clock, or its sleep, out of the incident's clock.
func (e *Engine) Leapt(by time.Duration, now time.Time) error {
	if !e.Open() {
		return nil
	}
	_, err := e.Take("engine", recovery.Restarted{Alive: now.Add(-by), Leap: true}, now)
	return err
}

// Guard runs what only reads; a panic in it becomes a *FaultError, because one bad decision must not end a recovery.
func Guard(what string, f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &FaultError{In: what, Panic: p, Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}
