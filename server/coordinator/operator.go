package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// View is one incident at one moment. It is valid only inside the function that it is given to.
type View struct {
	State   *recovery.State
	Entries []recovery.Entry // the whole journal, oldest first
	Now     time.Time
}

// Do brings an operator's input to the open incident. incident may be empty; when it is named it must be the open one.
func (c *Coordinator) Do(ctx context.Context, incident, actor string, in recovery.Input) error {
	return c.inbox.Call(ctx, func() error {
		if err := c.isOpen(incident); err != nil {
			return err
		}
		return c.take(actor, in)
	})
}

// isOpen refuses whatever is not the open incident. An empty name means that one.
func (c *Coordinator) isOpen(incident string) error {
	if incident == "" || incident == c.engine.State().ID {
		return nil
	}
	if _, ok := c.find(incident); ok {
		return &recovery.Error{Kind: recovery.KindRefused, Message: "incident " + incident + " is over: nothing in it can be changed any more"}
	}
	return unknownIncident(incident)
}

// Declaration is what an operator says of a new incident.
type Declaration struct {
	Title    string
	Playbook string    // name; empty: the only one that fits
	Began    time.Time // of the outage; zero: now
	Cutoff   time.Time // when the bad content came in; zero: Began
	WaveZero bool      // have restore points verified from the start
}

// Declare opens an incident with the coordinator's fleet and what is known of its backups, and returns its id.
func (c *Coordinator) Declare(ctx context.Context, actor string, d Declaration) (string, error) {
	var points []recovery.RestorePoint
	if c.cfg.Points != nil {
		var err error
		if points, err = c.cfg.Points(ctx); err != nil {
			return "", err
		}
	}
	var id string
	err := c.inbox.Call(ctx, func() error {
		facts, err := c.choose(d.Playbook)
		if err != nil {
			return err
		}
		id = c.nextID()
		err = c.engine.Declare(actor, recovery.Declare{Incident: id, Title: d.Title, Began: d.Began, Fleet: c.cfg.Fleet, Playbook: facts,
			Cutoff: d.Cutoff, WaveZero: d.WaveZero, Points: points}, c.now())
		c.logFault(err)
		for _, l := range c.links {
			l.sent = "" // the ids of requests begin anew
		}
		return err
	})
	return id, err
}

// Revise reads the playbook folder again and takes another version of the open incident's playbook: the one named by digest, or the
// one that is in the folder by now. Its connected agents get the new probes with the next request for facts.
func (c *Coordinator) Revise(ctx context.Context, incident, actor, book, reason string) error {
	if err := c.cfg.Playbooks.Refresh(); err != nil {
		return &recovery.Error{Kind: recovery.KindInvalid, Message: "the playbooks cannot be read again, so nothing was changed: " + err.Error()}
	}
	// Attempts under way go on with the version before, also after a restart.
	before, err := c.InUse(ctx)
	if err != nil {
		return err
	}
	if err := c.cfg.Playbooks.Save(before); err != nil {
		return &recovery.Error{Kind: recovery.KindRefused, Message: "nothing was changed: " + err.Error()}
	}
	return c.inbox.Call(ctx, func() error {
		if err := c.isOpen(incident); err != nil {
			return err
		}
		if c.engine.State().ID == "" {
			return c.take(actor, recovery.Revise{})
		}
		found, ok := c.cfg.Playbooks.Find(cmp.Or(book, c.engine.State().Playbook.Name))
		if !ok {
			return &recovery.Error{Kind: recovery.KindNotFound, Message: fmt.Sprintf("there is no playbook %q, nor a version whose digest begins so: there are %s", book, c.bookNames())}
		}
		return c.take(actor, recovery.Revise{Playbook: found.Facts, Reason: reason})
	})
}

// InUse returns the digest of the playbook version that the open incident runs, "" without one.
func (c *Coordinator) InUse(ctx context.Context) (digest string, err error) {
	err = c.inbox.Call(ctx, func() error {
		if s := c.engine.State(); s.Outcome == "" {
			digest = s.Playbook.Digest
		}
		return nil
	})
	return digest, err
}

// choose finds the playbook by name, or the only one that fits a host of the fleet.
func (c *Coordinator) choose(name string) (recovery.Playbook, error) {
	if name != "" {
		if b, ok := c.cfg.Playbooks.ByName(name); ok {
			return b.Facts, nil
		}
		return recovery.Playbook{}, &recovery.Error{Kind: recovery.KindNotFound, Message: fmt.Sprintf("there is no playbook %q: there are %s", name, c.bookNames())}
	}
	fit := c.cfg.Playbooks.Matching(c.cfg.Fleet.Hosts)
	if len(fit) != 1 {
		return recovery.Playbook{}, &recovery.Error{Kind: recovery.KindInvalid, Message: fmt.Sprintf("%d playbooks fit fleet %s: name one of %s", len(fit), c.cfg.Fleet.Name, c.bookNames())}
	}
	return fit[0].Facts, nil
}

func (c *Coordinator) bookNames() string {
	var names []string
	for _, b := range c.cfg.Playbooks.All() {
		names = append(names, b.Facts.Name)
	}
	return strings.Join(names, ", ")
}

// nextID names an incident after its day and its number.
func (c *Coordinator) nextID() string {
	return fmt.Sprintf("%s-%d", c.now().UTC().Format(time.DateOnly), len(c.engine.Stories())+1)
}

// View lets f read an incident, the open or last one when the name is empty. f runs in the loop: it copies what it needs and
// does no I/O.
func (c *Coordinator) View(ctx context.Context, incident string, f func(View)) error {
	return c.inbox.Call(ctx, func() error {
		p, ok := c.find(incident)
		if !ok {
			if incident == "" {
				return &recovery.Error{Kind: recovery.KindNotFound, Message: "no incident has been declared: blackstart incident declare"}
			}
			return unknownIncident(incident)
		}
		return c.show(f, p)
	})
}

// Roll returns the last that was heard of each host of the fleet file, in its order, incident or not. A host that was never
// heard of has only its name.
func (c *Coordinator) Roll(ctx context.Context) ([]recovery.Sighting, error) {
	roll := make([]recovery.Sighting, 0, len(c.cfg.Fleet.Hosts))
	err := c.inbox.Call(ctx, func() error {
		for i := range c.cfg.Fleet.Hosts {
			v, _ := c.engine.Seen(c.cfg.Fleet.Hosts[i].Name)
			v.Host = c.cfg.Fleet.Hosts[i].Name
			roll = append(roll, v)
		}
		return nil
	})
	return roll, err
}

// Incidents lets f read every incident, oldest first.
func (c *Coordinator) Incidents(ctx context.Context, f func(View)) error {
	return c.inbox.Call(ctx, func() error {
		return c.show(f, c.engine.Stories()...)
	})
}

// show lets f read stories.
func (c *Coordinator) show(f func(View), stories ...engine.Story) error {
	err := engine.Guard("view", func() {
		for _, p := range stories {
			f(View{State: p.State, Entries: p.Entries, Now: c.now()})
		}
	})
	c.logFault(err)
	return err
}

// find returns the incident named; the open or last one when the name is empty.
func (c *Coordinator) find(incident string) (engine.Story, bool) {
	stories := c.engine.Stories()
	for i := len(stories) - 1; i >= 0; i-- {
		if incident == "" || stories[i].State.ID == incident {
			return stories[i], true
		}
	}
	return engine.Story{}, false
}

func unknownIncident(id string) error {
	return &recovery.Error{Kind: recovery.KindNotFound, Message: "there is no incident " + id + ": blackstart incident list"}
}
