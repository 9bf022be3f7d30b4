// Package sim is the proof of the engine: a seeded world of hosts, networks, remedies, people and a coordinator that crashes, in
// virtual time and on one goroutine. It drives the real core through the real engine and the real journal encoding, and holds after
// every step what must always hold. The same seed always plays the same incident, so a failure is replayed by its seed alone.
//
// What it simulates is told in machine.go (hosts), link.go (agents and their streams), remedy.go and ascent.go (scripts, power, boot
// targets), stock.go (backups, and what is known of them), hub.go and errand.go (restores by agents), house.go and disk.go (the coordinator's machine), people.go and trouble.go (what goes wrong). The promises are in promise.go
// and in server/recovery/audit, which reads the journal alone.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// epoch is when every world begins: half past six on the day.
var epoch = time.Date(2024, 7, 19, 6, 30, 0, 0, time.UTC)

const incident = "sim-1"

// World is one simulated incident.
type World struct {
	seed         uint64
	rnd          *rand.Rand
	now          time.Duration // since epoch, the true time
	grain        time.Duration // what is taken for one moment
	queue        queue
	fleet        recovery.Fleet
	books        [2]recovery.Playbook // as declared, and revised
	revised      bool                 // the incident runs the second
	revisedAt    time.Time            // on the incident's entries
	probed       bool                 // agents have been told the second one's probes
	machines     []*machine           // by name
	byName       map[string]*machine
	backups      []*backup
	verifying    []string // data sets of which checks are on their way
	told         []string // the same, as the journal tells it
	byRef        map[recovery.PointRef]*backup
	repositories []*repository
	sites        []site
	odds         odds
	calm         bool // nothing goes wrong any more, and people do their best
	house        *house
	listening    listening
	hit          []*machine // truly, when the incident was declared
	nothing      bool       // nobody was hit, so there was nothing to declare
	resumed      bool       // a person has resumed, and so accepted silences
	quietAt      time.Duration
	tally        Tally
	failed       *Breach
	trace        func(format string, args ...any)
}

// site is a place with a network of its own.
type site struct{ cut bool }

// Tally counts what happened.
type Tally struct {
	Incidents  int            `json:"incidents"`
	Hosts      int            `json:"hosts"`
	Steps      int            `json:"steps"` // moments at which something happened
	Passed     time.Duration  `json:"passed_ns"`
	Outcomes   map[string]int `json:"outcomes"`
	Entries    int            `json:"entries"`
	Kills      int            `json:"kills"`    // of the coordinator
	Restores   int            `json:"restores"` // from an older copy of the journal
	Leaps      int            `json:"leaps"`    // of its clock
	Jobs       int            `json:"jobs"`
	Executions int            `json:"executions"` // of scripts
	Restorings int            `json:"restorings"` // restores from backup that an agent began
	Swaps      int            `json:"swaps"`      // and that came to their swap
	Crashes    int            `json:"crashes"`    // of hosts
	Partitions int            `json:"partitions"`
	Ghosts     int            `json:"ghosts"` // results that nobody waited for
	Acts       int            `json:"acts"`   // of people
	Refusals   int            `json:"refusals"`
	Revisions  int            `json:"revisions"`
	Unplaced   int            `json:"unplaced"` // hosts that were recovered by the one known hole
}

// Breach is a broken promise, and how to see it again.
type Breach struct {
	Seed      uint64
	Hosts     int
	Invariant string
	Host      string
	At        time.Duration // since the world began
	Detail    string
}

func (b *Breach) Error() string {
	return fmt.Sprintf("seed %d breaks %s after %s%s: %s", b.Seed, b.Invariant, b.At.Round(time.Second), on(b.Host), b.Detail)
}

func on(host string) string {
	if host == "" {
		return ""
	}
	return " on " + host
}

// breach notes the first broken promise; the world then stands still.
func (w *World) breach(invariant, host, format string, args ...any) {
	if w.failed == nil {
		w.failed = &Breach{Seed: w.seed, Hosts: len(w.machines), Invariant: invariant, Host: host, At: w.now, Detail: fmt.Sprintf(format, args...)}
	}
}

func (w *World) at(at time.Duration, do func()) { w.queue.add(max(at, w.now), do) }

func (w *World) after(d time.Duration, do func()) { w.queue.add(w.now+d, do) }

// draw is a time between two.
func (w *World) draw(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(w.rnd.Int64N(int64(to-from)))
}

func (w *World) below(n int) int { return w.rnd.IntN(n) }

// chance is true in so many of a thousand cases.
func (w *World) chance(permille int) bool { return permille > 0 && w.rnd.IntN(1000) < permille }

func pick[T any](w *World, list ...T) T { return list[w.rnd.IntN(len(list))] }

func (w *World) anyMachine() *machine { return w.machines[w.below(len(w.machines))] }

func (w *World) playbook() recovery.Playbook {
	if w.revised {
		return w.books[1]
	}
	return w.books[0]
}

// book is the version with a digest.
func (w *World) book(digest string) recovery.Playbook {
	if w.revisedBy(digest) {
		return w.books[1]
	}
	return w.books[0]
}

func (w *World) revisedBy(digest string) bool { return digest == w.books[1].Digest }

// connected reports whether the coordinator and a host can reach each other.
func (w *World) connected(m *machine) bool { return w.house.up && !w.sites[m.site].cut }

// powered reports whether a host's power control answers.
func (w *World) powered(m *machine) bool { return m.host.Power != nil && !w.sites[m.site].cut }

// restarts holds every restart of ours against the playbook that the attempt runs.
func (w *World) restarts(m *machine, j recovery.Job) {
	if book := w.book(j.Playbook); book.Reboot == recovery.RebootForbidden {
		w.breach("no-forbidden-reboot", m.name(), "%s restarts it, which playbook %s forbids", j.ID, book.Digest)
	}
}

// Play plays the incident of a seed to its end and returns what happened, and the first promise that was broken.
func Play(seed uint64, o Options) (Tally, *Breach) {
	w := newWorld(seed, o)
	w.declare()
	for w.failed == nil && !w.over() {
		w.step()
	}
	w.conclude()
	return w.tally, w.failed
}

// step goes to the next moment at which something happens, and lets all happen that falls within a grain of time.
func (w *World) step() {
	at, ok := w.queue.first()
	if wake := w.house.wake; w.house.up && wake > 0 && (!ok || wake < at) {
		at, ok = wake, true
	}
	if !ok {
		w.breach("ends", "", "nothing will ever happen any more and the incident is %s", w.house.engine.State().Status())
		return
	}
	w.now = max(w.now, at)
	for until := w.now + w.grain; w.failed == nil; {
		at, ok := w.queue.first()
		if !ok || at > until {
			break
		}
		w.now = max(w.now, at)
		w.queue.pop().do()
	}
	w.tally.Steps++
	w.house.settle()
	if w.now > tooLong {
		w.breach("ends", "", "after %s the incident is still %s: %s", w.now, w.house.engine.State().Status(), w.stuck())
	}
}

// tooLong is after how much time a run that has not ended never will.
const tooLong = 60 * 24 * time.Hour

func (w *World) over() bool {
	return w.nothing || w.house.up && w.house.engine.State().Outcome != ""
}
