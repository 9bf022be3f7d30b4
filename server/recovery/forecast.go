package recovery

import (
	"fmt"
	"time"
)

// forecastWindow is how far back the pace is measured.
const forecastWindow = 30 * time.Minute

// Range is a forecast: when the hosts that are left for automatic work will be back. Zero times mean that nothing has been
// measured yet.
type Range struct {
	PerHour  float64 // hosts recovered per hour lately
	Earliest time.Time
	Latest   time.Time
	Reason   string
}

// Forecast extrapolates the pace of this incident. The early end keeps the pace of the last half hour; the late end the pace
// since the first attempt, with every host that has failed taking a second turn. Hosts on the hands board are left out: people
// have no pace that a machine could know.
func (s *State) Forecast(now time.Time) Range {
	if why := s.standstill(); why != "" {
		return Range{Reason: why}
	}
	left, again, hands, recent, total := 0, 0, 0, 0, 0
	var first time.Time
	for _, h := range s.order {
		switch h.Phase {
		case Waiting, Attempting, Verifying:
			left++
			if h.Failure != nil {
				again++
			}
		case NeedsHands:
			hands++
		case Recovered:
			total++
			if now.Sub(h.RecoveredAt) <= forecastWindow {
				recent++
			}
		}
		if len(h.Attempts) > 0 && (first.IsZero() || h.Attempts[0].Started.Before(first)) {
			first = h.Attempts[0].Started
		}
	}
	r := Range{}
	since := now.Sub(first)
	switch {
	case left == 0:
		r.Reason = fmt.Sprintf("nothing is left for automatic work; %s", plural(hands, "host")+" with people")
		return r
	case total == 0 || first.IsZero() || since <= 0:
		r.Reason = "nothing has recovered yet: there is no pace to go by"
		return r
	}
	window := min(since, forecastWindow)
	overall := float64(total) / since.Hours()
	r.PerHour = float64(recent) / window.Hours()
	fast, slow := max(r.PerHour, overall), overall
	if r.PerHour > 0 {
		slow = min(r.PerHour, overall)
	}
	r.Earliest = now.Add(hours(float64(left) / fast))
	r.Latest = now.Add(hours(float64(left+again) / slow)).Add(s.Playbook.Soak)
	r.Reason = fmt.Sprintf("%s left at %.0f to %.0f an hour; %s with people not counted", plural(left, "host"), slow, fast, plural(hands, "host"))
	return r
}

// standstill says why only a person can make the work go on, or "": there is no forecasting people.
func (s *State) standstill() string {
	if !s.PausedAt.IsZero() {
		return "none while the incident is paused"
	}
	for i, w := range s.Waves {
		if w.HeldBy != "" {
			return fmt.Sprintf("none while wave %d is held", w.N)
		}
		if w.OpenedAt.IsZero() && !w.Approved && i > 0 && !s.Waves[i-1].PassedAt.IsZero() && s.Waves[i-1].Tier.Gate.Approval {
			return fmt.Sprintf("none while wave %d waits for a person's approval", w.N)
		}
	}
	return ""
}

func hours(h float64) time.Duration {
	if h > 24*365 {
		h = 24 * 365
	}
	return time.Duration(h * float64(time.Hour))
}
