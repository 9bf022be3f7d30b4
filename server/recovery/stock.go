package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stock is what a fleet could be restored from. The zero Stock holds nothing.
type Stock struct {
	Points *Points
	Cutoff time.Time // when the bad content came in: what is restored is older
	Began  time.Time // of the outage: data until then is lost by a restore
}

// stock answers what restoring a host would mean.
type stock struct {
	Stock
	sets         map[string]*DataSet
	byHost       map[string][]*DataSet
	repositories map[string]*Repository
	services     map[string]*Service
	asks         map[string]*Level // by tier
	agents       map[string]bool   // hosts with an agent
	known        map[string]found  // by data set; forgotten when a point changes
	verifying    []string          // data sets of which ordered checks are on their way, sorted
}

type found struct {
	Choice
	why string
}

func newStock(f *Fleet, s Stock) *stock {
	k := &stock{Stock: s, sets: map[string]*DataSet{}, byHost: map[string][]*DataSet{}, repositories: map[string]*Repository{}, services: map[string]*Service{},
		asks: map[string]*Level{}, agents: map[string]bool{}, known: map[string]found{}}
	if k.Points == nil {
		k.Points = NewPoints()
	}
	if len(f.DataSets) == 0 {
		return k
	}
	for i := range f.DataSets {
		d := &f.DataSets[i]
		k.sets[d.Name] = d
		k.byHost[d.Host] = append(k.byHost[d.Host], d)
	}
	for i := range f.Repositories {
		k.repositories[f.Repositories[i].Name] = &f.Repositories[i]
	}
	for i := range f.Services {
		k.services[f.Services[i].Name] = &f.Services[i]
	}
	for i := range f.Tiers {
		k.asks[f.Tiers[i].Name] = f.Tiers[i].Asks
	}
	for i := range f.Hosts {
		k.agents[f.Hosts[i].Name] = f.Hosts[i].Agent
	}
	return k
}

// changed forgets what was found, because a point has changed.
func (k *stock) changed() { clear(k.known) }

// Asks is how far a restore point of the host must be verified: as its tier says, or else by what would be lost.
func (f *Fleet) Asks(h *Host) Level {
	for _, t := range f.Tiers {
		if t.Name == h.Tier {
			return asks(h, t.Asks)
		}
	}
	return asks(h, nil)
}

func asks(h *Host, tier *Level) Level {
	switch {
	case tier != nil:
		return *tier
	case h.Data == DataNone:
		return L1
	case h.Data == DataReplica:
		return L2
	}
	return L3
}

// need is how far a point of the host must be verified.
func (k *stock) need(h *Host) Level { return asks(h, k.asks[h.Tier]) }

// best is the last known good of a data set, remembered until a point changes.
func (k *stock) best(d *DataSet, need Level) (Choice, string) {
	b, ok := k.known[d.Name]
	if !ok {
		b.Choice, b.why = k.Points.Best(d, need, k.Cutoff)
		k.known[d.Name] = b
	}
	return b.Choice, b.why
}

// unverified reports whether the data set has no point that may be restored, and may have one after a check.
func (k *stock) unverified(d *DataSet, need Level) bool {
	if _, why := k.best(d, need); why == "" {
		return false
	}
	_, why := k.Points.Best(d, L0, k.Cutoff)
	return why == ""
}

func (k *stock) isVerifying(d *DataSet) bool {
	_, found := slices.BinarySearch(k.verifying, d.Name)
	return found
}

// awaited reports whether a host could be restored if it were not for points that are being verified.
func (k *stock) awaited(h *Host, r *Rung) bool {
	if k == nil || len(k.verifying) == 0 {
		return false
	}
	sets, need, lacks := k.setsOf(h, r), k.need(h), false
	if len(sets) == 0 || !k.agents[sets[0].RunsOn()] {
		return false
	}
	for _, d := range sets {
		if _, why := k.best(d, need); why != "" {
			if !k.isVerifying(d) {
				return false
			}
			lacks = true
		}
	}
	return lacks
}

// setsOf are the data sets that a restore rung goes for: those that it names, or else all of the host.
func (k *stock) setsOf(h *Host, r *Rung) []*DataSet {
	if len(r.Sets) == 0 {
		return k.byHost[h.Name]
	}
	var list []*DataSet
	for _, name := range r.Sets {
		if d := k.sets[name]; d != nil && d.Host == h.Name {
			list = append(list, d)
		}
	}
	return list
}

// Offer is what restoring a host would mean.
type Offer struct {
	Restores []Restore
	Runner   string        // whose agent does it
	Moment   time.Time     // of the oldest data that it would hold
	Loss     time.Duration // of data that people would miss; always 0 for stateless hosts
	Size     int64         // bytes; 0: unknown
	Approval string        // why a person must approve it, "" when nobody need
	Estimate time.Duration // from its start to the proof, with nothing before it in the queue; told by State.Offer only
}

// Points are the points of the offer.
func (o *Offer) Points() []PointRef {
	refs := make([]PointRef, len(o.Restores))
	for i, r := range o.Restores {
		refs[i] = r.Point
	}
	return refs
}

// offer says what restoring a host on a rung would mean, or why it cannot be.
func (k *stock) offer(h *Host, r *Rung) (o Offer, problem string) {
	if k == nil {
		return o, "backups are restored in an incident only"
	}
	sets := k.setsOf(h, r)
	if len(sets) == 0 {
		return o, "no data set of it is in the fleet file"
	}
	need, problems := k.need(h), []string(nil)
	o.Runner = sets[0].RunsOn()
	if !k.agents[o.Runner] {
		return o, fmt.Sprintf("no agent is on %s, which would restore it", o.Runner)
	}
	for _, d := range sets {
		best, why := k.best(d, need)
		if why != "" {
			problems = append(problems, k.lack(d, why))
			continue
		}
		size := best.Point.Size
		if size == 0 {
			size = d.Size
		}
		o.Restores = append(o.Restores, Restore{Point: best.Point.PointRef, Moment: best.Moment, Level: beside(d, need), Size: size})
		o.Size += size
		if o.Moment.IsZero() || best.Moment.Before(o.Moment) {
			o.Moment = best.Moment
		}
	}
	if problems != nil {
		return o, strings.Join(problems, "; ")
	}
	o.weigh(h, k)
	return o, ""
}

// lack says why a data set cannot be restored, and whether that may end.
func (k *stock) lack(d *DataSet, why string) string {
	text := fmt.Sprintf("data set %s: %s", d.Name, why)
	if k.isVerifying(d) {
		text += ", and checks are on their way"
	}
	return text
}

// beside is how far a restored data set is checked before it replaces the old: as far as is asked of its point, and at least as far as it can
// be, because what the logs add to a verified base has not been seen by any check.
func beside(d *DataSet, need Level) Level {
	reach := L2
	if d.Engine != "" || len(d.Check) > 0 {
		reach = L3
	}
	if len(d.Invariants) > 0 {
		reach = L4
	}
	return min(max(need, reach), reach)
}

// weigh says what would be lost and who must know.
func (o *Offer) weigh(h *Host, k *stock) {
	if h.Data == DataNone {
		return
	}
	if o.Moment.Before(k.Began) {
		o.Loss = k.Began.Sub(o.Moment)
	}
	var rpo time.Duration
	if s := k.services[h.Service]; s != nil {
		rpo = s.RPO
	}
	switch {
	case h.Data == DataPrimary:
		o.Approval = fmt.Sprintf("it holds primary data, and %s of it would be lost", Minutes(o.Loss))
	case o.Loss > rpo:
		o.Approval = fmt.Sprintf("%s of data would be lost, more than the RPO of %s", Minutes(o.Loss), Minutes(rpo))
	}
}

// Minutes tells a loss of data as people count it, rounded up.
func Minutes(d time.Duration) string {
	return fmt.Sprintf("%d min", (d+time.Minute-1)/time.Minute)
}

// refsText names points for people.
func refsText(refs []PointRef) string {
	list := make([]string, len(refs))
	for i, r := range refs {
		list[i] = r.String()
	}
	return strings.Join(list, ", ")
}

// String names a point as people do: people-db hall-a/4f2a91c0.
func (r PointRef) String() string {
	const shown = 12
	id := r.ID
	if len(id) == 64 && !strings.ContainsFunc(id, func(c rune) bool { return !strings.ContainsRune("0123456789abcdef", c) }) {
		id = id[:shown]
	}
	return r.DataSet + " " + r.Repository + "/" + id
}

// repositoriesOf are those that an offer reads from, each once.
func (o *Offer) repositoriesOf() []string { return readFrom(o.Restores) }

func readFrom(list []Restore) []string {
	var names []string
	for _, r := range list {
		if !slices.Contains(names, r.Point.Repository) {
			names = append(names, r.Point.Repository)
		}
	}
	return names
}

// restoreRung is the index of the host's rung of kind restore, or -1.
func restoreRung(h *Host) int {
	return slices.IndexFunc(h.Ladder, func(r Rung) bool { return r.Kind == RungRestore })
}
