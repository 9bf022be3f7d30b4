package sim

import (
	"context"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
)

// add sums up tallies.
func (t *Tally) add(o Tally) {
	t.Incidents += o.Incidents
	t.Hosts += o.Hosts
	t.Steps += o.Steps
	t.Entries += o.Entries
	t.Jobs += o.Jobs
	t.Executions += o.Executions
	t.Restorings += o.Restorings
	t.Swaps += o.Swaps
	t.Kills += o.Kills
	t.Restores += o.Restores
	t.Leaps += o.Leaps
	t.Crashes += o.Crashes
	t.Partitions += o.Partitions
	t.Ghosts += o.Ghosts
	t.Acts += o.Acts
	t.Refusals += o.Refusals
	t.Revisions += o.Revisions
	t.Unplaced += o.Unplaced
	t.Passed += o.Passed
	if t.Outcomes == nil {
		t.Outcomes = map[string]int{}
	}
	for k, n := range o.Outcomes {
		t.Outcomes[k] += n
	}
}

// Run plays one incident for each seed from first on, on all processors, until ctx ends or count (0: no end) have been played, or as many
// breaches as wanted were found. Progress is told after every incident.
func Run(ctx context.Context, first uint64, count, breaches int, o Options, progress func(Tally)) (Tally, []*Breach) {
	var (
		mu    sync.Mutex
		sum   Tally
		found []*Breach
		next  atomic.Uint64
		wg    sync.WaitGroup
	)
	done := func() bool { // with mu held
		return len(found) >= breaches
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				if count > 0 && n >= uint64(count) {
					return
				}
				t, b := Play(first+n, o)
				mu.Lock()
				sum.add(t)
				if b != nil && !done() {
					found = append(found, b)
				}
				told := sum
				told.Outcomes = maps.Clone(sum.Outcomes)
				over := done()
				progress(told)
				mu.Unlock()
				if over {
					return
				}
			}
		})
	}
	wg.Wait()
	return sum, found
}
