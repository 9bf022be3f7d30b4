package recovery

import (
	"fmt"
	"time"
)

// tick lets time act, one step at a time: the first step that has something to say says it, and the caller applies it and
// ticks again until nothing is left. So no step judges a state that an earlier one has made stale.
func (s *State) tick(now time.Time) []Event {
	if s.over() || !s.Approved {
		return nil
	}
	sv := s.survey(now)
	for _, step := range []func(*survey, time.Time) []Event{
		s.expire, s.tripIncident, s.silences, s.tripWaves, s.openGates, s.startAttempts, s.finishAbort,
	} {
		if events := step(sv, now); len(events) > 0 {
			return events
		}
	}
	return nil
}

// expire ends what has outlived its deadline: leases of attempts, waits for proof, soaks without their last word.
func (s *State) expire(_ *survey, now time.Time) []Event {
	if !s.PausedAt.IsZero() {
		return nil
	}
	clock := s.clock(now)
	var events []Event
	for _, h := range s.order {
		switch {
		case h.Phase == Attempting && !clock.Before(h.attempt().Deadline):
			r := Result{Class: TimedOut, Signature: "lease ran out", Detail: "no result came within the lease of the attempt; the engine let go of it"}
			events = append(events, s.attemptEnded(h, h.attempt(), Finished{Job: h.attempt().ID, Host: h.Host.Name, Result: r}, now))
		case h.Phase == Verifying && h.ProvenAt.IsZero() && !clock.Before(h.verifyBy):
			events = append(events, s.proofFailed(h, s.missing(h, now), now))
		case h.Phase == Verifying && !h.ProvenAt.IsZero() && !clock.Before(h.soakUntil.Add(s.Playbook.VerifyWithin)):
			events = append(events, s.relapse(h, "no proof at the end of the soak: "+s.missing(h, now)))
		}
	}
	return events
}

// missing says what the proof of a host lacks right now.
func (s *State) missing(h *HostState, now time.Time) string {
	v, ok := s.seen[h.Host.Name]
	if !ok {
		return "it has never phoned home"
	}
	return s.proof(h, v, now)
}

// silences finds recovered hosts that no longer speak. Many at once are taken for a fault of the network or of the
// coordinator itself: all sending stops. One alone has relapsed.
func (s *State) silences(sv *survey, now time.Time) []Event {
	if !s.PausedAt.IsZero() {
		return nil
	}
	p := s.policy()
	if n := len(sv.quiet); n >= massSilenceFloor && n*100 > p.MassSilence*sv.recovered {
		return []Event{&IncidentPaused{Breaker: BreakerSilence, Reason: fmt.Sprintf("%d of %d recovered hosts have gone silent, more than %d %%: look at the network first; nothing is sent until a person resumes", n, sv.recovered, p.MassSilence)}}
	}
	var events []Event
	for _, h := range sv.quiet {
		if v := s.seen[h.Host.Name]; now.Sub(v.At) >= p.SilentAfter {
			events = append(events, s.relapse(h, fmt.Sprintf("silent for %s", now.Sub(v.At).Round(time.Second))))
		}
	}
	return events
}

// massSilenceFloor keeps two or three hosts from being a mass.
const massSilenceFloor = 4

// finishAbort closes an aborted incident once nothing is in flight.
func (s *State) finishAbort(sv *survey, _ time.Time) []Event {
	if !s.Aborted || sv.inFlight > 0 {
		return nil
	}
	return []Event{&IncidentClosed{Outcome: OutcomeAborted, Reason: s.Reason}}
}
