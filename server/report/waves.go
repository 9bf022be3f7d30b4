package report

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Wave is one tier's way back.
type Wave struct {
	Wave       int        `json:"wave"` // 1-based
	Tier       string     `json:"tier"`
	Name       string     `json:"name"`    // the tier's title, or its name
	Status     string     `json:"status"`  // "closed" (not open yet), "open", "held" or "passed"
	Size       int        `json:"size"`    // fixed at opening; planned hosts before
	Need       int        `json:"need"`    // hosts that must be recovered to pass; 0 before opening
	Planned    int        `json:"planned"` // hosts in it now: larger than Size when some joined later
	Recovered  int        `json:"recovered"`
	NeedsHands int        `json:"needs_hands"`
	Skipped    int        `json:"skipped"`
	OpenedAt   time.Time  `json:"opened_at,omitzero"`
	PassedAt   time.Time  `json:"passed_at,omitzero"`
	Duration   float64    `json:"duration_seconds"` // from opening to passing, or to AsOf; 0 before opening
	Holds      []Hold     `json:"holds"`
	RTO        *Objective `json:"rto,omitempty"` // the tier's, judged by PassedAt
	Reason     string     `json:"reason"`        // of the last change
}

// Hold is one time that a wave was held.
type Hold struct {
	At            time.Time `json:"at"`
	Breaker       string    `json:"breaker"`
	Reason        string    `json:"reason"`
	ReleasedAt    time.Time `json:"released_at,omitzero"`
	ReleasedBy    string    `json:"released_by,omitempty"`
	ReleaseReason string    `json:"release_reason,omitempty"`
	Accepted      int       `json:"accepted"` // failures accepted with the release
}

// Statuses of an objective.
const (
	ObjectiveMet     = "met"
	ObjectiveMissed  = "missed"  // reached too late, or not reached and too late already
	ObjectivePending = "pending" // not reached, and there is time left
	ObjectiveUnknown = "unknown" // reached, but when is not known
)

// Objective is a time by which something had to be back, counted from the outage's beginning.
type Objective struct {
	Target float64   `json:"target_seconds"`
	Due    time.Time `json:"due,omitzero"`
	Status string    `json:"status"`           // one of the Objective constants
	Margin float64   `json:"margin_seconds"`   // time to spare; negative: late by so much, as of AsOf when not reached
	Done   time.Time `json:"reached,omitzero"` // left out when not reached
}

// objective judges a target; a zero target is none.
func (b *builder) objective(target time.Duration, reached bool, at time.Time) *Objective {
	if target <= 0 {
		return nil
	}
	due := b.s.Began.Add(target)
	o := &Objective{Target: seconds(target), Due: utc(due)}
	switch {
	case reached && at.IsZero():
		o.Status = ObjectiveUnknown
		return o
	case reached:
		o.Done, o.Status = utc(at), ObjectiveMet
	default:
		at, o.Status = b.asOf, ObjectivePending
	}
	if at.After(due) {
		o.Status = ObjectiveMissed
	}
	o.Margin = seconds(due.Sub(at))
	return o
}

func (b *builder) waves() []Wave {
	list := make([]Wave, 0, len(b.s.Waves))
	for _, w := range b.s.Waves {
		list = append(list, b.wave(w))
	}
	return list
}

func (b *builder) wave(w *recovery.WaveState) Wave {
	x := Wave{
		Wave: w.N, Tier: w.Tier.Name, Name: or(w.Tier.Title, w.Tier.Name), Status: w.Status(), Size: w.Size, Need: w.Need,
		Planned: len(w.Hosts), OpenedAt: utc(w.OpenedAt), PassedAt: utc(w.PassedAt), Reason: w.Reason, Holds: b.past.holds[w.N],
		RTO: b.objective(w.Tier.RTO, !w.PassedAt.IsZero(), w.PassedAt),
	}
	if x.Holds == nil {
		x.Holds = []Hold{}
	}
	if w.OpenedAt.IsZero() {
		x.Size = len(w.Hosts)
	} else {
		end := w.PassedAt
		if end.IsZero() {
			end = b.asOf
		}
		x.Duration = seconds(end.Sub(w.OpenedAt))
	}
	for _, h := range w.Hosts {
		switch h.Phase {
		case recovery.Recovered:
			x.Recovered++
		case recovery.NeedsHands:
			x.NeedsHands++
		case recovery.Skipped:
			x.Skipped++
		case recovery.Waiting, recovery.Attempting, recovery.Verifying, recovery.NotHit:
		}
	}
	return x
}
