package coordinator

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// load folds every incident of the journal; the last one is the current one.
func (c *Coordinator) load() error {
	ids, err := c.cfg.Journal.Incidents()
	if err != nil {
		return err
	}
	var stories []engine.Story
	for _, id := range ids {
		story := engine.NewStory()
		if err := c.cfg.Journal.Read(id, story.Add); err != nil {
			return err
		}
		stories = append(stories, story)
	}
	seen, err := c.cfg.Journal.Sightings()
	if err != nil {
		return err
	}
	c.engine = engine.New(func(incident string, expectedSeq uint64, entries []recovery.Entry) error {
		return c.write(incident, expectedSeq, entries)
	}, stories, seen)
	c.keeper.NotBefore(c.engine.Alive())
	c.look()
	if !c.engine.Open() {
		return nil
	}
	s := c.engine.State()
	if _, ok := c.cfg.Playbooks.ByDigest(s.Playbook.Digest); !ok {
		return fmt.Errorf("incident %s runs playbook %s with digest %s, which is not among the playbooks given: start with the folder that holds that version", s.ID, s.Playbook.Name, s.Playbook.Digest)
	}
	c.missingVersions()
	c.compareFleets()
	return nil
}

// missingVersions says which attempts under way began with an older version of the playbook that is not known any more. They cannot be
// joined; the proof will tell what came of them.
func (c *Coordinator) missingVersions() {
	var hosts []string
	for _, h := range c.engine.State().Hosts() {
		if n := len(h.Attempts); h.Phase == recovery.Attempting && n > 0 {
			if _, ok := c.cfg.Playbooks.ByDigest(h.Attempts[n-1].Playbook); !ok {
				hosts = append(hosts, h.Host.Name)
			}
		}
	}
	if len(hosts) > 0 {
		c.cfg.Log.Warn("attempts under way began with an older version of the playbook, of which no copy is left: they are not joined, their hosts' proof will tell", "hosts", few(hosts))
	}
}

// compareFleets says what in the fleet file the open incident does not know: it goes on with the fleet that it was declared with.
func (c *Coordinator) compareFleets() {
	own := map[string]bool{}
	var missing, changed, added []string
	for _, h := range c.engine.State().Fleet.Hosts {
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
		"incident", c.engine.State().ID, "not-in-file", few(missing), "changed", few(changed), "not-in-incident", few(added))
}

// few names the first of a list and counts the rest.
func few(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], " "), len(names)-shown)
}
