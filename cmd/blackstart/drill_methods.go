package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// methodsSpeed lets the three ways together last about a minute on two cores, which keep up with it.
const methodsSpeed = 360

// way is how the stateless hosts of an estate are made well. Hosts with data are repaired, whichever it is.
type way string

const (
	wayMix     way = "mix"     // the rule chooses for each host
	wayRepair  way = "repair"  // no host has a rung that restores
	wayRestore way = "restore" // stateless hosts with an image have no rung that repairs
)

var ways = []way{wayMix, wayRepair, wayRestore}

// compare plays the same story in the three ways, and says which brought everything back first.
func (s *story) compare(c *cobra.Command, o *options) error {
	began := time.Now()
	if err := s.comparable(); err != nil {
		return err
	}
	if s.keep != "" {
		if err := os.Mkdir(s.keep, 0o700); err != nil {
			return usage("--keep: %w", err)
		}
	}
	all := &comparison{Seed: s.seed, Speed: s.speed, Kept: s.keep}
	t := &teller{cmd: c, quiet: o.json()}
	t.openingOfThree(s)
	for _, w := range ways {
		t.beginning(w)
		one, err := s.in(w).playOnce(c, o)
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		all.Ways = append(all.Ways, one)
	}
	all.WallSeconds = time.Since(began).Seconds()
	all.judge()
	return t.closingOfThree(all)
}

// in is the same story, played in one way and kept in a folder of its own.
func (s *story) in(w way) *story {
	flags := *s.drillOptions
	if flags.keep != "" {
		flags.keep = filepath.Join(flags.keep, string(w))
	}
	return &story{drillOptions: &flags, fleet: s.fleet, scenario: s.scenario, way: w}
}

// playOnce plays the story from the strike to its end and measures it by its journal.
func (s *story) playOnce(c *cobra.Command, o *options) (*wayAccount, error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	w, err := s.build(o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.start(ctx, s); err != nil {
		return nil, err
	}
	crew := &responder{story: s, world: w, teller: &teller{cmd: c, quiet: true, world: w}}
	ended := crew.recover(ctx)
	acc, err := w.account(ctx, s, began, ended)
	if err != nil {
		return nil, err
	}
	if acc.failed {
		return nil, &outcome{exitFailed, acc.ExitReason}
	}
	w.halt() // the journal can be read when nobody writes it
	one := &wayAccount{Way: s.way, Hit: acc.Hit, PlanDigest: acc.PlanDigest, WallSeconds: acc.WallSeconds}
	return one, one.measure(filepath.Join(w.server.Dir, "journal.db"), s)
}

// comparable says whether the lab can play the fleet's restores: each stateless host that could be restored has one image, which is its
// disk, in a repository whose bandwidth is known.
func (s *story) comparable() error {
	repositories := map[string]recovery.Repository{}
	for _, r := range s.fleet.Repositories {
		repositories[r.Name] = r
	}
	for i := range s.fleet.Hosts {
		if h := &s.fleet.Hosts[i]; s.restores(h.Name) && s.fleet.Asks(h) > recovery.L1 {
			return usage("the tier of %s asks for more than L1: in --methods images are verified to L1 only, so it could never be restored", h.Name)
		}
	}
	images := map[string]bool{}
	for _, d := range s.fleet.DataSets {
		switch r := repositories[d.Repository]; {
		case !s.restores(d.Host):
			continue
		case images[d.Host]:
			return usage("host %s has several data sets: --methods can restore a host from one image of its disk only", d.Host)
		case r.Bandwidth == 0:
			return usage("repository %s has no bandwidth in the fleet file: --methods needs it to know how long a restore takes", r.Name)
		case d.Size == 0:
			return usage("data set %s has no size in the fleet file: --methods needs it to know how long a restore takes", d.Name)
		}
		images[d.Host] = true
	}
	if len(images) == 0 {
		return usage("fleet %s has no host with `data: none`, a data set and a rung of kind restore, so there is nothing to choose", s.fleet.Name)
	}
	return nil
}

// restores reports whether the rule may choose to restore a host.
func (s *story) restores(host string) bool {
	return slices.ContainsFunc(s.fleet.Hosts, func(h recovery.Host) bool {
		return h.Name == host && h.Data == recovery.DataNone && slices.ContainsFunc(h.Ladder, isRestore)
	})
}

func isRestore(r recovery.Rung) bool { return r.Kind == recovery.RungRestore }

// images is what the lab has to know of backups.
type images struct {
	repositories map[string]int64 // bytes per second
	sizes        map[string]int64 // by host
	runners      map[string]bool
}

// images are those of a comparison; nil: this is none.
func (s *story) images() *images {
	if s.way == "" {
		return nil
	}
	i := &images{repositories: map[string]int64{}, sizes: map[string]int64{}, runners: map[string]bool{}}
	rates := map[string]int64{}
	for _, r := range s.fleet.Repositories {
		rates[r.Name] = r.Bandwidth
	}
	for _, d := range s.fleet.DataSets {
		if s.restores(d.Host) {
			i.sizes[d.Host], i.runners[d.RunsOn()] = d.Size, true
			i.repositories[d.Repository] = rates[d.Repository]
		}
	}
	return i
}

// only is the fleet as the coordinator gets it: with the rungs of this way, and with data sets whose targets are the disks of simulated
// machines. Programs of the fleet file are dropped, because they would really run, on this computer; the lab has its own.
func (w way) only(l *lab.Lab, f recovery.Fleet) recovery.Fleet {
	stateless := map[string]bool{}
	f.Hosts = slices.Clone(f.Hosts)
	for i := range f.Hosts {
		h := &f.Hosts[i]
		stateless[h.Name] = h.Data == recovery.DataNone && slices.ContainsFunc(h.Ladder, isRestore)
		h.Ladder = slices.DeleteFunc(slices.Clone(h.Ladder), func(r recovery.Rung) bool {
			switch {
			case isRestore(r):
				return w == wayRepair || !stateless[h.Name]
			case r.Kind == recovery.RungHands:
				return false
			}
			return w == wayRestore && stateless[h.Name]
		})
	}
	sets := f.DataSets
	f.DataSets = nil
	for _, d := range sets {
		disk, err := l.Disk(d.Host)
		if err != nil || !stateless[d.Host] {
			continue
		}
		off, on := l.Power(d.Host)
		f.DataSets = append(f.DataSets, recovery.DataSet{Name: d.Name, Host: d.Host, Kind: recovery.PointImage, Repository: d.Repository, Policy: d.Policy,
			Runner: d.Runner, Source: d.Source, Target: disk, Size: d.Size, Stop: off, Start: on})
	}
	f.Repositories = slices.Clone(f.Repositories)
	for i := range f.Repositories {
		r := &f.Repositories[i]
		r.Kind, r.Password, r.Program, r.Options = recovery.RepositoryRestic, "", "", nil // as the lab has it: checked as a whole
	}
	return f
}

const (
	knowWithin = time.Minute            // for the agents to list and check the repositories
	knowGap    = 100 * time.Millisecond // between two looks; a coordinator tells nobody when a listing has ended
)

// knowPoints waits until the catalog of backups has what it would have had before the outage: every image is listed, and verified as far
// as stateless hosts ask. The story's clock stands still meanwhile.
func (w *world) knowPoints(ctx context.Context, s *story) error {
	ctx, cancel := context.WithTimeout(ctx, knowWithin)
	defer cancel()
	wanted := len(s.images().sizes)
	err := w.points(ctx, func(points []*pb.RestorePoint) bool { return len(points) >= wanted })
	if err == nil {
		_, err = w.client.VerifyBackups(ctx, &pb.VerifyBackupsRequest{Level: recovery.L1.String()})
	}
	if err == nil {
		err = w.points(ctx, func(points []*pb.RestorePoint) bool {
			return !slices.ContainsFunc(points, func(p *pb.RestorePoint) bool { return p.GetLevel() == recovery.L0.String() })
		})
	}
	if err != nil {
		return fmt.Errorf("the images could not be listed and checked: %w", err)
	}
	return nil
}

// points looks at the catalog until it is as wanted.
func (w *world) points(ctx context.Context, enough func([]*pb.RestorePoint) bool) error {
	t := time.NewTicker(knowGap)
	defer t.Stop()
	for {
		out, err := w.client.ListPoints(ctx, &pb.ListPointsRequest{})
		if err != nil || enough(out.GetPoints()) {
			return err
		}
		select {
		case <-t.C:
		case err := <-w.served:
			w.served <- err
			return errors.Join(errors.New("the coordinator stopped"), err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
