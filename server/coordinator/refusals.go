package coordinator

import (
	"context"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What of refused connections is recorded in one minute: a hostile host must not fill the disk with its name.
const (
	refusalsPerHost = 5
	refusalsInAll   = 60
)

// refusals counts what was recorded in the present minute.
type refusals struct {
	since  time.Time
	byHost map[string]int
	all    int
}

// admit reports whether one more may be recorded.
func (r *refusals) admit(host string, now time.Time) bool {
	if age := now.Sub(r.since); age >= time.Minute || age < 0 {
		*r = refusals{since: now, byHost: map[string]int{}}
	}
	if r.all >= refusalsInAll || r.byHost[host] >= refusalsPerHost {
		return false
	}
	r.all++
	r.byHost[host]++
	return true
}

// Refuse records a connection that was not believed, in the log and in the open incident's journal. Of the same again, and of a
// flood, only the first few of a minute are.
func (c *Coordinator) Refuse(ctx context.Context, r recovery.Refused) error {
	return c.inbox.Call(ctx, func() error {
		if !c.refused.admit(r.Host, time.Now()) {
			return nil
		}
		c.cfg.Log.Warn("refused", "host", r.Host, "peer", r.Peer, "why", r.Why)
		if c.engine.State().ID == "" {
			return nil
		}
		return c.take("engine", r)
	})
}
