package catalog

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Input is something that happened or was asked for, before it is judged. The set is sealed.
type Input interface{ input() }

// Scan asks for the repositories of data sets to be listed now; none named means all.
type Scan struct{ DataSets []string }

// Verify asks for points to be checked now, quiet time or not, one after the other in each repository. Where no point is named and
// the newest turns out bad, the next older ones follow until one is good.
type Verify struct {
	DataSets []string        // none named means all
	Level    *recovery.Level // nil: what the policy and the tier ask, as far as the data set can be checked
	Point    string          // one point of one data set: its id or an unmistakable beginning of it; empty: the newest that may be restored
	All      bool            // every kept point instead
	Before   time.Time       // only points that were taken before; zero: all
}

// Word is what a person says of points.
type Word string

// The words.
const (
	WordQuarantine Word = "quarantine"
	WordRelease    Word = "release"
	WordVouch      Word = "vouch" // the person looked at what was restored and found it right: L5
)

// Judge is a person's word on one point, or (Point empty: quarantine and release only) on a whole data set.
type Judge struct {
	DataSet string
	Point   string // as in Verify
	Word    Word
	From    time.Time // quarantine of a data set: data since then is suspect; zero: all of it
	By      string    // "operator:NAME"
	Reason  string
}

// Finished brings the result of a job.
type Finished struct {
	Job    string
	Result recovery.Result
}

// Held says which points the open incident wants kept. With an empty Incident none is open, and nothing is wanted.
type Held struct {
	Incident string
	Points   []recovery.PointRef
}

// Learnt brings what an incident has found out of points.
type Learnt struct{ Points []recovery.RestorePoint }

// Bisect asks to find between which two kept points of a data set the damage came in, by checks at Level.
type Bisect struct {
	DataSet string
	Level   *recovery.Level // nil: what the policy, or else the tier, asks
}

// Tick lets time act: listings and checks that are due, and what was put off.
type Tick struct{}

func (Scan) input()     {}
func (Verify) input()   {}
func (Judge) input()    {}
func (Finished) input() {}
func (Held) input()     {}
func (Learnt) input()   {}
func (Bisect) input()   {}
func (Tick) input()     {}
