package server

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/backups"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// liaison lets the open incident and the catalog of backups tell each other what they know: the incident, which points must not expire,
// what its restores have shown and what wave zero has to verify; the catalog, what its checks have shown and which are on their way. Both take only what is
// news to them, so it does not matter what is told twice.
type liaison struct {
	incident *coordinator.Coordinator
	backups  *backups.Keeper
	sets     []recovery.DataSet
	log      hclog.Logger

	held  catalog.Held
	found []recovery.RestorePoint
	zero  []string                                    // data sets that wave zero was last ordered for
	known map[recovery.PointRef]recovery.RestorePoint // as the incident was told of them
	about string                                      // the incident that was told
	told  uint64                                      // the version of the catalog's points that it was told
	wait  []string                                    // data sets that it was told are being verified

	remind bool // it is to be told so again
}

// liaisonGap is the least time between two tellings: an incident changes hundreds of times a second.
const liaisonGap = 200 * time.Millisecond

// liaisonAgain is when the incident is told once more which checks are on their way: their agents may have fallen silent since.
const liaisonAgain = time.Minute

// run goes on until ctx ends.
func (l *liaison) run(ctx context.Context) {
	changes, stop := l.incident.Watch()
	defer stop()
	news := l.backups.Watch(ctx)
	for {
		if err := errors.Join(l.tellBackups(ctx), l.tellIncident(ctx)); err != nil && ctx.Err() == nil && !errors.Is(err, coordinator.ErrStopped) {
			l.log.Warn("incident and backups could not tell each other what they know", "error", err)
		}
		var again <-chan time.Time
		if len(l.wait) > 0 {
			again = time.After(liaisonAgain)
		}
		l.remind = false
		select {
		case <-ctx.Done():
			return
		case <-l.incident.Done():
			return
		case <-again:
			l.remind = true
		case <-changes:
		case _, ok := <-news:
			if !ok {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(liaisonGap):
		}
	}
}

// tellBackups brings what the incident wants held, what it has found and what it wants verified.
func (l *liaison) tellBackups(ctx context.Context) error {
	var held catalog.Held
	var found []recovery.RestorePoint
	var zero []string
	var cutoff time.Time
	err := l.incident.View(ctx, "", func(v coordinator.View) {
		if v.State.Outcome == "" {
			held = catalog.Held{Incident: v.State.ID, Points: v.State.Holds()}
		}
		found, zero, cutoff = v.State.Found(), v.State.Unverified(), v.State.Cutoff
	})
	var e *recovery.Error
	if err != nil && !errors.As(err, &e) { // without an incident nothing is held
		return err
	}
	if !reflect.DeepEqual(held, l.held) {
		if err := l.backups.Do(ctx, "engine", held); err != nil {
			return err
		}
		l.held = held
	}
	if !reflect.DeepEqual(found, l.found) {
		if err := l.backups.Do(ctx, "engine", catalog.Learnt{Points: found}); err != nil {
			return err
		}
		l.found = found
	}
	if more := slices.DeleteFunc(slices.Clone(zero), func(name string) bool { return slices.Contains(l.zero, name) }); len(more) > 0 {
		l.log.Info("wave zero: restore points are to be verified", "data-sets", len(more))
		if err := l.backups.Do(ctx, "engine", catalog.Verify{DataSets: more, Before: cutoff}); err != nil {
			return err
		}
	}
	l.zero = zero
	return nil
}

// tellIncident brings what has changed in the catalog since the incident was last told.
func (l *liaison) tellIncident(ctx context.Context) error {
	if l.held.Incident == "" {
		l.about, l.known = "", nil
		return nil
	}
	first := l.about != l.held.Incident
	if first {
		l.about, l.known, l.told = l.held.Incident, map[recovery.PointRef]recovery.RestorePoint{}, 0
	}
	var points []recovery.RestorePoint
	var wait []string
	version := l.told
	err := l.backups.Read(ctx, func(c *catalog.Catalog, now time.Time) {
		wait = c.BeingVerified(now)
		if version = c.Version(); version != l.told {
			points = pointsOf(c, l.sets)
		}
	})
	if err != nil {
		return err
	}
	var news []recovery.RestorePoint
	for _, p := range points {
		if old, ok := l.known[p.PointRef]; !ok || !reflect.DeepEqual(old, p) {
			news = append(news, p)
		}
	}
	if first || l.remind || len(news) > 0 || !slices.Equal(wait, l.wait) {
		if err := l.incident.Do(ctx, l.about, "engine", recovery.Learnt{Points: news, Verifying: wait}); err != nil {
			return err
		}
	}
	for _, p := range news {
		l.known[p.PointRef] = p
	}
	l.told, l.wait = version, wait
	return nil
}

// pointsOf is everything that the catalog knows of the points of data sets.
func pointsOf(c *catalog.Catalog, sets []recovery.DataSet) (points []recovery.RestorePoint) {
	for i := range sets {
		points = append(points, c.Points(sets[i].Name)...)
	}
	return points
}
