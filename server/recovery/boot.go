package recovery

import (
	"fmt"
	"slices"
	"time"
)

// DebtBootTarget is the debt of a host whose boot target may be set to the rescue system. The engine clears it as soon as it has
// read back that the host boots from its own disk; no host is proven before.
const DebtBootTarget = "boot-target"

// unboot is the work that an open boot target leaves.
type unboot struct {
	attempt string // that set it
	rung    int
	tries   int
	nextAt  time.Time // incident clock
}

func (u *unboot) job() string { return fmt.Sprintf("%s/unboot/%d", u.attempt, u.tries+1) }

// triesAtAbort is how often an aborted incident tries to clear a boot target before it closes over it.
const triesAtAbort = 3

// stepOrder is the order of steps; each is told in words.
var stepOrder = []Step{"", StepPowerOff, StepBootTarget, StepPowerOn, StepInside, StepOwnDisk, StepCancel}

// Reached reports whether a step is another one, or comes after it. The zero Step is before all others.
func (s Step) Reached(other Step) bool {
	return slices.Index(stepOrder, s) >= slices.Index(stepOrder, other)
}

var stepText = map[Step]string{
	StepPowerOff:   "switching it off",
	StepBootTarget: "setting its boot target to the rescue system",
	StepPowerOn:    "switching it on and waiting for the rescue system",
	StepInside:     "inside, working on its disk",
	StepOwnDisk:    "giving it back its own disk and starting it",
	StepCancel:     "its agent is told to let go of it",
}

// progressed records a step before it is taken. An error means that nothing of it may be done.
func (s *State) progressed(in Progressed) ([]Event, error) {
	h, err := s.find(in.Host)
	if err != nil {
		return nil, err
	}
	a := h.attempt()
	if s.over() || a == nil || a.ID != in.Job || h.Phase != Attempting {
		return nil, refused("attempt %s is not under way: nothing more may be done in it", in.Job)
	}
	to, from := slices.Index(stepOrder, in.Step), slices.Index(stepOrder, a.Step)
	switch {
	case to < 1 || in.Step == StepCancel:
		return nil, invalid("unknown step %q", in.Step)
	case to == from:
		return nil, nil
	case to < from:
		return nil, refused("attempt %s has come as far as %s: it does not go back to %s", in.Job, a.Step, in.Step)
	}
	e := &AttemptProgressed{Attempt: a.ID, Host: in.Host, Step: in.Step,
		Reason: fmt.Sprintf("rung %s: %s%s", a.RungName, stepText[in.Step], note(Clean(in.Note, maxNote)))}
	if in.Step == StepBootTarget && !h.hasDebt(DebtBootTarget) {
		e.Debts = []Debt{{ID: DebtBootTarget, What: "See that the host boots from its own disk: its boot target was set to the rescue system and has not been read back since."}}
	}
	return []Event{e}, nil
}

const maxNote = 300 // characters

// bootAsked lets a host have the rescue system when an attempt of this very moment wants it to. An error says why it boots from
// its own disk instead.
func (s *State) bootAsked(in BootAsked, now time.Time) ([]Event, error) {
	h, err := s.find(in.Host)
	if err != nil {
		return nil, err
	}
	a := h.attempt()
	switch {
	case s.over() || a == nil || h.Phase != Attempting || !onRescue(h, a):
		return nil, refused("no attempt on %s wants the rescue system now", in.Host)
	case a.served:
		return nil, refused("attempt %s has been given the rescue system already: once each", a.ID)
	case a.Step != StepPowerOn:
		return nil, refused("attempt %s does not wait for the rescue system (step %s)", a.ID, firstOf(string(a.Step), "none yet"))
	case now.Sub(a.stepAt) > h.Host.Ladder[a.Rung].waits():
		return nil, refused("attempt %s has waited for the rescue system for too long", a.ID)
	}
	return []Event{&RescueServed{Attempt: a.ID, Host: in.Host, Peer: Clean(in.Peer, 64), Reason: "it asked the network what to boot, and attempt " + a.ID + " waits for it"}}, nil
}

func onRescue(h *HostState, a *Attempt) bool {
	return a.Rung >= 0 && a.Rung < len(h.Host.Ladder) && h.Host.Ladder[a.Rung].Kind == RungRescue
}

// RescueBoot is a host that has been given the rescue system for an attempt that is under way.
type RescueBoot struct{ Incident, Attempt, Host string }

// RescueBoots lists the hosts that have been given the rescue system and may still fetch its parts, by name.
func (s *State) RescueBoots() []RescueBoot {
	if s.over() {
		return nil
	}
	var list []RescueBoot
	for name, h := range sorted(s.active) {
		if a := h.attempt(); a != nil && h.Phase == Attempting && a.served && onRescue(h, a) {
			list = append(list, RescueBoot{s.ID, a.ID, name})
		}
	}
	return list
}

func (h *HostState) progress(v *AttemptProgressed, at time.Time) {
	a := h.attempt()
	if a == nil || a.ID != v.Attempt {
		return
	}
	a.Step, a.stepAt, h.Reason = v.Step, at, v.Reason
	for _, d := range v.Debts {
		d.Since = at
		h.Debts = append(h.Debts, d)
	}
	if v.Step == StepBootTarget {
		h.unboot = &unboot{attempt: a.ID, rung: a.Rung}
	}
}

func (h *HostState) bootTargetCleared(by, reason string, at time.Time) {
	h.unboot = nil
	for i := range h.Debts {
		if d := &h.Debts[i]; d.ID == DebtBootTarget && d.Cleared.IsZero() {
			d.Cleared, d.By, d.Note = at, by, reason
		}
	}
}

func (h *HostState) bootTargetStuck(v *BootTargetStuck, at, clock time.Time) {
	if h.unboot != nil {
		h.unboot.tries++
		h.unboot.nextAt = clock.Add(v.Until.Sub(at))
	}
}

// unbootJob sees to an open boot target whenever no attempt does.
func (s *State) unbootJob(h *HostState, now time.Time) (Job, bool) {
	u := h.unboot
	if u == nil || h.Phase == Attempting || u.rung < 0 || u.rung >= len(h.Host.Ladder) || s.clock(now).Before(u.nextAt) {
		return Job{}, false
	}
	rung := h.Host.Ladder[u.rung]
	return Job{ID: u.job(), Incident: s.ID, Kind: JobUnboot, Host: *h.Host, Rung: rung, Playbook: s.Playbook.Digest, Timeout: 3*rung.Boot.waits() + connectAllowance}, true
}

// unbootEnded judges what came of it. A boot target that is cleared may have been the last thing that a proof lacked.
func (s *State) unbootEnded(h *HostState, in Finished, now time.Time) []Event {
	r := in.Result
	if r.Class == Succeeded && r.BootTarget == BootTargetDisk {
		cleared := *h
		cleared.unboot = nil
		events := []Event{&BootTargetCleared{Host: in.Host, Reason: why(r.Detail, "it was read back that the host boots from its own disk")}}
		if v, ok := s.seen[in.Host]; ok {
			events = append(events, s.judge(&cleared, v, now)...)
		}
		return events
	}
	p := s.policy()
	pause := p.Backoff
	for i := 0; i < h.unboot.tries && pause < p.BackoffMax; i++ {
		pause *= 2
	}
	what := string(r.Class) + note(firstOf(r.Signature, r.Detail))
	return []Event{&BootTargetStuck{Host: in.Host, Until: now.Add(min(pause, p.BackoffMax)), Reason: what + "; it is tried again"}}
}
