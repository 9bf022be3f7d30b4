package recovery

import (
	"fmt"
	"time"
)

func (s *State) applyHost(e Event, at time.Time) {
	h := s.hosts[hostOf(e)]
	if h == nil {
		return
	}
	wasUp, wasRecovered := h.Up(), h.Phase == Recovered
	clock := s.clock(at)
	switch v := e.(type) {
	case *AttemptStarted:
		h.Attempts = append(h.Attempts, v.Attempt)
		if v.Attempt.Rung != h.Rung {
			h.Rung, h.tries = v.Attempt.Rung, 0
		}
		h.named = false
		h.bootAtStart, h.proofs, h.ProvenAt = v.BootBefore, 0, time.Time{}
		h.move(Attempting, v.Reason, at)
		h.tries++
	case *AttemptEnded:
		s.applyEnded(h, v, at)
	case *AttemptProgressed:
		h.progress(v, at)
	case *RescueServed:
		if a := h.attempt(); a != nil && a.ID == v.Attempt {
			a.served = true
		}
	case *BootTargetCleared:
		h.bootTargetCleared("engine", v.Reason, at)
	case *BootTargetStuck:
		h.bootTargetStuck(v, at, clock)
	case *HostProven:
		s.experience(h, clock)
		h.move(Verifying, v.Reason, at)
		h.ProvenAt, h.provenBoot, h.soakUntil = at, v.Sighting.BootID, clock.Add(v.SoakUntil.Sub(at))
		h.proofs++
		h.provenBy = s.Playbook.Digest
		h.Failure = nil
	case *ProofFailed:
		h.move(v.Next, v.Reason, at)
		h.fail(Failed, "no proof: "+v.Missing)
		h.retryAt(v.Rung, v.Until, at, clock)
	case *HostRecovered:
		h.move(Recovered, v.Reason, at)
		h.RecoveredAt, h.Failure, h.tries, h.Owner, h.accounted = at, nil, 0, "", len(h.Attempts)
		if h.FirstBack.IsZero() {
			h.FirstBack = at
		}
		for _, d := range v.Debts {
			d.Since = at
			h.Debts = append(h.Debts, d)
		}
	case *HostRelapsed:
		h.move(v.Next, v.Reason, at)
		h.fail(Failed, firstOf(v.Signature, "relapsed"))
		h.Relapses++
		h.RecoveredAt, h.base = time.Time{}, len(h.Attempts)
		h.retryAt(v.Rung, time.Time{}, at, clock)
		h.tries = 0
	case *HostNeedsHands:
		h.move(NeedsHands, v.Reason, at)
	case *HostClaimed:
		h.Owner, h.ownedUntil = v.By, time.Time{}
		if v.Until.IsZero() {
			h.Owner = ""
		} else {
			h.ownedUntil = clock.Add(v.Until.Sub(at))
		}
	case *HandsFinished:
		s.applyHands(h, v, at)
	case *HostSkipped:
		h.move(Skipped, v.Reason, at)
		h.Owner, h.Failure = "", nil
	case *HostReturned:
		h.move(Waiting, v.Reason, at)
		h.retryAt(v.Rung, time.Time{}, at, clock)
		h.tries, h.base, h.named = 0, len(h.Attempts), v.Named
		s.joinWave(h)
	case *RestoreApproved:
		h.approved = &approval{v.Points, v.Loss}
	case *AttemptCancelAsked:
		if a := h.attempt(); a != nil && a.ID == v.Attempt {
			a.Cancel, a.Step = v.Reason, ""
			h.Reason = fmt.Sprintf("attempt %d is being let go of, as a person wants: %s", a.N, v.Reason)
		}
	case *DebtCleared:
		for i := range h.Debts {
			if h.Debts[i].ID == v.Debt && h.Debts[i].Cleared.IsZero() {
				h.Debts[i].Cleared, h.Debts[i].By, h.Debts[i].Note, h.Debts[i].Accepted = at, v.By, v.Note, v.Accepted
			}
		}
		if v.Debt == DebtBootTarget {
			h.unboot = nil
		}
	}
	s.afterMove(h, wasUp, wasRecovered, at)
}

// afterMove keeps what is counted in step with the host's phase.
func (s *State) afterMove(h *HostState, wasUp, wasRecovered bool, at time.Time) {
	if h.Phase == Attempting || h.Phase == Verifying && !h.Host.Agent || h.unboot != nil {
		s.active[h.Host.Name] = h
	} else {
		delete(s.active, h.Host.Name)
	}
	if wasUp != h.Up() {
		s.refreshService(h.Host.Service, at)
	}
	if wasRecovered != (h.Phase == Recovered) && h.Wave > 0 && !h.joined {
		w := s.Waves[h.Wave-1]
		if wasRecovered {
			w.recovered--
		} else {
			w.recovered++
		}
		w.markShare(s.clock(at))
	}
}

func (s *State) applyEnded(h *HostState, v *AttemptEnded, at time.Time) {
	var a *Attempt
	for i := range h.Attempts {
		if h.Attempts[i].ID == v.Attempt {
			a = &h.Attempts[i]
		}
	}
	switch {
	case a == nil:
		return
	case v.Late:
		a.late = true
		for _, d := range v.Debts {
			d.Since = at
			h.Debts = append(h.Debts, d)
		}
		if a.Method == MethodRestore {
			s.found(v.Result)
		}
		if a.Result.Class == TimedOut || a.Result.Class == Lost {
			a.Result = v.Result // it is known now what came of it
		}
		if ran(v.Result) {
			h.touched(v.Result.Boot)
		}
		return
	case !a.Ended.IsZero() || h.Phase != Attempting:
		return
	}
	a.Ended, a.Result = at, v.Result
	for _, d := range v.Debts {
		d.Since = at
		h.Debts = append(h.Debts, d)
	}
	if a.Method == MethodRestore {
		s.applyRestoreEnd(a, v.Result, at)
	}
	if v.Result.BootTarget == BootTargetDisk {
		h.bootTargetCleared("engine", "read back at the end of "+a.ID, at)
	}
	h.move(v.Next, v.Reason, at)
	clock := s.clock(at)
	if v.Next != Verifying {
		if v.Result.Class == Cancelled {
			h.tries = max(0, h.tries-1)
		} else {
			h.fail(v.Result.Class, v.Result.Signature)
		}
		switch {
		case ran(v.Result):
			h.touched(v.Result.Boot)
		case v.Result.Signature == leaseRanOut || v.Unsure:
			h.touched(h.bootAtStart)
			h.touched(v.BootSeen)
		}
		h.retryAt(v.Rung, v.Until, at, clock)
		return
	}
	h.verifyBy = clock.Add(v.Until.Sub(at))
	if v.Result.Class != NothingFound {
		h.alter(v.Result.Rebooted || a.outside(h.Host), h.bootAtStart, v.Result.Boot)
		h.changed.before(v.BootSeen) // a boot that proves nothing; but it may be older than the one in which the script ran
	}
}

// outside reports whether an attempt worked on the host from outside its own running system, to which the host then comes back.
func (a *Attempt) outside(h *Host) bool {
	if a.Method == MethodRestore {
		return a.Runner != h.Name
	}
	return a.Rung >= 0 && a.Rung < len(h.Ladder) && h.Ladder[a.Rung].Environment != EnvLinux
}

// experience notes how long it took to a first proof, against what was expected.
func (s *State) experience(h *HostState, clock time.Time) {
	n := len(h.Attempts)
	if n == 0 || n == h.accounted || !h.ProvenAt.IsZero() || h.Phase != Verifying {
		return
	}
	a := &h.Attempts[n-1]
	if a.Rung < 0 || a.Rung >= len(h.Host.Ladder) || a.Result.Class != Succeeded {
		return
	}
	r := &h.Host.Ladder[a.Rung]
	if a.Method == MethodRestore {
		s.learned.proven(r.Kind, r.Estimate, clock.Sub(s.clock(a.Ended)))
		return
	}
	s.learned.proven(r.Kind, or(r.Estimate, repairEstimate), clock.Sub(s.clock(a.Started)))
}

// applyHands records a person's work as an attempt that succeeded.
func (s *State) applyHands(h *HostState, v *HandsFinished, at time.Time) {
	// What was last seen by now may already be the boot after the work; what was seen before the last attempt is not.
	before := h.bootAtStart
	if before == "" && h.Scope.Sighting != nil {
		before = h.Scope.Sighting.BootID
	}
	h.alter(true, before)
	h.Attempts = append(h.Attempts, Attempt{ID: v.Attempt, Host: v.Host, N: len(h.Attempts) + 1, Rung: -1, RungName: RungHands,
		Playbook: s.Playbook.Digest, Started: at.Add(-v.Spent), Ended: at,
		Result: Result{Class: Succeeded, Detail: "done by " + v.By + note(v.Note), Took: v.Spent}})
	h.proofs, h.ProvenAt = 0, time.Time{}
	h.move(Verifying, "work done by "+v.By+"; proof is awaited", at)
	h.verifyBy, h.Owner = s.clock(at).Add(v.Until.Sub(at)), ""
}

// alter notes a change, with boots from before it. Those from before an earlier change are so too, and count where a revision asks
// for a restart that the earlier version did without.
func (h *HostState) alter(restarted bool, boots ...string) {
	var earlier []string
	if h.changed != nil {
		earlier = h.changed.boots
	}
	h.changed = &change{restarted: restarted}
	h.changed.before(earlier...)
	known := len(h.changed.boots)
	h.changed.before(boots...)
	h.changed.blind = len(h.changed.boots) == known && !restarted
}

// ran reports whether a script ran, to whatever end, in a boot that is known.
func ran(r Result) bool {
	return r.Boot != "" && (r.Class == Succeeded || r.Class == Failed || r.Class == TimedOut || r.Class == Lost)
}

// touched notes a boot in which a script ran and did not come to a good end: nobody knows what it has done by then.
func (h *HostState) touched(boot string) {
	if h.changed == nil {
		h.changed = &change{}
	}
	h.changed.before(boot)
}

func (c *change) before(boots ...string) {
	for _, b := range boots {
		if b != "" {
			c.boots = append(c.boots, b)
		}
	}
}

func (h *HostState) move(p Phase, reason string, at time.Time) {
	h.Phase, h.Reason, h.Since = p, reason, at
}

// fail notes a failure of the last attempt, which counts until the host is proven.
func (h *HostState) fail(class Class, signature string) {
	h.Failure = &Failure{Host: h.Host.Name, Attempt: h.proofBase(), Class: class, Signature: signature}
}

// retryAt sets the rung and the earliest time of the next attempt.
func (h *HostState) retryAt(rung int, until, at, clock time.Time) {
	rung = max(rung, 0) // without a usable rung the first is as unusable as any
	if rung != h.Rung {
		h.tries = 0
	}
	h.Rung, h.nextAt, h.ProvenAt = rung, time.Time{}, time.Time{}
	if !until.IsZero() {
		h.nextAt = clock.Add(until.Sub(at))
	}
}

// joinWave adds a host to its wave that the plan had left out.
func (s *State) joinWave(h *HostState) {
	if h.Wave < 1 {
		return
	}
	w := s.Waves[h.Wave-1]
	for _, x := range w.Hosts {
		if x == h {
			return
		}
	}
	h.Method, h.joined = MethodRepair, !w.OpenedAt.IsZero()
	w.Hosts = append(w.Hosts, h)
}
