package recovery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is a fact that was decided. The set is sealed: eventTypes lists every kind.
type Event interface{ Kind() string }

// Entry is an event in its place in an incident's journal.
type Entry struct {
	Seq   uint64    // 1, 2, 3 … without a gap
	At    time.Time // when it was decided, coordinator's clock
	Actor string    // "engine", or "operator:NAME", "agent:HOST"
	Event Event
}

// IncidentDeclared starts an incident and freezes what it is about.
type IncidentDeclared struct {
	Incident string    `json:"incident"`
	Title    string    `json:"title"`
	Began    time.Time `json:"began"` // when the outage began, as far as people know: RTO clocks start here
	Playbook Playbook  `json:"playbook"`
	Fleet    Fleet     `json:"fleet"`

	Cutoff   time.Time      `json:"cutoff,omitzero"`     // when the bad content came in: a restore point must be older
	WaveZero bool           `json:"wave_zero,omitempty"` // restore points are verified as far as the tiers ask while the waves go on
	Points   []RestorePoint `json:"points,omitempty"`    // what was known of backups by then
	Held     []PointRef     `json:"held,omitempty"`      // the last known good points: they are kept from expiring

	Verifying []string `json:"verifying,omitempty"` // data sets that wave zero begins with: see PointsLearnt
}

// IncidentScoped says who is hit, with the evidence used.
type IncidentScoped struct {
	Hosts []HostScope `json:"hosts"`
}

// PlanProposed holds the order of recovery.
type PlanProposed struct {
	Plan Plan `json:"plan"`
}

// PlanApproved lets the first wave open.
type PlanApproved struct {
	Digest string `json:"digest"`
}

// WaveOpened fixes the wave's size and turns its limits into whole numbers.
type WaveOpened struct {
	Wave   int    `json:"wave"` // 1-based
	Size   int    `json:"size"`
	Need   int    `json:"need"` // hosts that must be proven
	Limits Limits `json:"limits"`
	Reason string `json:"reason"`
}

// WavePassed closes a wave's gate.
type WavePassed struct {
	Wave   int    `json:"wave"`
	Reason string `json:"reason"`
}

// WaveHeld stops new attempts in a wave.
type WaveHeld struct {
	Wave    int    `json:"wave"`
	Breaker string `json:"breaker"` // one of the Breaker constants
	Reason  string `json:"reason"`
}

// WaveReleased lets a held wave go on; the failures named are accepted and count no more.
type WaveReleased struct {
	Wave     int       `json:"wave"`
	Accepted []Failure `json:"accepted,omitempty"`
	Reason   string    `json:"reason"`
}

// WaveApproved is a person's consent to open a wave.
type WaveApproved struct {
	Wave int `json:"wave"`
}

// AttemptStarted is the intent to act on a host; it is on disk before anything is sent.
type AttemptStarted struct {
	Attempt    Attempt `json:"attempt"`
	BootBefore string  `json:"boot_before,omitempty"`
	Canary     bool    `json:"canary,omitempty"`
	Reason     string  `json:"reason"`
}

// AttemptEnded records a result and what follows from it.
type AttemptEnded struct {
	Attempt string    `json:"attempt"`
	Host    string    `json:"host"`
	Result  Result    `json:"result"`
	Late    bool      `json:"late,omitempty"` // the attempt was over already: recorded, changes nothing
	Next    Phase     `json:"next,omitempty"`
	Rung    int       `json:"rung"`           // the rung that the next attempt uses
	Until   time.Time `json:"until,omitzero"` // backoff or verification deadline
	Reason  string    `json:"reason"`

	Debts []Debt `json:"debts,omitempty"` // what the attempt leaves, whatever the playbook says

	// Unsure: an earlier run of the coordinator had started it, and this end does not tell whether its script ran.
	Unsure bool `json:"unsure,omitempty"`

	// BootSeen is the last boot that was heard of by then, where nobody knows in which boot the script ran.
	BootSeen string `json:"boot_seen,omitempty"`
}

// AttemptProgressed records that an attempt takes its next step; it is on disk before anything of the step is done.
type AttemptProgressed struct {
	Attempt string `json:"attempt"`
	Host    string `json:"host"`
	Step    Step   `json:"step"`
	Debts   []Debt `json:"debts,omitempty"` // what stays to be cleared from here on
	Reason  string `json:"reason"`
}

// RescueServed says that a host which asked the network what to boot is given the rescue system, once per attempt.
type RescueServed struct {
	Attempt string `json:"attempt"`
	Host    string `json:"host"`
	Peer    string `json:"peer,omitempty"`
	Reason  string `json:"reason"`
}

// BootTargetCleared says that it was read back that a host boots from its own disk.
type BootTargetCleared struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
}

// BootTargetStuck says that a try to clear a host's boot target failed; the next one comes not before Until.
type BootTargetStuck struct {
	Host   string    `json:"host"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

// HostProven says that the proof is complete; the soak begins, or begins again after a restart.
type HostProven struct {
	Host      string    `json:"host"`
	Sighting  Sighting  `json:"sighting"`
	SoakUntil time.Time `json:"soak_until"`
	Reason    string    `json:"reason"`
}

// ProofFailed ends a verification without proof.
type ProofFailed struct {
	Host    string    `json:"host"`
	Missing string    `json:"missing"` // what the proof lacked
	Next    Phase     `json:"next"`
	Rung    int       `json:"rung"`
	Until   time.Time `json:"until,omitzero"`
	Reason  string    `json:"reason"`
}

// HostRecovered says that the proof held through the soak.
type HostRecovered struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
	Debts  []Debt `json:"debts,omitempty"`
}

// HostRelapsed takes a host that had been proven or recovered back into work.
type HostRelapsed struct {
	Host      string `json:"host"`
	Next      Phase  `json:"next"`
	Rung      int    `json:"rung"`
	Signature string `json:"signature,omitempty"` // groups like relapses: they count as failures until the host is proven again
	Reason    string `json:"reason"`
}

// HostNeedsHands puts a host on the hands board.
type HostNeedsHands struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
}

// HostClaimed gives a host to a person; nobody else works on it until then.
type HostClaimed struct {
	Host  string    `json:"host"`
	By    string    `json:"by"`
	Until time.Time `json:"until,omitzero"` // zero gives the host back
}

// HandsFinished is a person's claim that the work is done; proof is awaited as after a script.
type HandsFinished struct {
	Host    string        `json:"host"`
	By      string        `json:"by"`
	Note    string        `json:"note,omitempty"`
	Spent   time.Duration `json:"spent,omitempty"`
	Until   time.Time     `json:"until"` // verification deadline
	Attempt string        `json:"attempt"`
}

// HostSkipped takes a host out; HostReturned puts it back.
type HostSkipped struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
}

// HostReturned puts a host back to work: after a skip, or because a person asked for another try.
type HostReturned struct {
	Host   string `json:"host"`
	Rung   int    `json:"rung"`
	Named  bool   `json:"named,omitempty"` // a person named the rung
	Reason string `json:"reason"`
}

// HoldOverridden lifts one hold for one host, service or wave, on a person's word.
type HoldOverridden struct {
	Target string `json:"target"` // "host:NAME", "service:NAME" or "wave:N"
	Reason string `json:"reason"`
}

// DebtCleared closes one debt of a host.
type DebtCleared struct {
	Host string `json:"host"`
	Debt string `json:"debt"`
	By   string `json:"by,omitempty"`
	Note string `json:"note,omitempty"`

	Accepted bool `json:"accepted,omitempty"` // it was not settled; a person lives with it
}

// AgentRefused records a connection that was not believed.
type AgentRefused struct {
	Host string `json:"host"`
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

// IncidentPaused freezes every clock and starts nothing.
type IncidentPaused struct {
	Breaker string `json:"breaker,omitempty"` // empty: a person did it
	Reason  string `json:"reason"`
}

// IncidentResumed lets the clocks run on; the failures named are accepted and count no more.
type IncidentResumed struct {
	Accepted []Failure `json:"accepted,omitempty"`
	Reason   string    `json:"reason"`
}

// CoordinatorRestarted gives the incident's clock back the time in which no coordinator ran.
type CoordinatorRestarted struct {
	Alive  time.Time `json:"alive"` // when the earlier one was last known to run
	Reason string    `json:"reason"`
}

// PlaybookRevised replaces the incident's playbook by another version from here on. Every proof is asked for anew; the hosts to
// revisit are recovered, and an older version touched or proved them.
type PlaybookRevised struct {
	Playbook Playbook `json:"playbook"`
	Revisit  []string `json:"revisit,omitempty"`
	Reason   string   `json:"reason"`
}

// IncidentAborted ends the sending for good and says what becomes of each host.
type IncidentAborted struct {
	Reason string      `json:"reason"`
	Fates  []AbortFate `json:"fates"`
}

// IncidentClosed ends an incident. Only debts that an abort left open are cleared after it.
type IncidentClosed struct {
	Outcome    string   `json:"outcome"` // one of the Outcome constants
	Exceptions []string `json:"exceptions,omitempty"`
	Reason     string   `json:"reason"`
}

// RunDeclared starts a run: one playbook on some hosts without an incident. It freezes what will run, as text, and where.
type RunDeclared struct {
	Run      string      `json:"run"`
	Playbook Playbook    `json:"playbook"`
	Scripts  []RunScript `json:"scripts"`
	Plain    bool        `json:"plain,omitempty"`  // a script of no playbook: exit 0 is its success, without a result line
	Reboot   bool        `json:"reboot,omitempty"` // restart a host after its script has succeeded
	Fleet    Fleet       `json:"fleet"`            // the hosts that take part, and what limits them
	Hosts    []RunHost   `json:"hosts"`            // every host that was chosen
}

// RunEnded says that every host that took part has a result.
type RunEnded struct {
	Hosts     int    `json:"hosts"`
	Succeeded int    `json:"succeeded"`
	Reason    string `json:"reason"`
}

// RunScript is the text that runs in one environment.
type RunScript struct {
	Environment string `json:"environment"`
	Text        string `json:"text"`
}

// RunHost is one host that was chosen for a run: the rung that it takes, or why it takes no part.
type RunHost struct {
	Host     string `json:"host"`
	Rung     int    `json:"rung"` // index in its ladder; -1: none
	RungName string `json:"rung_name,omitempty"`
	Refused  string `json:"refused,omitempty"`
}

// RestoreApproved is a person's consent to restore one host from these points, with the data that is lost by it in view.
type RestoreApproved struct {
	Host   string        `json:"host"`
	Points []PointRef    `json:"points"`
	Loss   time.Duration `json:"loss"`
	Reason string        `json:"reason"`
}

// AttemptCancelAsked says that a person wants a restore to be let go of. What was swapped already stays.
type AttemptCancelAsked struct {
	Attempt string `json:"attempt"`
	Host    string `json:"host"`
	Reason  string `json:"reason"`
}

// PointsLearnt brings what is known by now of restore points: each replaces what was known of it. It stands in the catalog of
// backups and, while an incident is open, in its journal too. There it also names every data set of which ordered checks are on
// their way: a host that lacks nothing else to be restored waits for them.
type PointsLearnt struct {
	Points    []RestorePoint `json:"points"`
	Verifying []string       `json:"verifying,omitempty"`
	Reason    string         `json:"reason"`
}

// PointChecked is the end of one check of one point. A failed one puts the point into quarantine.
type PointChecked struct {
	Point  PointRef   `json:"point"`
	Check  PointCheck `json:"check"`
	Reason string     `json:"reason"`
}

// PointsQuarantined keeps points of a data set from being restored: one, or (without Point) all whose data is not older than From,
// those that come later too.
type PointsQuarantined struct {
	DataSet string    `json:"data_set"`
	Point   *PointRef `json:"point,omitempty"`
	From    time.Time `json:"from"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
}

// PointsReleased lifts a quarantine: of one point, or (without Point) that of the whole data set.
type PointsReleased struct {
	DataSet string    `json:"data_set"`
	Point   *PointRef `json:"point,omitempty"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
}

// PointsHeld asks for points to be kept from expiring for an incident; with Release no longer.
type PointsHeld struct {
	Incident string     `json:"incident"`
	Points   []PointRef `json:"points"`
	Release  bool       `json:"release,omitempty"`
	Reason   string     `json:"reason"`
}

// HoldPlaced says that a repository keeps a point from expiring, or (Release) no longer.
type HoldPlaced struct {
	Incident string   `json:"incident"`
	Point    PointRef `json:"point"`
	Release  bool     `json:"release,omitempty"`
	Reason   string   `json:"reason"`
}

// BackupJobStarted is the intent to work on backups in peacetime; it is on disk before anything is sent.
type BackupJobStarted struct {
	Job     string        `json:"job"` // "list/people-db/3"
	Does    JobKind       `json:"does"`
	Runner  string        `json:"runner"`
	Point   PointRef      `json:"point"` // JobList: without an ID
	Level   Level         `json:"level"`
	Part    int           `json:"part,omitempty"`
	Parts   int           `json:"parts,omitempty"`
	Hold    string        `json:"hold,omitempty"`
	Release bool          `json:"release,omitempty"`
	Of      string        `json:"of,omitempty"` // JobCheck: digest of what is asked, as in PointCheck
	Timeout time.Duration `json:"timeout"`
	Reason  string        `json:"reason"`
}

// BackupJobEnded records how such a job ended.
type BackupJobEnded struct {
	Job    string    `json:"job"`
	Result Result    `json:"result"`         // its points and checks are events of their own
	Until  time.Time `json:"until,omitzero"` // it is not tried again before
	Reason string    `json:"reason"`
}

// Failure is one host's failure, as counted by breakers and accepted by people.
type Failure struct {
	Host      string `json:"host"`
	Attempt   string `json:"attempt,omitempty"`
	Class     Class  `json:"class"`
	Signature string `json:"signature,omitempty"`
}

// AbortFate is what an abort means for one host.
type AbortFate struct {
	Host string `json:"host"`
	Rule string `json:"rule"` // "stays recovered", "ends by itself", "not started", "stays on the hands board"
}

// Limits are a wave's limits as whole numbers.
type Limits struct {
	Failed      int `json:"failed"`
	Unreachable int `json:"unreachable"`
	InFlight    int `json:"in_flight"`
}

var eventTypes = []func() Event{
	func() Event { return &IncidentDeclared{} },
	func() Event { return &IncidentScoped{} },
	func() Event { return &PlanProposed{} },
	func() Event { return &PlanApproved{} },
	func() Event { return &WaveOpened{} },
	func() Event { return &WavePassed{} },
	func() Event { return &WaveHeld{} },
	func() Event { return &WaveReleased{} },
	func() Event { return &WaveApproved{} },
	func() Event { return &AttemptStarted{} },
	func() Event { return &AttemptEnded{} },
	func() Event { return &AttemptProgressed{} },
	func() Event { return &RescueServed{} },
	func() Event { return &BootTargetCleared{} },
	func() Event { return &BootTargetStuck{} },
	func() Event { return &HostProven{} },
	func() Event { return &ProofFailed{} },
	func() Event { return &HostRecovered{} },
	func() Event { return &HostRelapsed{} },
	func() Event { return &HostNeedsHands{} },
	func() Event { return &HostClaimed{} },
	func() Event { return &HandsFinished{} },
	func() Event { return &HostSkipped{} },
	func() Event { return &HostReturned{} },
	func() Event { return &HoldOverridden{} },
	func() Event { return &DebtCleared{} },
	func() Event { return &AgentRefused{} },
	func() Event { return &IncidentPaused{} },
	func() Event { return &IncidentResumed{} },
	func() Event { return &CoordinatorRestarted{} },
	func() Event { return &PlaybookRevised{} },
	func() Event { return &IncidentAborted{} },
	func() Event { return &IncidentClosed{} },
	func() Event { return &RestoreApproved{} },
	func() Event { return &AttemptCancelAsked{} },
	func() Event { return &PointsLearnt{} },
	func() Event { return &PointChecked{} },
	func() Event { return &PointsQuarantined{} },
	func() Event { return &PointsReleased{} },
	func() Event { return &PointsHeld{} },
	func() Event { return &HoldPlaced{} },
	func() Event { return &BackupJobStarted{} },
	func() Event { return &BackupJobEnded{} },
	func() Event { return &RunDeclared{} },
	func() Event { return &RunEnded{} },
}

// The kinds, as they stand in the journal. They never change.

func (*IncidentDeclared) Kind() string     { return "incident-declared" }
func (*IncidentScoped) Kind() string       { return "incident-scoped" }
func (*PlanProposed) Kind() string         { return "plan-proposed" }
func (*PlanApproved) Kind() string         { return "plan-approved" }
func (*WaveOpened) Kind() string           { return "wave-opened" }
func (*WavePassed) Kind() string           { return "wave-passed" }
func (*WaveHeld) Kind() string             { return "wave-held" }
func (*WaveReleased) Kind() string         { return "wave-released" }
func (*WaveApproved) Kind() string         { return "wave-approved" }
func (*AttemptStarted) Kind() string       { return "attempt-started" }
func (*AttemptEnded) Kind() string         { return "attempt-ended" }
func (*AttemptProgressed) Kind() string    { return "attempt-progressed" }
func (*RescueServed) Kind() string         { return "rescue-served" }
func (*BootTargetCleared) Kind() string    { return "boot-target-cleared" }
func (*BootTargetStuck) Kind() string      { return "boot-target-stuck" }
func (*HostProven) Kind() string           { return "host-proven" }
func (*ProofFailed) Kind() string          { return "proof-failed" }
func (*HostRecovered) Kind() string        { return "host-recovered" }
func (*HostRelapsed) Kind() string         { return "host-relapsed" }
func (*HostNeedsHands) Kind() string       { return "host-needs-hands" }
func (*HostClaimed) Kind() string          { return "host-claimed" }
func (*HandsFinished) Kind() string        { return "hands-finished" }
func (*HostSkipped) Kind() string          { return "host-skipped" }
func (*HostReturned) Kind() string         { return "host-returned" }
func (*HoldOverridden) Kind() string       { return "hold-overridden" }
func (*DebtCleared) Kind() string          { return "debt-cleared" }
func (*AgentRefused) Kind() string         { return "agent-refused" }
func (*IncidentPaused) Kind() string       { return "incident-paused" }
func (*IncidentResumed) Kind() string      { return "incident-resumed" }
func (*CoordinatorRestarted) Kind() string { return "coordinator-restarted" }
func (*PlaybookRevised) Kind() string      { return "playbook-revised" }
func (*IncidentAborted) Kind() string      { return "incident-aborted" }
func (*IncidentClosed) Kind() string       { return "incident-closed" }
func (*RestoreApproved) Kind() string      { return "restore-approved" }
func (*AttemptCancelAsked) Kind() string   { return "attempt-cancel-asked" }
func (*PointsLearnt) Kind() string         { return "points-learnt" }
func (*PointChecked) Kind() string         { return "point-checked" }
func (*PointsQuarantined) Kind() string    { return "points-quarantined" }
func (*PointsReleased) Kind() string       { return "points-released" }
func (*PointsHeld) Kind() string           { return "points-held" }
func (*HoldPlaced) Kind() string           { return "hold-placed" }
func (*BackupJobStarted) Kind() string     { return "backup-job-started" }
func (*BackupJobEnded) Kind() string       { return "backup-job-ended" }
func (*RunDeclared) Kind() string          { return "run-declared" }
func (*RunEnded) Kind() string             { return "run-ended" }

var newEvent = func() map[string]func() Event {
	m := make(map[string]func() Event, len(eventTypes))
	for _, f := range eventTypes {
		m[f().Kind()] = f
	}
	return m
}()

// EncodeEvent returns an event's data as it stands in the journal.
func EncodeEvent(e Event) ([]byte, error) { return json.Marshal(e) }

// DecodeEvent reads what EncodeEvent wrote. An unknown kind is an error: a journal that this program does not understand
// in full is not opened. Unknown fields of a known kind are ignored, so that kinds can grow.
func DecodeEvent(kind string, data []byte) (Event, error) {
	f, ok := newEvent[kind]
	if !ok {
		return nil, fmt.Errorf("unknown event kind %q: this journal was written by a newer Blackstart", kind)
	}
	e := f()
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(e); err != nil {
		return nil, fmt.Errorf("event %s: %w", kind, err)
	}
	return e, nil
}
