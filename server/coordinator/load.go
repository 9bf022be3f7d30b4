package coordinator

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

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
	c.resume = true
	for _, j := range c.state.Work(c.now()) {
		c.resumed[keyOf(j)] = true
	}
	c.compareFleets()
	return nil
}

// compareFleets says what in the fleet file the open incident does not know: it goes on with the fleet that it was declared with.
func (c *Coordinator) compareFleets() {
	own := map[string]bool{}
	var missing, changed, added []string
	for _, h := range c.state.Fleet.Hosts {
		own[h.Name] = true
		switch now, ok := c.fleet[h.Name]; {
		case !ok:
			missing = append(missing, h.Name)
		case !reflect.DeepEqual(now, h):
			changed = append(changed, h.Name)
		}
	}
	for _, h := range c.cfg.Fleet.Hosts {
		if !own[h.Name] {
			added = append(added, h.Name)
		}
	}
	if len(missing)+len(changed)+len(added) == 0 {
		return
	}
	c.cfg.Log.Warn("the fleet file is another than when the incident was declared; the incident goes on with its own, the next one will use the file's",
		"incident", c.state.ID, "not-in-file", few(missing), "changed", few(changed), "not-in-incident", few(added))
}

// few names the first of a list and counts the rest.
func few(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], " "), len(names)-shown)
}

// loadSightings brings back the last words of every host. Nobody is connected yet. Silences
// do not grow by the time in which no coordinator ran: see recovery.Restarted.
func (c *Coordinator) loadSightings() error {
	seen, err := c.cfg.Journal.Sightings()
	if err != nil {
		return err
	}
	if n := len(c.entries); n > 0 {
		c.alive = c.entries[n-1].At
	}
	for _, v := range seen {
		if v.At.After(c.alive) {
			c.alive = v.At
		}
	}
	for host, v := range seen {
		if v.Connected && v.Source == "agent" && v.At.Before(c.alive) {
			v.At = c.alive // it was connected for as long as there was somebody to connect to
		}
		v.Connected = false
		c.seen[host] = c.state.See(v)
	}
	return nil
}
