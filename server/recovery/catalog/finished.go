package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxPoints  = 20_000 // that a repository may list of one data set
	maxPointID = 256    // bytes

	backoff      = time.Minute // doubles
	backoffMax   = time.Hour
	refusedPause = 24 * time.Hour
	holdPause    = 5 * time.Minute // at most, of a hold that a restore's lock keeps out: what it reads is free to expire when it ends

	maxTries  = 24 // of an ordered check: about 20 hours
	maxSearch = 5  // tries of a search for damage at one point
)

// after is when a thing is tried again that has failed so often before. One that was refused for its password or user is left to a
// person: tried again and again, it could lock an account.
func after(r recovery.Result, fails int, now time.Time) time.Time {
	if r.Class == recovery.AuthRefused {
		return now.Add(refusedPause)
	}
	return now.Add(min(backoff<<min(fails, 6), backoffMax))
}

// finished takes a job's result. The late result of a job that is not open says nothing.
func (c *Catalog) finished(v Finished, now time.Time) []recovery.Event {
	i := slices.IndexFunc(c.open, func(j *job) bool { return j.Job == v.Job })
	if i < 0 {
		return nil
	}
	j, r := c.open[i], clean(v.Result)
	switch j.Does {
	case recovery.JobList:
		return c.listed(j, r, v.Result.Points, now)
	case recovery.JobHold:
		return c.holdEnded(j, r, now)
	default:
		return c.checked(j, r, v.Result.Sets, now)
	}
}

// clean is what the journal keeps of a result: its points and checks are events of their own.
func clean(r recovery.Result) recovery.Result {
	kept := recovery.Result{Class: r.Class, Exit: r.Exit, Joined: r.Joined, Took: r.Took}
	kept.Signature, kept.Detail = recovery.Clean(r.Signature, maxText), recovery.Clean(r.Detail, 2*maxText)
	return kept
}

// reason says in a phrase why something went wrong.
func reason(r recovery.Result) string {
	switch {
	case r.Detail != "":
		return strings.TrimSuffix(r.Detail, ".") // it stands in the middle of sentences
	case r.Signature != "":
		return fmt.Sprintf("%s (%s)", r.Signature, r.Class)
	}
	return string(r.Class)
}

// listed takes the end of a listing: the difference to what is known, and how the listing stands.
func (c *Catalog) listed(j *job, r recovery.Result, points []recovery.RestorePoint, now time.Time) []recovery.Event {
	r.Sets = []recovery.SetResult{{DataSet: j.Point.DataSet, Repository: j.Point.Repository}}
	if r.Class == recovery.Succeeded && len(points) > maxPoints {
		r.Class, r.Detail = recovery.Failed,
			fmt.Sprintf("it lists %d restore points of one data set, more than %d: narrow the data set's source", len(points), maxPoints)
	}
	ended := &recovery.BackupJobEnded{Job: j.Job, Result: r}
	l := c.listings[place{j.Point.DataSet, j.Point.Repository}]
	if r.Class != recovery.Succeeded {
		fails := 0
		if l != nil {
			fails = l.fails
		}
		ended.Until, ended.Reason = after(r, fails, now), reason(r)
		return []recovery.Event{ended}
	}
	ended.Until = now.Add(interval(c.sets[j.Point.DataSet]))
	learnt, ignored := c.difference(j.Point, points, now)
	ended.Reason = "listed"
	if ignored > 0 {
		ended.Reason = fmt.Sprintf("listed, without %d that have no usable id or time", ignored)
	}
	if learnt == nil {
		return []recovery.Event{ended}
	}
	return []recovery.Event{learnt, ended}
}

// interval is how often a data set's repositories are listed.
func interval(s *set) time.Duration {
	if s == nil || s.policy == nil || s.policy.Every <= 0 {
		return time.Hour
	}
	return max(min(s.policy.Every/2, time.Hour), 5*time.Minute)
}

// difference is what a listing of a place says that was not known: points that are there, are otherwise than they were, or are gone.
func (c *Catalog) difference(at recovery.PointRef, listed []recovery.RestorePoint, now time.Time) (learnt *recovery.PointsLearnt, ignored int) {
	there := make(map[string]bool, len(listed))
	known := map[string]recovery.RestorePoint{}
	for _, p := range c.points.Of(at.DataSet) {
		if p.Repository == at.Repository {
			known[p.ID] = p
		}
	}
	var points []recovery.RestorePoint
	added, changed, gone := 0, 0, 0
	for _, p := range listed {
		if p.ID == "" || len(p.ID) > maxPointID || recovery.Clean(p.ID, maxPointID) != p.ID || p.TakenAt.IsZero() || p.TakenAt.After(now.Add(24*time.Hour)) {
			ignored++
			continue
		}
		if there[p.ID] {
			continue
		}
		there[p.ID] = true
		seen := recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: at.DataSet, Repository: at.Repository, ID: p.ID}, Kind: p.Kind,
			TakenAt: p.TakenAt.UTC().Round(0), Until: p.Until.UTC().Round(0), Size: max(p.Size, 0), SeenAt: now}
		if p.Until.IsZero() {
			seen.Until = time.Time{}
		}
		if seen.Kind == "" {
			seen.Kind = c.kind(at.DataSet)
		}
		switch old, ok := known[p.ID]; {
		case !ok:
			added++
		case old.Gone || !old.TakenAt.Equal(seen.TakenAt) || !old.Until.Equal(seen.Until) || seen.Size != 0 && seen.Size != old.Size:
			changed++
		default:
			continue
		}
		points = append(points, seen)
	}
	for _, p := range c.points.Of(at.DataSet) { // in an order that is the same every time
		if p.Repository == at.Repository && !p.Gone && !there[p.ID] {
			gone++
			p.Gone, p.SeenAt, p.Checks, p.Quarantine = true, now, nil, nil
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		return nil, ignored
	}
	return &recovery.PointsLearnt{Points: points, Reason: fmt.Sprintf("%s lists %d restore points: %d are new, %d have changed, %d are gone",
		at.Repository, len(there), added, changed, gone)}, ignored
}

func (c *Catalog) kind(dataSet string) recovery.PointKind {
	if s := c.sets[dataSet]; s != nil {
		return s.Kind
	}
	return ""
}

// holdEnded takes the end of a hold.
func (c *Catalog) holdEnded(j *job, r recovery.Result, now time.Time) []recovery.Event {
	ended := &recovery.BackupJobEnded{Job: j.Job, Result: r}
	if r.Class == recovery.Succeeded {
		text := "the repository keeps it"
		if j.Release {
			text = "the repository need not keep it any more"
		}
		ended.Reason = text
		return []recovery.Event{&recovery.HoldPlaced{Incident: j.Hold, Point: j.Point, Release: j.Release, Reason: text}, ended}
	}
	fails := 0
	if h := c.holds[holdKey{j.Hold, j.Point}]; h != nil {
		fails = h.fails
	}
	ended.Until, ended.Reason = after(r, fails, now), reason(r)
	if soon := now.Add(holdPause); r.Class == recovery.Unreachable && ended.Until.After(soon) {
		ended.Until = soon
	}
	return []recovery.Event{ended}
}

// checked takes the end of a check. It tells of the point what its checks tell; without one that reached the level, or failed, nothing is
// known, and it is tried again.
func (c *Catalog) checked(j *job, r recovery.Result, sets []recovery.SetResult, now time.Time) []recovery.Event {
	checks := c.told(j, r, sets, now)
	reached, bad := false, false
	var events []recovery.Event
	for _, check := range checks {
		reached = reached || check.OK && check.Level >= j.Level
		bad = bad || !check.OK
		if check.OK && j.Parts > 1 && check.Level == recovery.L1 {
			continue // one part says nothing of a point; see reading
		}
		text := fmt.Sprintf("it passed %s", check.Level)
		if !check.OK {
			text = fmt.Sprintf("it failed at %s: quarantined", check.Level)
		}
		events = append(events, &recovery.PointChecked{Point: j.Point, Check: check, Reason: text})
	}
	ended := &recovery.BackupJobEnded{Job: j.Job, Result: r}
	switch {
	case bad:
		if r.Class == recovery.Succeeded {
			ended.Result.Class = recovery.Failed // whatever it says, a check of it failed
		}
		ended.Reason = "the point is damaged"
	case r.Class == recovery.Succeeded && reached:
		ended.Reason = fmt.Sprintf("the point passed %s", j.Level)
		if j.Parts > 1 {
			ended.Reason = fmt.Sprintf("part %d of %d of %s passed", j.Part, j.Parts, j.Point.Repository)
		}
	default:
		if r.Class == recovery.Succeeded {
			ended.Result.Class, ended.Result.Detail = recovery.Lost, fmt.Sprintf("the agent of %s calls it a success and names no check at %s", j.Runner, j.Level)
		}
		ended.Until, ended.Reason = c.again(j, r, now), reason(ended.Result)
		if ended.Until.IsZero() {
			ended.Reason += "; it is not tried again by itself"
		}
	}
	return append(events, ended)
}

// told are the checks that a job made of its point, cleaned. What the job had no order for is not believed, and no check lies outside
// the time of the job, whatever the agent's clock shows: of two words on a point the newer counts.
func (c *Catalog) told(j *job, r recovery.Result, sets []recovery.SetResult, now time.Time) []recovery.PointCheck {
	var checks []recovery.PointCheck
	for _, s := range sets {
		if s.DataSet != "" && s.DataSet != j.Point.DataSet {
			continue
		}
		for _, check := range s.Checks {
			if check.Level < recovery.L1 || check.Level > recovery.L4 || len(checks) >= 100 {
				continue
			}
			if check.At = check.At.UTC().Round(0); check.At.Before(j.at) || check.At.After(now) {
				check.At = now
			}
			if check.Of = ""; check.Level >= recovery.L3 {
				check.Of = j.Of
			}
			check.By, check.Detail = recovery.Clean(check.By, maxText), recovery.Clean(check.Detail, maxText)
			if !check.Moment.IsZero() {
				check.Moment = check.Moment.UTC().Round(0)
			}
			checks = append(checks, check)
		}
	}
	bad := slices.ContainsFunc(checks, func(check recovery.PointCheck) bool { return !check.OK })
	if r.Class != recovery.Succeeded && r.Signature == recovery.SignatureDamagedPoint && !bad {
		checks = append(checks, recovery.PointCheck{Level: min(j.Level, recovery.L2), At: now, By: "check of " + j.Point.Repository,
			Detail: recovery.Clean(reason(r), maxText)})
	}
	return checks
}

// again is when a check that could not be made is tried again; zero: not by itself.
func (c *Catalog) again(j *job, r recovery.Result, now time.Time) time.Time {
	s := c.sets[j.Point.DataSet]
	if s == nil {
		return time.Time{}
	}
	fails, most := s.retry.fails, -1
	switch j.word() {
	case wordNewest, wordVerify:
		fails, most = j.tries, maxTries
	case wordBisect:
		most = maxSearch
		if s.bisect != nil {
			fails = s.bisect.fails
		}
	}
	if most > 0 && fails+1 >= most {
		return time.Time{}
	}
	return after(r, fails, now)
}
