package netboot

import (
	"sync"
	"time"
)

// ration keeps what strangers and looping machines make us log in bounds: the same thing once in ten minutes, and after a burst no
// more than one line in three seconds over all.
type ration struct {
	now func() time.Time

	mu     sync.Mutex
	last   map[string]time.Time
	credit int
	paid   time.Time // until when the credit is counted
	missed int
}

const (
	rationSame   = 10 * time.Minute
	rationEvery  = 3 * time.Second
	rationBurst  = 40
	rationMemory = 4096 // things that are remembered
)

func newRation(now func() time.Time) *ration {
	return &ration{now: now, last: map[string]time.Time{}, credit: rationBurst, paid: now()}
}

// allow reports whether the thing may be logged now, and how many lines were left out since the last one for want of credit.
func (r *ration) allow(thing string) (ok bool, missed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if earned := int(now.Sub(r.paid) / rationEvery); earned > 0 {
		r.credit = min(rationBurst, r.credit+earned)
		r.paid = r.paid.Add(time.Duration(earned) * rationEvery)
	}
	if at, seen := r.last[thing]; seen && now.Sub(at) < rationSame {
		return false, 0
	}
	if r.credit == 0 {
		r.missed++
		return false, 0
	}
	if len(r.last) >= rationMemory {
		clear(r.last)
	}
	r.last[thing] = now
	r.credit--
	missed, r.missed = r.missed, 0
	return true, missed
}
