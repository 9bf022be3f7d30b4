package audit

import (
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// vault is what the journal has told of backups.
type vault struct {
	cutoff, began time.Time
	sets          map[string]*recovery.DataSet
	ofHost        map[string][]*recovery.DataSet
	points        map[recovery.PointRef]*point
	ofSet         map[string][]*point
	rpo           map[string]time.Duration // by service
	agents        map[string]bool          // hosts with an agent
	verifying     []string                 // data sets of which checks are on their way
}

// point is one restore point. Of two words on the same thing the newer one counts.
type point struct {
	recovery.RestorePoint
	checks map[recovery.Level]recovery.PointCheck // the newest of each level
}

func newVault(v *recovery.IncidentDeclared) vault {
	b := vault{cutoff: v.Cutoff, began: v.Began, sets: map[string]*recovery.DataSet{}, ofHost: map[string][]*recovery.DataSet{},
		points: map[recovery.PointRef]*point{}, ofSet: map[string][]*point{}, rpo: map[string]time.Duration{}, agents: map[string]bool{},
		verifying: v.Verifying}
	if b.cutoff.IsZero() {
		b.cutoff = b.began
	}
	f := &v.Fleet
	for i := range f.DataSets {
		d := &f.DataSets[i]
		b.sets[d.Name] = d
		b.ofHost[d.Host] = append(b.ofHost[d.Host], d)
	}
	for _, s := range f.Services {
		b.rpo[s.Name] = s.RPO
	}
	for _, h := range f.Hosts {
		b.agents[h.Name] = h.Agent
	}
	for _, p := range v.Points {
		b.learn(p)
	}
	return b
}

// learn takes a word on a point.
func (b *vault) learn(p recovery.RestorePoint) {
	known := b.points[p.PointRef]
	if known == nil {
		known = &point{RestorePoint: p, checks: map[recovery.Level]recovery.PointCheck{}}
		b.points[p.PointRef] = known
		b.ofSet[p.DataSet] = append(b.ofSet[p.DataSet], known)
	} else if p.SeenAt.After(known.SeenAt) {
		known.SeenAt, known.Gone, known.TakenAt, known.Until = p.SeenAt, p.Gone, p.TakenAt, p.Until
	}
	for _, c := range p.Checks {
		known.check(c)
	}
	known.suspect(p.Quarantine)
}

// check reports whether it says anything new of its level. At one moment the failure counts.
func (p *point) check(c recovery.PointCheck) bool {
	old, checked := p.checks[c.Level]
	if checked && (c.At.Before(old.At) || c.At.Equal(old.At) && (c.OK || !old.OK)) {
		return false
	}
	p.checks[c.Level] = c
	return true
}

// suspect takes a word on quarantine. While it is not lifted a later one can only widen it.
func (p *point) suspect(q *recovery.Quarantine) {
	old := p.Quarantine
	switch {
	case q == nil:
	case old == nil || old.Lifted && !q.Lifted && q.At.Equal(old.At):
		p.Quarantine = q
	case old.Lifted || q.Lifted:
		if q.At.After(old.At) {
			p.Quarantine = q
		}
	default:
		wide := *old
		if q.From.Before(wide.From) {
			wide.From = q.From
		}
		if q.At.After(wide.At) {
			wide.At = q.At
		}
		p.Quarantine = &wide
	}
}

// passed is how far the point is verified: a check that failed no earlier, at the same level or below, undoes one that passed.
func (p *point) passed() recovery.Level {
	best := recovery.L0
	for level, c := range p.checks {
		undone := false
		for below, other := range p.checks {
			undone = undone || below <= level && !other.OK && !other.At.Before(c.At)
		}
		if c.OK && !undone {
			best = max(best, level)
		}
	}
	return best
}

// newest is the newest moment that may be restored from the point, or why there is none.
func (p *point) newest(need recovery.Level, cutoff time.Time) (time.Time, string) {
	moment := p.TakenAt
	if p.Kind == recovery.PointDatabase && p.Until.After(moment) {
		moment = p.Until
	}
	for _, bound := range p.bounds(cutoff) {
		if !moment.Before(bound) {
			moment = bound.Add(-time.Second)
		}
	}
	switch {
	case p.Gone:
		return moment, "which is no longer there"
	case p.passed() < need:
		return moment, "verified " + p.passed().String() + ", and " + need.String() + " is asked"
	case moment.Before(p.TakenAt):
		return moment, "which is in quarantine, or not older than the cutoff"
	}
	return moment, ""
}

// bounds are the moments that data must be older than.
func (p *point) bounds(cutoff time.Time) []time.Time {
	if q := p.Quarantine; q != nil && !q.Lifted {
		return []time.Time{cutoff, q.From}
	}
	return []time.Time{cutoff}
}

// need is how far a point of the host must be verified.
func (h *host) need() recovery.Level {
	if level := h.wave.tier.Asks; level != nil {
		return *level
	}
	switch h.spec.Data {
	case recovery.DataNone:
		return recovery.L1
	case recovery.DataReplica:
		return recovery.L2
	}
	return recovery.L3
}

// newest is the newest data of a set that may be restored; ok is false when there is none.
func (b *vault) newest(set string, need recovery.Level) (best time.Time, ok bool) {
	for _, p := range b.ofSet[set] {
		if moment, no := p.newest(need, b.cutoff); no == "" && (!ok || moment.After(best)) {
			best, ok = moment, true
		}
	}
	return best, ok
}

// goal are the data sets that a rung restores: those that it names, or all of its host.
func (b *vault) goal(h *recovery.Host, r recovery.Rung) []*recovery.DataSet {
	if len(r.Sets) == 0 {
		return b.ofHost[h.Name]
	}
	var list []*recovery.DataSet
	for _, name := range r.Sets {
		if d := b.sets[name]; d != nil && d.Host == h.Name {
			list = append(list, d)
		}
	}
	return list
}

// runner is the host whose agent works on a data set.
func runner(d *recovery.DataSet) string {
	if d.Runner != "" {
		return d.Runner
	}
	return d.Host
}

// restorable: each data set of the rung has a point to go back to, and there is an agent that does it.
func (b *vault) restorable(h *host, r recovery.Rung) bool {
	sets := b.goal(h.spec, r)
	return len(sets) > 0 && b.agents[runner(sets[0])] && !slices.ContainsFunc(sets, func(d *recovery.DataSet) bool {
		_, ok := b.newest(d.Name, h.need())
		return !ok
	})
}

// comes: no data set of the rung lacks more than a check that is on its way, and one lacks that.
func (b *vault) comes(h *host, r recovery.Rung) bool {
	lacking := 0
	for _, d := range b.goal(h.spec, r) {
		if _, ok := b.newest(d.Name, h.need()); ok {
			continue
		}
		if !slices.Contains(b.verifying, d.Name) {
			return false
		}
		lacking++
	}
	return lacking > 0 && b.agents[runner(b.goal(h.spec, r)[0])]
}

// pointsLearnt believes the news, and looks again at what can be restored by them.
func (a *Auditor) pointsLearnt(v *recovery.PointsLearnt) {
	touched := map[*host]bool{}
	touch := func(set string) {
		if d := a.vault.sets[set]; d != nil && a.hosts[d.Host] != nil {
			touched[a.hosts[d.Host]] = true
		}
	}
	for _, p := range v.Points {
		a.vault.learn(p)
		touch(p.DataSet)
	}
	for _, set := range append(slices.Clone(v.Verifying), a.vault.verifying...) {
		touch(set)
	}
	a.vault.verifying = v.Verifying
	for h := range touched {
		a.weigh(h, -1)
		a.lookAgain(h)
		a.weigh(h, 1)
	}
}

// found believes what the checks of a restore have shown. It reports whether one of them failed.
func (a *Auditor) found(h *host, r recovery.Result) (failed bool) {
	for _, x := range r.Sets {
		p := a.vault.points[recovery.PointRef{DataSet: x.DataSet, Repository: x.Repository, ID: x.Point}]
		for _, c := range x.Checks {
			failed = failed || !c.OK
			if p != nil && p.check(c) && !c.OK {
				p.suspect(&recovery.Quarantine{From: p.TakenAt, At: c.At})
			}
		}
	}
	a.lookAgain(h)
	return failed
}

// lookAgain finds out which rungs of a host can be used now.
func (a *Auditor) lookAgain(h *host) {
	for i, r := range h.spec.Ladder {
		h.usable[i] = a.usable(h, r)
		h.awaited[i] = !h.usable[i] && r.Kind == recovery.RungRestore && !(r.Reboots && a.playbook.Reboot == recovery.RebootForbidden) && a.vault.comes(h, r)
	}
}
