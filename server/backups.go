package server

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/backups"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

// BackupsFile is the name of the catalog of backups in the data folder: a journal of its own, because it goes on between incidents.
const BackupsFile = "backups.db"

// vault is the catalog of backups with what keeps it.
type vault struct {
	log    *journal.Journal
	keeper *backups.Keeper
	sets   []recovery.DataSet
}

// openVault opens the catalog; nil for a fleet without data sets.
func openVault(cfg Config, hub *restore.Hub) (*vault, error) {
	if len(cfg.Fleet.DataSets) == 0 {
		return nil, nil
	}
	log, err := journal.Open(filepath.Join(cfg.Dir, BackupsFile))
	if err != nil {
		return nil, fmt.Errorf("catalog of backups: %w", err)
	}
	keeper, err := backups.New(backups.Config{Journal: log, Fleet: cfg.Fleet, Run: hub.Run, Log: cfg.Log.Named("backups")})
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("catalog of backups: %w", err)
	}
	return &vault{log, keeper, cfg.Fleet.DataSets}, nil
}

// source is where an incident takes its points from; nil: nowhere.
func (v *vault) source() func(context.Context) ([]recovery.RestorePoint, error) {
	if v == nil {
		return nil
	}
	return v.points
}

// keeperOf is the catalog's keeper; nil: there is none.
func (v *vault) keeperOf() *backups.Keeper {
	if v == nil {
		return nil
	}
	return v.keeper
}

// points is what an incident takes from the catalog when it is declared.
func (v *vault) points(ctx context.Context) (points []recovery.RestorePoint, err error) {
	err = v.keeper.Read(ctx, func(c *catalog.Catalog, _ time.Time) { points = pointsOf(c, v.sets) })
	return points, err
}

// run keeps the catalog, and lets it and the incident tell each other what they know, until ctx ends. The catalog's end is no end of a
// recovery: without it, nothing more is learnt about backups.
func (v *vault) run(ctx context.Context, cfg Config, c *coordinator.Coordinator) {
	var both sync.WaitGroup
	both.Go(func() {
		if err := v.keeper.Run(ctx); err != nil {
			cfg.Log.Error("the catalog of backups has stopped: start the coordinator again to go on with it", "error", err)
		}
	})
	both.Go(func() {
		(&liaison{incident: c, backups: v.keeper, sets: v.sets, log: cfg.Log.Named("backups")}).run(ctx)
	})
	both.Wait()
}

func (v *vault) close() {
	if v != nil {
		_ = v.log.Close()
	}
}
