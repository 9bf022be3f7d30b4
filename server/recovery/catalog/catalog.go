// Package catalog is what is known of backups, incident or not: the restore points, what was checked when and by what, what to
// check next, whether every system has an adequate backup, and where damage came in. Like recovery it is pure: inputs are decided
// into recovery's events, which are folded into a Catalog, and a Catalog names the jobs that ought to run.
//
// Reading order: catalog.go (what is known), input.go, decide.go (what people and incidents ask), finished.go (how jobs end), agenda.go
// (what time asks), work.go (what may run now), apply.go (the fold); then reading.go (how parts of a repository add up), bisect.go,
// alert.go and audit.go, which only look.
package catalog

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Story is the name of the catalog's story in its journal, and the Job.Incident of its jobs.
const Story = "backups"

// Catalog is the fold of the story, on the fleet of today: data sets that are no longer in it keep what is known of them, and nothing is
// done on them.
type Catalog struct {
	Seq uint64 // of the last entry on disk

	fleet    recovery.Fleet
	points   *recovery.Points
	version  uint64 // of points, as the data sets show them
	sets     map[string]*set
	order    []*set // the tiers in their order, then by name: what is worked on first
	listings map[place]*listing
	readings map[string]*reading // by repository
	open     []*job              // in the order in which they were started
	orders   []*order            // checks to try again
	holds    map[holdKey]*hold
	counted  map[string]int // the last number of a job, by data set
	listedMS int64          // the last number of a listing: ids of listings go by the clock, because their starts are on no disk
}

// set is a data set of the fleet.
type set struct {
	*recovery.DataSet
	host     *recovery.Host         // nil: the fleet has none of its name
	policy   *recovery.BackupPolicy // nil: none is named
	tier     int
	tierAsks recovery.Level
	asks     recovery.Level          // by the policy, or else by the tier
	question string                  // digest of what L3 and L4 ask
	needs    recovery.Level          // to satisfy both
	view     []recovery.RestorePoint // of Points; nil after a change
	retry    retry                   // of checks that nobody ordered
	bisect   *bisect                 // nil: none is under way
}

// place is where points of a data set lie.
type place struct{ set, repository string }

// listing is how the listing of a place stands.
type listing struct {
	retry
	next time.Time // zero: at once
	open bool
}

// retry is how often something has failed in a row, and why.
type retry struct {
	fails int
	since time.Time
	until time.Time // not again before
	why   string
}

// failed counts one more failure.
func (r *retry) failed(at, until time.Time, why string) {
	if r.fails == 0 {
		r.since = at
	}
	r.fails++
	r.until, r.why = until, why
}

// bisect is a search for damage that is under way.
type bisect struct {
	retry
	level recovery.Level
	over  bool // it was given up
}

// order is a check that was ordered and is still owed: it could not be made and is tried again, or (older) its point was bad, and the
// next older one is to be checked instead.
type order struct {
	retry
	word  string
	point recovery.PointRef
	level recovery.Level
	older bool
}

type holdKey struct {
	incident string
	point    recovery.PointRef
}

// hold is a point that an incident wants kept, or wanted.
type hold struct {
	retry
	wanted bool
	tried  bool // a hold may stand in the repository
	placed bool // it does
	open   bool
}

// owed reports whether the repository has to be told.
func (h *hold) owed() bool { return h.wanted != h.placed || !h.wanted && h.tried }

// job is one that was started and has not ended.
type job struct {
	*recovery.BackupJobStarted
	at    time.Time
	tries int // earlier ones of the same order
}

// word is the first part of the job's id, which says why it was started.
func (j *job) word() string {
	word, _, _ := strings.Cut(j.Job, "/")
	return word
}

// The words. Check, newest, verify and bisect are of kind JobCheck.
const (
	wordList   = "list"
	wordHold   = "hold"
	wordCheck  = "check"  // the policy asks for it
	wordNewest = "newest" // somebody ordered it, of the newest point: when that is bad, the next older one follows
	wordVerify = "verify" // somebody ordered it, of this point
	wordBisect = "bisect" // a search for damage needs it
)

// New returns a catalog of the fleet's data sets before its first entry.
func New(f recovery.Fleet) *Catalog {
	c := &Catalog{fleet: f, points: recovery.NewPoints(), sets: map[string]*set{}, listings: map[place]*listing{}, readings: map[string]*reading{},
		holds: map[holdKey]*hold{}, counted: map[string]int{}}
	hosts, tiers := map[string]*recovery.Host{}, map[string]int{}
	for i := range f.Hosts {
		hosts[f.Hosts[i].Name] = &f.Hosts[i]
	}
	for i, t := range f.Tiers {
		tiers[t.Name] = i
	}
	policies := map[string]*recovery.BackupPolicy{}
	for i := range f.BackupPolicies {
		policies[f.BackupPolicies[i].Name] = &f.BackupPolicies[i]
	}
	for i := range f.Repositories {
		c.readings[f.Repositories[i].Name] = &reading{repository: &f.Repositories[i], quiet: quietOf(f.Repositories[i].Quiet)}
	}
	for i := range f.DataSets {
		s := &set{DataSet: &f.DataSets[i], host: hosts[f.DataSets[i].Host], policy: policies[f.DataSets[i].Policy], tier: len(f.Tiers)}
		s.question = s.Asked()
		if s.host != nil {
			if t, ok := tiers[s.host.Tier]; ok {
				s.tier = t
			}
			s.needs = f.Asks(s.host)
		}
		s.tierAsks, s.asks = s.needs, s.needs
		if s.policy != nil && s.policy.Level > recovery.L0 {
			s.asks, s.needs = s.policy.Level, max(s.policy.Level, s.needs)
		}
		c.sets[s.Name] = s
		c.order = append(c.order, s)
		for _, name := range s.repositories() {
			if c.readings[name] != nil {
				c.listings[place{s.Name, name}] = &listing{}
			}
		}
	}
	slices.SortFunc(c.order, func(a, b *set) int { return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.Name, b.Name)) })
	return c
}

// repositories names where the data set's points lie, its own repository first.
func (s *set) repositories() []string { return append([]string{s.Repository}, s.Copies...) }

// reach is how far the data set can be checked: nothing but a person gets further.
func (s *set) reach() recovery.Level {
	switch {
	case len(s.Invariants) > 0:
		return recovery.L4
	case s.Engine != "" || len(s.Check) > 0:
		return recovery.L3
	}
	return recovery.L2
}

// repository is one of the fleet's, or nil.
func (c *Catalog) repository(name string) *recovery.Repository {
	if r := c.readings[name]; r != nil {
		return r.repository
	}
	return nil
}

// Asks is how far the data set's policy, or else its tier, asks points to be verified.
func (c *Catalog) Asks(dataSet string) recovery.Level {
	if s := c.sets[dataSet]; s != nil {
		return s.asks
	}
	return recovery.L0
}

// Points lists what is known of a data set's points, the newest data first. What readings of a repository say of all its points is
// among their checks.
func (c *Catalog) Points(dataSet string) []recovery.RestorePoint {
	s := c.sets[dataSet]
	if s == nil {
		return c.points.Of(dataSet)
	}
	list := slices.Clone(c.viewOf(s))
	for i := range list {
		list[i].Checks = slices.Clone(list[i].Checks)
	}
	return list
}

// viewOf is Points for those who only look.
func (c *Catalog) viewOf(s *set) []recovery.RestorePoint {
	if s.view == nil {
		s.view = c.points.Of(s.Name)
		for i := range s.view {
			if r := c.readings[s.view[i].Repository]; r != nil {
				r.tell(&s.view[i])
			}
			s.forgetOld(&s.view[i])
		}
	}
	return s.view
}

// forgetOld leaves out checks that passed when something else was asked: whoever adds an invariant wants an answer to it. What failed stays
// in quarantine until a person releases it.
func (s *set) forgetOld(p *recovery.RestorePoint) {
	p.Checks = slices.DeleteFunc(p.Checks, func(c recovery.PointCheck) bool { return c.OK && c.Of != "" && c.Of != s.question })
}

// changed forgets what was made of a data set's points.
func (c *Catalog) changed(dataSet string) {
	if s := c.sets[dataSet]; s != nil {
		s.view = nil
		c.version++
	}
}

// Version is another number after whatever may have changed what Points tells.
func (c *Catalog) Version() uint64 { return c.version }

// newest is the data set's newest point that may be restored, or nil: in the repository (empty: in any, its own first among equals), and
// taken before a time (zero: at any).
func (c *Catalog) newest(s *set, repository string, before time.Time) *recovery.RestorePoint {
	var best *recovery.RestorePoint
	view := c.viewOf(s)
	for i := range view {
		p := &view[i]
		switch {
		case p.Gone || p.Quarantined() || c.readings[p.Repository] == nil || repository != "" && p.Repository != repository,
			!before.IsZero() && !p.TakenAt.Before(before):
		case best == nil:
			best = p
		case p.Latest().Before(best.Latest()):
			return best
		case p.Repository == s.Repository:
			return p
		}
	}
	return best
}

// HeldBy lists the incidents for which a point is to be kept from expiring.
func (c *Catalog) HeldBy(ref recovery.PointRef) []string {
	var list []string
	for key, h := range c.holds {
		if key.point == ref && h.wanted {
			list = append(list, key.incident)
		}
	}
	slices.Sort(list)
	return list
}

// sortedHolds lists the holds, the same way every time.
func (c *Catalog) sortedHolds() []holdKey {
	return slices.SortedFunc(maps.Keys(c.holds), func(a, b holdKey) int {
		return cmp.Or(cmp.Compare(a.incident, b.incident), cmp.Compare(a.point.DataSet, b.point.DataSet), cmp.Compare(a.point.Repository, b.point.Repository),
			cmp.Compare(a.point.ID, b.point.ID))
	})
}
