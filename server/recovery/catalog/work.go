package catalog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// A job takes a place in each of its lanes. It runs when every earlier job that wants a place there has one too or has ended, so
// a job that ought to run once ought to run until it ends: no later one can overtake it.
type lanes map[string]int

// Places in a lane.
const (
	checksAtOnce   = 1 // of a repository, and of a runner
	listingsAtOnce = 8 // of a repository; a runner makes one
	holdsAtOnce    = 8 // of a repository; a runner makes one
)

type lane struct {
	name   string
	places int
}

func (l lanes) free(wanted []lane) bool {
	for _, w := range wanted {
		if l[w.name] >= w.places {
			return false
		}
	}
	return true
}

func (l lanes) take(wanted []lane) {
	for _, w := range wanted {
		l[w.name]++
	}
}

func (c *Catalog) lanesOf(e *recovery.BackupJobStarted) []lane {
	places := checksAtOnce
	switch e.Does {
	case recovery.JobList:
		places = listingsAtOnce
	case recovery.JobHold:
		places = holdsAtOnce
	default:
	}
	return []lane{{string(e.Does) + " by " + e.Runner, 1}, {string(e.Does) + " in " + e.Point.Repository, places}}
}

// lanes are those that open jobs take or wait for.
func (c *Catalog) lanes() lanes {
	taken := lanes{}
	for _, j := range c.open {
		if c.possible(j) {
			taken.take(c.lanesOf(j.BackupJobStarted))
		}
	}
	return taken
}

// possible reports whether a job is about something that the fleet still has. One that is not stays open and waits for its return.
func (c *Catalog) possible(j *job) bool {
	return c.sets[j.Point.DataSet] != nil && c.repository(j.Point.Repository) != nil
}

// Work lists the jobs that ought to run now: those that were started, have not ended, and whose turn it is. It is stable: a job stays in
// it until it has ended.
func (c *Catalog) Work(time.Time) []recovery.Job {
	var list []recovery.Job
	taken := lanes{}
	for _, j := range c.open {
		if !c.possible(j) {
			continue
		}
		wanted := c.lanesOf(j.BackupJobStarted)
		if taken.free(wanted) {
			list = append(list, c.jobOf(j))
		}
		taken.take(wanted)
	}
	return list
}

func (c *Catalog) jobOf(j *job) recovery.Job {
	s, r := c.sets[j.Point.DataSet], c.repository(j.Point.Repository)
	work := recovery.SetWork{Set: *s.DataSet, Repository: *r, Level: j.Level, Part: j.Part, Parts: j.Parts, Hold: j.Hold, Release: j.Release}
	if j.Does == recovery.JobCheck {
		work.Rate = r.CheckRate
	}
	if j.Does != recovery.JobList {
		work.Point.PointRef = j.Point
		if p, ok := c.points.Find(j.Point); ok {
			work.Point = p
		}
	}
	job := recovery.Job{ID: j.Job, Incident: Story, Kind: j.Does, Timeout: j.Timeout, Runner: j.Runner, Sets: []recovery.SetWork{work}}
	if s.host != nil {
		job.Host = *s.host
	}
	return job
}

// Pending is work that was ordered or is under way.
type Pending struct {
	Job        string
	Kind       recovery.JobKind
	DataSet    string
	Repository string
	Point      string // its id; empty for a listing
	Level      recovery.Level
	Part       int // of Parts of the repository
	Parts      int
	Runner     string
	Since      time.Time
	Why        string // why it was started
	Waits      string // why it does not run; empty while it does
}

// Pending lists the work that is under way or waits, in the order in which it was started, and then what is tried again later.
func (c *Catalog) Pending(now time.Time) []Pending {
	var list []Pending
	taken, holder := lanes{}, map[string]string{}
	for _, j := range c.open {
		p := pending(j.BackupJobStarted, j.at)
		if !c.possible(j) {
			p.Waits = fmt.Sprintf("the fleet file has no data set %s or no repository %s any more", j.Point.DataSet, j.Point.Repository)
			list = append(list, p)
			continue
		}
		wanted := c.lanesOf(j.BackupJobStarted)
		for _, w := range wanted {
			if taken[w.name] >= w.places && p.Waits == "" {
				p.Waits = fmt.Sprintf("%s goes first: one %s after the other", holder[w.name], w.name)
			}
			holder[w.name] = j.Job
		}
		taken.take(wanted)
		list = append(list, p)
	}
	for _, d := range c.agenda(now.UTC().Round(0)) {
		l := c.listings[place{d.start.Point.DataSet, d.start.Point.Repository}]
		failed := d.word == wordList && l != nil && l.fails > 0
		if d.word != wordList && d.word != wordCheck || failed {
			p := pending(&d.start, time.Time{})
			p.Why, p.Waits = d.why(), "it is tried again at "+d.at.UTC().Format(time.DateTime)
			if failed {
				p.Why = l.why
			}
			if !d.at.After(now) {
				p.Waits = "it starts now, or when there is room"
			}
			list = append(list, p)
		}
	}
	return list
}

// A host waits for a check that could not be made as long as it has failed no more often, and is tried again so soon.
const (
	fewFails   = 2
	soonEnough = 5 * time.Minute
)

// BeingVerified names the data sets, sorted, that a check is on its way for which may find a point to restore: one as far as the tier asks, which runs,
// waits for its turn, follows on a bad newer point, or is soon tried again after no more than a few failures.
func (c *Catalog) BeingVerified(now time.Time) []string {
	found := map[string]bool{}
	check := func(ref recovery.PointRef, level recovery.Level) {
		r := c.readings[ref.Repository]
		if level == recovery.L1 && r != nil && r.together() {
			for _, s := range c.order { // one check reads the repository for all of them
				if s.tierAsks <= recovery.L1 && slices.Contains(s.repositories(), ref.Repository) {
					found[s.Name] = true
				}
			}
			return
		}
		if s := c.sets[ref.DataSet]; s != nil && r != nil && s.tierAsks <= level {
			found[s.Name] = true
		}
	}
	for _, j := range c.open {
		if j.Does == recovery.JobCheck && j.Parts < 2 {
			check(j.Point, j.Level)
		}
	}
	for _, o := range c.orders {
		if o.fails <= fewFails && !o.until.After(now.Add(soonEnough)) {
			check(o.point, o.level)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func pending(e *recovery.BackupJobStarted, since time.Time) Pending {
	return Pending{Job: e.Job, Kind: e.Does, DataSet: e.Point.DataSet, Repository: e.Point.Repository, Point: e.Point.ID, Level: e.Level,
		Part: e.Part, Parts: e.Parts, Runner: e.Runner, Since: since, Why: e.Reason}
}
