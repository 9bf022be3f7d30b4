package recovery

import (
	"fmt"
	"time"
)

// Standing is what a gate judges: one wave in numbers.
type Standing struct {
	Size, Need          int
	Recovered, Settled  int
	Failed, Unreachable int
	Limits              Limits
	Signature           string // the most frequent failure
	SignatureCount      int
	SignatureLimit      int
	CriticalUnrecovered string        // a critical host that is not recovered, or ""
	ShareFor            time.Duration // how long enough hosts have been recovered; negative: not yet
}

// Verdict is a gate's judgement with its reason.
type Verdict struct {
	Pass    bool
	Held    bool
	Breaker string // when held
	Reason  string
}

// Gate is a wave's gate.
type Gate struct{ Policy GatePolicy }

// Judge says whether a wave passes, holds or stays open. A wave in which everything is settled never just stays open.
func (g Gate) Judge(w Standing) Verdict {
	switch {
	case w.Unreachable > w.Limits.Unreachable:
		return held(BreakerUnreachable, "%d unreachable, more than the limit of %d", w.Unreachable, w.Limits.Unreachable)
	case w.Failed > w.Limits.Failed:
		return held(BreakerFailed, "%d failed, more than the limit of %d", w.Failed, w.Limits.Failed)
	case w.SignatureLimit > 0 && w.SignatureCount >= w.SignatureLimit:
		return held(BreakerSignature, "%d hosts fail alike: %s", w.SignatureCount, w.Signature)
	}
	settled := w.Settled >= w.Size
	switch {
	case w.Size == 0:
		return Verdict{Pass: true, Reason: "no host of this tier is in the work"}
	case w.Recovered < w.Need && settled:
		return held(BreakerBelowShare, "all of %d are settled and %d are recovered, fewer than the %d needed", w.Size, w.Recovered, w.Need)
	case w.Recovered < w.Need:
		return Verdict{Reason: fmt.Sprintf("%d of %d needed are recovered", w.Recovered, w.Need)}
	case w.CriticalUnrecovered != "" && settled:
		return held(BreakerBelowShare, "critical host %s is not recovered", w.CriticalUnrecovered)
	case w.CriticalUnrecovered != "":
		return Verdict{Reason: "critical host " + w.CriticalUnrecovered + " is not recovered yet"}
	case w.ShareFor < g.Policy.Soak:
		return Verdict{Reason: fmt.Sprintf("enough hosts are recovered; the wave soaks for %s more", (g.Policy.Soak - max(w.ShareFor, 0)).Round(time.Second))}
	}
	reason := fmt.Sprintf("%d of %d recovered, %d needed", w.Recovered, w.Size, w.Need)
	if g.Policy.Soak > 0 {
		reason += ", soaked for " + g.Policy.Soak.String()
	}
	return Verdict{Pass: true, Reason: reason}
}

func held(breaker, format string, args ...any) Verdict {
	return Verdict{Held: true, Breaker: breaker, Reason: fmt.Sprintf(format, args...)}
}

// standing puts a wave into numbers.
func (s *State) standing(w *WaveState, t tally, now time.Time) Standing {
	st := Standing{Size: w.Size, Need: w.Need, Recovered: t.recovered, Settled: max(0, w.Size-t.left), Failed: t.failed, Unreachable: t.unreachable,
		Limits: w.Limits, CriticalUnrecovered: t.critical, SignatureLimit: s.policy().SameSignature, ShareFor: -1}
	if w.waived != "" {
		st.Need, st.CriticalUnrecovered = min(st.Need, st.Recovered), ""
		st.ShareFor = w.Tier.Gate.Soak
	}
	for sig, n := range sorted(t.signatures) {
		if n > st.SignatureCount {
			st.Signature, st.SignatureCount = sig, n
		}
	}
	if !w.shareAt.IsZero() {
		st.ShareFor = max(st.ShareFor, s.clock(now).Sub(w.shareAt))
	}
	return st
}

// tripIncident stops everything when too much of the whole incident fails.
func (s *State) tripIncident(sv *survey, _ time.Time) []Event {
	limit := s.policy().IncidentFailures.whole(sv.planned)
	if !s.PausedAt.IsZero() || s.Aborted || sv.failures <= limit {
		return nil
	}
	return []Event{&IncidentPaused{Breaker: BreakerIncident, Reason: fmt.Sprintf("%d of %d hosts fail, more than the incident's limit of %d: nothing is sent until a person resumes", sv.failures, sv.planned, limit)}}
}

// tripWaves holds the waves that are over a limit, or settled below their share.
func (s *State) tripWaves(sv *survey, now time.Time) []Event {
	if !s.PausedAt.IsZero() || s.Aborted {
		return nil
	}
	var events []Event
	for i, w := range s.Waves {
		if w.OpenedAt.IsZero() || w.HeldBy != "" && w.HeldBy != BreakerBelowShare {
			continue // below its share a wave goes on with second tries, so its limits still count
		}
		v := Gate{w.Tier.Gate}.Judge(s.standing(w, sv.waves[i], now))
		if v.Held && v.Breaker != w.HeldBy && (w.PassedAt.IsZero() || v.Breaker != BreakerBelowShare) {
			events = append(events, &WaveHeld{Wave: w.N, Breaker: v.Breaker, Reason: v.Reason})
		}
	}
	return events
}

// openGates passes the waves whose gate is content and opens the next.
func (s *State) openGates(sv *survey, now time.Time) []Event {
	if !s.PausedAt.IsZero() || s.Aborted {
		return nil
	}
	for i, w := range s.Waves {
		if w.OpenedAt.IsZero() {
			if reason, ok := s.mayOpen(w); ok {
				return []Event{s.openWave(w, reason)}
			}
			return nil
		}
		if !w.PassedAt.IsZero() || w.HeldBy != "" && w.HeldBy != BreakerBelowShare {
			continue
		}
		if v := (Gate{w.Tier.Gate}).Judge(s.standing(w, sv.waves[i], now)); v.Pass {
			if w.waived != "" {
				v.Reason = "a person lets it pass with what it has (" + w.waived + "): " + v.Reason
			}
			return []Event{&WavePassed{Wave: w.N, Reason: v.Reason}}
		}
	}
	return nil
}

// mayOpen says whether the first unopened wave may open, or what it waits for.
func (s *State) mayOpen(w *WaveState) (string, bool) {
	if w.N == 1 {
		return "the plan is approved", true
	}
	if w.forced != "" {
		return "opened by a person: " + w.forced, true
	}
	before := s.Waves[w.N-2]
	if before.PassedAt.IsZero() {
		return fmt.Sprintf("wave %d has not passed its gate", before.N), false
	}
	if before.Tier.Gate.Approval && !w.Approved {
		return fmt.Sprintf("wave %d has passed; a person must approve wave %d", before.N, w.N), false
	}
	return fmt.Sprintf("wave %d has passed its gate", before.N), true
}

func (s *State) openWave(w *WaveState, reason string) Event {
	size := len(w.Hosts)
	g := w.Tier.Gate
	inFlight := g.MaxInFlight
	if inFlight == 0 {
		inFlight = s.policy().MaxInFlight
	}
	return &WaveOpened{Wave: w.N, Size: size, Need: ceilPercent(size, g.SuccessPercent), Reason: reason,
		Limits: Limits{Failed: g.MaxFailed.whole(size), Unreachable: g.MaxUnreachable.whole(size), InFlight: inFlight}}
}
