package recovery

import (
	"fmt"
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

	tries      int       // on this rung, in a row
	base       int       // attempts before a person gave it a new chance
	nextAt     time.Time // incident clock: no attempt before
	verifyBy   time.Time // incident clock: proof or failure by then
	soakUntil  time.Time // incident clock
	ownedUntil time.Time // incident clock
	bootBefore string    // before the last attempt
	wantBoot   bool      // the last attempt changed the host: proof needs another boot id
	proofs     int       // complete proofs since the last attempt
	provenBoot string
	canary     bool // planned to go first
	overridden bool // a person lifted its holds
}

// attempt returns the attempt under way, or nil.
func (h *HostState) attempt() *Attempt {
	if n := len(h.Attempts); n > 0 && h.Attempts[n-1].Ended.IsZero() {
		return &h.Attempts[n-1]
	}
	return nil
}

// proofBase names what is being proven: the last attempt, or "HOST/0" when there was none.
func (h *HostState) proofBase() string {
	if n := len(h.Attempts); n > 0 {
		return h.Attempts[n-1].ID
	}
	return h.Host.Name + "/0"
}

// askAt is the id of the request for facts that a proof must answer: one for the first proof, a fresh one at the soak's end.
func (h *HostState) askAt(soakOver bool) string {
	k := 0
	if soakOver {
		k = h.proofs
	}
	return fmt.Sprintf("%s/verify/%d", h.proofBase(), k)
}

// repairedIn is the environment of the last attempt that changed the host, or "".
func (h *HostState) repairedIn() string {
	for i := len(h.Attempts) - 1; i >= 0; i-- {
		a := h.Attempts[i]
		if a.Result.Class == Succeeded && a.Rung >= 0 && a.Rung < len(h.Host.Ladder) {
			return h.Host.Ladder[a.Rung].Environment
		}
	}
	return ""
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

// canaryKey groups hosts that one canary speaks for.
type canaryKey struct {
	wave   int
	digest string
	os     string
}

func (s *State) canaryKey(h *HostState) canaryKey {
	return canaryKey{h.Wave, s.Playbook.Digest, h.Host.OS}
}
