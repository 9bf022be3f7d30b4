package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff returns how long to wait before the addresses are tried again after so many rounds without an answer: anything
// between nothing and least·2^rounds or most, whichever is less. The jitter is drawn after the cap, over the full range:
// when a thousand agents lose the coordinator at once they come back spread out, however long it was away.
func backoff(rounds int, least, most time.Duration) time.Duration {
	limit := least
	for ; rounds > 0 && limit < most; rounds-- {
		limit = min(2*limit, most)
	}
	return rand.N(limit + 1)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
