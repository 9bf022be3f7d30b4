package remedy

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// The pace of a race.
const (
	racePace     = 250 * time.Millisecond
	racePatience = time.Second
	halfUp       = 30 * time.Second // so long a host that is up may answer as one that is booting, before it is believed
	halfUpPause  = time.Second      // between two logins meanwhile
)

// race is the delivery of a script in the seconds in which a looping host is up. A nil race is that of a host that is just dialled.
type race struct {
	r      *SSH
	host   string
	within time.Duration
	until  time.Time
	poke   chan struct{}

	last  *end      // why the last try started nothing
	half  *end      // the same, of a host that is up at least by half; nil while it is down
	since time.Time // it is so
	seen  *end      // the last half, also when the host has gone down since
}

// races are those under way in this process, by host.
type races struct {
	mu  sync.Mutex
	set map[string]map[*race]bool
}

// Poke says that a host has been heard of: a race that lies in wait for it dials at once.
func (r *SSH) Poke(host string) {
	r.racer.races.mu.Lock()
	defer r.racer.races.mu.Unlock()
	for x := range r.racer.races.set[host] {
		select {
		case x.poke <- struct{}{}:
		default:
		}
	}
}

// enter begins a race; its window begins now.
func (r *SSH) enter(job recovery.Job) *race {
	within := cmp.Or(job.Rung.Within, recovery.DefaultWithin)
	x := &race{r: r, host: job.Host.Name, within: within, until: time.Now().Add(within), poke: make(chan struct{}, 1)}
	r.races.mu.Lock()
	defer r.races.mu.Unlock()
	if r.races.set == nil {
		r.races.set = map[string]map[*race]bool{}
	}
	if r.races.set[x.host] == nil {
		r.races.set[x.host] = map[*race]bool{}
	}
	r.races.set[x.host][x] = true
	return x
}

func (x *race) leave() {
	x.r.races.mu.Lock()
	defer x.r.races.mu.Unlock()
	if delete(x.r.races.set[x.host], x); len(x.r.races.set[x.host]) == 0 {
		delete(x.r.races.set, x.host)
	}
}

// hunt is how the next connection is made. A script that has been started is joined as long as the job lasts.
func (x *race) hunt(started bool) *hunt {
	if x == nil {
		return nil
	}
	h := &hunt{pace: racePace, patience: racePatience, wake: x.poke}
	if !started {
		h.until = x.until
	}
	return h
}

// pause is how long to wait before the next try; the hunt has a pace of its own.
func (x *race) pause() time.Duration {
	if x.half != nil {
		return jittered(halfUpPause)
	}
	return jittered(racePace / 2)
}

// verdict is the race's end after a try that has started nothing, or nil while it goes on.
func (x *race) verdict(ctx context.Context, e *end) *end {
	switch {
	case isCancelled(ctx), final(e):
		return e
	case ctx.Err() != nil:
		return x.missed()
	}
	x.last = e
	if e.class == recovery.Unreachable {
		x.half = nil
	} else {
		if x.half == nil {
			x.since = time.Now()
		}
		x.half, x.seen = e, e
		if time.Since(x.since) > halfUp {
			return e
		}
	}
	if time.Now().Before(x.until) {
		return nil
	}
	return x.missed()
}

// missed is the end of a window in which nothing could be started.
func (x *race) missed() *end {
	within := x.within.Round(time.Second)
	switch {
	case x.seen != nil:
		return &end{x.seen.class, x.seen.signature, fmt.Sprintf("In %s of waiting, nothing could be started on the host when it was up: %s", within, x.seen.detail)}
	case x.last != nil:
		return unreachable(neverUp, fmt.Sprintf("In %s the host was never up for long enough to be let in; the last try: %s", within, x.last.detail))
	default:
		return unreachable(neverUp, "The job's time was over before the host was up.")
	}
}

const neverUp = "never up for a login"
