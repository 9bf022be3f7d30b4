package recovery

import (
	"strconv"
	"time"
)

// HostState is one host in an incident. Read-only outside Apply.
type HostState struct {
	Host        *Host
	Scope       HostScope
	Wave        int    // 1-based; its tier's wave
	Method      Method // as planned
	Phase       Phase
	Reason      string    // of the last move
	Since       time.Time // of the last move
	Rung        int       // index in the ladder that the next attempt uses
	Attempts    []Attempt // every one, hands included, oldest first
	Failure     *Failure  // the last failure, while it counts
	Debts       []Debt
	Owner       string // a person who has claimed it
	Relapses    int
	ProvenAt    time.Time // zero while unproven
	RecoveredAt time.Time
	FirstBack   time.Time // when it was first recovered; relapses do not change it

	tries       int       // on this rung, in a row; cancelled ones do not count
	base        int       // attempts before a person gave it a new chance
	nextAt      time.Time // incident clock: no attempt before
	verifyBy    time.Time // incident clock: proof or failure by then
	soakUntil   time.Time // incident clock
	ownedUntil  time.Time // incident clock
	bootAtStart string    // last boot id seen before the last attempt
	changed     *change   // by the last attempt or person that changed the host
	accounted   int       // attempts whose debts are recorded
	proofs      int       // complete proofs since the last attempt
	provenBoot  string
	provenBy    string // digest of the playbook version whose probes proved it
	revised     int    // revisions of the playbook so far
	canary      bool   // planned to go first
	joined      bool   // put to its wave after that had opened: its size does not count it
	overridden  bool   // a person lifted its holds
	unboot      *unboot
	named       bool      // a person named the rung of its next attempt: no other is chosen
	approved    *approval // of its restore
}

// change is what a proof must come after.
type change struct {
	boots     []string // boot ids from before it
	restarted bool     // the host was sent back into its own system after it, however little is known of its boot ids
	blind     bool     // nothing is known of the boot in which it was made
}

// attempt returns the attempt under way, or nil.
func (h *HostState) attempt() *Attempt {
	if n := len(h.Attempts); n > 0 && h.Attempts[n-1].Ended.IsZero() {
		return &h.Attempts[n-1]
	}
	return nil
}

// lastAttempt is the newest attempt, or nil.
func (h *HostState) lastAttempt() *Attempt {
	if n := len(h.Attempts); n > 0 {
		return &h.Attempts[n-1]
	}
	return nil
}

// failedOn is the rung of the attempt whose failure stands, or -1.
func (h *HostState) failedOn() int {
	for i := len(h.Attempts) - 1; i >= 0; i-- {
		if h.Failure != nil && h.Attempts[i].ID == h.Failure.Attempt {
			return h.Attempts[i].Rung
		}
	}
	return -1
}

// proofBase names what is being proven: the last attempt, or "HOST/0" when there was none.
func (h *HostState) proofBase() string {
	if n := len(h.Attempts); n > 0 {
		return h.Attempts[n-1].ID
	}
	return h.Host.Name + "/0"
}

// askAt is the id of the request for facts that a proof must answer: one for the first proof, a fresh one at the soak's end,
// and again a fresh one after a relapse, which an old answer must not undo, or after a revision of the playbook, whose probes it
// did not see.
func (h *HostState) askAt(soakOver bool) string {
	k := h.proofs
	if !h.ProvenAt.IsZero() && !soakOver {
		k--
	}
	if h.revised > 0 {
		return h.proofBase() + "/revision/" + strconv.Itoa(h.revised) + "/verify/" + strconv.Itoa(k)
	}
	return h.proofBase() + "/verify/" + strconv.Itoa(k)
}

// lastRung is the rung of the last attempt, or -1 for hand work or none.
func (h *HostState) lastRung() int {
	if n := len(h.Attempts); n > 0 {
		return h.Attempts[n-1].Rung
	}
	return -1
}

func (h *HostState) hasDebt(id string) bool {
	for _, d := range h.Debts {
		if d.ID == id && d.Cleared.IsZero() {
			return true
		}
	}
	return false
}

// OpenDebts counts the debts that nobody has cleared.
func (h *HostState) OpenDebts() int {
	n := 0
	for _, d := range h.Debts {
		if d.Cleared.IsZero() {
			n++
		}
	}
	return n
}

// Up reports whether the host serves its users, as far as is known: never hit, proven, or recovered.
func (h *HostState) Up() bool {
	return h.Phase == NotHit || h.Phase == Recovered || h.Phase == Verifying && !h.ProvenAt.IsZero()
}

// settled reports whether automatic work on the host has ended.
func (h *HostState) settled() bool {
	return h.Phase == Recovered || h.Phase == NeedsHands || h.Phase == Skipped || h.Phase == NotHit
}

// working reports whether the host is being worked on and not yet proven.
func (h *HostState) working() bool {
	return h.Phase == Attempting || h.Phase == Verifying && h.ProvenAt.IsZero()
}

// canaryKey groups hosts that one canary speaks for: those of a wave and OS that a version of the playbook repairs, or that are restored.
type canaryKey struct {
	wave   int
	digest string // of the playbook, or MethodRestore
	os     string
}

// canaryKey is the group that the host's next attempt belongs to.
func (s *State) canaryKey(h *HostState) canaryKey {
	if h.Rung < len(h.Host.Ladder) && h.Host.Ladder[h.Rung].Kind == RungRestore {
		return canaryKey{h.Wave, string(MethodRestore), h.Host.OS}
	}
	return canaryKey{h.Wave, s.Playbook.Digest, h.Host.OS}
}

// touchedKey is the group that the host's last attempt belongs to: it speaks for the version that touched it.
func (s *State) touchedKey(h *HostState) canaryKey {
	a := &h.Attempts[len(h.Attempts)-1]
	if a.Method == MethodRestore {
		return canaryKey{h.Wave, string(MethodRestore), h.Host.OS}
	}
	return canaryKey{h.Wave, s.book(a.Playbook).Digest, h.Host.OS}
}
