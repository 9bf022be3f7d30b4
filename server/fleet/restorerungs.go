package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// fromBackup checks a rung that restores data sets. What they are is known once the data sets are.
func (b *builder) fromBackup(e rungEntry, r *rung) {
	r.Reboots, r.sets = e.Reboots.on, e.Sets
	b.scarce(e, r)
	if e.Sets != nil && len(e.Sets) == 0 {
		b.add(e.at, "name data sets, or leave the key out for all of the host's", "rung %s restores an empty list of data sets", r.Name)
	}
	if len(e.Sets) > maxList {
		b.add(e.Sets[maxList].at, "name fewer", "rung %s restores more than %d data sets", r.Name, maxList)
		r.sets = r.sets[:maxList]
	}
	for _, t := range r.sets {
		if problem, do := checkPlaces(t.s); problem != "" {
			b.add(t.at, do, "a name in sets %s", problem)
		}
	}
}

// restorer is a host with a rung that restores.
type restorer struct {
	host  int // in the fleet
	rungs ladder
	own   bool // the ladder is written on the host itself
	facts facts
}

// restorer notes the host that is about to be added, if it has a rung that restores.
func (b *builder) restorer(x *entryHosts, rungs ladder, f facts) {
	if slices.ContainsFunc(rungs, func(r rung) bool { return r.Kind == recovery.RungRestore }) {
		b.restorers = append(b.restorers, restorer{len(b.out.Hosts), rungs, x.hostEntry.Ladder.Rungs != nil, f})
	}
}

// restoreRungs gives each rung that restores the data sets of its host.
func (b *builder) restoreRungs() {
	sound := len(b.list) == 0 // else a data set may be missing that was refused
	found := newSetBook(b.out.DataSets)
	for i := range b.restorers {
		b.restoring(&b.restorers[i], found, sound)
	}
	b.strangeSets(found, sound)
}

// restoring settles the rungs of one host. Those without any data set fall away, unless the ladder is the host's own, and one of the
// others is enough.
func (b *builder) restoring(r *restorer, found *setBook, sound bool) {
	h := &b.out.Hosts[r.host]
	kept := h.Ladder[:0]
	var first *rung
	for i, step := range h.Ladder {
		if step.Kind != recovery.RungRestore {
			kept = append(kept, step)
			continue
		}
		from := &r.rungs[i]
		sets := found.restoredBy(from, h, &r.facts)
		switch {
		case len(sets) == 0:
			if r.own && sound {
				b.once(from.where, "add them to backups:, or remove the rung", "rung %s restores data sets of host %s, which has none", from.Name, h.Name)
			}
			continue
		case first != nil:
			b.once(from.where, "name all data sets that are to be restored in the sets: of one rung, or put hosts of different kinds on ladders of their own",
				"host %s has two rungs that restore, %s and %s, and only one is taken", h.Name, first.Name, from.Name)
		default:
			first = from
		}
		step.Sets = b.together(sets, from, h)
		b.repairFirst(r, i, h)
		kept = append(kept, step)
	}
	h.Ladder = kept
}

// setBook finds data sets by what rungs say.
type setBook struct {
	byName  map[string]*recovery.DataSet
	byHost  map[string][]*recovery.DataSet
	matched map[at]bool // items of sets that meant a data set of some host
	asked   map[at]bool // items of sets that some host's rung has
}

func newSetBook(sets []recovery.DataSet) *setBook {
	s := &setBook{make(map[string]*recovery.DataSet, len(sets)), map[string][]*recovery.DataSet{}, map[at]bool{}, map[at]bool{}}
	for i := range sets {
		d := &sets[i]
		s.byName[d.Name] = d
		s.byHost[d.Host] = append(s.byHost[d.Host], d)
	}
	return s
}

// restoredBy returns the data sets of a host that a rung restores: those that it names, or all.
func (s *setBook) restoredBy(r *rung, h *recovery.Host, f *facts) []*recovery.DataSet {
	if r.sets == nil {
		return s.byHost[h.Name]
	}
	var out []*recovery.DataSet
	for _, t := range r.sets {
		s.asked[t.at] = true
		name, lacks := f.fill(t.s)
		if d := s.byName[name]; d != nil && lacks == "" && d.Host == h.Name {
			s.matched[t.at] = true
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// together checks that the data sets of one rung can be restored as one piece of work.
func (b *builder) together(sets []*recovery.DataSet, r *rung, h *recovery.Host) []string {
	where := placeOf(r.sets, r.where)
	if len(sets) > maxList {
		b.once(where, "name those to restore in sets:", "rung %s restores more than %d data sets of host %s", r.Name, maxList, h.Name)
		return nil
	}
	out := make([]string, len(sets))
	for i, d := range sets {
		out[i] = d.Name
		if first := sets[0]; d.RunsOn() != first.RunsOn() {
			b.once(where, "name those of one runner in sets:",
				"rung %s restores data sets %s and %s of host %s together, but one runs on %s and the other on %s", r.Name, first.Name, d.Name, h.Name, first.RunsOn(), d.RunsOn())
			continue
		}
		for _, other := range sets[:i] {
			if overlap(d.Target, other.Target) {
				b.once(where, "name only one of them in sets:",
					"rung %s restores data sets %s and %s of host %s together, but one would replace the other: their targets are %s and %s", r.Name, other.Name, d.Name, h.Name, other.Target, d.Target)
			}
		}
	}
	slices.Sort(out)
	return out
}

// overlap reports whether one path is the other or lies below it.
func overlap(a, b string) bool {
	below := func(a, b string) bool {
		rest, ok := strings.CutPrefix(a, b)
		return ok && (rest == "" || strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, `\`))
	}
	return below(a, b) || below(b, a)
}

// repairFirst refuses a rung that would replace data before all has been tried that leaves it in place.
func (b *builder) repairFirst(r *restorer, i int, h *recovery.Host) {
	if h.Data == recovery.DataNone {
		return
	}
	later := slices.IndexFunc(r.rungs[i+1:], func(r rung) bool { return byLogin(r.Kind) })
	if later >= 0 {
		b.once(r.rungs[i].where, "repair in place first: move it behind that one, or give hosts with data: none a ladder of their own",
			"rung %s replaces what host %s holds (data: %s) before rung %s has tried to repair it", r.rungs[i].Name, h.Name, h.Data, r.rungs[i+1+later].Name)
	}
}

// strangeSets refuses names in sets that mean nothing.
func (b *builder) strangeSets(found *setBook, sound bool) {
	items := map[at]string{}
	note := func(l ladder) {
		for _, r := range l {
			for _, t := range r.sets {
				items[t.at] = t.s
			}
		}
	}
	for _, l := range b.ladders {
		note(l)
	}
	for _, r := range b.restorers {
		note(r.rungs)
	}
	for _, where := range slices.SortedFunc(maps.Keys(items), func(x, y at) int { return cmp.Or(x.line-y.line, x.col-y.col) }) {
		name := items[where]
		_, declared := found.byName[name]
		switch {
		case found.matched[where]:
		case !declared && !strings.Contains(name, "{"):
			known(b, found.byName, text{where, name}, "data set", "backups:")
		case found.asked[where] && sound:
			b.add(where, "correct the name, or remove it", "data set %s is of no host with this ladder", quote(name))
		}
	}
}
