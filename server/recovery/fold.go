package recovery

import "time"

// State is an incident: the fold of its journal, plus the last sightings, which are not in it. Only Apply and See change it.
type State struct {
	ID       string
	Title    string
	Declared time.Time
	Began    time.Time // of the outage
	Seq      uint64    // of the last entry applied
	Playbook Playbook  // the version that is in use
	Versions []Version // that were in use, oldest first; the last is Playbook
	Fleet    Fleet
	Plan     Plan
	Approved bool
	Waves    []*WaveState
	Refusals []Refusal // the last maxRefusals

	Points   *Points    // what is known of restore points
	Cutoff   time.Time  // when the bad content came in
	WaveZero bool       // restore points are verified while the waves go on
	Held     []PointRef // the last known good points at the declaration

	PausedAt time.Time // zero while running
	Breaker  string    // what paused it, when it was no person
	Reason   string    // of the last pause, abort or close
	Aborted  bool
	Closed   time.Time
	Outcome  string

	pauses    []span // those that are over
	hosts     map[string]*HostState
	order     []*HostState // by name
	services  map[string]*Service
	members   map[string][]*HostState // service -> hosts
	groups    map[string]*Group
	grouped   map[string][]*HostState // group -> hosts
	active    map[string]*HostState   // hosts with a job that ought to be running
	seen      map[string]Sighting
	upAt      map[string]time.Time // service -> since when
	overrides map[string]string    // target -> reason
	accepted  map[string]bool      // failures by Failure.key
	stock     *stock
	learned   *learned
	chooses   bool // a host has a restore rung: methods are chosen as the incident goes
}

type span struct{ from, to time.Time }

// Refusal is a connection that was not believed.
type Refusal struct {
	At   time.Time
	Host string
	Peer string
	Why  string
}

const maxRefusals = 200

// WaveState is one wave of an incident.
type WaveState struct {
	N        int // 1-based
	Tier     Tier
	Hosts    []*HostState // planned ones, in starting order
	Size     int          // fixed at opening
	Need     int
	Limits   Limits
	OpenedAt time.Time
	PassedAt time.Time
	HeldBy   string // breaker
	Reason   string // of the last change
	Approved bool

	recovered int       // of those that Size counts
	shareAt   time.Time // incident clock: since when enough hosts are recovered
	forced    string    // why a person had it opened although the wave before has not passed
	waived    string    // why a person lets it pass with what it has
}

// Status is a word for people: "closed", "open", "held" or "passed".
func (w *WaveState) Status() string {
	switch {
	case w.HeldBy != "":
		return "held"
	case !w.PassedAt.IsZero():
		return "passed"
	case !w.OpenedAt.IsZero():
		return "open"
	}
	return "closed"
}

// NewState returns an incident before its first entry.
func NewState() *State {
	return &State{
		hosts: map[string]*HostState{}, services: map[string]*Service{}, members: map[string][]*HostState{},
		groups: map[string]*Group{}, grouped: map[string][]*HostState{}, active: map[string]*HostState{},
		seen: map[string]Sighting{}, upAt: map[string]time.Time{}, overrides: map[string]string{}, accepted: map[string]bool{},
		Points: NewPoints(), learned: newLearned(),
	}
}

// See records the newest sighting of a host. Sightings are not journaled; Decide(Sighted) says whether one moves its host.
func (s *State) See(v Sighting) Sighting {
	v.At = v.At.UTC().Round(0)
	merged := s.seen[v.Host].Merge(v)
	s.seen[v.Host] = merged
	return merged
}

// Seen returns the newest sighting of a host.
func (s *State) Seen(host string) (Sighting, bool) {
	v, ok := s.seen[host]
	return v, ok
}

// Host returns a host's state, or nil.
func (s *State) Host(name string) *HostState { return s.hosts[name] }

// Hosts returns every host, by name. The slice is the state's own.
func (s *State) Hosts() []*HostState { return s.order }

// Status is a word for people: "declared", "running", "paused", "settled", "aborting", or an outcome.
func (s *State) Status() string {
	switch {
	case s.Outcome != "":
		return s.Outcome
	case s.Aborted:
		return "aborting"
	case !s.PausedAt.IsZero():
		return "paused"
	case !s.Approved:
		return "declared"
	case s.Settled():
		return "settled"
	}
	return "running"
}

// Settled reports whether every wave has opened and no host is left for automatic work.
func (s *State) Settled() bool {
	if !s.Approved {
		return false
	}
	for _, w := range s.Waves {
		if w.OpenedAt.IsZero() && len(w.Hosts) > 0 {
			return false
		}
	}
	for _, h := range s.order {
		if !h.settled() {
			return false
		}
	}
	return true
}

// over reports whether nothing may change any more.
func (s *State) over() bool { return s.ID == "" || !s.Closed.IsZero() }

// clock is the incident's own clock at a time up to now: it stands still while the incident is paused.
func (s *State) clock(at time.Time) time.Time {
	if !s.PausedAt.IsZero() && at.After(s.PausedAt) {
		at = s.PausedAt
	}
	var frozen time.Duration
	for _, p := range s.pauses {
		switch {
		case !at.Before(p.to):
			frozen += p.to.Sub(p.from)
		case at.After(p.from):
			frozen += at.Sub(p.from)
		}
	}
	return at.Add(-frozen)
}

// wall turns a coming time of the incident clock into one that a person can read, as things stand.
func (s *State) wall(t time.Time) time.Time {
	for _, p := range s.pauses {
		t = t.Add(p.to.Sub(p.from))
	}
	return t
}

// lose takes a time in which no coordinator ran out of the clock. While paused the clock stands still anyway.
func (s *State) lose(from, to time.Time) {
	if n := len(s.pauses); n > 0 && from.Before(s.pauses[n-1].to) {
		from = s.pauses[n-1].to
	}
	if s.PausedAt.IsZero() && from.Before(to) {
		s.pauses = append(s.pauses, span{from, to})
	}
}

// endPause lets the clocks run on.
func (s *State) endPause(at time.Time) {
	if !s.PausedAt.IsZero() && at.After(s.PausedAt) {
		s.pauses = append(s.pauses, span{s.PausedAt, at})
	}
	s.PausedAt, s.Breaker = time.Time{}, ""
}

func (s *State) soakOver(h *HostState, now time.Time) bool {
	return h.Phase == Verifying && !h.ProvenAt.IsZero() && !s.clock(now).Before(h.soakUntil)
}

func (s *State) policy() Policy { return s.Fleet.Policy.withDefaults() }

// withDefaults fills what a fleet file left out.
func (p Policy) withDefaults() Policy {
	d := DefaultPolicy()
	setInt(&p.MaxAttempts, d.MaxAttempts)
	setInt(&p.MaxInFlight, d.MaxInFlight)
	setInt(&p.TriesPerRung, d.TriesPerRung)
	setInt(&p.MaxRelapses, d.MaxRelapses)
	setInt(&p.SameSignature, d.SameSignature)
	setInt(&p.MassSilence, d.MassSilence)
	setDuration(&p.Backoff, d.Backoff)
	setDuration(&p.BackoffMax, d.BackoffMax)
	setDuration(&p.SilentAfter, d.SilentAfter)
	if p.IncidentFailures == (Limit{}) {
		p.IncidentFailures = d.IncidentFailures
	}
	return p
}

func setInt(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

func setDuration(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

// key names a failure for acceptance.
func (f Failure) key() string {
	return f.Host + "|" + string(f.Class) + "|" + f.Signature
}
