// Package report tells an incident's story from its state and its journal: as Markdown for people and as JSON for machines.
// It reads no clock and decides nothing: the same state, entries and time give the same report, byte for byte.
//
// The JSON is a stable contract: fields are only ever added. Times are RFC 3339 in UTC; a time that has not come, or is not
// known, is left out. Durations are seconds, in fields named *_seconds. Lists are never null. Text that came from hosts or
// people holds no control characters and is bounded in length.
package report

import (
	"encoding/json"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Report is the after-action report of an incident, or how it stands so far.
type Report struct {
	Incident    string     `json:"incident"`
	Title       string     `json:"title"`
	Fleet       string     `json:"fleet"`
	Status      string     `json:"status"`            // as recovery.State.Status
	Outcome     string     `json:"outcome,omitempty"` // once closed: "closed", "closed-with-exceptions" or "aborted"
	Reason      string     `json:"reason,omitempty"`  // of the last pause, resumption, abort or close
	Began       time.Time  `json:"began,omitzero"`    // of the outage, as far as people know
	Declared    time.Time  `json:"declared,omitzero"`
	DeclaredBy  string     `json:"declared_by,omitempty"`
	Closed      time.Time  `json:"closed,omitzero"`
	AsOf        time.Time  `json:"as_of,omitzero"`        // objectives are judged as of then: the close, or else GeneratedAt
	GeneratedAt time.Time  `json:"generated_at,omitzero"` // the now that Build was given
	Seq         uint64     `json:"seq"`                   // of the last journal entry told
	UnawareFor  float64    `json:"unaware_seconds"`       // from the outage's beginning to the declaration
	Duration    float64    `json:"duration_seconds"`      // from the outage's beginning to AsOf
	Playbook    Playbook   `json:"playbook"`
	Versions    []Version  `json:"versions,omitempty"` // of the playbook, oldest first, once it was revised
	Plan        Plan       `json:"plan"`
	InShort     []string   `json:"in_short"` // three sentences
	Numbers     Numbers    `json:"numbers"`
	Forecast    *Forecast  `json:"forecast,omitempty"` // while automatic work is left
	Timeline    []Moment   `json:"timeline"`           // what mattered for the whole incident, oldest first
	Waves       []Wave     `json:"waves"`
	Services    []Service  `json:"services"` // in the fleet file's order
	Hosts       []Host     `json:"hosts"`    // every host of the fleet, once, by name
	Exceptions  Exceptions `json:"exceptions"`
	Debts       Debts      `json:"debts"`
	People      People     `json:"people"`
	DoesNotKnow []string   `json:"does_not_know"` // what this report cannot vouch for
}

// Playbook names the playbook version that is in use.
type Playbook struct {
	Name   string `json:"name"`
	Title  string `json:"title,omitempty"`
	Digest string `json:"digest"`
}

// Version is one version of the playbook and since when it was in use.
type Version struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
	By     string    `json:"by,omitempty"` // who took it and why; empty for the one that the incident was declared with
	Reason string    `json:"reason,omitempty"`
}

// Plan names the plan and who approved it.
type Plan struct {
	Digest     string    `json:"digest"`
	ApprovedAt time.Time `json:"approved_at,omitzero"`
	ApprovedBy string    `json:"approved_by,omitempty"`
}

// Forecast is when the automatic work will be done; hand work is in no forecast.
type Forecast struct {
	Earliest time.Time `json:"earliest,omitzero"`
	Latest   time.Time `json:"latest,omitzero"`
	PerHour  float64   `json:"per_hour"`
	Reason   string    `json:"reason"`
}

// Moment is one event told in one sentence.
type Moment struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"` // the kind, as in the journal
	Text  string    `json:"text"`
}

// Summary is the report in a few numbers, as the drill prints it.
type Summary struct {
	Hosts      int           `json:"hosts"`
	Hit        int           `json:"hit"` // by evidence
	Recovered  int           `json:"recovered"`
	NeedsHands int           `json:"needs_hands"`
	Skipped    int           `json:"skipped"`
	Attempts   int           `json:"attempts"` // automatic ones; jobs by hand are not counted
	Waves      []WaveSummary `json:"waves"`
	Timeline   []Moment      `json:"timeline"`
}

// WaveSummary is one wave in a few numbers.
type WaveSummary struct {
	Wave      int       `json:"wave"` // 1-based
	Tier      string    `json:"tier"`
	Name      string    `json:"name"` // the tier's title, or its name
	Size      int       `json:"size"`
	Recovered int       `json:"recovered"`
	OpenedAt  time.Time `json:"opened_at,omitzero"`
	PassedAt  time.Time `json:"passed_at,omitzero"`
}

// versions lists the versions of a playbook that was revised.
func versions(s *recovery.State) []Version {
	if len(s.Versions) < 2 {
		return nil
	}
	var list []Version
	for _, v := range s.Versions {
		x := Version{Digest: v.Playbook.Digest, Since: utc(v.Since), Reason: v.Reason}
		if v.By != "" {
			x.By = who(v.By)
		}
		list = append(list, x)
	}
	return list
}

// digests lists every version of the incident's playbook.
func digests(s *recovery.State) []string {
	list := []string{s.Playbook.Digest}
	for _, v := range s.Versions {
		list = append(list, v.Playbook.Digest)
	}
	return list
}

// Build tells the incident's story as of now. Entries are its journal from the first entry on; where they are missing or
// short of the state, the report is built from the state and says in DoesNotKnow what it lacks. The state is only read.
func Build(s *recovery.State, entries []recovery.Entry, now time.Time) Report {
	if s == nil {
		s = recovery.NewState()
	}
	b := &builder{s: s, now: now, asOf: now, past: read(entries, s)}
	if !s.Closed.IsZero() && s.Closed.Before(now) {
		b.asOf = s.Closed
	}
	r := Report{
		Incident: s.ID, Title: s.Title, Fleet: s.Fleet.Name, Status: s.Status(), Outcome: s.Outcome, Reason: s.Reason,
		Began: utc(s.Began), Declared: utc(s.Declared), DeclaredBy: b.past.declaredBy, Closed: utc(s.Closed),
		AsOf: utc(b.asOf), GeneratedAt: utc(now), Seq: s.Seq,
		Playbook: Playbook{s.Playbook.Name, s.Playbook.Title, s.Playbook.Digest},
		Plan:     Plan{s.Plan.Digest, utc(b.past.approvedAt), b.past.approvedBy},
		Timeline: b.past.timeline, Forecast: b.forecast(),
	}
	if s.ID == "" {
		r.Status = "no incident"
	} else {
		r.UnawareFor, r.Duration = seconds(s.Declared.Sub(s.Began)), seconds(b.asOf.Sub(s.Began))
	}
	r.Versions = versions(s)
	r.Hosts = b.hosts()
	r.Numbers = b.numbers(r.Hosts)
	r.Waves = b.waves()
	r.Services = b.services()
	r.Exceptions = b.exceptions()
	r.Debts = debts(r.Hosts)
	r.People = b.people()
	r.DoesNotKnow = b.doesNotKnow(r)
	r.InShort = inShort(r)
	scrub(&r)
	return r
}

// builder holds what the parts of a report are made from.
type builder struct {
	s    *recovery.State
	now  time.Time
	asOf time.Time
	past *history
}

func (b *builder) forecast() *Forecast {
	if b.s.ID == "" || !b.s.Closed.IsZero() || b.s.Settled() {
		return nil
	}
	f := b.s.Forecast(b.now)
	return &Forecast{utc(f.Earliest), utc(f.Latest), round(f.PerHour), f.Reason}
}

// Summary returns the report in a few numbers.
func (r Report) Summary() Summary {
	n := r.Numbers
	s := Summary{Hosts: n.Hosts, Hit: n.Hit, Recovered: n.Recovered, NeedsHands: n.NeedsHands, Skipped: n.Skipped,
		Attempts: n.Attempts, Waves: []WaveSummary{}, Timeline: r.Timeline}
	for _, w := range r.Waves {
		s.Waves = append(s.Waves, WaveSummary{w.Wave, w.Tier, w.Name, w.Size, w.Recovered, w.OpenedAt, w.PassedAt})
	}
	return s
}

// JSON returns the report for machines, indented, with a newline at the end.
func (r Report) JSON() []byte {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil { // a Report made by Build holds nothing that cannot be written
		data, _ = json.Marshal(map[string]string{"error": "the report of incident " + r.Incident + " cannot be written: " + err.Error()})
	}
	return append(data, '\n')
}
