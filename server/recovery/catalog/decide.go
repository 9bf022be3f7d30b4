package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxText = 300    // characters of what others say
	maxOpen = 10_000 // jobs that may wait
)

func invalid(format string, args ...any) error {
	return &recovery.Error{Kind: recovery.KindInvalid, Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &recovery.Error{Kind: recovery.KindNotFound, Message: fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &recovery.Error{Kind: recovery.KindRefused, Message: fmt.Sprintf(format, args...)}
}

// Decide judges an input against the catalog at the time now and returns the facts that follow, each with its reason. It only
// reads. A Tick is decided in steps: apply its events and decide it again until none come back. An error is a *recovery.Error: the
// input was not accepted and nothing follows.
func Decide(c *Catalog, in Input, now time.Time) ([]recovery.Event, error) {
	now = now.UTC().Round(0) // as it comes back from the journal
	switch v := in.(type) {
	case Scan:
		return c.scan(v, now)
	case Verify:
		return c.verify(v)
	case Judge:
		return c.judge(v, now)
	case Finished:
		return c.finished(v, now), nil
	case Held:
		return c.held(v), nil
	case Learnt:
		return c.learnt(v), nil
	case Bisect:
		return c.startBisect(v)
	case Tick:
		return c.tick(now), nil
	}
	return nil, invalid("unknown input %T", in)
}

// find returns a data set of the fleet by its name.
func (c *Catalog) find(name string) (*set, error) {
	if s := c.sets[name]; s != nil {
		return s, nil
	}
	return nil, notFound("fleet %s has no data set %q: `blackstart backups list` shows them all", c.fleet.Name, recovery.Clean(name, maxText))
}

// chosen are the data sets of these names, each once; all when none is named.
func (c *Catalog) chosen(names []string) ([]*set, error) {
	if len(names) == 0 {
		if len(c.order) == 0 {
			return nil, notFound("fleet %s has no data sets: name them in the fleet file", c.fleet.Name)
		}
		return c.order, nil
	}
	var list []*set
	for _, name := range names {
		s, err := c.find(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *set) int { return slices.Index(c.order, a) - slices.Index(c.order, b) })
	return list, nil
}

// point finds one of the data set's points by its id, an unmistakable beginning of it, or REPOSITORY/ID.
func (c *Catalog) point(s *set, id string) (recovery.RestorePoint, error) {
	var found []recovery.RestorePoint
	for _, p := range c.viewOf(s) {
		switch full := p.Repository + "/" + p.ID; {
		case p.ID == id || full == id:
			return p, nil
		case strings.HasPrefix(p.ID, id), strings.HasPrefix(full, id):
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return recovery.RestorePoint{}, notFound("data set %s has no restore point %q: `blackstart backups list` shows them", s.Name, recovery.Clean(id, maxText))
	case 1:
		return found[0], nil
	}
	return recovery.RestorePoint{}, invalid("%d restore points of data set %s begin with %q: give more of the id",
		len(found), s.Name, recovery.Clean(id, maxText))
}

// scan lists now what is not being listed already.
func (c *Catalog) scan(v Scan, now time.Time) ([]recovery.Event, error) {
	sets, err := c.chosen(v.DataSets)
	if err != nil {
		return nil, err
	}
	var events []recovery.Event
	for _, s := range sets {
		for _, name := range s.repositories() {
			if l := c.listings[place{s.Name, name}]; l != nil && !l.open {
				start := listOf(s, name)
				start.Job, start.Reason = c.listID(s.Name, len(events), now), "asked for by a person"
				events = append(events, &start)
			}
		}
	}
	return events, nil
}

// verify orders checks. They are started at once, which puts them on disk, and run when it is their turn.
func (c *Catalog) verify(v Verify) ([]recovery.Event, error) {
	sets, err := c.chosen(v.DataSets)
	if err != nil {
		return nil, err
	}
	if v.Level != nil && (*v.Level < recovery.L1 || *v.Level > recovery.L4) {
		return nil, invalid("points are verified at L1 to L4, not at %s: L0 is being listed, and L5 is a person's word (vouch)", *v.Level)
	}
	if v.Point != "" && len(v.DataSets) != 1 {
		return nil, invalid("a restore point is one of one data set: name that")
	}
	b := &batch{Catalog: c, numbers: c.numbers(), together: map[string]bool{}}
	var why error
	for _, s := range sets {
		if err := b.verify(s, v); err != nil {
			why = err
		}
	}
	switch {
	case len(c.open)+len(b.events) > maxOpen:
		return nil, refused("%d checks would wait, more than %d: name fewer data sets, or wait for those under way", len(c.open)+len(b.events), maxOpen)
	case len(b.events) > 0 || b.waiting:
		return b.events, nil
	case len(sets) == 1 && why != nil:
		return nil, why
	}
	return nil, refused("none of %d data sets has a restore point that could be verified: `blackstart backups scan` lists the repositories now", len(sets))
}

// batch gathers checks that are ordered together. What cannot be checked is no reason to leave the others.
type batch struct {
	*Catalog
	events   []recovery.Event
	numbers  numbers
	together map[string]bool // repositories that will be read as a whole
	waiting  bool            // something of it had been ordered before
}

func (b *batch) verify(s *set, v Verify) error {
	level := max(s.needs, recovery.L1)
	if v.Level != nil {
		level = *v.Level
	}
	if level > s.reach() {
		if v.Level != nil && len(v.DataSets) == 1 {
			return refused("nothing can check data set %s at %s: %s; the fleet file may name it, or verify it at %s",
				s.Name, level, s.lacks(level), s.reach())
		}
		level = s.reach()
	}
	switch {
	case v.Point != "":
		p, err := b.point(s, v.Point)
		if err != nil {
			return err
		}
		if p.Gone {
			return refused("restore point %s is no longer in its repository", p.PointRef)
		}
		b.order(wordVerify, s, p.PointRef, level)
	case v.All:
		for _, p := range b.viewOf(s) {
			if !p.Gone && (v.Before.IsZero() || p.TakenAt.Before(v.Before)) {
				b.order(wordVerify, s, p.PointRef, level)
			}
		}
	default:
		p := b.newest(s, "", v.Before)
		if p == nil {
			_, why := b.points.Best(s.DataSet, recovery.L0, v.Before)
			return refused("data set %s has nothing to verify: %s", s.Name, why)
		}
		b.order(wordNewest, s, p.PointRef, level)
	}
	return nil
}

// lacks says what the data set would need to be checked at the level.
func (s *set) lacks(level recovery.Level) string {
	if level > recovery.L3 {
		return "no invariant is known that must hold"
	}
	return "no engine or program is known that checks it"
}

// order adds a check, unless one that tells as much is under way.
func (b *batch) order(word string, s *set, ref recovery.PointRef, level recovery.Level) {
	r := b.readings[ref.Repository]
	if r == nil {
		return // the fleet file names the repository no more
	}
	all := level == recovery.L1 && r.together()
	for _, j := range b.open {
		same := j.Point == ref && j.Level >= level || all && j.Level == recovery.L1 && j.Point.Repository == ref.Repository
		if j.Does == recovery.JobCheck && j.Parts < 2 && same {
			b.waiting = true
			return
		}
	}
	if all && b.together[ref.Repository] {
		return
	}
	b.together[ref.Repository] = b.together[ref.Repository] || all
	start := checkOf(s, ref, level)
	start.Job, start.Reason = b.numbers.id(word, s.Name), "ordered"
	b.events = append(b.events, &start)
}

// judge takes a person's word.
func (c *Catalog) judge(v Judge, now time.Time) ([]recovery.Event, error) {
	s, err := c.find(v.DataSet)
	if err != nil {
		return nil, err
	}
	reason := recovery.Clean(v.Reason, maxText)
	if reason == "" && v.Word != WordVouch {
		return nil, invalid("say why data set %s is to be judged: others will read it", s.Name)
	}
	var ref *recovery.PointRef
	var p recovery.RestorePoint
	if v.Point != "" {
		if p, err = c.point(s, v.Point); err != nil {
			return nil, err
		}
		ref = &p.PointRef
	}
	switch v.Word {
	case WordQuarantine:
		from := v.From
		if ref != nil && from.IsZero() {
			from = p.TakenAt
		}
		if from.After(now) {
			return nil, invalid("data cannot be suspect from a time in the future (%s)", from.UTC().Format(time.RFC3339))
		}
		return []recovery.Event{&recovery.PointsQuarantined{DataSet: s.Name, Point: ref, From: from.UTC().Round(0), By: v.By, Reason: reason}}, nil
	case WordRelease:
		if !c.quarantined(s, ref) {
			return nil, refused("nothing of it is quarantined: `blackstart backups list` shows what is")
		}
		return []recovery.Event{&recovery.PointsReleased{DataSet: s.Name, Point: ref, By: v.By, Reason: reason}}, nil
	case WordVouch:
		return vouch(s, ref, p, v, reason, now)
	}
	return nil, invalid("unknown word %q: it is quarantine, release or vouch", recovery.Clean(string(v.Word), maxText))
}

// quarantined reports whether a quarantine stands, of the point or (nil) of anything of the data set.
func (c *Catalog) quarantined(s *set, ref *recovery.PointRef) bool {
	stands := func(q *recovery.Quarantine) bool { return q != nil && !q.Lifted }
	if ref == nil && stands(c.points.QuarantineOf(s.Name)) {
		return true
	}
	return slices.ContainsFunc(c.viewOf(s), func(p recovery.RestorePoint) bool { return (ref == nil || p.PointRef == *ref) && stands(p.Quarantine) })
}

func vouch(s *set, ref *recovery.PointRef, p recovery.RestorePoint, v Judge, reason string, now time.Time) ([]recovery.Event, error) {
	switch {
	case ref == nil:
		return nil, invalid("nobody can vouch for data set %s as a whole: name the restore point that was looked at", s.Name)
	case v.By == "":
		return nil, invalid("a word without a name is none: say who has looked")
	case p.Quarantined():
		return nil, refused("restore point %s is quarantined (%s): release it first", p.PointRef, p.Quarantine.Reason)
	}
	check := recovery.PointCheck{Level: recovery.L5, OK: true, At: now, By: v.By, Detail: reason}
	return []recovery.Event{&recovery.PointChecked{Point: *ref, Check: check, Reason: "a person has looked at what was restored"}}, nil
}

// held compares what the open incident wants kept with what was asked of the repositories for it, and lets go of what others wanted.
func (c *Catalog) held(v Held) []recovery.Event {
	want := map[recovery.PointRef]bool{}
	var more []recovery.PointRef
	for _, ref := range v.Points {
		if v.Incident == "" || ref.ID == "" || want[ref] {
			continue
		}
		want[ref] = true
		if h := c.holds[holdKey{v.Incident, ref}]; h == nil || !h.wanted {
			more = append(more, ref)
		}
	}
	var events []recovery.Event
	less := map[string]*recovery.PointsHeld{}
	for _, key := range c.sortedHolds() {
		if !c.holds[key].wanted || key.incident == v.Incident && want[key.point] {
			continue
		}
		e := less[key.incident]
		if e == nil {
			e = &recovery.PointsHeld{Incident: key.incident, Release: true, Reason: "the incident is over"}
			if key.incident == v.Incident {
				e.Reason = "the incident needs them no more"
			}
			less[key.incident] = e
			events = append(events, e)
		}
		e.Points = append(e.Points, key.point)
	}
	if len(more) > 0 {
		events = append(events, &recovery.PointsHeld{Incident: v.Incident, Points: more,
			Reason: "the incident may restore from them: retention must not expire them"})
	}
	return events
}

// learnt takes what is news in an incident's word on points of the fleet's data sets.
func (c *Catalog) learnt(v Learnt) []recovery.Event {
	var news []recovery.RestorePoint
	for _, p := range v.Points {
		if c.sets[p.DataSet] != nil && c.isNews(p) {
			news = append(news, p)
		}
	}
	if len(news) == 0 {
		return nil
	}
	return []recovery.Event{&recovery.PointsLearnt{Points: news, Reason: "an incident found it out"}}
}

// isNews reports whether a word on a point says more than what is known, also from readings of its whole repository.
func (c *Catalog) isNews(p recovery.RestorePoint) bool {
	known := recovery.NewPoints()
	view := c.viewOf(c.sets[p.DataSet])
	if i := slices.IndexFunc(view, func(q recovery.RestorePoint) bool { return q.PointRef == p.PointRef }); i >= 0 {
		known.Learn(view[i])
	}
	return known.Learn(p)
}
