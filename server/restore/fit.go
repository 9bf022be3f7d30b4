package restore

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// future is how far ahead an agent's clock, or that of who made a backup, may be before a time of theirs is nonsense.
const future = 24 * time.Hour

// fit holds a result against the job that it is of: it may only speak of the job's own data sets and points, and of the past. What
// does not fit says nothing that could be relied on. A part of a listing would make the rest of the points seem gone, so it is all or
// nothing.
func fit(job recovery.Job, res recovery.Result, now time.Time) recovery.Result {
	res.Sets, res.Points = slices.Clone(res.Sets), slices.Clone(res.Points)
	why := ""
	for i := range res.Sets {
		why = cmp.Or(why, fitSet(job, &res.Sets[i], res.Sets[:i], now))
	}
	if job.Kind != recovery.JobList || len(job.Sets) != 1 {
		res.Points = nil
	}
	ids := make(map[string]bool, len(res.Points))
	for i := range res.Points {
		p := &res.Points[i]
		if ids[p.ID] {
			why = cmp.Or(why, "it lists a point twice")
		}
		ids[p.ID] = true
		why = cmp.Or(why, fitPoint(job.Sets[0], p, now))
	}
	if why == "" {
		return res
	}
	return recovery.Result{
		Class: recovery.Failed, Signature: "result not usable", Boot: res.Boot, Took: res.Took, Joined: res.Joined,
		Detail: fmt.Sprintf("The agent of %s told a result that cannot be so: %s; look at the machine.", job.Runner, why),
	}
}

func fitSet(job recovery.Job, r *recovery.SetResult, before []recovery.SetResult, now time.Time) (why string) {
	same := func(other recovery.SetResult) bool {
		return other.DataSet == r.DataSet && other.Repository == r.Repository
	}
	at := slices.IndexFunc(job.Sets, func(w recovery.SetWork) bool { return w.Set.Name == r.DataSet && w.Repository.Name == r.Repository })
	switch {
	case at < 0:
		return "it is about another data set"
	case slices.ContainsFunc(before, same):
		return "it names a data set twice"
	case r.Point != "" && r.Point != job.Sets[at].Point.ID:
		return "it is about another restore point"
	case r.Moment.After(now.Add(future)):
		return "the data is of the future"
	}
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Level < recovery.L0 || c.Level >= recovery.L5 { // L5 is a person's
			return "it claims a check of level " + c.Level.String()
		}
		// Its clock may be wrong without the check being so. One that failed counts from when it is heard: by a clock that is behind it would
		// be older than the word that it contradicts.
		if !c.OK || c.At.IsZero() || c.At.After(now) {
			c.At = now
		}
	}
	return ""
}

func fitPoint(w recovery.SetWork, p *recovery.RestorePoint, now time.Time) (why string) {
	switch {
	case p.ID == "":
		return "it lists a point without a name"
	case p.TakenAt.IsZero():
		return "it lists a point without its time"
	case p.TakenAt.After(now.Add(future)):
		return "it lists a point of the future"
	case !p.Until.IsZero() && p.Until.Before(p.TakenAt):
		return "it lists a point whose logs end before it was taken"
	}
	switch p.Kind {
	case recovery.PointFiles, recovery.PointImage, recovery.PointDatabase:
	default:
		p.Kind = w.Set.Kind
	}
	p.DataSet, p.Repository, p.SeenAt = w.Set.Name, w.Repository.Name, now
	p.Gone, p.Checks, p.Quarantine = false, nil, nil
	return ""
}
