//go:build !race

package recovery

import (
	"testing"
	"time"
)

// A plan is linear in hosts and needs: 100,000 hosts take less than a second, and at most half as long again for each tenfold as a
// hundred fleets of 1,000, where a square would take a hundred times as long. A hundred different fleets, and every plan kept, so that both
// sides go through as much memory. The best of several rounds counts, as other work on the machine only ever adds.
func TestPlanIsLinear(t *testing.T) {
	type scoped struct {
		fleet Fleet
		scope []HostScope
	}
	estates := func(count, hosts int) []scoped {
		all := make([]scoped, count)
		for i := range all {
			all[i].fleet, all[i].scope = estate(hosts)
		}
		return all
	}
	best := func(old time.Duration, all []scoped) time.Duration {
		plans := make([]Plan, len(all))
		start := time.Now()
		for i, e := range all {
			plans[i] = NewPlan(e.fleet, testPlaybook(), e.scope, Stock{})
		}
		took := time.Since(start)
		for i, e := range all {
			planned := len(plans[i].Excluded)
			for _, w := range plans[i].Waves {
				planned += len(w.Hosts)
			}
			if planned != len(e.scope) {
				t.Fatalf("a plan of %d hosts for %d", planned, len(e.scope))
			}
		}
		return min(old, took)
	}
	small, large := estates(100, 1_000), estates(1, 100_000)
	const growth = 1.5 * 1.5
	parts, whole := time.Hour, time.Hour
	for round := range 60 {
		parts, whole = best(parts, small), best(whole, large)
		if round >= 3 && whole < time.Second && whole.Seconds() < growth*parts.Seconds() {
			t.Logf("a hundred fleets of 1,000 hosts take %s, one of 100,000 takes %s", parts, whole)
			return
		}
	}
	t.Errorf("a hundred fleets of 1,000 hosts take %s, one of 100,000 takes %s", parts, whole)
}
