package recovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Points is what is known of restore points. It is a fold: of two words on the same thing the newer one counts, in whatever order they
// come, so an incident and the catalog of backups can tell each other.
type Points struct{ shelves map[string]*shelf } // by data set

// shelf holds the points of one data set.
type shelf struct {
	points     map[PointRef]*RestorePoint
	quarantine *Quarantine // of the whole data set, also of points that come later
	newest     []*RestorePoint
	forgot     time.Time // the moment that Forget was last called for
}

// NewPoints knows nothing yet.
func NewPoints() *Points { return &Points{shelves: map[string]*shelf{}} }

func (b *Points) shelf(dataSet string) *shelf {
	s := b.shelves[dataSet]
	if s == nil {
		s = &shelf{points: map[PointRef]*RestorePoint{}}
		b.shelves[dataSet] = s
	}
	return s
}

// look is the shelf of a data set, for reading.
func (b *Points) look(dataSet string) *shelf {
	if s := b.shelves[dataSet]; s != nil {
		return s
	}
	return &shelf{}
}

// Learn takes what is known of a point elsewhere. It reports whether that says anything new.
func (b *Points) Learn(p RestorePoint) bool {
	s := b.shelf(p.DataSet)
	old := s.points[p.PointRef]
	if old == nil {
		added := p
		added.Checks = slices.Clone(p.Checks)
		added.Quarantine = newerWord(p.Quarantine, s.quarantine)
		s.points[p.PointRef], s.newest = &added, nil
		return true
	}
	news := false
	if p.SeenAt.After(old.SeenAt) {
		news = old.Gone != p.Gone || !old.Until.Equal(p.Until) || p.Size != 0 && old.Size != p.Size || !old.TakenAt.Equal(p.TakenAt)
		old.SeenAt, old.Gone, old.Until, old.TakenAt = p.SeenAt, p.Gone, p.Until, p.TakenAt
		if p.Size != 0 {
			old.Size = p.Size
		}
		s.newest = nil
	}
	for _, c := range p.Checks {
		news = old.note(c) || news
	}
	if q := newerWord(old.Quarantine, p.Quarantine); q != old.Quarantine {
		old.Quarantine, news = q, true
	}
	return news
}

// newerWord is what two words on quarantine come to: the later one counts, but one that finds more suspect is only ended by being lifted.
// Where that is a itself, a is returned.
func newerWord(a, b *Quarantine) *Quarantine {
	switch {
	case a == nil || b == nil:
		if a == nil {
			return b
		}
		return a
	case a.active() && b.active():
		if !b.From.Before(a.From) && !b.At.After(a.At) {
			return a
		}
		both := *a
		if b.From.Before(a.From) {
			both = *b
		}
		if both.At.Before(a.At) {
			both.At = a.At
		}
		if both.At.Before(b.At) {
			both.At = b.At
		}
		return &both
	case b.At.After(a.At) || b.At.Equal(a.At) && b.active():
		return b
	}
	return a
}

// note keeps the newest check of each level. It reports whether this one is news.
func (p *RestorePoint) note(c PointCheck) bool {
	for i := range p.Checks {
		if p.Checks[i].Level == c.Level {
			old := p.Checks[i]
			if c.At.Before(old.At) || c.At.Equal(old.At) && (c.OK || !old.OK) { // at one moment, the failure counts
				return false
			}
			p.Checks[i] = c
			return true
		}
	}
	p.Checks = append(p.Checks, c)
	slices.SortFunc(p.Checks, func(x, y PointCheck) int { return cmp.Compare(x.Level, y.Level) })
	return true
}

// Check takes the end of a check. A failed one puts the point into quarantine. Checks of unknown points say nothing.
func (b *Points) Check(ref PointRef, c PointCheck) {
	p := b.look(ref.DataSet).points[ref]
	if p == nil || !p.note(c) || c.OK {
		return
	}
	q := &Quarantine{From: p.TakenAt, At: c.At, By: "engine", Reason: fmt.Sprintf("it failed at %s (%s)%s", c.Level, c.By, note(c.Detail))}
	p.Quarantine = newerWord(p.Quarantine, q)
}

// Quarantine takes a word on one point, or (nil) on a data set with all its points, those that come later too.
func (b *Points) Quarantine(dataSet string, ref *PointRef, q Quarantine) {
	s := b.shelf(dataSet)
	if ref != nil {
		if p := s.points[*ref]; p != nil {
			p.Quarantine = newerWord(p.Quarantine, &q)
		}
		return
	}
	s.quarantine = newerWord(s.quarantine, &q)
	for _, p := range s.points {
		if q.Lifted || !q.From.After(p.Latest()) {
			p.Quarantine = newerWord(p.Quarantine, &q)
		}
	}
}

// Forget drops the points of a data set that their repository has not had since before a moment, with all that is known of them. It looks
// once for each day of such moments.
func (b *Points) Forget(dataSet string, before time.Time) {
	s := b.look(dataSet)
	if before.Sub(s.forgot) < 24*time.Hour {
		return
	}
	s.forgot = before
	for ref, p := range s.points {
		if p.Gone && p.SeenAt.Before(before) {
			delete(s.points, ref)
			s.newest = nil
		}
	}
}

// QuarantineOf is the newest word on a whole data set, or nil.
func (b *Points) QuarantineOf(dataSet string) *Quarantine { return b.look(dataSet).quarantine }

// Of lists the points of a data set, the newest data first. They are copies.
func (b *Points) Of(dataSet string) []RestorePoint {
	sorted := b.look(dataSet).sorted()
	list := make([]RestorePoint, len(sorted))
	for i, p := range sorted {
		list[i] = *p
		list[i].Checks = slices.Clone(p.Checks)
	}
	return list
}

func (s *shelf) sorted() []*RestorePoint {
	if s.newest == nil {
		s.newest = make([]*RestorePoint, 0, len(s.points))
		for _, p := range s.points {
			s.newest = append(s.newest, p)
		}
		slices.SortFunc(s.newest, func(x, y *RestorePoint) int {
			return cmp.Or(y.Latest().Compare(x.Latest()), y.TakenAt.Compare(x.TakenAt), strings.Compare(x.Repository, y.Repository), strings.Compare(x.ID, y.ID))
		})
	}
	return s.newest
}

// Find returns a copy of what is known of a point.
func (b *Points) Find(ref PointRef) (RestorePoint, bool) {
	p := b.look(ref.DataSet).points[ref]
	if p == nil {
		return RestorePoint{}, false
	}
	found := *p
	found.Checks = slices.Clone(p.Checks)
	return found, true
}

// Choice is a point to go back to.
type Choice struct {
	Point  RestorePoint
	Moment time.Time // whose data it will hold
}

// Best is the last known good: the newest data from before the cutoff (zero: no cutoff) that is verified as far as need asks, is not
// quarantined and that its repository still has. Among equals the data set's own repository goes before its copies. Without one
// it says why, in a phrase.
func (b *Points) Best(set *DataSet, need Level, cutoff time.Time) (best Choice, why string) {
	var none excuses
	found := false
	for _, p := range b.look(set.Name).sorted() {
		if found && p.Latest().Before(best.Moment) {
			break // the others hold older data
		}
		moment, ok := p.usable(need, cutoff, &none)
		if ok && (!found || moment.After(best.Moment) || moment.Equal(best.Moment) && set.rank(p.Repository) < set.rank(best.Point.Repository)) {
			best, found = Choice{*p, moment}, true
		}
	}
	if found {
		best.Point.Checks = slices.Clone(best.Point.Checks)
		return best, ""
	}
	return Choice{}, none.text(need, cutoff)
}

// rank orders a data set's repositories: its own first.
func (d *DataSet) rank(repository string) int {
	if repository == d.Repository {
		return -1
	}
	if i := slices.Index(d.Copies, repository); i >= 0 {
		return i
	}
	return len(d.Copies)
}

// excuses counts why points may not be used.
type excuses struct {
	all, gone, quarantined, late, below int
	level                               Level // the highest of those that are verified too little
	reason                              string
}

// usable is the newest moment of the point that may be restored.
func (p *RestorePoint) usable(need Level, cutoff time.Time, no *excuses) (time.Time, bool) {
	no.all++
	moment := p.Latest()
	if q := p.Quarantine; q.active() && !q.From.After(moment) {
		moment = q.From.Add(-time.Second)
	}
	switch {
	case p.Gone:
		no.gone++
	case !cutoff.IsZero() && !p.TakenAt.Before(cutoff):
		no.late++
	case moment.Before(p.TakenAt):
		no.quarantined++
		no.reason = firstOf(no.reason, p.Quarantine.Reason)
	case p.Level() < need:
		no.below++
		no.level = max(no.level, p.Level())
	default:
		if !cutoff.IsZero() && !moment.Before(cutoff) {
			moment = cutoff.Add(-time.Second)
		}
		return moment, !moment.Before(p.TakenAt)
	}
	return time.Time{}, false
}

func (e *excuses) text(need Level, cutoff time.Time) string {
	if e.all == 0 {
		return "no restore point is known"
	}
	var parts []string
	add := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d ", n)+fmt.Sprintf(format, args...))
		}
	}
	add(e.below, "verified no further than %s where %s is asked", e.level, need)
	add(e.quarantined, "quarantined%s", note(e.reason))
	add(e.late, "not older than the cutoff %s", cutoff.UTC().Format("2006-01-02 15:04"))
	add(e.gone, "no longer in the repository")
	return fmt.Sprintf("none of %s may be used: %s", plural(e.all, "restore point"), strings.Join(parts, ", "))
}
