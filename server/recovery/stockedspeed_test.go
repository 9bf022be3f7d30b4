//go:build !race

package recovery

import (
	"fmt"
	"testing"
	"time"
)

// stockedEstate is 934 hosts with 20 restore points each.
func stockedEstate(tb testing.TB) (Fleet, []HostScope, Stock) {
	f, scope := estate(934)
	f, points := stocked(f)
	for i := range f.DataSets {
		for n := range 18 {
			points = append(points, point(f.DataSets[i].Name, fmt.Sprintf("p%02d", n), t0.Add(-time.Duration(5+n)*time.Hour), Level(n%5)))
		}
	}
	b := learnAll(points)
	if n := len(b.Of(f.DataSets[0].Name)); n != 20 {
		tb.Fatalf("%d points for a data set", n)
	}
	return f, scope, Stock{Points: b, Cutoff: t0, Began: t0}
}

// A plan that weighs repair against restore for 934 hosts with 20 points each takes less than 50 ms. The best of several rounds counts, as
// other work on the machine only ever adds.
func TestPlanWithPointsIsQuick(t *testing.T) {
	f, scope, stock := stockedEstate(t)
	best := time.Hour
	for range 40 {
		start := time.Now()
		NewPlan(f, testPlaybook(), scope, stock)
		if best = min(best, time.Since(start)); best < 50*time.Millisecond {
			t.Logf("a plan took %s", best)
			return
		}
	}
	t.Errorf("a plan took %s", best)
}

func BenchmarkNewPlanWithPoints(b *testing.B) {
	f, scope, stock := stockedEstate(b)
	for b.Loop() {
		NewPlan(f, testPlaybook(), scope, stock)
	}
}

// What restores cost a plan: the same hosts without anything to restore.
func BenchmarkNewPlanWithoutPoints(b *testing.B) {
	f, scope, _ := stockedEstate(b)
	f.DataSets = nil
	for b.Loop() {
		NewPlan(f, testPlaybook(), scope, Stock{})
	}
}
