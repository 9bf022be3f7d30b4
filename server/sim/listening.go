package sim

import (
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// listening is the true time in which a coordinator ran and the incident was not paused, and since when hosts wait for something in it.
type listening struct {
	sum    time.Duration
	since  time.Duration // world time
	runs   bool
	paused bool
	verify map[string]time.Duration
	proven map[string]time.Duration
}

// listened is how long somebody has listened by now.
func (w *World) listened() time.Duration {
	l := &w.listening
	if l.runs && !l.paused {
		return l.sum + w.now - l.since
	}
	return l.sum
}

// listen says whether a coordinator runs from now on, and whether the incident is paused.
func (w *World) listen(runs, paused bool) {
	l := &w.listening
	l.sum, l.since = w.listened(), w.now
	l.runs, l.paused = runs, paused
}

// forget says that nobody knows any more since when hosts wait.
func (w *World) forget() {
	w.listening.verify, w.listening.proven = map[string]time.Duration{}, map[string]time.Duration{}
}

// time holds deadlines and soaks against the true time.
func (w *World) time(e recovery.Event) {
	l := &w.listening
	switch v := e.(type) {
	case *recovery.IncidentPaused:
		w.listen(l.runs, true)
	case *recovery.IncidentResumed, *recovery.IncidentAborted:
		w.listen(l.runs, false)
	case *recovery.AttemptEnded:
		if v.Next == recovery.Verifying {
			l.verify[v.Host] = w.listened()
		}
	case *recovery.HandsFinished:
		l.verify[v.Host] = w.listened()
	case *recovery.ProofFailed:
		if strings.HasPrefix(v.Reason, "no proof within") {
			w.atLeast(v.Host, l.verify, w.playbook().VerifyWithin, "the proof was awaited")
		}
	case *recovery.PlaybookRevised:
		for host := range l.verify {
			l.verify[host] = w.listened()
		}
		clear(l.proven)
	case *recovery.HostProven:
		l.proven[v.Host] = w.listened()
	case *recovery.HostRecovered:
		w.atLeast(v.Host, l.proven, w.playbook().Soak, "the proof held")
	}
}

// allowance is what two clocks may differ by before it is called a leap, for some leaps, and a moment in a large estate.
const allowance = 30 * time.Second

func (w *World) atLeast(host string, since map[string]time.Duration, want time.Duration, what string) {
	from, known := since[host]
	if got := w.listened() - from; known && got < want-allowance {
		w.breach("clock-stands-still", host, "%s for %s of true time only, and it should have been %s", what, got.Round(time.Second), want.Round(time.Second))
	}
}
