package recovery

import "time"

// Phase is where a host stands in an incident.
type Phase string

// The phases.
const (
	Waiting    Phase = "waiting"     // planned; Why tells what it waits for
	Attempting Phase = "attempting"  // an attempt is under way
	Verifying  Phase = "verifying"   // a success is claimed; proof or soak is awaited
	Recovered  Phase = "recovered"   // proven and soaked
	NeedsHands Phase = "needs-hands" // a person must go there
	Skipped    Phase = "skipped"     // taken out by a person
	NotHit     Phase = "not-hit"     // never part of the work
)

// Attempt is one try on one rung.
type Attempt struct {
	ID       string        `json:"id"` // "HOST/n"
	Host     string        `json:"host"`
	N        int           `json:"n"`
	Rung     int           `json:"rung"` // index in the host's ladder
	RungName string        `json:"rung_name"`
	Playbook string        `json:"playbook"` // digest
	Started  time.Time     `json:"started"`
	Timeout  time.Duration `json:"timeout"`
	Deadline time.Time     `json:"deadline"` // of the lease, on the incident clock: after it the attempt counts as timed-out
	Ended    time.Time     `json:"ended,omitzero"`
	Result   Result        `json:"result,omitzero"`
	Step     Step          `json:"step,omitempty"`   // the last one that was recorded
	Method   Method        `json:"method,omitempty"` // empty: repair
	Runner   string        `json:"runner,omitempty"` // MethodRestore: whose agent does it
	Restores []Restore     `json:"restores,omitempty"`
	Cancel   string        `json:"cancel,omitempty"` // why a person wants it to be let go of

	late   bool      // a late result is recorded
	stepAt time.Time // when Step was recorded
	served bool      // the rescue system was served to it
}

// Restore is one data set of an attempt: where it goes back to, and what must hold before the old data is replaced.
type Restore struct {
	Point  PointRef  `json:"point"`
	Moment time.Time `json:"moment"` // whose data it will hold
	Level  Level     `json:"level"`  // to be passed beside the old data, before the swap
	Size   int64     `json:"size,omitempty"`
}

// Debt is one open matter of a host that came back.
type Debt struct {
	ID      string    `json:"id"`
	What    string    `json:"what"`
	Since   time.Time `json:"since,omitzero"`
	Cleared time.Time `json:"cleared,omitzero"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`

	Accepted bool `json:"accepted,omitempty"` // not settled; a person lives with it
}

// ScopeClass says how a host was hit.
type ScopeClass string

// The scope classes.
const (
	NeverHit   ScopeClass = "never-hit"        // up, and positively good
	SelfHealed ScopeClass = "healed-by-itself" // was seen bad, is up and positively good now
	Looping    ScopeClass = "looping"          // boots again and again, or up with bad content
	Parked     ScopeClass = "parked"           // its last words were bad, then silence
	Unknown    ScopeClass = "unknown"          // silent, no last words: neither failure nor success
	OutOfScope ScopeClass = "out-of-scope"     // the playbook is not meant for it
)

// HostScope is the classification of one host with its evidence.
type HostScope struct {
	Host     string     `json:"host"`
	Class    ScopeClass `json:"class"`
	Evidence string     `json:"evidence"`
	Planned  bool       `json:"planned"` // takes part in the waves
	Sighting *Sighting  `json:"sighting,omitempty"`
}

// Plan is the order of recovery as a value.
type Plan struct {
	Digest   string        `json:"digest"`             // over all that follows: what was read is what is approved
	Playbook string        `json:"playbook,omitempty"` // digest: which scripts will run
	Waves    []PlannedWave `json:"waves"`
	Excluded []PlannedHost `json:"excluded,omitempty"` // with the reason why they are left alone
}

// PlannedWave is one tier's hosts in the order in which they may start.
type PlannedWave struct {
	Wave  int           `json:"wave"` // 1-based
	Tier  string        `json:"tier"`
	Title string        `json:"title,omitempty"`
	Hosts []PlannedHost `json:"hosts"`
}

// PlannedHost says what will be done with a host and why.
type PlannedHost struct {
	Host     string `json:"host"`
	Service  string `json:"service,omitempty"`
	Method   Method `json:"method,omitempty"`
	Rung     int    `json:"rung"` // index of the first usable rung; -1: none
	RungName string `json:"rung_name,omitempty"`
	Canary   bool   `json:"canary,omitempty"` // goes before the others of its wave and OS
	Reason   string `json:"reason"`

	Estimate  time.Duration `json:"estimate,omitempty"`  // from its start to its proof, by this method
	Queue     time.Duration `json:"queue,omitempty"`     // before it can start, as far as limits and the repository make it wait within its wave
	Points    []PointRef    `json:"points,omitempty"`    // MethodRestore: one for each data set
	Loss      time.Duration `json:"loss,omitempty"`      // MethodRestore: how much data, in time, is lost by it
	Approval  bool          `json:"approval,omitempty"`  // a person must approve its restore
	Otherwise string        `json:"otherwise,omitempty"` // what would change the choice
}

// Method is how a host is made well.
type Method string

// The methods.
const (
	MethodRepair  Method = "repair"
	MethodRestore Method = "restore"
	MethodHands   Method = "hands"
)

// Incident outcomes.
const (
	OutcomeClosed         = "closed"
	OutcomeWithExceptions = "closed-with-exceptions"
	OutcomeAborted        = "aborted"
)

// Breakers.
const (
	BreakerFailed      = "failed-limit"
	BreakerUnreachable = "unreachable-limit"
	BreakerIncident    = "incident-limit"
	BreakerSignature   = "same-signature"
	BreakerSilence     = "mass-silence"
	BreakerBelowShare  = "below-share" // all settled, too few proven
)
