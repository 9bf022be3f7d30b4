//go:build !race

package recovery

import (
	"testing"
	"time"
)

// A plan is linear in hosts and needs: 100,000 hosts in less than a second, ten times the hosts in far less than the hundred
// times that a square would take. The best of several rounds counts, as other work on the machine only ever adds.
func TestPlanIsLinear(t *testing.T) {
	small, smallScope := estate(10_000)
	large, largeScope := estate(100_000)
	best := func(old time.Duration, f Fleet, scope []HostScope) time.Duration {
		start := time.Now()
		NewPlan(f, testPlaybook(), scope, Stock{})
		return min(old, time.Since(start))
	}
	fast, slow := time.Hour, time.Hour
	for round := range 60 {
		fast, slow = best(fast, small, smallScope), best(slow, large, largeScope)
		if round >= 3 && slow < time.Second && slow < 15*fast {
			return
		}
	}
	t.Errorf("10,000 hosts take %s, 100,000 take %s", fast, slow)
}
