package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

const (
	gatherLimit = 30 * time.Second             // for one look at the disk and all checks
	stuckAfter  = gatherLimit + 10*time.Second // after it the disk itself does not answer
	maxLook     = 10 * time.Second             // a change is seen after this time at most, however rare the heartbeats are
)

// gathered is what one gathering found.
type gathered struct {
	facts *pb.Facts
	saved bool // the memory that it was given is on disk
}

// gather begins to look at the disk and at the machine's health, on its own goroutine; the outcome comes through running.
// There is one gathering at a time: the caller looks at running first. Memory that is not on disk yet is saved first, so
// that an answer about new probes means that they are remembered.
func (a *agent) gather(fresh bool) {
	out := make(chan gathered, 1)
	a.running, a.since = out, time.Now()
	disk, checks, sets := a.disk, a.cfg.Checks, a.memory.Sets
	dir, remember := a.cfg.StateDir, a.memory
	save := a.unsaved && dir != ""
	a.unsaved = false
	go func() {
		ctx, cancel := context.WithTimeout(a.ctx, gatherLimit)
		defer cancel()
		g := gathered{saved: true}
		var results []health.Result
		if save {
			if err := remember.save(dir); err != nil {
				g.saved = false
				results = append(results, health.Result{Name: "agent-memory", Detail: err.Error()})
			}
		}
		at := time.Now()
		content := disk.Content(ctx, sets, fresh)
		results = append(results, health.Checks(ctx, checks)...)
		g.facts = wireFacts(at, content, results)
		out <- g
	}()
}

// take keeps what a gathering found and reports whether it differs from what was known.
func (a *agent) take(g gathered) (changed bool) {
	a.running = nil
	a.unsaved = a.unsaved || !g.saved
	changed = differ(a.facts, g.facts)
	a.facts = g.facts
	return changed
}

// refresh gathers facts and waits for them, but not for ever: a hello with old facts, or none, is better than silence.
func (a *agent) refresh(ctx context.Context) {
	if a.running == nil {
		a.gather(false)
	}
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	select {
	case g := <-a.running:
		a.take(g)
	case <-ctx.Done():
		a.giveUp()
	}
}

// close stops a gathering that is under way.
func (a *agent) close() {
	a.stop()
	if a.running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	select {
	case <-a.running:
	case <-ctx.Done(): // a disk hangs
	}
}

// giveUp replaces the facts when a gathering does not come back, not even after its deadline: a disk hangs. The goroutine
// is left behind; while it hangs, nothing else is gathered. It reports whether that is news.
func (a *agent) giveUp() bool {
	if a.running == nil || time.Since(a.since) < stuckAfter {
		return false
	}
	text := fmt.Sprintf("no answer within %v: a disk or a check hangs", stuckAfter)
	content := make([]health.Fact, len(a.memory.Sets))
	for i, set := range a.memory.Sets {
		content[i] = health.Fact{Playbook: set.Playbook, Error: text}
	}
	facts := wireFacts(time.Now(), content, []health.Result{{Name: "agent-gathering", Detail: text}})
	news := differ(a.facts, facts)
	a.facts = facts
	return news
}

func wireFacts(at time.Time, content []health.Fact, results []health.Result) *pb.Facts {
	f := &pb.Facts{GatheredAt: timestamppb.New(at)}
	for _, c := range content {
		f.Content = append(f.Content, &pb.ContentFact{
			PlaybookDigest: c.Playbook, Bad: int32(c.Bad), Good: int32(c.Good), Missing: c.Missing, Error: c.Error, Detail: c.Detail,
		})
	}
	for _, r := range results {
		f.Health = append(f.Health, &pb.HealthCheck{Name: r.Name, Ok: r.OK, Detail: r.Detail})
	}
	return f
}

// differ reports whether there is news: another count, place or error, another check, or one that turned. Details such as
// the load change all the time and are none.
func differ(a, b *pb.Facts) bool {
	if len(a.GetContent()) != len(b.GetContent()) || len(a.GetHealth()) != len(b.GetHealth()) {
		return true
	}
	for i, x := range a.GetContent() {
		y := b.GetContent()[i]
		if x.GetPlaybookDigest() != y.GetPlaybookDigest() || x.GetBad() != y.GetBad() || x.GetGood() != y.GetGood() ||
			x.GetMissing() != y.GetMissing() || x.GetError() != y.GetError() {
			return true
		}
	}
	for i, x := range a.GetHealth() {
		y := b.GetHealth()[i]
		if x.GetName() != y.GetName() || x.GetOk() != y.GetOk() {
			return true
		}
	}
	return false
}
