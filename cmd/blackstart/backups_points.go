package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// stockFrom is what hosts could be restored from, if the outage began now: by the points that `backups list --all -o json` has
// printed, or by a coordinator's data folder, or, with neither, nothing.
func stockFrom(f recovery.Fleet, pointsFile, dataDir string, now time.Time) (recovery.Stock, error) {
	stock := recovery.Stock{Points: recovery.NewPoints(), Began: now}
	switch {
	case pointsFile != "" && dataDir != "":
		return stock, usage("--points and --data both say what could be restored: give one of them")
	case pointsFile != "":
		return stock, pointsOfFile(stock.Points, pointsFile)
	case dataDir != "":
		return stock, pointsOfJournal(stock.Points, f, dataDir)
	}
	return stock, nil
}

// pointsOfFile reads what `backups list --all -o json` printed.
func pointsOfFile(points *recovery.Points, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return usage("--points: %w", err)
	}
	var list pb.ListPointsResponse
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &list); err != nil {
		return usage("%s is not what `blackstart backups list --all -o json` prints: %s", file, recovery.Clean(err.Error(), 200))
	}
	for i, p := range list.GetPoints() {
		known, err := pointOf(p)
		if err != nil || known.DataSet == "" || known.Repository == "" || known.ID == "" {
			return usage("%s: restore point %d is broken: take the list again with `blackstart backups list --all -o json`", file, i+1)
		}
		points.Learn(known)
	}
	return nil
}

// pointOf is a restore point as the coordinator told it.
func pointOf(p *pb.RestorePoint) (recovery.RestorePoint, error) {
	out := recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: p.GetDataSet(), Repository: p.GetRepository(), ID: p.GetId()},
		Kind: recovery.PointKind(p.GetKind()), TakenAt: timeOf(p.GetTakenAt()), Until: timeOf(p.GetUntil()), Size: p.GetSize(), SeenAt: timeOf(p.GetSeenAt()), Gone: p.GetGone()}
	if out.TakenAt.IsZero() {
		return out, errors.New("it was taken at no time")
	}
	for _, v := range p.GetChecks() {
		var level recovery.Level
		if err := level.UnmarshalText([]byte(v.GetLevel())); err != nil {
			return out, err
		}
		out.Checks = append(out.Checks, recovery.PointCheck{Level: level, OK: v.GetOk(), At: timeOf(v.GetAt()), By: v.GetBy(), Detail: v.GetDetail(), Moment: timeOf(v.GetMoment())})
	}
	if from := p.GetQuarantinedFrom(); from != nil {
		out.Quarantine = &recovery.Quarantine{From: from.AsTime(), At: out.SeenAt, By: p.GetQuarantinedBy(), Reason: p.GetQuarantineReason()}
	}
	return out, nil
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// pointsOfJournal reads the catalog of backups in a coordinator's data folder, which no coordinator may have open.
func pointsOfJournal(points *recovery.Points, f recovery.Fleet, dir string) error {
	path := filepath.Join(dir, server.BackupsFile)
	j, err := journal.OpenReadOnly(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usage("there is no catalog of backups %s: name the data folder of `blackstart serve` with --data, as in --data %s", path, filepath.Join(defaultDir, "data"))
	case errors.Is(err, journal.ErrLocked):
		return &outcome{exitRefused, path + " belongs to a coordinator that runs: ask it with `blackstart backups list --all -o json > points.json`, and plan with --points points.json"}
	case err != nil:
		return err
	}
	defer j.Close()
	known := catalog.New(f)
	err = j.Read(catalog.Story, func(e recovery.Entry) error {
		known.Apply(e)
		return nil
	})
	if err != nil && !errors.Is(err, journal.ErrNoIncident) {
		return err
	}
	for _, d := range f.DataSets {
		for _, p := range known.Points(d.Name) {
			points.Learn(p)
		}
	}
	return nil
}
