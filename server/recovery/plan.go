package recovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sort"
	"time"
)

// canariesPerKey is how many hosts of a wave and OS are put first: when one cannot start, the next can.
const canariesPerKey = 3

// NewPlan sorts the planned hosts into waves and says for each with which method, on which rung and why. It is pure and
// deterministic: the same fleet, playbook and scope give the same plan with the same digest.
func NewPlan(f Fleet, p Playbook, scope []HostScope) Plan {
	b := planner{playbook: p, freed: dependents(f), services: map[string]*Service{}}
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
		plan.Waves = append(plan.Waves, PlannedWave{Wave: i + 1, Tier: t.Name, Title: t.Title, Hosts: b.order(hosts[i])})
	}
	if planned == 0 {
		plan.Waves = nil
	}
	plan.Digest = digest(plan)
	return plan
}

type planner struct {
	playbook Playbook
	freed    map[string]int // service -> services that need it, directly or not
	services map[string]*Service
}

// order sorts a wave: critical hosts, then those that free most dependents, then the quickest; then it moves the canaries to
// the front.
func (b *planner) order(hosts []*Host) []PlannedHost {
	rungs := make(map[*Host]int, len(hosts))
	for _, h := range hosts {
		rungs[h] = nextRung(b.playbook, h, 0)
	}
	sort.SliceStable(hosts, func(i, j int) bool { return b.before(hosts[i], hosts[j], rungs) })
	canary := b.canaries(hosts, rungs)
	planned := make([]PlannedHost, 0, len(hosts))
	for _, first := range []bool{true, false} {
		for _, h := range hosts {
			if canary[h] == first {
				planned = append(planned, b.host(h, rungs[h], first))
			}
		}
	}
	return planned
}

func (b *planner) before(x, y *Host, rungs map[*Host]int) bool {
	if x.Critical != y.Critical {
		return x.Critical
	}
	if fx, fy := b.freed[x.Service], b.freed[y.Service]; fx != fy {
		return fx > fy
	}
	if ex, ey := estimate(x, rungs[x]), estimate(y, rungs[y]); ex != ey {
		return ex < ey
	}
	return x.Name < y.Name
}

// canaries picks, for each OS, the hosts that risk least: with an agent to prove them, not critical, alone (in no group), in
// a service that needs no other.
func (b *planner) canaries(hosts []*Host, rungs map[*Host]int) map[*Host]bool {
	type pick struct {
		h    *Host
		risk int
	}
	best := map[string][]pick{}
	for _, h := range hosts {
		if rungs[h] < 0 {
			continue
		}
		p := pick{h, b.risk(h)}
		list := best[h.OS]
		i := sort.Search(len(list), func(i int) bool { return list[i].risk > p.risk })
		if i < canariesPerKey {
			list = append(list[:i:i], append([]pick{p}, list[i:]...)...)
			best[h.OS] = list[:min(len(list), canariesPerKey)]
		}
	}
	set := map[*Host]bool{}
	for _, list := range best {
		for _, p := range list {
			set[p.h] = true
		}
	}
	return set
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

func (b *planner) host(h *Host, rung int, canary bool) PlannedHost {
	ph := PlannedHost{Host: h.Name, Service: h.Service, Method: MethodRepair, Rung: rung, Canary: canary}
	if rung < 0 {
		ph.Method, ph.RungName = MethodHands, RungHands
		ph.Reason = "a person with a work card: " + ladderProblem(b.playbook, h, 0)
		return ph
	}
	ph.RungName = h.Ladder[rung].Name
	switch h.Data {
	case DataPrimary:
		ph.Reason = "repair in place: it holds the only good copy"
	case DataReplica:
		ph.Reason = "repair first: it can be rebuilt from a peer if that fails"
	default:
		ph.Reason = "repair: it is stateless; no restore point is known"
	}
	if rung > 0 {
		ph.Reason += "; " + passedOver(b.playbook, h, rung)
	}
	if _, ok := ownSystem(h); !h.Agent && !ok {
		ph.Reason += "; no agent and no way into its own system: its proof needs a person"
	}
	if canary {
		ph.Reason += "; canary for " + h.OS
	}
	return ph
}

func passedOver(p Playbook, h *Host, rung int) string {
	text := "passed over"
	for i := range rung {
		text += " " + h.Ladder[i].Name + " (" + rungProblem(p, h.Ladder[i]) + ")"
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
	needed := map[string][]string{}
	for _, s := range f.Services {
		for _, n := range s.Needs {
			needed[n] = append(needed[n], s.Name)
		}
	}
	count := make(map[string]int, len(f.Services))
	for _, s := range f.Services {
		seen := map[string]bool{s.Name: true}
		stack := append([]string(nil), needed[s.Name]...)
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if !seen[n] {
				seen[n] = true
				stack = append(stack, needed[n]...)
			}
		}
		count[s.Name] = len(seen) - 1
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
