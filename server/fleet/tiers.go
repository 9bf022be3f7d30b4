package fleet

import (
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (b *builder) tierList(entries []tierEntry) {
	b.tiers = map[string]int{}
	if len(entries) > maxTiers {
		b.add(entries[maxTiers].at, "merge some", "there are more than %d tiers", maxTiers)
		entries = entries[:maxTiers]
	}
	for i, e := range entries {
		b.declare(b.tiers, e.Name, i, "tier")
		b.out.Tiers = append(b.out.Tiers, recovery.Tier{Name: e.Name.s, Title: e.Title.s, RTO: e.RTO.d, Gate: b.gate(e), Asks: b.asks(e.Asks)})
	}
}

// asks is how far a tier wants restore points to be verified; nil leaves it to the hosts' data.
func (b *builder) asks(l level) *recovery.Level {
	if !l.given() {
		return nil
	}
	if l.l == recovery.L0 {
		b.add(l.at, "write L1 or higher, or leave the key out", "asks is L0, which a restore point meets that nobody has verified")
	}
	return &l.l
}

// What a gate gets that says nothing.
const (
	defaultSuccess        = 90
	defaultSoak           = 10 * time.Minute
	defaultMaxFailed      = 5
	defaultMaxUnreachable = 10
)

func (b *builder) gate(t tierEntry) recovery.GatePolicy {
	e := t.Gate
	g := recovery.GatePolicy{SuccessPercent: defaultSuccess, Soak: defaultSoak, Approval: e.Approval.on, MaxInFlight: e.MaxInFlight.n}
	if e.Success.given() {
		g.SuccessPercent = e.Success.n
	}
	if e.Soak.given() {
		g.Soak = e.Soak.d
	}
	if e.MaxInFlight.given() && e.MaxInFlight.n < 1 {
		b.add(e.MaxInFlight.at, "write 1 or more, or leave the key out", "max-in-flight is 0")
	}
	leaves := 100 - g.SuccessPercent
	part := func(l limit, otherwise int) recovery.Limit {
		if l.given() {
			return l.l
		}
		return recovery.Limit{Count: min(otherwise, leaves), Percent: true}
	}
	g.MaxFailed = part(e.MaxFailed, defaultMaxFailed)
	g.MaxUnreachable = part(e.MaxUnreachable, defaultMaxUnreachable)
	return g
}

// gates refuses limits that could never hold a wave because its success share fails first.
func (b *builder) gates(e *fileEntry) {
	f := &b.out
	sizes := make([]int, len(f.Tiers))
	for _, h := range f.Hosts {
		if i, ok := b.tiers[h.Tier]; ok {
			sizes[i]++
		}
	}
	for i, t := range f.Tiers {
		leaves := sizes[i] - (sizes[i]*t.Gate.SuccessPercent+99)/100
		check := func(l limit, key string) {
			switch {
			case !l.given():
			case l.l.Percent && l.l.Count > 100-t.Gate.SuccessPercent:
				b.add(l.at, fmt.Sprintf("lower it to %d%%, or lower success", 100-t.Gate.SuccessPercent),
					"%s %d%% is more than the %d%% of tier %s that success %d%% leaves over", key, l.l.Count, 100-t.Gate.SuccessPercent, t.Name, t.Gate.SuccessPercent)
			case !l.l.Percent && sizes[i] > 0 && l.l.Count > leaves:
				b.add(l.at, fmt.Sprintf("lower it to %d, or lower success", leaves),
					"%s %d is more than the %d of %d hosts of tier %s that success %d%% leaves over", key, l.l.Count, leaves, sizes[i], t.Name, t.Gate.SuccessPercent)
			}
		}
		check(e.Tiers[i].Gate.MaxFailed, "max-failed")
		check(e.Tiers[i].Gate.MaxUnreachable, "max-unreachable")
	}
}
