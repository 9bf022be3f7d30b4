package agent

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// longestReturn is the longest time over which a coordinator may ask its agents to spread their return.
const longestReturn = time.Minute

// newReturn is the time that the coordinator asks for, within bounds; without a word of it the old one holds.
func newReturn(asked *durationpb.Duration, old, longest time.Duration) time.Duration {
	if asked == nil || asked.CheckValid() != nil || asked.AsDuration() <= 0 {
		return old
	}
	return min(asked.AsDuration(), longest)
}

// gone reports whether a stream ended because the coordinator, or the way to it, went away: for all agents, probably. Whoever is
// alone with its trouble need not wait for the others.
func gone(err error) bool { return status.Code(err) == codes.Unavailable }

// pause returns how long to wait before the addresses are tried again after so many rounds without an answer; lost means that a
// coordinator that answered has gone. Then the agents of the fleet begin to come back, each at its own moment of the time that the
// coordinator has set, so that it can greet them one by one. Who comes in vain waits for a good part of that time, lest those who
// come again crowd out the others; and needs no more than a little jitter from there on: with full jitter many would come early
// and few late.
func (a *agent) pause(rounds int, lost bool) time.Duration {
	switch {
	case a.within > 0 && lost:
		return rand.N(a.within + 1)
	case a.within == 0 || rounds == 0:
		return backoff(rounds, a.cfg.MinBackoff, a.cfg.MaxBackoff)
	}
	limit := limit(rounds-1, max(a.within/4, a.cfg.MinBackoff), max(a.within, a.cfg.MaxBackoff))
	return limit - rand.N(limit/4+1)
}

// backoff is any time between nothing and the limit. The jitter is drawn after the cap, over the full range: when a thousand
// agents lose the coordinator at once they come back spread out, however long it was away.
func backoff(rounds int, least, most time.Duration) time.Duration {
	return rand.N(limit(rounds, least, most) + 1)
}

// limit is least·2^rounds or most, whichever is less.
func limit(rounds int, least, most time.Duration) time.Duration {
	limit := least
	for ; rounds > 0 && limit < most; rounds-- {
		limit = min(2*limit, most)
	}
	return limit
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
