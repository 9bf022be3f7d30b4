package fleet

import (
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (b *builder) serviceList(entries []serviceEntry) {
	b.services = map[string]int{}
	if len(entries) > maxServices {
		b.add(entries[maxServices].at, "merge some", "there are more than %d services", maxServices)
		entries = entries[:maxServices]
	}
	for i, e := range entries {
		b.declare(b.services, e.Name, i, "service")
		known(b, b.tiers, e.Tier, "tier", "tiers:")
		s := recovery.Service{
			Name: e.Name.s, Title: e.Title.s, Tier: e.Tier.s, Council: e.Council.s, Owner: e.Owner.s,
			RTO: e.RTO.d, MTD: e.MTD.d, RPO: e.RPO.d, UpPercent: e.Up.n,
		}
		rto := e.RTO.d
		if tier, ok := b.tiers[e.Tier.s]; ok && rto == 0 {
			rto = b.out.Tiers[tier].RTO
		}
		if e.MTD.given() && e.MTD.d < rto {
			b.add(e.MTD.at, "raise mtd or lower the RTO", "service %s tolerates %s of downtime (mtd), less than its RTO of %s", e.Name.s, e.MTD.d, rto)
		}
		b.out.Services = append(b.out.Services, s)
	}
	for i, e := range entries {
		b.out.Services[i].Needs = b.uses(b.services, e.Needs, "service", "services:")
	}
}

// uses checks a list of declared names and drops what stands there twice.
func (b *builder) uses(in map[string]int, list names, what, section string) []string {
	if len(list) > maxList {
		b.add(list[maxList].at, "name fewer", "one list has more than %d items, each the name of a %s", maxList, what)
		list = list[:maxList]
	}
	var out []string
	for _, t := range list {
		if known(b, in, t, what, section) && !slices.Contains(out, t.s) {
			out = append(out, t.s)
		}
	}
	return out
}

// cycles refuses services that need each other, with the path.
func (b *builder) cycles(e *fileEntry) {
	const unseen, open, closed = 0, 1, 2
	state := make([]int, len(b.out.Services))
	var path []int
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		path = append(path, i)
		for _, need := range b.out.Services[i].Needs {
			j := b.services[need]
			switch state[j] {
			case unseen:
				visit(j)
			case open:
				b.add(needPlace(e.Services[i], need), "remove one of these needs", "services need each other: %s", b.path(path[slices.Index(path, j):]))
			}
		}
		path = path[:len(path)-1]
		state[i] = closed
	}
	for i := range state {
		if state[i] == unseen {
			visit(i)
		}
	}
}

// path writes a cycle as a -> b -> a, the middle of a long one left out.
func (b *builder) path(cycle []int) string {
	const longest = 12
	var words []string
	for n, i := range cycle {
		switch {
		case len(cycle) <= longest || n < longest-1 || n == len(cycle)-1:
			words = append(words, b.out.Services[i].Name)
		case n == longest-1:
			words = append(words, "…")
		}
	}
	return strings.Join(append(words, b.out.Services[cycle[0]].Name), " -> ")
}

// needPlace is where a service says that it needs another.
func needPlace(e serviceEntry, need string) at {
	for _, t := range e.Needs {
		if t.s == need {
			return t.at
		}
	}
	return e.at
}

// tierOrder refuses needs that only a later wave would meet: the earlier one would wait for ever.
func (b *builder) tierOrder(e *fileEntry) {
	spread := b.spread()
	for i, s := range b.out.Services {
		own, ok := b.tiers[s.Tier]
		if !ok {
			continue
		}
		for _, need := range s.Needs {
			j := b.services[need]
			n := b.out.Services[j]
			other, ok := b.tiers[n.Tier]
			if !ok || i == j {
				continue
			}
			if other > own {
				b.add(needPlace(e.Services[i], need), "move "+n.Name+" to an earlier tier or "+s.Name+" to a later one, or remove the need",
					"service %s (tier %s) needs %s (tier %s), which comes back only in a later wave", s.Name, s.Tier, n.Name, n.Tier)
				continue
			}
			first := spread[i].first(own)
			if up, ok := spread[j].upBy(first, n.UpPercent); !ok {
				b.add(needPlace(e.Services[i], need), "check the tiers of their hosts",
					"service %s has hosts in tier %s and needs %s, which is up only with tier %s", s.Name, b.out.Tiers[first].Name, n.Name, b.out.Tiers[up].Name)
			}
		}
	}
}

// tierSpread is how a service's hosts lie over the tiers. Nil means no hosts.
type tierSpread struct{ hosts, critical []int }

func (b *builder) spread() []tierSpread {
	out := make([]tierSpread, len(b.out.Services))
	for _, h := range b.out.Hosts {
		i, ok := b.services[h.Service]
		tier, okTier := b.tiers[h.Tier]
		if !ok || !okTier {
			continue
		}
		if out[i].hosts == nil {
			out[i] = tierSpread{make([]int, len(b.out.Tiers)), make([]int, len(b.out.Tiers))}
		}
		out[i].hosts[tier]++
		if h.Critical {
			out[i].critical[tier]++
		}
	}
	return out
}

// first is the earliest tier with a host of the service.
func (t tierSpread) first(otherwise int) int {
	for tier, n := range t.hosts {
		if n > 0 {
			return tier
		}
	}
	return otherwise
}

// upBy reports whether the service can be up once the given tier is back, and else with which tier it is.
func (t tierSpread) upBy(tier, upPercent int) (int, bool) {
	const half = 50
	total, with := 0, 0
	for i, n := range t.hosts {
		total += n
		if t.critical[i] > 0 {
			with = i
		}
	}
	if upPercent == 0 {
		upPercent = half
	}
	want, have := (total*upPercent+99)/100, 0
	for i, n := range t.hosts {
		if have += n; have >= want {
			with = max(with, i)
			break
		}
	}
	return with, with <= tier
}
