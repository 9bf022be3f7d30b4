package audit

import (
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

type move struct{ from, to recovery.Phase }

// moves are the legal moves of a host, by the kind of entry that makes them.
var moves = map[string][]move{
	"attempt-started":  {{recovery.Waiting, recovery.Attempting}},
	"attempt-ended":    {{recovery.Attempting, recovery.Verifying}, {recovery.Attempting, recovery.Waiting}, {recovery.Attempting, recovery.NeedsHands}},
	"host-proven":      {{recovery.Waiting, recovery.Verifying}, {recovery.NeedsHands, recovery.Verifying}, {recovery.Verifying, recovery.Verifying}},
	"host-recovered":   {{recovery.Verifying, recovery.Recovered}},
	"proof-failed":     {{recovery.Verifying, recovery.Waiting}, {recovery.Verifying, recovery.NeedsHands}},
	"host-needs-hands": {{recovery.Waiting, recovery.NeedsHands}},
	"hands-finished":   {{recovery.Waiting, recovery.Verifying}, {recovery.NeedsHands, recovery.Verifying}},
	"host-skipped":     {{recovery.Waiting, recovery.Skipped}, {recovery.NeedsHands, recovery.Skipped}},
	"host-relapsed": {{recovery.Verifying, recovery.Waiting}, {recovery.Verifying, recovery.NeedsHands},
		{recovery.Recovered, recovery.Waiting}, {recovery.Recovered, recovery.NeedsHands}},
	"host-returned": {{recovery.NotHit, recovery.Waiting}, {recovery.Waiting, recovery.Waiting}, {recovery.NeedsHands, recovery.Waiting},
		{recovery.Skipped, recovery.Waiting}},
}

// moved is the phase to which an entry takes its host; the same one when it takes it nowhere.
func moved(h *host, e recovery.Event) recovery.Phase {
	switch v := e.(type) {
	case *recovery.AttemptStarted:
		return recovery.Attempting
	case *recovery.AttemptEnded:
		if v.Late {
			return h.phase
		}
		return v.Next
	case *recovery.HostProven, *recovery.HandsFinished:
		return recovery.Verifying
	case *recovery.HostRecovered:
		return recovery.Recovered
	case *recovery.ProofFailed:
		return v.Next
	case *recovery.HostRelapsed:
		return v.Next
	case *recovery.HostNeedsHands:
		return recovery.NeedsHands
	case *recovery.HostSkipped:
		return recovery.Skipped
	case *recovery.HostReturned:
		return recovery.Waiting
	}
	return h.phase
}

func (a *Auditor) legalMove(h *host, e recovery.Event) {
	list, moving := moves[e.Kind()]
	if ended, ok := e.(*recovery.AttemptEnded); ok && ended.Late {
		moving = false
	}
	to := moved(h, e)
	if moving && !slices.Contains(list, move{h.phase, to}) {
		a.broken(legalMove, h.name, "%s takes it from %s to %s", e.Kind(), h.phase, to)
	}
}
