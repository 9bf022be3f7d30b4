package restore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// The kinds of work that touch no live data.

// list asks which points there are.
func (t *task) list(ctx context.Context) error {
	s := t.work.Sets[0]
	t.at(t.job, "listing "+s.Set.Name)
	points, err := t.cfg.Backends[s.Repository.Kind].List(ctx, s)
	if err != nil {
		return err
	}
	slices.SortStableFunc(points, func(a, b Point) int { return a.TakenAt.Compare(b.TakenAt) })
	if len(points) > maxPoints {
		return &Fault{Failed, "too many restore points", fmt.Sprintf("The repository lists %d restore points of the data set, and no more than %d can be told: narrow its source, or have old ones expire.", len(points), maxPoints)}
	}
	t.points = points
	return nil
}

// hold keeps points from expiring, or no longer.
func (t *task) hold(ctx context.Context) error {
	for _, s := range t.work.Sets {
		t.at(t.job, "holding "+s.Set.Name)
		holder, ok := t.cfg.Backends[s.Repository.Kind].(Holder)
		if !ok {
			return &Fault{Failed, "points cannot be held", fmt.Sprintf("A repository of kind %q cannot keep a point from expiring; see to it there that %s stays.", s.Repository.Kind, s.Set.Name)}
		}
		if err := holder.Hold(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// check checks every set as far as it is asked to, also when one of them has not passed.
func (t *task) check(ctx context.Context) error {
	if err := t.findRoom(ctx); err != nil {
		return err
	}
	var first error
	for i, s := range t.work.Sets {
		err := t.checkSet(ctx, i, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (t *task) checkSet(ctx context.Context, i int, s SetWork) error {
	if s.Level > 1 {
		defer t.sweepOne(t.places[i])
		return t.restoreSet(ctx, i)
	}
	t.at(t.job, "checking the repository of "+s.Set.Name)
	check := Check{Level: 1, By: "repository check"}
	by, err := t.cfg.Backends[s.Repository.Kind].(Checker).Check(ctx, s, t.progress(i))
	if by != "" {
		check.By = by
	}
	if err != nil {
		t.checked(i, check, err)
		return err
	}
	check.OK, check.At = true, time.Now()
	t.sets[i].Checks = append(t.sets[i].Checks, check)
	return nil
}
