package catalog

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// How long a job may take. Reading a large repository takes hours, and whoever waits for a check waits for all of it.
const (
	listTimeout    = 10 * time.Minute
	holdTimeout    = 10 * time.Minute
	readTimeout    = 12 * time.Hour
	restoreTimeout = 24 * time.Hour
)

// due is something that is to be started at a time.
type due struct {
	at    time.Time
	word  string
	start recovery.BackupJobStarted // without its id and reason
	why   func() string
}

// agenda is what time asks, most urgent first: what people wait for, holds, listings, and the checks that policies ask for.
func (c *Catalog) agenda(now time.Time) []due {
	var list []due
	list = c.owed(list)
	list = c.searching(list)
	list = c.holding(list)
	list = c.listing(list)
	list = c.readingParts(list, now)
	return c.verifying(list, now)
}

// owed are checks that were ordered and not made yet.
func (c *Catalog) owed(list []due) []due {
	for _, o := range c.orders {
		s, p := c.standing(o.point)
		why := func() string {
			return fmt.Sprintf("ordered; try %d, because the last one could not be made: %s", o.fails+1, o.why)
		}
		if o.older {
			p = c.older(o.point)
			why = func() string { return "ordered; the newer point " + o.point.ID + " is bad" }
		}
		if s != nil && p != nil {
			list = append(list, due{o.until, o.word, checkOf(s, p.PointRef, o.level), why})
		}
	}
	return list
}

// older is the newest point before another that may be restored, or nil.
func (c *Catalog) older(ref recovery.PointRef) *recovery.RestorePoint {
	s := c.sets[ref.DataSet]
	p, ok := c.points.Find(ref)
	if s == nil || !ok {
		return nil
	}
	return c.newest(s, "", p.TakenAt)
}

// standing is a point that can be worked on, and its data set.
func (c *Catalog) standing(ref recovery.PointRef) (*set, *recovery.RestorePoint) {
	s := c.sets[ref.DataSet]
	if s == nil || c.readings[ref.Repository] == nil {
		return nil, nil
	}
	view := c.viewOf(s)
	i := slices.IndexFunc(view, func(p recovery.RestorePoint) bool { return p.PointRef == ref && !p.Gone })
	if i < 0 {
		return s, nil
	}
	return s, &view[i]
}

// searching are the next checks of searches for damage.
func (c *Catalog) searching(list []due) []due {
	for _, s := range c.order {
		if s.bisect == nil || s.bisect.over || c.isOpen(s.Name, wordBisect) {
			continue
		}
		b := c.bisection(s.Name, s.bisect.level)
		if b.Next != nil {
			list = append(list, due{s.bisect.until, wordBisect, checkOf(s, b.Next.PointRef, s.bisect.level), func() string {
				return fmt.Sprintf("the search for damage goes on here: %s", plural(b.AtMost, "check")+" at most")
			}})
		}
	}
	return list
}

// isOpen reports whether a job of the data set with the word is open.
func (c *Catalog) isOpen(dataSet, word string) bool {
	return slices.ContainsFunc(c.open, func(j *job) bool { return j.Point.DataSet == dataSet && j.word() == word })
}

// holding are holds to place and to lift.
func (c *Catalog) holding(list []due) []due {
	if len(c.holds) == 0 {
		return list
	}
	for _, key := range c.sortedHolds() {
		h := c.holds[key]
		if !h.owed() || h.open {
			continue
		}
		s, p := c.standing(key.point)
		if s == nil || p == nil {
			continue // there is nothing to keep
		}
		start := recovery.BackupJobStarted{Does: recovery.JobHold, Runner: s.RunsOn(), Point: key.point, Hold: key.incident, Release: !h.wanted,
			Timeout: holdTimeout}
		list = append(list, due{h.until, wordHold, start, func() string {
			if start.Release {
				return "incident " + key.incident + " needs it no more"
			}
			return "incident " + key.incident + " may restore from it"
		}})
	}
	return list
}

// listing are the places to list.
func (c *Catalog) listing(list []due) []due {
	for _, s := range c.order {
		for _, name := range s.repositories() {
			if l := c.listings[place{s.Name, name}]; l != nil && !l.open {
				list = append(list, due{l.next, wordList, listOf(s, name), turnHasCome})
			}
		}
	}
	return list
}

func turnHasCome() string { return "its turn has come" }

// soon is when a check is made that must be there once in a time: a little before.
func soon(last time.Time, every time.Duration) time.Time {
	if last.IsZero() {
		return time.Time{}
	}
	return last.Add(every - every/8)
}

// quiet is the first quiet time of a repository from at on, and not before now.
func (c *Catalog) quiet(repository string, at, now time.Time) time.Time {
	return c.readings[repository].quiet.next(later(at, now))
}

// readingParts are the next parts of repositories that are read as a whole, a part at a time. The first data set whose runner can
// read the repository lends itself to it.
func (c *Catalog) readingParts(list []due, now time.Time) []due {
	every := map[string]time.Duration{} // how often a repository is read, at least
	for _, s := range c.order {
		for _, name := range s.repositories() {
			if r := c.readings[name]; s.verified() && r != nil && r.together() && (every[name] == 0 || s.policy.Verify < every[name]) {
				every[name] = s.policy.Verify
			}
		}
	}
	next := map[string]int{}     // index in list, by repository
	settled := map[string]bool{} // no other data set could do it sooner
	for _, s := range c.order {
		for _, name := range s.repositories() {
			if every[name] == 0 || settled[name] || !s.verified() {
				continue
			}
			p := c.newest(s, name, time.Time{})
			if p == nil {
				continue
			}
			i, found := next[name]
			settled[name] = !s.retry.until.After(now)
			switch d := c.readPart(s, p, every[name], now); {
			case !found:
				next[name] = len(list)
				list = append(list, d)
			case d.at.Before(list[i].at):
				list[i] = d
			}
		}
	}
	return list
}

// verified reports whether the data set's policy asks for checks.
func (s *set) verified() bool { return s.policy != nil && s.policy.Verify > 0 && s.asks >= recovery.L1 }

// readPart is the check of the next part of a point's repository.
func (c *Catalog) readPart(s *set, p *recovery.RestorePoint, every time.Duration, now time.Time) due {
	r, t := c.readings[p.Repository], parts(every)
	at := later(soon(r.last, every/time.Duration(t)), s.retry.until)
	start := checkOf(s, p.PointRef, recovery.L1)
	if t > 1 {
		start.Part, start.Parts = r.part(t), t
	}
	return due{c.quiet(p.Repository, at, now), wordCheck, start, func() string {
		return fmt.Sprintf("part %d of %d: the whole of %s is read every %s", r.part(t), t, p.Repository, days(every))
	}}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// verifying are the checks of newest points that policies ask for.
func (c *Catalog) verifying(list []due, now time.Time) []due {
	for _, s := range c.order {
		if !s.verified() {
			continue
		}
		p, level := c.newest(s, "", time.Time{}), min(s.asks, s.reach())
		if p == nil || level == recovery.L1 && c.readings[p.Repository].together() {
			continue
		}
		at := later(soon(c.verifiedAt(s, level), s.policy.Verify), s.retry.until)
		list = append(list, due{c.quiet(p.Repository, at, now), wordCheck, checkOf(s, p.PointRef, level), func() string {
			return fmt.Sprintf("policy %s asks for %s every %s", s.policy.Name, level, days(s.policy.Verify))
		}})
	}
	return list
}

// verifiedAt is when a point of the data set that may be restored was last found to be of the level.
func (c *Catalog) verifiedAt(s *set, level recovery.Level) time.Time {
	var last time.Time
	for i := range c.viewOf(s) {
		p := &s.view[i]
		if p.Gone || p.Quarantined() || p.Level() < level {
			continue
		}
		for _, check := range p.Checks {
			if check.OK && check.Level >= level && check.At.After(last) {
				last = check.At
			}
		}
	}
	return last
}

// days tells a span of a policy as people say it.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// tick starts what is due and has its lanes free.
func (c *Catalog) tick(now time.Time) []recovery.Event {
	var events []recovery.Event
	taken := c.lanes()
	numbers := c.numbers()
	for _, d := range c.agenda(now) {
		if d.at.After(now) {
			continue
		}
		lanes := c.lanesOf(&d.start)
		if !taken.free(lanes) {
			continue
		}
		taken.take(lanes)
		start := d.start
		start.Reason = d.why()
		if d.word == wordList {
			start.Job = c.listID(start.Point.DataSet, len(events), now)
		} else {
			start.Job = numbers.id(d.word, start.Point.DataSet)
		}
		events = append(events, &start)
	}
	return events
}

// Wake is when time acts next, if nothing else happens before; zero: never. What is due already waits for the end of something else.
func (c *Catalog) Wake(now time.Time) time.Time {
	now = now.UTC().Round(0)
	var wake time.Time
	for _, d := range c.agenda(now) {
		if d.at.After(now) && (wake.IsZero() || d.at.Before(wake)) {
			wake = d.at
		}
	}
	return wake
}

// checkOf is the start of a check, without its id and reason.
func checkOf(s *set, ref recovery.PointRef, level recovery.Level) recovery.BackupJobStarted {
	e := recovery.BackupJobStarted{Does: recovery.JobCheck, Runner: s.RunsOn(), Point: ref, Level: level, Timeout: restoreTimeout}
	if level == recovery.L1 {
		e.Timeout = readTimeout
	}
	if level >= recovery.L3 {
		e.Of = s.question
	}
	return e
}

// listOf is the start of a listing, without its id and reason.
func listOf(s *set, repository string) recovery.BackupJobStarted {
	place := recovery.PointRef{DataSet: s.Name, Repository: repository}
	return recovery.BackupJobStarted{Does: recovery.JobList, Runner: s.RunsOn(), Point: place, Timeout: listTimeout}
}

// listID is an id that no other listing has or had; n others start together with it. Nothing on disk counts listings, and an agent tells the old
// result to whoever comes with an old id, so they go by the clock.
func (c *Catalog) listID(dataSet string, n int, now time.Time) string {
	return fmt.Sprintf("%s/%s/%d", wordList, dataSet, max(now.UnixMilli(), c.listedMS+1)+int64(n))
}

// numbers gives ids to jobs that start together, each data set counting its own.
type numbers struct {
	*Catalog
	given map[string]int
}

func (c *Catalog) numbers() numbers { return numbers{c, map[string]int{}} }

func (n numbers) id(word, dataSet string) string {
	n.given[dataSet]++
	return fmt.Sprintf("%s/%s/%d", word, dataSet, n.counted[dataSet]+n.given[dataSet])
}
