package catalog

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Bisection is how far the search for damage in a data set has come.
type Bisection struct {
	DataSet string
	Level   recovery.Level
	Points  []recovery.RestorePoint // that are searched, oldest data first
	Good    *recovery.RestorePoint  // the newest that passed before the oldest that failed; nil: none
	Bad     *recovery.RestorePoint  // the oldest that failed; nil: none
	Next    *recovery.RestorePoint  // the point to check next; nil when Done
	Checked int                     // points with a result
	AtMost  int                     // checks that are still to be made, at most
	Done    bool
	Verdict string // one sentence
}

// finding is what checks say of a point: it is good at a level, bad, or nobody knows.
type finding int

const (
	unknown finding = iota
	good
	bad
)

// findingOf is what the checks of the point itself say. Good is to have passed at the level or above; bad is to have failed at any
// level without having passed as high later.
func findingOf(p *recovery.RestorePoint, level recovery.Level) finding {
	for _, f := range p.Checks {
		if !f.OK && !slices.ContainsFunc(p.Checks, func(c recovery.PointCheck) bool { return c.OK && c.Level >= f.Level && c.At.After(f.At) }) {
			return bad
		}
	}
	if p.Level() >= level {
		return good
	}
	return unknown
}

// Bisection tells between which two points the damage came in, as far as checks at the level tell by now. It takes damage to stay
// once it is there, and halves what lies between the newest good point and the oldest bad one; where results contradict that, it says
// so. Points that the repository has no more count when they were checked before. A level that no check of single points has is
// brought to the nearest that they have.
func (c *Catalog) Bisection(dataSet string, level recovery.Level, _ time.Time) Bisection {
	s := c.sets[dataSet]
	if s != nil {
		level = s.searchable(level)
	}
	b := c.bisection(dataSet, level)
	if !b.Done && s != nil && s.bisect != nil && s.bisect.over && s.bisect.level == level {
		b.Verdict = fmt.Sprintf("the search was given up, because the point from %s could not be checked: %s", moment(b.Next), s.bisect.why)
		b.Done, b.Next = true, nil
	}
	return b
}

// searchable is the nearest level at which single points can be checked.
func (s *set) searchable(level recovery.Level) recovery.Level {
	return min(max(level, recovery.L2), s.reach())
}

// bisection is what the results at hand say, whatever became of the search.
func (c *Catalog) bisection(dataSet string, level recovery.Level) Bisection {
	b := Bisection{DataSet: dataSet, Level: level}
	b.Points = c.candidates(dataSet, level)
	lo, hi := -1, len(b.Points) // the newest known good before the oldest known bad
	var turns []string
	last := unknown
	for i := range b.Points {
		f := findingOf(&b.Points[i], level)
		switch {
		case f == unknown:
			continue
		case f == bad && hi == len(b.Points):
			hi = i
		case f == good && hi == len(b.Points):
			lo = i
		}
		if f == bad && last != bad {
			turns = append(turns, turn(b.Points, i, level))
		}
		last = f
		b.Checked++
	}
	if lo >= 0 {
		b.Good = &b.Points[lo]
	}
	if hi < len(b.Points) {
		b.Bad = &b.Points[hi]
	}
	b.AtMost = bits.Len(uint(hi - lo - 1))
	if b.AtMost > 0 {
		b.Next = &b.Points[(lo+hi)/2]
	}
	b.Done = b.Next == nil
	b.Verdict = b.verdict(turns, last == good)
	return b
}

// candidates are the points of a data set that are there or have a result, oldest data first; of copies of one point that which says most.
func (c *Catalog) candidates(dataSet string, level recovery.Level) []recovery.RestorePoint {
	var list []recovery.RestorePoint
	for _, p := range c.Points(dataSet) {
		found := findingOf(&p, level)
		if found == unknown && (p.Gone || c.readings[p.Repository] == nil) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].TakenAt.Equal(p.TakenAt) && list[n-1].Latest().Equal(p.Latest()) {
			own := p.Repository == c.repositoryOf(dataSet) && findingOf(&list[n-1], level) == unknown
			if found == bad || found == good && findingOf(&list[n-1], level) == unknown || own {
				list[n-1] = p
			}
			continue
		}
		list = append(list, p)
	}
	slices.Reverse(list)
	return list
}

// repositoryOf is the data set's own repository.
func (c *Catalog) repositoryOf(dataSet string) string {
	if s := c.sets[dataSet]; s != nil {
		return s.Repository
	}
	return ""
}

// turn tells where known results turn to bad: at point i.
func turn(points []recovery.RestorePoint, i int, level recovery.Level) string {
	for k := i - 1; k >= 0; k-- {
		if findingOf(&points[k], level) == good {
			return fmt.Sprintf("between %s and %s", moment(&points[k]), moment(&points[i]))
		}
	}
	return "before " + moment(&points[i])
}

// moment names a point by the time of its data.
func moment(p *recovery.RestorePoint) string { return p.Latest().UTC().Format("2006-01-02 15:04") }

// verdict says in one sentence what is known. turns are where results turn to bad, sound says that the newest known result is good.
func (b *Bisection) verdict(turns []string, sound bool) string {
	many := plural(len(b.Points), "point")
	switch contrary := len(turns) > 1 || len(turns) == 1 && sound; {
	case len(b.Points) == 0:
		return "no restore point is kept: nothing can be searched"
	case !b.Done:
		return fmt.Sprintf("not known yet: %d of %s are checked, and at most %d more must be", b.Checked, many, b.AtMost)
	case contrary:
		text := "the results contradict each other: data turns bad " + strings.Join(turns, ", and again ")
		if sound {
			text += ", and newer points are good"
		}
		return text + "; look whether it was repaired in between, and verify every point (--all)"
	case b.Bad == nil:
		return fmt.Sprintf("no damage shows at %s: the newest point, from %s, is good", b.Level, moment(&b.Points[len(b.Points)-1]))
	case b.Good == nil:
		return fmt.Sprintf("the damage is older than the oldest point kept: that from %s is bad already, and so are all after it", moment(b.Bad))
	}
	return fmt.Sprintf("the damage came in between %s (good) and %s (bad)", moment(b.Good), moment(b.Bad))
}

// startBisect orders the first check of a search for damage. The others follow as it goes; a search that results at hand answer needs none.
func (c *Catalog) startBisect(v Bisect) ([]recovery.Event, error) {
	s, err := c.find(v.DataSet)
	if err != nil {
		return nil, err
	}
	level := s.searchable(s.asks)
	if v.Level != nil {
		level = *v.Level
	}
	switch {
	case level < recovery.L2 || level > recovery.L4:
		return nil, invalid("damage is searched by checks of single points, at L2 to L4, not at %s", level)
	case level > s.reach():
		return nil, refused("nothing can check data set %s at %s: %s; the fleet file may name it, or search at %s", s.Name, level, s.lacks(level), s.reach())
	case s.bisect != nil && !s.bisect.over && s.bisect.level == level:
		return nil, nil // it is under way
	case s.bisect != nil && !s.bisect.over:
		return nil, refused("data set %s is being searched at %s: wait for that", s.Name, s.bisect.level)
	}
	b := c.bisection(s.Name, level)
	switch {
	case len(b.Points) == 0:
		return nil, refused("data set %s has no restore point to search: `blackstart backups scan` lists its repositories now", s.Name)
	case b.Next == nil:
		return nil, nil
	}
	start := checkOf(s, b.Next.PointRef, level)
	start.Job, start.Reason = c.numbers().id(wordBisect, s.Name), fmt.Sprintf("a search for damage begins: %s at most", plural(b.AtMost, "check"))
	return []recovery.Event{&start}, nil
}
