package catalog

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Lasting reports whether an event belongs on disk. Listings are asked for by the thousand and say the same every time: the start of one never
// does, because asking twice does no harm, and its end only when it says something new of the listing itself (what it says of points
// is in PointsLearnt). All others are applied and forgotten with the process, which lists everything when it starts.
func (c *Catalog) Lasting(e recovery.Event) bool {
	switch v := e.(type) {
	case *recovery.BackupJobStarted:
		return v.Does != recovery.JobList
	case *recovery.BackupJobEnded:
		l := c.listingOf(v)
		return l == nil || l.why != trouble(v)
	}
	return true
}

// listingOf is the listing that a job was about, or nil.
func (c *Catalog) listingOf(v *recovery.BackupJobEnded) *listing {
	if !strings.HasPrefix(v.Job, wordList+"/") || len(v.Result.Sets) != 1 {
		return nil
	}
	return c.listings[place{v.Result.Sets[0].DataSet, v.Result.Sets[0].Repository}]
}

// trouble is why a listing failed; empty: it did not.
func trouble(v *recovery.BackupJobEnded) string {
	if v.Result.Class == recovery.Succeeded {
		return ""
	}
	return v.Reason
}

// Apply folds one entry into the catalog. It is total and decides nothing: an entry about something unknown changes nothing. Entries that are not
// Lasting come without a number.
func (c *Catalog) Apply(e recovery.Entry) {
	c.Seq, e.At = max(c.Seq, e.Seq), e.At.UTC().Round(0) // as it comes back from the journal
	switch v := e.Event.(type) {
	case *recovery.PointsLearnt:
		for _, p := range v.Points {
			c.points.Learn(p)
			c.changed(p.DataSet)
		}
		c.forgetGone(v, e.At)
	case *recovery.PointChecked:
		c.points.Check(v.Point, v.Check)
		c.changed(v.Point.DataSet)
		if !v.Check.OK && v.Check.Level == recovery.L1 {
			c.read(v.Point.Repository, func(r *reading) { r.failed(v.Check) })
		}
	case *recovery.PointsQuarantined:
		c.points.Quarantine(v.DataSet, v.Point, recovery.Quarantine{From: v.From, At: e.At, By: v.By, Reason: v.Reason})
		c.changed(v.DataSet)
	case *recovery.PointsReleased:
		c.points.Quarantine(v.DataSet, v.Point, recovery.Quarantine{At: e.At, By: v.By, Reason: v.Reason, Lifted: true})
		c.changed(v.DataSet)
	case *recovery.PointsHeld:
		for _, ref := range v.Points {
			h := c.hold(holdKey{v.Incident, ref})
			h.wanted, h.retry = !v.Release, retry{}
			c.forget(holdKey{v.Incident, ref})
		}
	case *recovery.HoldPlaced:
		h := c.hold(holdKey{v.Incident, v.Point})
		h.placed, h.tried, h.retry = !v.Release, !v.Release, retry{}
		c.forget(holdKey{v.Incident, v.Point})
	case *recovery.BackupJobStarted:
		c.started(v, e.At)
	case *recovery.BackupJobEnded:
		c.ended(v, e.At)
	}
}

// Afresh lets everything that was put off after a failure go at once: whoever starts the program again has perhaps mended what was amiss. It
// is no fact, and stands in no journal.
func (c *Catalog) Afresh() {
	for _, l := range c.listings {
		l.next, l.until = time.Time{}, time.Time{}
	}
	for _, s := range c.order {
		if s.retry.until = (time.Time{}); s.bisect != nil {
			s.bisect.until = time.Time{}
		}
	}
	for _, o := range c.orders {
		o.until = time.Time{}
	}
	for _, h := range c.holds {
		h.until = time.Time{}
	}
}

// keepGone is how long what is known of a point outlasts it: a search for damage goes by checks of points that have expired.
const keepGone = 90 * 24 * time.Hour

// forgetGone drops old points that expired long ago, in the data sets that have just been listed, and holds on them that nobody wants. What a
// catalog knows would else grow for as long as backups are taken.
func (c *Catalog) forgetGone(v *recovery.PointsLearnt, at time.Time) {
	sets := map[string]bool{}
	for _, p := range v.Points {
		if !sets[p.DataSet] {
			sets[p.DataSet] = true
			c.points.Forget(p.DataSet, at.Add(-keepGone))
		}
	}
	for key, h := range c.holds {
		if sets[key.point.DataSet] && !h.wanted && !h.open {
			if _, known := c.points.Find(key.point); !known {
				delete(c.holds, key)
			}
		}
	}
}

func (c *Catalog) hold(key holdKey) *hold {
	if c.holds[key] == nil {
		c.holds[key] = &hold{}
	}
	return c.holds[key]
}

// forget drops a hold that nobody wants and that is not in the repository.
func (c *Catalog) forget(key holdKey) {
	if h := c.holds[key]; !h.wanted && !h.owed() && !h.open {
		delete(c.holds, key)
	}
}

// read changes what was read of a repository, where checks at L1 are about all of it.
func (c *Catalog) read(repository string, f func(r *reading)) {
	r := c.readings[repository]
	if r == nil || !r.together() {
		return
	}
	f(r)
	for _, s := range c.order {
		if slices.Contains(s.repositories(), repository) {
			c.changed(s.Name)
		}
	}
}

func (c *Catalog) started(v *recovery.BackupJobStarted, at time.Time) {
	j := &job{BackupJobStarted: v, at: at}
	number, _ := strconv.ParseInt(v.Job[strings.LastIndexByte(v.Job, '/')+1:], 10, 64)
	if v.Does == recovery.JobList {
		c.listedMS = max(c.listedMS, number)
		if l := c.listings[place{v.Point.DataSet, v.Point.Repository}]; l != nil {
			l.open = true
		}
	} else {
		c.counted[v.Point.DataSet] = max(c.counted[v.Point.DataSet], int(number))
	}
	switch j.word() {
	case wordHold:
		h := c.hold(holdKey{v.Hold, v.Point})
		h.open, h.tried = true, true
	case wordNewest, wordVerify:
		c.orders = slices.DeleteFunc(c.orders, func(o *order) bool {
			same := o.word == j.word() && o.level == v.Level && (o.point == v.Point || o.older && o.point.DataSet == v.Point.DataSet)
			if same {
				j.tries = o.fails
			}
			return same
		})
	case wordBisect:
		if s := c.sets[v.Point.DataSet]; s != nil && (s.bisect == nil || s.bisect.over || s.bisect.level != v.Level) {
			s.bisect = &bisect{level: v.Level}
		}
	}
	if v.Parts > 1 {
		c.read(v.Point.Repository, func(r *reading) { r.last = at })
	}
	c.open = append(c.open, j)
}

func (c *Catalog) ended(v *recovery.BackupJobEnded, at time.Time) {
	if l := c.listingOf(v); l != nil {
		if l.open, l.next = false, v.Until; trouble(v) == "" {
			l.retry = retry{}
		} else {
			l.failed(at, v.Until, v.Reason)
		}
	}
	i := slices.IndexFunc(c.open, func(j *job) bool { return j.Job == v.Job })
	if i < 0 {
		return
	}
	j := c.open[i]
	c.open = slices.Delete(c.open, i, i+1)
	if j.Does == recovery.JobCheck && j.Level == recovery.L1 && v.Result.Class == recovery.Succeeded {
		c.read(j.Point.Repository, func(r *reading) { r.passed(j.Part, j.Parts, j.at) })
	}
	known := v.Result.Class == recovery.Succeeded || v.Until.IsZero() // else it is tried again
	s := c.sets[j.Point.DataSet]
	switch word := j.word(); {
	case word == wordHold:
		h := c.hold(holdKey{j.Hold, j.Point})
		h.open = false
		if !known {
			h.failed(at, v.Until, v.Reason)
		}
		c.forget(holdKey{j.Hold, j.Point})
	case (word == wordNewest || word == wordVerify) && !known:
		o := &order{retry: retry{fails: j.tries}, word: word, point: j.Point, level: j.Level}
		o.failed(at, v.Until, v.Reason)
		c.orders = append(c.orders, o)
	case word == wordNewest && c.seeks(j):
		c.orders = append(c.orders, &order{word: word, point: j.Point, level: j.Level, older: true})
	case word == wordBisect && s != nil && s.bisect != nil:
		c.searched(s, j, known, at, v)
	case word == wordCheck && s != nil:
		if known {
			s.retry = retry{}
		} else {
			s.retry.failed(at, v.Until, v.Reason)
		}
	}
}

// seeks reports whether the order of a job that has ended asks for an older point: its own turned out bad, and the next is not known to be good.
// Where the repository as a whole is at fault, no older point is any better.
func (c *Catalog) seeks(j *job) bool {
	p, _ := c.points.Find(j.Point)
	r, next := c.readings[j.Point.Repository], c.older(j.Point)
	return p.Quarantined() && next != nil && next.Level() < j.Level && r != nil && (j.Level > recovery.L1 || !r.together())
}

// searched goes on with a search for damage, or ends it: it has found what it sought, or cannot go on.
func (c *Catalog) searched(s *set, j *job, known bool, at time.Time, v *recovery.BackupJobEnded) {
	if !known {
		s.bisect.failed(at, v.Until, v.Reason)
		return
	}
	b := c.bisection(s.Name, s.bisect.level)
	switch {
	case b.Done:
		s.bisect = nil
	case b.Next.PointRef == j.Point:
		s.bisect.over, s.bisect.why = true, v.Reason
	default:
		s.bisect.retry = retry{}
	}
}
