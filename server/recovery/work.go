package recovery

import "time"

// Work lists the jobs that ought to be running at the time now, in the order of host names. It follows from the journal
// alone, so a restarted coordinator knows what it was doing.
func (s *State) Work(now time.Time) []Job {
	if s.over() {
		return nil
	}
	jobs := make([]Job, 0, len(s.active))
	for _, h := range sorted(s.active) {
		if j, ok := s.job(h, now); ok {
			jobs = append(jobs, j)
		}
		if j, ok := s.unbootJob(h, now); ok {
			jobs = append(jobs, j)
		}
		if j, ok := s.cancelJob(h); ok {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func (s *State) job(h *HostState, now time.Time) (Job, bool) {
	j := Job{Incident: s.ID, Host: *h.Host, Playbook: s.Playbook.Digest}
	if a := h.attempt(); a != nil && h.Phase == Attempting && a.Rung >= 0 && a.Rung < len(h.Host.Ladder) {
		if a.Method == MethodRestore {
			return s.restoreJob(h, a, j), true
		}
		book := s.book(a.Playbook) // an attempt ends with the version that it began with
		j.ID, j.Kind, j.Playbook, j.Rung, j.Timeout, j.Step = a.ID, JobRepair, book.Digest, h.Host.Ladder[a.Rung], a.Timeout, a.Step
		// A rescue system must be left for the host's own; a running system restarts only where the playbook wants it.
		j.Reboot = book.Reboot == RebootRequired || j.Rung.Restarts() && book.Reboot != RebootForbidden
		return j, true
	}
	soakOver := s.soakOver(h, now)
	rung, ok := ownSystem(h.Host)
	if h.Phase != Verifying || h.Host.Agent || !ok || !h.ProvenAt.IsZero() && !soakOver {
		return j, false
	}
	j.ID, j.Kind, j.Rung, j.Timeout = h.askAt(soakOver), JobVerify, rung, s.Playbook.VerifyWithin
	if c := h.changed; c != nil && len(c.boots) > 0 && s.Playbook.Reboot == RebootRequired {
		j.BootBefore = c.boots[len(c.boots)-1]
	}
	return j, true
}

// ownSystem is the first rung into the host's own running system, the only place where proof can be fetched over SSH.
func ownSystem(h *Host) (Rung, bool) {
	for _, r := range h.Ladder {
		if (r.Kind == RungSSH || r.Kind == RungRace) && r.Environment == EnvLinux {
			r.Kind = RungSSH
			return r, true
		}
	}
	return Rung{}, false
}

// Wake is the next moment at which time alone may change something: a deadline, a soak's or a pause's end. Zero: none.
func (s *State) Wake(now time.Time) time.Time {
	var wake time.Time
	if s.over() || !s.Approved && !s.Aborted || !s.PausedAt.IsZero() {
		return wake
	}
	at := func(t time.Time) {
		if t = s.wall(t); t.After(now) && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	silentAfter := s.policy().SilentAfter
	for _, h := range s.order {
		if h.unboot != nil {
			at(h.unboot.nextAt)
		}
		switch h.Phase {
		case Attempting:
			if a := h.attempt(); a != nil {
				at(a.Deadline)
			}
		case Verifying:
			if !h.ProvenAt.IsZero() {
				at(h.soakUntil)
			}
			at(h.proofDue(s.Playbook))
		case Waiting:
			at(h.nextAt)
			if h.overridden || h.Wave > 0 && !s.Waves[h.Wave-1].OpenedAt.IsZero() {
				at(s.healBy(h)) // before, its wave holds it anyway
			}
			if h.Owner != "" {
				at(h.ownedUntil.Add(1))
			}
		case Recovered:
			if v, ok := s.seen[h.Host.Name]; ok && h.Host.Agent && !v.Connected {
				since := s.clock(v.At)
				at(since.Add(silentAfter / 2))
				at(since.Add(silentAfter))
			}
		}
	}
	for _, w := range s.Waves {
		if !w.shareAt.IsZero() && w.PassedAt.IsZero() {
			at(w.shareAt.Add(w.Tier.Gate.Soak))
		}
	}
	return wake
}
