package recovery

import (
	"fmt"
	"time"
)

// chosen is a host as its next attempt would find it: where it may choose between repair and restore, on the rung that is the quicker
// now. The host itself is not changed.
func (s *State) chosen(h *HostState, sv *survey, now time.Time) *HostState {
	if !s.chooses || !h.free() {
		return h
	}
	if sv.choices == nil {
		s.choose(sv, now)
	}
	w, ok := sv.choices[h.Host.Name]
	if !ok || w.rung < 0 || w.rung == h.Rung {
		return h
	}
	then := *h
	then.Rung = w.rung
	return &then
}

// free reports whether a waiting host may still choose: it is stateless, nothing was tried yet, and no person has named a rung.
func (h *HostState) free() bool {
	return h.Phase == Waiting && h.Host.Data == DataNone && !h.named && len(h.Attempts) == h.base && restoreRung(h.Host) >= 0
}

// choose weighs, for every host that may start, what is quicker from here on: in the order in which turns come, behind what is under way.
func (s *State) choose(sv *survey, now time.Time) {
	sv.choices = map[string]weighing{}
	t, clock := s.termsNow(), s.clock(now)
	l := newLanes(s.stock, s.learned, s.atOnce())
	for _, h := range s.order {
		if h.working() {
			s.bookRunning(l, h, clock)
		}
	}
	for _, w := range s.Waves {
		if w.OpenedAt.IsZero() && !w.anyOverridden() {
			continue
		}
		for rank := range ranks {
			for _, h := range w.inTurn(rank) {
				s.chooseFor(t, l, h, sv)
			}
		}
	}
}

// inTurn are the waiting hosts of one rank as their turns come.
func (w *WaveState) inTurn(rank int) []*HostState {
	var list []*HostState
	for _, h := range w.Hosts {
		if h.Phase == Waiting && h.rank() == rank {
			list = append(list, h)
		}
	}
	return fairly(list, func(h *HostState) string { return h.Host.Council })
}

func (s *State) chooseFor(t terms, l *lanes, h *HostState, sv *survey) {
	switch {
	case h.free():
		w := t.weigh(h.Host, l)
		sv.choices[h.Host.Name] = w
		l.book(h.Host, w)
	case restores(h.Host, h.Rung):
		if o, problem := t.stock.offer(h.Host, &h.Host.Ladder[h.Rung]); problem == "" && (o.Approval == "" || h.approves(&o)) {
			l.bookRestore(&o, &h.Host.Ladder[h.Rung])
		}
	case h.Rung < len(h.Host.Ladder):
		l.bookRepair(&h.Host.Ladder[h.Rung])
	}
}

// atOnce is how many repairs the open waves let be under way together.
func (s *State) atOnce() int {
	n := 0
	for _, w := range s.Waves {
		if !w.OpenedAt.IsZero() {
			n = max(n, atOnce(&s.Fleet, &w.Tier))
		}
	}
	return max(n, 1)
}

// bookRunning books what is left of the work on a host.
func (s *State) bookRunning(l *lanes, h *HostState, clock time.Time) {
	n := len(h.Attempts)
	if n == 0 || h.Attempts[n-1].Rung < 0 || h.Attempts[n-1].Rung >= len(h.Host.Ladder) {
		return
	}
	a := &h.Attempts[n-1]
	r := &h.Host.Ladder[a.Rung]
	gone := max(clock.Sub(s.clock(a.Started)), 0)
	switch {
	case a.Method != MethodRestore:
		if left := l.repairTime(r) - gone; left > 0 {
			l.slots.add(left)
		}
	case h.Phase == Attempting:
		for _, x := range a.Restores {
			l.pipe(x.Point.Repository).bookLeft(x.Size, gone, r)
		}
	}
}

// startRestore adds to an attempt what it restores, from where, and why.
func (s *State) startRestore(e *AttemptStarted, h *HostState, sv *survey) {
	o, _ := s.stock.offer(h.Host, &h.Host.Ladder[h.Rung])
	a := &e.Attempt
	a.Method, a.Runner, a.Restores = MethodRestore, o.Runner, o.Restores
	a.Timeout = s.restoreTimeout(&o, &h.Host.Ladder[h.Rung])
	a.Deadline = a.Deadline.Add(2 * (a.Timeout - attemptTimeout(s.Playbook, h.Host, h.Rung)))
	w, ok := sv.choices[h.Host.Name]
	if ok && w.rung == h.Rung {
		e.Reason += ": " + w.why(h.Host)
	} else {
		e.Reason += ": restore from " + refsText(o.Points())
	}
	e.Reason += fmt.Sprintf(", with the data of %s UTC, by the agent of %s", o.Moment.UTC().Format("2006-01-02 15:04"), o.Runner)
	if above := s.above(h); above != "" && (!ok || w.rung != h.Rung) {
		e.Reason += "; " + above
	}
}

// restoreTimeout is long: it only ends what hangs. A restore that is slow is still one.
func (s *State) restoreTimeout(o *Offer, r *Rung) time.Duration {
	if r.Within > 0 {
		return r.Within
	}
	l := newLanes(s.stock, s.learned, 1)
	return max(4*time.Hour, 4*l.restore(o, r).takes)
}

// reads are the repositories that a host's attempt under way reads.
func (h *HostState) reads() []string {
	if a := h.attempt(); a != nil {
		return readFrom(a.Restores)
	}
	return nil
}

// readsNext are the repositories that its next attempt would read.
func (s *State) readsNext(h *HostState) []string {
	if !restores(h.Host, h.Rung) {
		return nil
	}
	o, _ := s.stock.offer(h.Host, &h.Host.Ladder[h.Rung])
	return o.repositoriesOf()
}
