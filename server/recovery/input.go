package recovery

import "time"

// Input is something that happened or was asked for, before it is judged. The set is sealed.
type Input interface{ input() }

// Declare asks for a new incident. The coordinator adds what it knows: the fleet, the playbook and the last sightings.
type Declare struct {
	Incident string
	Title    string
	Began    time.Time // zero means now
	Fleet    Fleet
	Playbook Playbook
	Cutoff   time.Time      // when the bad content came in; zero means Began
	WaveZero bool           // have restore points verified from the start
	Points   []RestorePoint // what is known of backups
}

// ApproveRestore consents to restore one host from the points that its plan names. Loss is the loss that the person has read:
// when it has become more by now, nothing is approved.
type ApproveRestore struct {
	Host   string
	Loss   time.Duration
	Reason string
}

// CancelAttempt lets go of a restore under way. Data that was swapped in already stays.
type CancelAttempt struct{ Host, Reason string }

// Learnt brings what the catalog of backups knows by now of some points; what the incident knows already changes nothing.
type Learnt struct {
	Points    []RestorePoint
	Verifying []string // every data set of which checks are on their way; those of an agent that has fallen silent do not count
	Reason    string
}

// Approve consents to the plan (Wave 0, with its digest) or to opening a wave.
type Approve struct {
	Digest string
	Wave   int
}

// Pause stops everything that has not started.
type Pause struct{ Reason string }

// Resume goes on after a pause, also one that a breaker made, and with held waves (Wave 0: all of them). It accepts the
// failures so far: only new ones hold again. A wave that is held because too few of it came back is passed with what it has
// only when it is named.
type Resume struct {
	Wave   int
	Reason string
}

// Revise takes another version of the incident's playbook from here on, also one that was used before.
type Revise struct {
	Playbook Playbook
	Reason   string
}

// Abort ends the incident's sending for good.
type Abort struct{ Reason string }

// Close ends an incident that has nothing left to do.
type Close struct{ Reason string }

// Retry gives a host another try, on the rung named or on its first; a skipped host it puts back.
type Retry struct{ Host, Rung, Reason string }

// Skip takes a host out.
type Skip struct{ Host, Reason string }

// Override lifts a hold: Target is "host:NAME" (its wave, what it needs, canary and ramp no longer hold it), "service:NAME"
// (others no longer wait for it) or "wave:N" (a closed wave opens; an open one passes with what it has).
type Override struct{ Target, Reason string }

// Claim gives a host to a person for a time; a zero For gives it back.
type Claim struct {
	Host, By string
	For      time.Duration
}

// HandsDone says that a person has worked on the host.
type HandsDone struct {
	Host, By, Note string
	Spent          time.Duration
}

// ClearDebt closes a debt of a host; an empty Host means every host that owes it. Accepted: it is not settled, and a person says in the
// note why that is lived with; the incident then ends with an exception.
type ClearDebt struct {
	Host, Debt, By, Note string
	Accepted             bool
}

// Sighted brings what was heard of a host. The state has seen it already (State.See).
type Sighted struct{ Sighting Sighting }

// Refused brings a connection that the transport did not believe.
type Refused struct{ Host, Peer, Why string }

// Finished brings the result of a job.
type Finished struct {
	Job     string
	Host    string
	Result  Result
	Resumed bool // the job was started by an earlier run of the coordinator
}

// known is the result in the light of what was started before: step is the last that was recorded, where the rung has steps.
func (in Finished) known(step Step) Result {
	r := in.Result
	if in.Resumed && r.Class == Unreachable && (step == "" || step == StepInside || step == StepOwnDisk) {
		r.Class = Lost // something had been started: perhaps the host restarts at this moment
	}
	return r
}

// Progressed asks to record that an attempt takes its next step. Nothing of the step may be done before it is recorded.
type Progressed struct {
	Job, Host string
	Step      Step
	Note      string // what is done in it, for people
}

// BootAsked brings a host's own question, over the network, what it should boot. It is answered with the rescue system only
// when a RescueServed follows.
type BootAsked struct{ Host, Peer string }

// Restarted says that the coordinator has started again with this incident open, or (Leap) that its machine slept or its clock was put
// forward. Alive is when it was last known to run: no clock of the incident may run while nobody could hear the hosts.
type Restarted struct {
	Alive time.Time
	Leap  bool
}

// Tick lets time act: deadlines, soaks, gates, breakers, and the start of whatever may start.
type Tick struct{}

func (Declare) input()        {}
func (Approve) input()        {}
func (ApproveRestore) input() {}
func (CancelAttempt) input()  {}
func (Learnt) input()         {}
func (Pause) input()          {}
func (Resume) input()         {}
func (Revise) input()         {}
func (Abort) input()          {}
func (Close) input()          {}
func (Retry) input()          {}
func (Skip) input()           {}
func (Override) input()       {}
func (Claim) input()          {}
func (HandsDone) input()      {}
func (ClearDebt) input()      {}
func (Sighted) input()        {}
func (Refused) input()        {}
func (Finished) input()       {}
func (Progressed) input()     {}
func (BootAsked) input()      {}
func (Restarted) input()      {}
func (Tick) input()           {}
