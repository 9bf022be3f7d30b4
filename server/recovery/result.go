package recovery

import "time"

// Class is the outcome of an attempt. Policy follows the class, never an error's text.
type Class string

// The classes.
const (
	Succeeded       Class = "succeeded"         // the script claims a repair: exit 0 and a result line
	NothingFound    Class = "nothing-found"     // exit 10: cured, never hit, or the wrong place
	Failed          Class = "failed"            // any other end of the script, with a signature
	Unreachable     Class = "unreachable"       // no connection: nothing was started
	AuthRefused     Class = "auth-refused"      // the host refuses our user or key: a person looks
	HostKeyMismatch Class = "host-key-mismatch" // perhaps another machine: a person looks
	TimedOut        Class = "timed-out"         // the deadline passed
	Locked          Class = "locked"            // the disk is encrypted and its key is not there: a person brings it
	Lost            Class = "lost"              // started, and its outcome cannot be learnt
	Cancelled       Class = "cancelled"         // stopped by us before anything was started
)

// silent is the class of a recovered host that speaks no more. It is no attempt's outcome; it only names what a person accepts
// by resuming after mass silence.
const silent Class = "silent"

// JobKind says what a job does on the host.
type JobKind string

// The kinds of job.
const (
	JobRepair JobKind = "repair" // run the playbook's script for the rung's environment
	JobVerify JobKind = "verify" // gather proof over SSH from a host that has no agent
	JobUnboot JobKind = "unboot" // see that the host boots from its own disk, and make it so

	// Through the agent of Job.Runner, on Job.Sets.
	JobRestore JobKind = "restore" // restore beside, verify, swap, keep the old
	JobCancel  JobKind = "cancel"  // let go of the job Of before its swap
	JobList    JobKind = "list"    // which points are there
	JobCheck   JobKind = "check"   // verify a point
	JobHold    JobKind = "hold"    // keep a point from expiring, or no longer
)

// Step is how far an attempt has come on a rung that is more than a login. It is recorded before it is taken, so that whoever
// takes the attempt up again knows what may have been done. Steps only go forward.
type Step string

// The steps, in their order.
const (
	StepPowerOff   Step = "power-off"   // the host is switched off
	StepBootTarget Step = "boot-target" // its boot target is set to the rescue system: a debt from here on
	StepPowerOn    Step = "power-on"    // it is switched on, and the rescue system awaited; never taken twice
	StepInside     Step = "inside"      // the rescue system or helper answers; the disk is opened and the script runs
	StepOwnDisk    Step = "own-disk"    // the disk is given back, the boot target cleared, and the host started from it

	StepCancel Step = "cancel" // of a restore: its agent was told to let go of it
)

// BootTargetDisk is the only value of Result.BootTarget: it was read back that the host boots from its own disk.
const BootTargetDisk = "disk"

// Signatures that the core knows; the agent's backends use them.
const (
	SignatureDamagedPoint = "restore point damaged" // the point itself is at fault: it is not tried again
	SignatureCheckFailed  = "check failed"          // what was restored did not pass; nothing was swapped
)

// Job is one thing that ought to be running now. The same ID always names the same work: a remedy that sees it again joins it.
type Job struct {
	ID         string        `json:"id"` // "HOST/n" for an attempt, "HOST/n/verify/k" for a proof, "HOST/n/unboot/k" for a boot target
	Incident   string        `json:"incident"`
	Kind       JobKind       `json:"kind"`
	Host       Host          `json:"host"`
	Rung       Rung          `json:"rung"`
	Playbook   string        `json:"playbook"`              // digest
	Reboot     bool          `json:"reboot"`                // restart the host into its own system once the script's result is recorded
	Timeout    time.Duration `json:"timeout"`               // for the whole job, queueing excluded
	BootBefore string        `json:"boot_before,omitempty"` // JobVerify: facts of this boot are no answer yet
	Step       Step          `json:"step,omitempty"`        // JobRepair: the last one that was recorded
	Plain      bool          `json:"plain,omitempty"`       // JobRepair: the script is of no playbook; exit 0 is its success, without a result line

	Runner string    `json:"runner,omitempty"` // the host whose agent does the job, where an agent does
	Sets   []SetWork `json:"sets,omitempty"`   // what it does
	Of     string    `json:"of,omitempty"`     // JobCancel: the id of the job to let go of

	Resumed bool `json:"resumed,omitempty"` // an earlier run of the coordinator may have started it; set by who starts it
}

// Result is how a job ended.
type Result struct {
	Class     Class         `json:"class"`
	Exit      int           `json:"exit,omitempty"`      // of the script, when it ended
	Signature string        `json:"signature,omitempty"` // groups like failures: "exit 3: disk full"; never holds a host's name
	Detail    string        `json:"detail,omitempty"`    // one sentence: what happened and what to do
	Line      string        `json:"line,omitempty"`      // the script's machine-readable result line
	Output    string        `json:"output,omitempty"`    // where the kept output is: a path below the data folder
	Joined    bool          `json:"joined,omitempty"`    // the work had been started before by the same id
	Rebooted  bool          `json:"rebooted,omitempty"`  // the restart was sent
	Boot      string        `json:"boot,omitempty"`      // boot id of the system that the script ran in, where it can be read
	Took      time.Duration `json:"took,omitempty"`
	Sighting  *Sighting     `json:"sighting,omitempty"` // of a JobVerify

	Sets   []SetResult    `json:"sets,omitempty"`   // of a job through an agent
	Points []RestorePoint `json:"points,omitempty"` // of a JobList: everything that the repository lists of the data set

	BootTarget string `json:"boot_target,omitempty"` // BootTargetDisk when that was read back; else nothing is known
}
