package report

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Whether a host was hit.
const (
	VerdictHit     = "hit"
	VerdictNotHit  = "not-hit"
	VerdictUnknown = "unknown" // nothing tells either way
)

// Host is one host's whole story.
type Host struct {
	Name        string    `json:"name"`
	Service     string    `json:"service"`
	Tier        string    `json:"tier"`
	Council     string    `json:"council,omitempty"`
	Site        string    `json:"site,omitempty"`
	OS          string    `json:"os"`
	Wave        int       `json:"wave"`             // 1-based; 0: its tier is in no wave
	Verdict     string    `json:"verdict"`          // one of the Verdict constants
	VerdictWhy  string    `json:"verdict_why"`      // the evidence
	Scope       string    `json:"scope"`            // class at declaration
	Evidence    string    `json:"evidence"`         // at declaration
	Method      string    `json:"method,omitempty"` // as planned
	Phase       string    `json:"phase"`
	Reason      string    `json:"reason"` // of the last move
	Since       time.Time `json:"since,omitzero"`
	FirstBack   time.Time `json:"first_back,omitzero"` // first recovered; relapses do not change it
	RecoveredAt time.Time `json:"recovered_at,omitzero"`
	Relapses    int       `json:"relapses"`
	Owner       string    `json:"owner,omitempty"`      // a person who has claimed it
	Overridden  string    `json:"overridden,omitempty"` // why a person lifted its holds
	Attempts    []Attempt `json:"attempts"`             // jobs by hand included, oldest first
	Proof       *Proof    `json:"proof,omitempty"`      // the last complete one
	Debts       []Debt    `json:"debts"`
	Story       []Moment  `json:"story,omitempty"` // only where something went other than planned

	agent bool
}

// Attempt is one try on a host. A job by hand has rung "hands".
type Attempt struct {
	ID        string    `json:"id"`
	N         int       `json:"n"`
	Rung      string    `json:"rung"`
	Hands     bool      `json:"hands,omitempty"`
	Playbook  string    `json:"playbook"` // digest
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended,omitzero"`
	Took      float64   `json:"took_seconds"`
	Class     string    `json:"class,omitempty"` // left out while under way
	Exit      int       `json:"exit,omitempty"`
	Signature string    `json:"signature,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Line      string    `json:"line,omitempty"`   // the script's result line
	Output    string    `json:"output,omitempty"` // path of the kept output, below the data folder
	Joined    bool      `json:"joined,omitempty"`
	Rebooted  bool      `json:"rebooted,omitempty"`
	Restores  []Restore `json:"restores,omitempty"` // of an attempt that restored from backup
}

// Restore is one data set that an attempt restored, or was to restore.
type Restore struct {
	DataSet    string    `json:"data_set"`
	Repository string    `json:"repository"`
	Point      string    `json:"point"`
	Moment     time.Time `json:"moment"` // whose data the host holds since
	Swapped    bool      `json:"swapped"`
	Kept       string    `json:"kept,omitempty"` // where the data from before is
	Bytes      int64     `json:"bytes,omitempty"`
}

// Proof is what a host's recovery rests on.
type Proof struct {
	At              time.Time `json:"at"`
	Reason          string    `json:"reason"`
	Source          string    `json:"source"` // "agent" or "ssh"
	BootID          string    `json:"boot_id"`
	BootBeforeKnown bool      `json:"boot_before_known"` // a boot id from before the work is known, so that another one proves the restart
	ByHand          bool      `json:"by_hand,omitempty"` // it follows work by hand
}

// Debt is one open or cleared matter of a host.
type Debt struct {
	ID      string    `json:"id"`
	What    string    `json:"what"`
	Since   time.Time `json:"since,omitzero"`
	Cleared time.Time `json:"cleared,omitzero"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`

	Accepted bool `json:"accepted,omitempty"` // not settled: a person lives with it
}

func (b *builder) hosts() []Host {
	list := make([]Host, 0, len(b.s.Hosts()))
	for _, h := range b.s.Hosts() {
		list = append(list, b.host(h))
	}
	return list
}

func (b *builder) host(h *recovery.HostState) Host {
	past := b.past.hosts[h.Host.Name]
	if past == nil {
		past = &hostHistory{}
	}
	x := Host{
		Name: h.Host.Name, Service: h.Host.Service, Tier: h.Host.Tier, Council: h.Host.Council, Site: h.Host.Site, OS: h.Host.OS,
		Wave: h.Wave, Scope: string(h.Scope.Class), Evidence: h.Scope.Evidence, Method: string(h.Method),
		Phase: string(h.Phase), Reason: h.Reason, Since: utc(h.Since), FirstBack: utc(h.FirstBack), RecoveredAt: utc(h.RecoveredAt),
		Relapses: h.Relapses, Owner: h.Owner, Overridden: past.overridden, Proof: past.proof,
		Attempts: make([]Attempt, 0, len(h.Attempts)), Debts: make([]Debt, 0, len(h.Debts)), agent: h.Host.Agent,
	}
	x.Verdict, x.VerdictWhy = b.verdict(h, past)
	for _, a := range h.Attempts {
		x.Attempts = append(x.Attempts, attempt(a))
	}
	for _, d := range h.Debts {
		x.Debts = append(x.Debts, Debt{d.ID, d.What, utc(d.Since), utc(d.Cleared), d.By, d.Note, d.Accepted})
	}
	if past.troubled || h.Phase == recovery.NeedsHands || h.Phase == recovery.Skipped {
		for _, e := range past.story {
			x.Story = append(x.Story, moment(e))
		}
	}
	return x
}

func attempt(a recovery.Attempt) Attempt {
	x := Attempt{
		ID: a.ID, N: a.N, Rung: a.RungName, Hands: a.Rung < 0, Playbook: a.Playbook, Started: utc(a.Started), Ended: utc(a.Ended),
		Class: string(a.Result.Class), Exit: a.Result.Exit, Signature: a.Result.Signature, Detail: a.Result.Detail, Line: a.Result.Line,
		Output: a.Result.Output, Joined: a.Result.Joined, Rebooted: a.Result.Rebooted,
	}
	if !a.Ended.IsZero() {
		x.Took = seconds(a.Ended.Sub(a.Started))
	}
	for _, r := range a.Restores {
		y := Restore{DataSet: r.Point.DataSet, Repository: r.Point.Repository, Point: r.Point.ID, Moment: utc(r.Moment)}
		for _, done := range a.Result.Sets {
			if done.DataSet == y.DataSet {
				y.Swapped, y.Kept, y.Bytes = done.Swapped, done.Kept, done.Bytes
			}
		}
		x.Restores = append(x.Restores, y)
	}
	return x
}

// verdict says whether a host was hit, from evidence alone. A host that was unknown at declaration counts as hit only when
// something later showed it; one on which an attempt found nothing and which then proved well was not hit.
func (b *builder) verdict(h *recovery.HostState, past *hostHistory) (verdict, why string) {
	switch h.Scope.Class {
	case recovery.Looping, recovery.Parked, recovery.SelfHealed:
		return VerdictHit, string(h.Scope.Class) + ": " + h.Scope.Evidence
	case recovery.NeverHit, recovery.OutOfScope, recovery.Unknown:
	}
	if v := h.Scope.Sighting; v != nil && sightedBad(*v, digests(b.s)) {
		return VerdictHit, "the sighting at declaration showed bad content"
	}
	nothing := ""
	for _, a := range h.Attempts {
		switch {
		case a.Method == recovery.MethodRestore: // it replaces data, whatever was wrong
		case a.Rung < 0:
			return VerdictHit, "a person repaired it by hand (" + a.ID + ")"
		case a.Result.Class == recovery.Succeeded:
			return VerdictHit, "attempt " + a.ID + " found something to repair"
		case a.Result.Class == recovery.NothingFound:
			nothing = a.ID
		}
	}
	switch {
	case past.badSeen != "":
		return VerdictHit, past.badSeen
	case h.Scope.Class == recovery.NeverHit || h.Scope.Class == recovery.OutOfScope:
		return VerdictNotHit, string(h.Scope.Class) + ": " + h.Scope.Evidence
	case nothing != "" && h.Phase == recovery.Recovered:
		return VerdictNotHit, "attempt " + nothing + " found nothing, and it proved well"
	case nothing != "":
		return VerdictUnknown, "attempt " + nothing + " found nothing, and it has not proved well"
	case h.Phase == recovery.Recovered:
		return VerdictUnknown, "it proved well without a repair, and bad content was never seen on it"
	}
	return VerdictUnknown, or(h.Scope.Evidence, "it was not classified")
}
