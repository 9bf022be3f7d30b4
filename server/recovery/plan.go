package recovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// canariesPerKey is how many hosts of a wave and OS are put first: when one cannot start, the next can.
const canariesPerKey = 3

// NewPlan sorts the planned hosts into waves and says for each with which method, on which rung and why. It is pure and
// deterministic: the same fleet, playbook, scope and stock give the same plan with the same digest.
func NewPlan(f Fleet, p Playbook, scope []HostScope, s Stock) Plan {
	b := planner{terms: terms{Playbook: p, stock: newStock(&f, s)}, fleet: &f, freed: dependents(f), services: map[string]*Service{}}
	for i := range f.Services {
		b.services[f.Services[i].Name] = &f.Services[i]
	}
	wave := make(map[string]int, len(f.Tiers))
	for i, t := range f.Tiers {
		wave[t.Name] = i
	}
	byName := make(map[string]*Host, len(f.Hosts))
	for i := range f.Hosts {
		byName[f.Hosts[i].Name] = &f.Hosts[i]
	}
	hosts := make([][]*Host, len(f.Tiers))
	var plan Plan
	for _, sc := range scope {
		h := byName[sc.Host]
		if h == nil {
			continue
		}
		w, ok := wave[h.Tier]
		switch {
		case !sc.Planned:
			plan.Excluded = append(plan.Excluded, PlannedHost{Host: h.Name, Service: h.Service, Rung: -1, Reason: string(sc.Class) + ": " + sc.Evidence})
		case !ok:
			plan.Excluded = append(plan.Excluded, PlannedHost{Host: h.Name, Service: h.Service, Rung: -1, Reason: "its tier " + h.Tier + " is not in the fleet"})
		default:
			hosts[w] = append(hosts[w], h)
		}
	}
	planned := 0
	for i, t := range f.Tiers {
		planned += len(hosts[i])
		plan.Waves = append(plan.Waves, PlannedWave{Wave: i + 1, Tier: t.Name, Title: t.Title, Hosts: b.order(&f.Tiers[i], hosts[i])})
	}
	slices.SortFunc(plan.Excluded, func(x, y PlannedHost) int { return cmp.Compare(x.Host, y.Host) })
	if planned == 0 {
		plan.Waves = nil
	}
	plan.Playbook = p.Digest
	plan.Digest = digest(plan)
	return plan
}

type planner struct {
	terms
	fleet    *Fleet
	freed    map[string]int // service -> services that need it, directly or not
	services map[string]*Service
}

// candidate is a host with what its place in the wave depends on.
type candidate struct {
	*Host
	weighing
	freed    int
	estimate time.Duration
	risk     int
	canary   bool
	place    int // in the order of the wave
}

// order sorts a wave: canaries, the least risky first; then critical hosts, those that free most dependents, and the quickest. In this order the
// methods are chosen, because who comes later waits for those before.
func (b *planner) order(t *Tier, hosts []*Host) []PlannedHost {
	all, list := make([]candidate, len(hosts)), make([]*candidate, len(hosts))
	for i, h := range hosts {
		rung := b.next(h, 0)
		list[i] = &all[i]
		all[i] = candidate{Host: h, weighing: weighing{rung: rung}, freed: b.freed[h.Service], estimate: estimate(h, rung), risk: b.risk(h)}
	}
	slices.SortFunc(list, before)
	markCanaries(list)
	sorted := make([]*candidate, 0, len(list))
	for _, c := range list {
		if c.canary {
			sorted = append(sorted, c)
		}
	}
	slices.SortStableFunc(sorted, func(x, y *candidate) int { return cmp.Compare(x.risk, y.risk) })
	for _, c := range list {
		if !c.canary {
			sorted = append(sorted, c)
		}
	}
	for i, c := range sorted {
		c.place = i
	}
	planned := make([]PlannedHost, len(sorted))
	l := newLanes(b.stock, nil, atOnce(b.fleet, t))
	for _, c := range fairly(sorted, func(c *candidate) string { return c.Council }) {
		c.weighing = b.weigh(c.Host, l)
		l.book(c.Host, c.weighing)
		planned[c.place] = b.host(c)
	}
	return planned
}

// atOnce is how many repairs of a wave may be under way together.
func atOnce(f *Fleet, t *Tier) int {
	n := DefaultSSHSlots
	for _, r := range f.Resources {
		if r.Name == ResourceSSH {
			n = r.Slots
		}
	}
	if most := t.Gate.MaxInFlight; most > 0 {
		return min(n, most)
	}
	return min(n, f.Policy.withDefaults().MaxInFlight)
}

func before(x, y *candidate) int {
	if x.Critical != y.Critical {
		if x.Critical {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(y.freed, x.freed), cmp.Compare(x.estimate, y.estimate), cmp.Compare(x.Name, y.Name))
}

// markCanaries picks, for each OS, the hosts that risk least: with an agent to prove them, not critical, alone (in no group), in
// a service that needs no other.
func markCanaries(list []*candidate) {
	best := map[string][]int{}
	for i, c := range list {
		if c.rung < 0 {
			continue
		}
		picks := best[c.OS]
		at := len(picks)
		for at > 0 && list[picks[at-1]].risk > c.risk {
			at--
		}
		if at < canariesPerKey {
			picks = slices.Insert(picks, at, i)
			best[c.OS] = picks[:min(len(picks), canariesPerKey)]
		}
	}
	for _, picks := range best {
		for _, i := range picks {
			list[i].canary = true
		}
	}
}

func (b *planner) risk(h *Host) int {
	risk := 0
	if !h.Agent {
		risk += 16
	}
	if s := b.services[h.Service]; s != nil && len(s.Needs) > 0 {
		risk += 8
	}
	if h.Critical {
		risk += 4
	}
	if len(h.Groups) > 0 {
		risk += 2
	}
	if h.Data == DataPrimary {
		risk++
	}
	return risk
}

func (b *planner) host(c *candidate) PlannedHost {
	h, rung := c.Host, c.rung
	ph := PlannedHost{Host: h.Name, Service: h.Service, Method: c.method, Rung: rung, Canary: c.canary, Estimate: c.quote.takes, Queue: c.quote.queue, Otherwise: c.otherwise(h)}
	if rung < 0 {
		ph.RungName = RungHands
		ph.Reason = "a person with a work card: " + b.problems(h, 0)
		return ph
	}
	ph.RungName, ph.Reason = h.Ladder[rung].Name, c.why(h)
	if c.method == MethodRestore {
		ph.Points, ph.Loss, ph.Approval = c.offer.Points(), c.offer.Loss, c.offer.Approval != ""
		if c.offer.Approval != "" {
			ph.Reason += "; it waits for a person's approval: " + c.offer.Approval
		}
	} else if rung > 0 && b.next(h, 0) == rung {
		ph.Reason += "; " + b.passedOver(h, rung)
	}
	if _, ok := ownSystem(h); !h.Agent && !ok {
		ph.Reason += "; no agent and no way into its own system: its proof needs a person"
	}
	if c.canary {
		ph.Reason += "; canary for " + h.OS
	}
	return ph
}

func (t terms) passedOver(h *Host, rung int) string {
	text := "passed over"
	for i := range rung {
		text += " " + h.Ladder[i].Name + " (" + t.problem(h, &h.Ladder[i]) + ")"
	}
	return text
}

func estimate(h *Host, rung int) time.Duration {
	if rung < 0 {
		return 1 << 62
	}
	return h.Ladder[rung].Estimate
}

// dependents counts for each service those that need it, directly or through others. A service is counted once however many
// ways lead to it.
func dependents(f Fleet) map[string]int {
	index := make(map[string]int, len(f.Services))
	for i, s := range f.Services {
		index[s.Name] = i
	}
	neededBy := make([][]int, len(f.Services))
	for i, s := range f.Services {
		for _, n := range s.Needs {
			if k, ok := index[n]; ok {
				neededBy[k] = append(neededBy[k], i)
			}
		}
	}
	count := make(map[string]int, len(f.Services))
	mark := make([]int, len(f.Services)) // who was here last
	var stack []int
	for i, s := range f.Services {
		n := 0
		stack = append(stack[:0], i)
		mark[i] = i + 1
		for len(stack) > 0 {
			k := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, next := range neededBy[k] {
				if mark[next] != i+1 {
					mark[next] = i + 1
					n++
					stack = append(stack, next)
				}
			}
		}
		count[s.Name] = n
	}
	return count
}

func digest(p Plan) string {
	p.Digest = ""
	data, err := json.Marshal(p)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
