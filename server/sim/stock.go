package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const mb = 1 << 20

// repository is one place of restore points as it truly is.
type repository struct {
	spec    recovery.Repository
	reads   int            // restores that move bytes out of it at this moment
	trouble recovery.Class // how every use of it ends now: "" for well
}

// backup is a restore point as it truly is, and as the catalog of backups knows it.
type backup struct {
	recovery.RestorePoint
	damaged   recovery.Level // a check of this level or above finds damage in it by now; L0: it is whole
	condemned bool           // the journal tells of a check that failed
}

// drawStock gives a fleet backups of every kind of adequacy, and rungs that restore from them.
func (w *World) drawStock(f *recovery.Fleet) {
	names := []string{"vault"}
	if w.chance(500) {
		names = append(names, "far")
	}
	for _, name := range names {
		r := recovery.Repository{Name: name, Kind: recovery.RepositoryRestic, Slots: 1 + w.below(3), Bandwidth: int64(pick(w, 0, 20, 50, 200)) * mb}
		f.Repositories = append(f.Repositories, r)
		f.Resources = append(f.Resources, recovery.Resource{Name: name, Slots: r.Slots})
	}
	for i := range f.Tiers {
		if w.chance(300) {
			level := recovery.Level(w.below(5))
			f.Tiers[i].Asks = &level
		}
	}
	for i := range f.Services {
		f.Services[i].RPO = w.draw(0, 48*time.Hour)
	}
	var agents []string
	for _, h := range f.Hosts {
		if h.Agent {
			agents = append(agents, h.Name)
		}
	}
	for i := range f.Hosts {
		if w.chance(500) {
			w.drawSets(f, &f.Hosts[i], names, agents)
		}
	}
}

// drawSets gives one host data sets and a rung.
func (w *World) drawSets(f *recovery.Fleet, h *recovery.Host, repositories, agents []string) {
	h.Data = pick(w, recovery.DataNone, recovery.DataNone, recovery.DataReplica, recovery.DataPrimary)
	runner := ""
	if len(agents) > 0 && w.chance(500) {
		runner = pick(w, agents...)
	}
	for n := range pick(w, 1, 1, 1, 2) {
		d := recovery.DataSet{Name: fmt.Sprintf("%s-%d", h.Name, n), Host: h.Name, Kind: pick(w, recovery.PointFiles, recovery.PointDatabase),
			Repository: repositories[0], Runner: runner, Target: "/srv", Engine: pick(w, "", recovery.EngineSQLite)}
		if len(repositories) > 1 {
			d.Copies = repositories[1:]
		}
		if w.chance(300) {
			d.Invariants = []recovery.Invariant{{Name: "unique", SQL: "select 1, 1", Expect: "equal"}}
		}
		f.DataSets = append(f.DataSets, d)
	}
	rung := recovery.Rung{Name: "restore", Kind: recovery.RungRestore, Estimate: w.draw(0, 20*time.Minute), Within: pick(w, 0, 30*time.Minute, time.Hour)}
	if w.chance(200) {
		rung.Sets = []string{h.Name + "-0"}
	}
	at := len(h.Ladder) - 1 // the last is a person
	if at > 0 && w.chance(200) {
		at = w.below(at)
	}
	h.Ladder = slices.Insert(slices.Clone(h.Ladder), at, rung)
}

// stock draws the points that are in the repositories.
func (w *World) stock() {
	for _, r := range w.fleet.Repositories {
		w.repositories = append(w.repositories, &repository{spec: r})
	}
	for i := range w.fleet.DataSets {
		for n := range w.below(5) {
			w.backUp(&w.fleet.DataSets[i], fmt.Sprintf("p%d", n), -w.draw(0, 100*time.Hour))
		}
	}
}

// backUp makes a point of what a data set was at a moment. What was taken since the outage holds the bad content.
func (w *World) backUp(d *recovery.DataSet, id string, at time.Duration) {
	repository := d.Repository
	if len(d.Copies) > 0 && w.chance(300) {
		repository = d.Copies[0]
	}
	taken := epoch.Add(at)
	b := &backup{RestorePoint: recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: d.Name, Repository: repository, ID: id}, Kind: d.Kind, TakenAt: taken, SeenAt: taken.Add(time.Minute),
		Size: w.rnd.Int64N(20*1024) * mb}}
	if d.Kind == recovery.PointDatabase && w.chance(500) {
		b.Until = taken.Add(w.draw(0, 30*time.Hour))
	}
	if w.chance(150) {
		b.damaged = recovery.Level(1 + w.below(4))
	}
	for range w.below(2) + 1 {
		b.checked(recovery.Level(1+w.below(4)), taken.Add(min(w.draw(time.Hour, 10*time.Hour), w.now-at)))
	}
	if w.chance(60) {
		b.suspect(taken.Add(w.draw(-time.Hour, 20*time.Hour)), taken.Add(min(10*time.Hour, w.now-at)))
	}
	b.Gone = w.chance(60)
	if w.chance(150) {
		b.damaged = recovery.Level(1 + w.below(4)) // since it was checked
	}
	w.backups = append(w.backups, b)
	w.byRef[b.PointRef] = b
}

// checked notes what a check finds, as far as the catalog does not know it.
func (b *backup) checked(level recovery.Level, at time.Time) {
	c := recovery.PointCheck{Level: level, OK: b.damaged == recovery.L0 || level < b.damaged, At: at, By: "check"}
	b.Checks = slices.DeleteFunc(slices.Clone(b.Checks), func(o recovery.PointCheck) bool { return o.Level == level && !o.At.After(at) })
	b.Checks = append(b.Checks, c)
	if !c.OK {
		b.suspect(b.TakenAt, at)
	}
}

// suspect is a word that data since a moment is not to be trusted. What was suspect before stays so.
func (b *backup) suspect(from, at time.Time) {
	if q := b.Quarantine; q != nil && !q.Lifted && q.From.Before(from) {
		from = q.From
	}
	b.Quarantine = &recovery.Quarantine{From: from, At: at, By: "operator:ann", Reason: "looks odd"}
}

// points are what the catalog knows now.
func (w *World) points() []recovery.RestorePoint {
	list := make([]recovery.RestorePoint, len(w.backups))
	for i, b := range w.backups {
		list[i] = b.RestorePoint
	}
	return list
}

func (w *World) repository(name string) *repository {
	i := slices.IndexFunc(w.repositories, func(r *repository) bool { return r.spec.Name == name })
	return w.repositories[i]
}

// news is something that the catalog of backups comes to know: a check, a quarantine or its end, a point that is gone, a new one. The
// incident hears of it now or later, once or more often.
func (w *World) news(*machine) {
	if len(w.backups) == 0 || !w.house.up {
		return
	}
	w.house.look()
	now := w.house.moment
	b := pick(w, w.backups...)
	switch w.below(8) {
	case 0:
		b.Gone, b.SeenAt = !b.Gone, now
	case 1:
		b.suspect(b.TakenAt.Add(w.draw(-time.Hour, 10*time.Hour)), now)
	case 2:
		if b.damaged == recovery.L0 {
			b.Quarantine = &recovery.Quarantine{From: b.TakenAt, At: now, By: "operator:ann", Reason: "is well", Lifted: true}
		}
	case 3:
		w.backUp(&w.fleet.DataSets[w.below(len(w.fleet.DataSets))], fmt.Sprintf("n%d", len(w.backups)), w.now)
		b = w.backups[len(w.backups)-1]
	default:
		b.checked(recovery.Level(1+w.below(4)), now)
	}
	word := b.RestorePoint
	for range 1 + w.below(2) {
		w.after(w.draw(0, 20*time.Minute), func() { w.tellPoints(word) })
	}
}

// tellPoints brings words on points to the incident, if there is somebody to hear them.
func (w *World) tellPoints(points ...recovery.RestorePoint) {
	if h := w.house; h.up && h.engine.State().ID != "" {
		_ = h.take("engine", recovery.Learnt{Points: points, Verifying: w.verifying, Reason: "news"})
	}
}

// waveZero has the points of what the declaration names looked at, data set by data set. A check takes its time, is made of every point, and
// finds none worth restoring, perhaps.
func (w *World) waveZero() {
	w.verifying = w.told
	for _, name := range w.verifying {
		w.after(w.draw(time.Minute, 4*time.Hour), func() { w.verified(name) })
	}
	w.after(w.draw(0, 10*time.Second), func() { w.tellPoints() })
}

// verified ends the checks of a data set, when there is a coordinator that they can be told to.
func (w *World) verified(set string) {
	if !w.house.up {
		w.after(time.Minute, func() { w.verified(set) })
		return
	}
	w.house.look()
	at := w.house.moment
	w.verifying = slices.DeleteFunc(slices.Clone(w.verifying), func(name string) bool { return name == set })
	var words []recovery.RestorePoint
	for _, b := range w.backups {
		if b.DataSet == set && !b.Gone && at.After(b.TakenAt) {
			b.checked(recovery.L4, at)
			words = append(words, b.RestorePoint)
		}
	}
	w.tellPoints(words...)
}

// tellAll is what the coordinator does when it has started: incident and catalog tell each other what they know.
func (w *World) tellAll() {
	if w.house.up && w.house.engine.State().ID != "" {
		w.hearFound()
		w.tellPoints(w.points()...)
	}
}

// hearFound lets the catalog hear what restores have shown.
func (w *World) hearFound() {
	for _, p := range w.house.engine.State().Found() {
		if b := w.byRef[p.PointRef]; b != nil {
			for _, c := range p.Checks {
				if !slices.ContainsFunc(b.Checks, func(o recovery.PointCheck) bool { return o.Level == c.Level && !o.At.Before(c.At) }) {
					b.Checks = append(slices.DeleteFunc(slices.Clone(b.Checks), func(o recovery.PointCheck) bool { return o.Level == c.Level }), c)
				}
			}
			if q := p.Quarantine; q != nil && (b.Quarantine == nil || q.At.After(b.Quarantine.At)) {
				b.Quarantine = q
			}
		}
	}
}

// condemn notes what the journal knows by now of points that are truly bad, and of checks that are on their way.
func (w *World) condemn(e recovery.Event) {
	fails := func(ref recovery.PointRef, checks []recovery.PointCheck) {
		if b := w.byRef[ref]; b != nil && b.damaged > recovery.L0 && slices.ContainsFunc(checks, func(c recovery.PointCheck) bool { return !c.OK }) {
			b.condemned = true
		}
	}
	switch v := e.(type) {
	case *recovery.IncidentDeclared:
		for _, b := range w.backups {
			b.condemned = false // an older journal may know less
		}
		w.told = v.Verifying
		for _, p := range v.Points {
			fails(p.PointRef, p.Checks)
		}
	case *recovery.PointsLearnt:
		w.told = v.Verifying
		for _, p := range v.Points {
			fails(p.PointRef, p.Checks)
		}
	case *recovery.AttemptEnded:
		for _, x := range v.Result.Sets {
			fails(recovery.PointRef{DataSet: x.DataSet, Repository: x.Repository, ID: x.Point}, x.Checks)
		}
	case *recovery.AttemptStarted:
		for _, r := range v.Attempt.Restores {
			if b := w.byRef[r.Point]; b == nil || b.condemned {
				w.breach("bad-is-not-restored", v.Attempt.Host, "%s goes back to %s, of which the journal knows a check that failed, and which is truly bad", v.Attempt.ID, r.Point)
			}
		}
	}
}
