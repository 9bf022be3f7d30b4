package recovery

import (
	"fmt"
	"time"
)

// tick lets time act, one step at a time: the first step that has something to say says it, and the caller applies it and
// ticks again until nothing is left. So no step judges a state that an earlier one has made stale.
func (s *State) tick(now time.Time) []Event {
	if s.over() || !s.Approved && !s.Aborted {
		return nil
	}
	sv := s.survey(now)
	for _, step := range []func(*survey, time.Time) []Event{
		s.expire, s.tripIncident, s.silences, s.tripWaves, s.openGates, s.board, s.startAttempts, s.finishAbort,
	} {
		if events := step(sv, now); len(events) > 0 {
			return events
		}
	}
	return nil
}

// leaseRanOut is the signature of an attempt of which nobody knows how far it has come.
const leaseRanOut = "lease ran out"

// expire ends what has outlived its deadline: leases of attempts, waits for proof, soaks without their last word.
// A pause needs no word here: its clock stands still.
func (s *State) expire(_ *survey, now time.Time) []Event {
	clock := s.clock(now)
	var events []Event
	for _, h := range s.order {
		switch {
		case h.Phase == Attempting:
			if a := h.attempt(); a != nil && !clock.Before(a.Deadline) {
				r := Result{Class: TimedOut, Signature: leaseRanOut, Detail: "no result came within the lease of the attempt; the engine let go of it"}
				events = append(events, s.attemptEnded(h, a, Finished{Job: a.ID, Host: h.Host.Name, Result: r}, now))
			}
		case h.Phase == Verifying && !clock.Before(h.proofDue(s.Playbook)):
			v, ok := s.seen[h.Host.Name]
			if found := s.judge(h, v, now); ok && len(found) > 0 {
				events = append(events, found...) // seen, but not judged before a crash
			} else {
				events = append(events, s.proofFailed(h, s.missing(h, now)))
			}
		}
	}
	return events
}

// proofDue is when a verifying host must have given its proof, on the incident clock.
func (h *HostState) proofDue(p Playbook) time.Time {
	if h.ProvenAt.IsZero() {
		return h.verifyBy
	}
	return h.soakUntil.Add(p.VerifyWithin)
}

// missing says what the proof of a host lacks right now.
func (s *State) missing(h *HostState, now time.Time) string {
	v, ok := s.seen[h.Host.Name]
	if _, own := ownSystem(h.Host); !ok && !h.Host.Agent && !own {
		return "it has no agent and no rung into its own system, so nothing can prove it: give it one of them, or skip it"
	}
	if !ok {
		return "it has never phoned home"
	}
	return s.proof(h, v, now)
}

// silences finds recovered hosts that no longer speak. Many at once are taken for a fault of the network or of the
// coordinator itself: all sending stops. One alone has relapsed, and so have many once a person has accepted their silence.
func (s *State) silences(sv *survey, now time.Time) []Event {
	if !s.PausedAt.IsZero() || s.Aborted {
		return nil
	}
	p := s.policy()
	quiet := 0
	for _, h := range sv.quiet {
		if !s.accepted[s.silence(h).key()] {
			quiet++
		}
	}
	if quiet >= massSilenceFloor && quiet*100 > p.MassSilence*sv.recovered {
		return []Event{&IncidentPaused{Breaker: BreakerSilence, Reason: fmt.Sprintf("%d of %d recovered hosts have gone silent, more than %d %%: look at the network first; nothing is sent until a person resumes", quiet, sv.recovered, p.MassSilence)}}
	}
	var events []Event
	for _, h := range sv.quiet {
		if silent := s.silentFor(h, now); silent >= p.SilentAfter {
			events = append(events, s.relapse(h, fmt.Sprintf("silent for %s", silent.Round(time.Second)), relapsedSilent))
		}
	}
	return events
}

// silentFor is how long a recovered host has been silent, on the incident clock; 0 while it speaks or has nobody to speak for it.
func (s *State) silentFor(h *HostState, now time.Time) time.Duration {
	v, ok := s.seen[h.Host.Name]
	if !ok || !h.Host.Agent || v.Connected {
		return 0
	}
	return s.clock(now).Sub(s.clock(v.At))
}

// silence names the present silence of a host, so that a person can accept it; a later one is another.
func (s *State) silence(h *HostState) Failure {
	return Failure{Host: h.Host.Name, Class: silent, Signature: "silent since " + s.seen[h.Host.Name].At.Format(time.RFC3339Nano)}
}

// massSilenceFloor keeps two or three hosts from being a mass.
const massSilenceFloor = 4

// board puts hosts that no rung leads to in front of people, as soon as their wave opens.
func (s *State) board(sv *survey, now time.Time) []Event {
	if _, held := s.incidentBlocked(); held {
		return nil
	}
	var events []Event
	for _, w := range s.Waves {
		for _, h := range w.Hosts {
			if h.Phase != Waiting || s.usable(s.chosen(h, sv, now)) || s.awaited(h) || w.OpenedAt.IsZero() && !h.overridden {
				continue
			}
			events = append(events, &HostNeedsHands{Host: h.Host.Name, Reason: "a person with a work card: " + s.rungProblem(h.Host, 0)})
		}
	}
	return events
}

// finishAbort closes an aborted incident once nothing is in flight.
func (s *State) finishAbort(sv *survey, _ time.Time) []Event {
	if !s.Aborted || sv.inFlight > 0 {
		return nil
	}
	for _, h := range s.order {
		if h.unboot != nil && h.unboot.tries < triesAtAbort {
			return nil // no host may be left to start into the rescue system, if it can be helped
		}
	}
	return []Event{&IncidentClosed{Outcome: OutcomeAborted, Reason: s.Reason}}
}
