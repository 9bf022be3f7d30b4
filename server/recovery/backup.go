package recovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Level is how far a restore point was verified. Each level includes those below it.
type Level int

// The levels.
const (
	L0 Level = iota // it exists: the repository lists it
	L1              // the repository's checksums hold
	L2              // it restores
	L3              // the engine's own check passes on what was restored
	L4              // business invariants hold on what was restored
	L5              // a person looked
)

func (l Level) String() string { return fmt.Sprintf("L%d", int(l)) }

// MarshalText writes a level as it is spoken of: "L3".
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (l *Level) UnmarshalText(text []byte) error {
	if len(text) != 2 || text[0] != 'L' || text[1] < '0' || text[1] > '5' {
		return fmt.Errorf("%q is no level: they are L0 to L5", text)
	}
	*l = Level(text[1] - '0')
	return nil
}

// PointKind says what a restore point holds.
type PointKind string

// The kinds of restore point.
const (
	PointFiles    PointKind = "files"
	PointImage    PointKind = "image"    // a whole machine
	PointDatabase PointKind = "database" // a base backup with logs: any moment from TakenAt to Until
)

// DataSet is what is backed up and restored as one: a database, a folder, a host's image.
type DataSet struct {
	Name       string            `json:"name"`
	Host       string            `json:"host"` // whose data it is
	Kind       PointKind         `json:"kind"`
	Repository string            `json:"repository"`       // name of one of Fleet.Repositories
	Copies     []string          `json:"copies,omitempty"` // further repositories that hold copies of it
	Policy     string            `json:"policy,omitempty"` // name of one of Fleet.BackupPolicies
	Runner     string            `json:"runner,omitempty"` // the host whose agent lists, checks and restores it; empty: Host's own
	Source     string            `json:"source,omitempty"` // how the repository knows it: restic "host=db1,tag=pg,path=/srv"; a folder's name; what an exec program understands
	Target     string            `json:"target,omitempty"` // absolute path on the runner that a restore replaces
	Part       string            `json:"part,omitempty"`   // path inside what is restored that becomes Target; empty: all of it
	Size       int64             `json:"size,omitempty"`   // bytes that a restore writes, where no point says so
	Engine     string            `json:"engine,omitempty"` // what checks it at L3: "postgresql", "sqlite", "exec"; empty: nothing can
	Options    map[string]string `json:"options,omitempty"`
	Stop       []string          `json:"stop,omitempty"`  // program and arguments that stop what uses Target, run before the swap
	Start      []string          `json:"start,omitempty"` // and that start it again after the swap
	Check      []string          `json:"check,omitempty"` // engine "exec": program and arguments whose exit 0 is L3
	Invariants []Invariant       `json:"invariants,omitempty"`
}

// RunsOn is the host whose agent works on the data set.
func (d *DataSet) RunsOn() string { return firstOf(d.Runner, d.Host) }

// Asked is a digest of what is asked of the data set's points at L3 and L4: another one after every change of it in the fleet file.
func (d *DataSet) Asked() string {
	data, err := json.Marshal([]any{d.Engine, d.Check, d.Options, d.Invariants})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// Invariant is a business rule that must hold on what was restored: the answer of a query or program, and what it must be.
type Invariant struct {
	Name    string   `json:"name"`
	SQL     string   `json:"sql,omitempty"`     // one row is its answer
	Command []string `json:"command,omitempty"` // instead: the first line of its output is its answer, one column for each word
	Expect  string   `json:"expect"`            // "equal" (all columns are), "= 0", ">= 1000", "within 26h" (a time no older than that before the point's moment)
}

// Repository kinds.
const (
	RepositoryRestic     = "restic"
	RepositoryPostgreSQL = "postgresql" // a folder of base backups (base/NAME) and archived WAL (wal/)
	RepositoryExec       = "exec"       // any vendor's program that keeps the documented contract
)

// Engines.
const (
	EnginePostgreSQL = "postgresql"
	EngineSQLite     = "sqlite"
	EngineExec       = "exec"
)

// Repository is where restore points lie. It holds no secrets, only where they lie. It is also a resource of its name, with
// Slots restores at once.
type Repository struct {
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`
	Location  string            `json:"location"`           // as its program takes it, on the machine that runs the job
	Password  string            `json:"password,omitempty"` // "file:PATH" or "env:NAME" there
	Program   string            `json:"program,omitempty"`  // RepositoryExec: its absolute path there; others: where theirs is not in the PATH
	Options   map[string]string `json:"options,omitempty"`
	Slots     int               `json:"slots"`                // restores at once
	Bandwidth int64             `json:"bandwidth,omitempty"`  // bytes per second that all its jobs share; 0: unknown
	OffSite   bool              `json:"off_site,omitempty"`   // lies elsewhere than what it protects
	Quiet     string            `json:"quiet,omitempty"`      // "22:00-05:00" UTC: when checks may run by themselves; empty: always
	CheckRate int64             `json:"check_rate,omitempty"` // bytes per second that a check may read; 0: no limit
}

// BackupPolicy is what a service promises itself of its backups.
type BackupPolicy struct {
	Name       string        `json:"name"`
	Title      string        `json:"title,omitempty"`
	Every      time.Duration `json:"every"`                // a point at least so often
	Keep       time.Duration `json:"keep"`                 // how long points are kept
	Logs       bool          `json:"logs,omitempty"`       // points reach any moment by logs
	Level      Level         `json:"level"`                // to which the newest points are to be verified
	Verify     time.Duration `json:"verify,omitempty"`     // how often; 0: never asked for
	Undetected time.Duration `json:"undetected,omitempty"` // the longest time that damage is assumed to stay unseen
	OffSite    bool          `json:"off_site,omitempty"`   // a copy elsewhere is wanted
}

// PointRef names a restore point: ids are a repository's own.
type PointRef struct {
	DataSet    string `json:"data_set"`
	Repository string `json:"repository"`
	ID         string `json:"id"`
}

// RestorePoint is one backup that a data set could go back to, with what is known of it.
type RestorePoint struct {
	PointRef
	Kind       PointKind    `json:"kind"`
	TakenAt    time.Time    `json:"taken_at"`
	Until      time.Time    `json:"until,omitzero"` // PointDatabase: the last moment that its logs reach; zero: TakenAt
	Size       int64        `json:"size,omitempty"` // bytes that a restore of it writes; 0: unknown
	SeenAt     time.Time    `json:"seen_at"`        // when the repository last listed it
	Gone       bool         `json:"gone,omitempty"` // it no longer does
	Checks     []PointCheck `json:"checks,omitempty"`
	Quarantine *Quarantine  `json:"quarantine,omitempty"`
}

// PointCheck is the newest check of one level of a point.
type PointCheck struct {
	Level  Level     `json:"level"`
	OK     bool      `json:"ok"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`               // which check: "restic check 3/7", "pg_dump and pg_amcheck", "invariant people-unique", "operator:ada"
	Detail string    `json:"detail,omitempty"` // what it found
	Moment time.Time `json:"moment,omitzero"`  // the moment whose data it saw; zero: the point's own
	Of     string    `json:"of,omitempty"`     // DataSet.Asked at the time, at L3 and L4; empty: not known
}

// Quarantine keeps points from being restored. Points whose data is older than From are not affected.
type Quarantine struct {
	From   time.Time `json:"from"` // data since then is suspect
	At     time.Time `json:"at"`   // when it was ordered or lifted; the newest word counts
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Lifted bool      `json:"lifted,omitempty"`
}

// Level is the highest level that the point has passed and that no later check has put in doubt; L0 when it has only been listed.
func (p *RestorePoint) Level() Level {
	best := L0
	for _, c := range p.Checks {
		if c.OK && c.Level > best && !p.doubted(c) {
			best = c.Level
		}
	}
	return best
}

// doubted reports whether a check that is no older has failed at the same level or below.
func (p *RestorePoint) doubted(by PointCheck) bool {
	for _, c := range p.Checks {
		if !c.OK && c.Level <= by.Level && !c.At.Before(by.At) {
			return true
		}
	}
	return false
}

// VerifiedAt is when the level that the point has was last confirmed; zero at L0.
func (p *RestorePoint) VerifiedAt() time.Time {
	var at time.Time
	level := p.Level()
	for _, c := range p.Checks {
		if level > L0 && c.OK && c.Level == level && c.At.After(at) {
			at = c.At
		}
	}
	return at
}

// Latest is the newest moment whose data the point holds.
func (p *RestorePoint) Latest() time.Time {
	if p.Kind == PointDatabase && p.Until.After(p.TakenAt) {
		return p.Until
	}
	return p.TakenAt
}

// Quarantined reports whether nothing of the point may be restored.
func (p *RestorePoint) Quarantined() bool {
	return p.Quarantine.active() && !p.Quarantine.From.After(p.TakenAt)
}

func (q *Quarantine) active() bool { return q != nil && !q.Lifted }

// SetWork is what a job does with one data set.
type SetWork struct {
	Set        DataSet      `json:"set"`
	Repository Repository   `json:"repository"`
	Point      RestorePoint `json:"point,omitzero"`  // JobRestore, JobCheck, JobHold; its ID is what counts
	Target     time.Time    `json:"target,omitzero"` // PointDatabase: the moment to go back to; zero: as far as it reaches
	Level      Level        `json:"level"`           // JobRestore: what must hold beside the old data before the swap; JobCheck: how far to check
	Part       int          `json:"part,omitempty"`  // JobCheck at L1: part Part of Parts of the repository
	Parts      int          `json:"parts,omitempty"`
	Rate       int64        `json:"rate,omitempty"` // bytes per second it may read; 0: no limit
	Hold       string       `json:"hold,omitempty"` // JobHold: the incident that holds the point
	Release    bool         `json:"release,omitempty"`
}

// SetResult is what came of one data set in a job.
type SetResult struct {
	DataSet    string       `json:"data_set"`
	Repository string       `json:"repository"`
	Point      string       `json:"point,omitempty"`
	Moment     time.Time    `json:"moment,omitzero"` // whose data it holds now
	Bytes      int64        `json:"bytes,omitempty"` // restored
	Kept       string       `json:"kept,omitempty"`  // where the old data is
	Swapped    bool         `json:"swapped,omitempty"`
	Checks     []PointCheck `json:"checks,omitempty"` // made in this job, in order; the last may have failed
}

// Progress is how far a job through an agent has come. It is never in the journal.
type Progress struct {
	At    time.Time     `json:"at"`
	Stage string        `json:"stage"` // "restoring people-db", "checking people-db"
	Done  int64         `json:"done"`  // bytes
	Total int64         `json:"total"` // bytes; 0: unknown
	Rate  int64         `json:"rate"`  // bytes per second lately
	Left  time.Duration `json:"left"`  // 0: unknown
}
