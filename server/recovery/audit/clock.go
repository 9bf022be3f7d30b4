package audit

import "time"

// clock is the incident's: it stands still while the incident is paused and while no coordinator runs.
type clock struct {
	pausedAt time.Time // zero while it runs
	frozen   []span    // in order
}

type span struct{ from, to time.Time }

func (c *clock) paused() bool { return !c.pausedAt.IsZero() }

func (c *clock) stop(at time.Time) {
	if !c.paused() {
		c.pausedAt = at
	}
}

func (c *clock) start(at time.Time) {
	if c.paused() && at.After(c.pausedAt) {
		c.frozen = append(c.frozen, span{c.pausedAt, at})
	}
	c.pausedAt = time.Time{}
}

// lose takes a time out of the clock that a pause has not taken already.
func (c *clock) lose(from, to time.Time) {
	if n := len(c.frozen); n > 0 && c.frozen[n-1].to.After(from) {
		from = c.frozen[n-1].to
	}
	if !c.paused() && from.Before(to) {
		c.frozen = append(c.frozen, span{from, to})
	}
}

// read is what the clock shows at a moment of the coordinator's clock, which may have been set back.
func (c *clock) read(at time.Time) time.Time {
	if c.paused() && at.After(c.pausedAt) {
		at = c.pausedAt
	}
	shown := at
	for _, s := range c.frozen {
		switch {
		case !at.After(s.from):
		case at.Before(s.to):
			shown = shown.Add(-at.Sub(s.from))
		default:
			shown = shown.Add(-s.to.Sub(s.from))
		}
	}
	return shown
}
