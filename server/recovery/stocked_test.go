package recovery

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"
)

const gb = 1 << 30

// A stocked fleet has repositories, and every host of it has a data set, restore points and a rung that restores it.

// stocked gives hosts of a fleet what they can be restored from: a 10 GB data set each, in a repository of 4 slots and 100 MB/s.
func stocked(f Fleet) (Fleet, []RestorePoint) {
	f.Repositories = []Repository{{Name: "vault", Kind: RepositoryRestic, Slots: 4, Bandwidth: 100 << 20}}
	f.Resources = append(slices.Clone(f.Resources), Resource{Name: "vault", Slots: 4})
	f.DataSets = nil
	var points []RestorePoint
	for i := range f.Hosts {
		h := &f.Hosts[i]
		d := DataSet{Name: h.Name + "-disk", Host: h.Name, Kind: PointFiles, Repository: "vault", Target: "/srv/data", Size: 10 * gb}
		f.DataSets = append(f.DataSets, d)
		h.Ladder = withRestore(h.Ladder)
		points = append(points, point(d.Name, "newest", t0.Add(-4*time.Hour), L4), point(d.Name, "older", t0.Add(-28*time.Hour), L4))
	}
	return f, points
}

func withRestore(ladder []Rung) []Rung {
	at := slices.IndexFunc(ladder, func(r Rung) bool { return r.Kind == RungHands })
	if at < 0 {
		at = len(ladder)
	}
	return slices.Insert(slices.Clone(ladder), at, Rung{Name: "restore", Kind: RungRestore, Estimate: 2 * time.Minute})
}

func point(set, id string, at time.Time, level Level) RestorePoint {
	p := RestorePoint{PointRef: PointRef{DataSet: set, Repository: "vault", ID: id}, Kind: PointFiles, TakenAt: at, Size: 10 * gb, SeenAt: at.Add(time.Minute)}
	if level > L0 {
		p.Checks = []PointCheck{{Level: level, OK: true, At: at.Add(time.Hour), By: "test"}}
	}
	return p
}

// restored plays the agent that does a restore: five minutes, then the script's result, and a restart where one is wanted.
func (x *sim) restored(m *machine, j Job) {
	x.starts[j.ID]++
	x.after(5*time.Minute, func() {
		if _, running := x.jobs[j.ID]; !running {
			return
		}
		r := x.script(m, j)
		if r.Class == Succeeded || r.Class == Failed && r.Signature == "exit 4" { // which stands for a check that failed, or for a start after the swap
			swapped := r.Class == Succeeded || len(j.Sets)%2 == 0
			for _, w := range j.Sets {
				s := SetResult{DataSet: w.Set.Name, Repository: w.Repository.Name, Point: w.Point.ID, Bytes: w.Point.Size, Swapped: swapped, Kept: "/srv/data.old"}
				s.Checks = []PointCheck{{Level: L2, OK: swapped, At: x.now, By: "restore"}}
				r.Sets = append(r.Sets, s)
			}
		}
		if r.Class == Succeeded {
			m.bad, m.changed, r.Exit = 0, -1, 0
			if j.Runner == m.host.Name {
				m.changed, r.Boot = m.boot, m.bootID()
				x.bootOf[j.ID] = m.bootID()
			}
			if r.Class == Succeeded && m.host.Agent && !m.up && !m.noBoot && !j.Reboot {
				m.up, m.answered = true, "" // nothing crashes it any more
				x.see(m.facts())
			}
			if j.Reboot || j.Runner != m.host.Name {
				r.Rebooted = true
				x.down(m)
				x.after(2*time.Minute, func() { x.boots(m) })
			}
		}
		x.finish(j, r)
	})
}

// mayRestore tells the rules of design 3.4 again, by the facts of the journal alone.
func (x *sim) mayRestore(h *HostState, v *AttemptStarted) {
	x.tb.Helper()
	a, s := v.Attempt, x.s
	if (a.Method == MethodRestore) != (h.Host.Ladder[a.Rung].Kind == RungRestore) {
		x.tb.Fatalf("%s: method %q on rung %s", a.ID, a.Method, a.RungName)
	}
	if a.Method != MethodRestore {
		return
	}
	fail := func(format string, args ...any) {
		x.tb.Helper()
		x.tb.Fatalf("%s restores: %s", a.ID, fmt.Sprintf(format, args...))
	}
	if len(a.Restores) == 0 {
		fail("nothing")
	}
	need := map[DataClass]Level{DataNone: L1, DataReplica: L2, DataPrimary: L3}[h.Host.Data]
	if tier := s.Waves[h.Wave-1].Tier.Asks; tier != nil {
		need = *tier
	}
	oldest := a.Restores[0].Moment
	for _, r := range a.Restores {
		p, ok := x.shelfTruth()[r.Point]
		switch {
		case !ok || p.Gone || p.condemned:
			fail("from %s, which is %+v", r.Point, p)
		case !p.TakenAt.Before(s.Cutoff) || !r.Moment.Before(s.Cutoff):
			fail("data of %s, and the cutoff is %s", r.Moment, s.Cutoff)
		case p.passed < need:
			fail("from %s, verified %s, and %s is asked", r.Point, p.passed, need)
		}
		if r.Moment.Before(oldest) {
			oldest = r.Moment
		}
	}
	if h.Host.Data == DataNone {
		return
	}
	consent := false
	for _, e := range x.entries {
		if ok, is := e.Event.(*RestoreApproved); is && ok.Host == a.Host && s.Began.Sub(oldest) <= ok.Loss {
			consent = consent || slices.EqualFunc(ok.Points, a.Restores, func(p PointRef, r Restore) bool { return p == r.Point })
		}
	}
	var rpo time.Duration
	for _, svc := range s.Fleet.Services {
		if svc.Name == h.Host.Service {
			rpo = svc.RPO
		}
	}
	if !consent && (h.Host.Data == DataPrimary || s.Began.Sub(oldest) > rpo) {
		fail("%s data without a person's word, loss %s, RPO %s", h.Host.Data, s.Began.Sub(oldest), rpo)
	}
}

// truth is what a plain reading of the journal says of a point.
type truth struct {
	RestorePoint
	passed    Level
	condemned bool
}

func (x *sim) shelfTruth() map[PointRef]truth {
	all := map[PointRef]truth{}
	learn := func(p RestorePoint) {
		v := all[p.PointRef]
		v.RestorePoint = p
		for _, c := range p.Checks {
			if c.OK {
				v.passed = max(v.passed, c.Level)
			} else {
				v.condemned = true
			}
		}
		v.condemned = v.condemned || p.Quarantine != nil && !p.Quarantine.Lifted
		all[p.PointRef] = v
	}
	for _, e := range x.entries {
		switch v := e.Event.(type) {
		case *IncidentDeclared:
			for _, p := range v.Points {
				learn(p)
			}
		case *PointsLearnt:
			for _, p := range v.Points {
				learn(p)
			}
		case *AttemptEnded:
			for _, r := range v.Result.Sets {
				ref := PointRef{DataSet: r.DataSet, Repository: r.Repository, ID: r.Point}
				for _, c := range r.Checks {
					if p, ok := all[ref]; ok && !c.OK {
						p.condemned = true
						all[ref] = p
					}
				}
			}
		}
	}
	return all
}

// vaultBusy counts what every repository is read by.
func (x *sim) vaultBusy() {
	x.tb.Helper()
	busy := map[string]int{}
	for _, h := range x.s.order {
		if a := h.attempt(); a != nil && h.Phase == Attempting {
			for _, repo := range readFrom(a.Restores) {
				busy[repo]++
			}
		}
	}
	for _, r := range x.s.Fleet.Repositories {
		if busy[r.Name] > r.Slots {
			x.tb.Fatalf("%d restores read %s, which has %d slots", busy[r.Name], r.Name, r.Slots)
		}
	}
}

// anyStock gives some hosts backups of every kind of adequacy.
func anyStock(t *rapid.T, f *Fleet) []RestorePoint {
	f.Repositories = []Repository{{Name: "vault", Slots: 1 + below(t, 3, "vault slots"), Bandwidth: int64(below(t, 3, "bandwidth")) * 50 << 20}}
	f.Resources = append(f.Resources, Resource{Name: "vault", Slots: f.Repositories[0].Slots})
	for i := range f.Tiers {
		if chance(t, 30, "tier asks") {
			level := Level(below(t, 5, "asked level"))
			f.Tiers[i].Asks = &level
		}
	}
	var points []RestorePoint
	for i := range f.Hosts {
		h := &f.Hosts[i]
		if chance(t, 30, "no backups") {
			continue
		}
		h.Data = rapid.SampledFrom([]DataClass{DataNone, DataNone, DataReplica, DataPrimary}).Draw(t, "data")
		h.Ladder = withRestore(h.Ladder)
		runner := ""
		if chance(t, 30, "helper") {
			runner = f.Hosts[below(t, len(f.Hosts), "runner")].Name
		}
		for n := range 1 + below(t, 2, "data sets") {
			d := DataSet{Name: fmt.Sprintf("%s-%d", h.Name, n), Host: h.Name, Kind: PointFiles, Repository: "vault", Runner: runner, Target: "/srv"}
			f.DataSets = append(f.DataSets, d)
			for k := range below(t, 4, "points") {
				p := point(d.Name, fmt.Sprintf("p%d", k), t0.Add(time.Duration(1-below(t, 100, "hours ago"))*time.Hour), Level(below(t, 5, "level")))
				p.Size = int64(below(t, 30, "gigabytes")) * gb
				if chance(t, 10, "quarantined") {
					p.Quarantine = &Quarantine{From: p.TakenAt, At: p.SeenAt, By: "ann", Reason: "looks odd"}
				}
				p.Gone = chance(t, 10, "gone")
				points = append(points, p)
			}
		}
	}
	return points
}
