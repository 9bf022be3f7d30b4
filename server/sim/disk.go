package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// disk is the coordinator's: sealed entries as they stand in a journal's file, and the last words. What is not synced is gone with the
// power.
type disk struct {
	incident  string
	values    [][]byte // written
	synced    int      // of them
	chain     journal.Chain
	sightings map[string]recovery.Sighting
	started   map[string]*recovery.AttemptStarted // attempts that are on disk for good
	steps     map[string]bool                     // and their steps
	bytes     int
}

func newDisk(incident string) *disk {
	return &disk{incident: incident, chain: journal.NewChain(incident), sightings: map[string]recovery.Sighting{}, started: map[string]*recovery.AttemptStarted{}, steps: map[string]bool{}}
}

// append writes entries and syncs them.
func (d *disk) append(expectedSeq uint64, entries []recovery.Entry) error {
	if int(expectedSeq) != len(d.values) {
		return &journal.ConflictError{Incident: d.incident, Expected: expectedSeq, Have: uint64(len(d.values))}
	}
	for _, e := range entries {
		value, err := d.chain.Seal(e)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		d.values = append(d.values, value)
		d.bytes += len(value)
	}
	d.sync()
	return nil
}

func (d *disk) sync() { d.synced = len(d.values) }

// record notes what may be sent from now on, as far as it is synced.
func (d *disk) record(entries []recovery.Entry) {
	for _, e := range entries {
		if e.Seq > uint64(d.synced) {
			return
		}
		switch v := e.Event.(type) {
		case *recovery.AttemptStarted:
			d.started[v.Attempt.ID] = v
		case *recovery.AttemptProgressed:
			d.steps[v.Attempt+" "+string(v.Step)] = true
		}
	}
}

// powerCut loses what was not synced.
func (d *disk) powerCut() { d.cut(d.synced) }

// cut leaves the first n entries, as an older copy of the file has them.
func (d *disk) cut(n int) {
	d.values, d.synced = d.values[:n:n], n
}

// read opens every entry, checked, from a chain of its own, which goes on behind the last.
func (d *disk) read() (engine.Story, error) {
	story := engine.NewStory()
	d.chain = journal.NewChain(d.incident)
	for i, value := range d.values {
		e, err := d.chain.Open(value)
		if err != nil {
			return story, fmt.Errorf("entry %d: %w", i+1, err)
		}
		_ = story.Add(e) // it never fails
	}
	return story, nil
}

// copied is an older copy of the disk.
type copied struct {
	entries   int
	sightings map[string]recovery.Sighting
}

func (d *disk) copy() copied { return copied{d.synced, maps.Clone(d.sightings)} }

func (d *disk) restore(c copied) {
	d.cut(min(c.entries, len(d.values)))
	d.sightings = maps.Clone(c.sightings)
	clear(d.started)
	clear(d.steps)
}

func (d *disk) saveSightings(batch []recovery.Sighting) error {
	for _, v := range batch {
		v.Content, v.Health = slices.Clone(v.Content), slices.Clone(v.Health)
		d.sightings[v.Host] = v
	}
	return nil
}
