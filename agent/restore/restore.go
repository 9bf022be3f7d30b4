// Package restore does the agent's work on backups: it lists restore points, checks them, and restores beside the live data,
// verifies there, swaps, and keeps the old. It overwrites nothing.
//
// Reading order: restore.go (what a job is), worker.go (claims, progress, results that outlive a crash), stages.go (a restore as a
// checklist), swap.go; then the backends restic.go, postgresql.go, exec.go, and the engines that check what was restored.
package restore

import (
	"context"
	"time"
)

// Kinds of work.
const (
	KindRestore = "restore"
	KindList    = "list"
	KindCheck   = "check"
	KindHold    = "hold"
)

// Work is one job. Incident and Job name it for good: the same names are never done twice.
type Work struct {
	Incident string
	Job      string
	Kind     string
	Sets     []SetWork
	Timeout  time.Duration
	Reboot   bool // restart the host once the result is kept
}

// SetWork is what a job does with one data set.
type SetWork struct {
	Set        Set
	Repository Repository
	Point      string    // as the repository names it
	TakenAt    time.Time // of the point
	Moment     time.Time // databases with logs: the moment to go back to; zero: as far as the point reaches
	Level      int       // restore: what must hold before the swap; check: how far to check
	Part       int       // check at level 1: part Part of Parts of the repository; Parts 0: all of it
	Parts      int
	Rate       int64  // bytes per second that may be read; 0: no limit
	Hold       string // hold: the incident that holds the point
	Release    bool   // hold: no longer
	Size       int64  // bytes that a restore of it writes; 0: unknown
}

// Set is a data set. Target and what Stop, Start and Check name are this machine's.
type Set struct {
	Name       string
	Host       string // whose data it is; not always this machine
	Kind       string // "files", "image", "database"
	Source     string
	Target     string
	Part       string
	Engine     string
	Options    map[string]string
	Stop       []string
	Start      []string
	Check      []string
	Invariants []Invariant
}

// Invariant is a rule that must hold on what was restored.
type Invariant struct {
	Name    string
	SQL     string
	Command []string
	Expect  string
}

// Repository is where points lie.
type Repository struct {
	Name     string
	Kind     string
	Location string
	Password string // "file:PATH" or "env:NAME"
	Program  string
	Options  map[string]string
}

// Point is a restore point as a repository lists it.
type Point struct {
	ID      string
	Kind    string
	TakenAt time.Time
	Until   time.Time
	Size    int64 // bytes that a restore writes; 0: not known without restoring
}

// Report tells how a job stands. With a Result it has ended.
type Report struct {
	Incident, Job string
	Stage         string
	Done, Total   int64 // bytes; Total 0: unknown
	Rate          int64 // bytes per second lately
	Left          time.Duration
	Result        *Result
}

// Classes of a Result, as the core has them.
const (
	Succeeded   = "succeeded"
	Failed      = "failed"
	Unreachable = "unreachable"  // the repository cannot be had just now (not there, or locked): nothing was changed, and it is worth trying again
	AuthRefused = "auth-refused" // the password or user is refused: a person looks
	TimedOut    = "timed-out"
	Lost        = "lost"      // it is not known what has happened
	Cancelled   = "cancelled" // stopped before anything was swapped
)

// Signatures that the coordinator acts on; see recovery.SignatureDamagedPoint and its neighbour.
const (
	SignatureDamagedPoint = "restore point damaged"
	SignatureCheckFailed  = "check failed"
)

// Result is how a job ended. It is kept on disk, and told again to whoever asks with the same names.
type Result struct {
	Class     string
	Signature string // groups like failures; holds no name of a host, point or path
	Detail    string // one sentence: what happened and what to do
	Joined    bool
	Rebooted  bool
	Took      time.Duration
	Boot      string // boot id in which it ended
	Sets      []SetResult
	Points    []Point // of KindList
}

// SetResult is what came of one data set.
type SetResult struct {
	Set        string
	Repository string
	Point      string
	Moment     time.Time
	Bytes      int64
	Kept       string // where the old data is
	Swapped    bool
	Checks     []Check
}

// Check is one check that was made.
type Check struct {
	Level  int
	OK     bool
	At     time.Time
	By     string // which check it was
	Detail string
	Moment time.Time // whose data it saw; zero: the point's own
}

// Fault is an error with its class. Everything else that a backend returns counts as Failed.
type Fault struct {
	Class, Signature, Detail string
}

func (f *Fault) Error() string { return f.Class + ": " + f.Signature + ": " + f.Detail }

// Progress is told by whoever moves bytes, as often as it likes. total 0: unknown.
type Progress func(done, total int64)

// Backend is one kind of repository. Its methods end soon after ctx does, leave no process behind, and their errors are Faults.
// Backends know nothing of claims, swaps and targets.
type Backend interface {
	// List returns every point of the data set, oldest first.
	List(ctx context.Context, s SetWork) ([]Point, error)
	// Restore writes a point into the empty folder into, which lies on the disk of the target. It writes nowhere else.
	Restore(ctx context.Context, s SetWork, into string, p Progress) error
}

// Checker is a backend that can check the repository itself (L1): Part of Parts of it.
type Checker interface {
	// Check returns in words what it checked ("restic check 3/7"). An error with SignatureDamagedPoint says that the point is bad.
	Check(ctx context.Context, s SetWork, p Progress) (by string, err error)
}

// Holder is a backend that can keep a point from expiring, or no longer. Doing so twice is no error.
type Holder interface {
	Hold(ctx context.Context, s SetWork) error
}

// Sizer is a backend that can tell, before a restore, how many bytes it will write.
type Sizer interface {
	Size(ctx context.Context, s SetWork) (int64, error)
}

// Engine makes what a backend restored ready for use, and checks it. dir is the folder that will become the target.
type Engine interface {
	// Prepare brings a restored database to the moment wanted, shut down cleanly. It returns the moment reached; zero: the point's own.
	Prepare(ctx context.Context, s SetWork, dir string) (time.Time, error)
	// Check is L3, and the invariants (L4) when level wants them: one Check for each, in order, ending with the first that fails. An
	// error says that the check itself could not be made. dir is as it was afterwards, apart from what every start of the engine changes.
	Check(ctx context.Context, s SetWork, dir string, level int) ([]Check, error)
}
