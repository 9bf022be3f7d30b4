package sim

import (
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// declare lets the world stand for a while before somebody declares the incident, and approves its plan, late perhaps.
func (w *World) declare() {
	w.house.start()
	for _, m := range w.machines {
		if m.runs == booting {
			w.after(w.draw(0, 2*time.Minute), m.start)
		}
	}
	w.at(w.draw(time.Minute, 10*time.Minute), w.open)
	w.at(w.odds.trouble, w.becomeCalm)
	if w.odds.trouble > 0 {
		w.at(w.draw(0, w.odds.pace), w.trouble)
	}
	if w.odds.people > 0 {
		w.at(w.draw(0, w.odds.people), w.muddle)
	}
}

// open declares the incident and has its plan approved. Whoever finds that nobody can have been hit has nothing to recover.
func (w *World) open() {
	h := w.house
	if !h.up {
		w.after(time.Minute, w.open)
		return
	}
	w.hit = w.hit[:0]
	for _, m := range w.machines {
		if m.bad > 0 && w.books[0].Fits(*m.host) {
			w.hit = append(w.hit, m)
		}
	}
	h.look()
	err := h.engine.Declare("operator:ann", recovery.Declare{Incident: incident, Title: "simulated", Fleet: w.fleet, Playbook: w.books[0],
		Points: w.points(), Cutoff: w.cutoff(), WaveZero: w.chance(200)}, h.moment)
	h.must(err)
	switch {
	case !h.up:
		w.after(time.Minute, w.open)
		return
	case err != nil && h.engine.Open(): // the power went between the append and the answer
	case err != nil && len(w.hit) > 0 && w.failed == nil:
		w.breach("declares", "", "%d hosts are hit and the declaration is refused: %v", len(w.hit), err)
		return
	case err != nil:
		w.nothing = true
		return
	}
	w.waveZero()
	w.after(w.odds.late, w.approve)
}

// cutoff is when people believe that the bad content came in.
func (w *World) cutoff() time.Time {
	if w.chance(800) {
		return time.Time{}
	}
	return epoch.Add(-w.draw(0, 20*time.Hour))
}

func (w *World) approve() {
	if s := w.house.engine.State(); w.house.up && !s.Approved && s.ID != "" {
		_ = w.act(recovery.Approve{Digest: s.Plan.Digest})
	}
	if !w.house.up || !w.house.engine.State().Approved {
		w.after(time.Minute, w.approve)
	}
}

// act is a person's input. A refusal is an answer, not a fault.
func (w *World) act(in recovery.Input) error {
	w.tally.Acts++
	err := w.house.take("operator:ann", in)
	if err != nil {
		w.tally.Refusals++
		return err
	}
	switch v := in.(type) {
	case recovery.Resume:
		w.resumed = true
		w.quietAt = w.now
	case recovery.Pause:
		w.quietAt = w.now
	case recovery.ClearDebt:
		if m := w.byName[v.Host]; m != nil && !v.Accepted {
			m.settle(v.Debt)
		}
	}
	return nil
}

// settle is what a person has done who clears a debt.
func (m *machine) settle(debt string) {
	if debt == recovery.DebtBootTarget {
		m.target, m.sticks = false, false // somebody stood there, and did it
	}
	for i := range m.copies {
		c := &m.copies[i]
		c.removed = c.removed || debt == c.debt()
	}
}

// muddle lets somebody do something that people do, sensible or not.
func (w *World) muddle() {
	if w.calm {
		return
	}
	w.after(w.draw(0, 2*w.odds.people), w.muddle)
	s := w.house.engine.State()
	if !w.house.up || s.ID == "" {
		return
	}
	host, wave, by := w.anyMachine().name(), w.below(len(s.Waves)+2), pick(w, "ann", "bob")
	if w.chance(5) {
		_ = w.act(recovery.Abort{})
		return
	}
	_ = w.act(pick[recovery.Input](w,
		recovery.Approve{Digest: s.Plan.Digest}, recovery.Approve{Digest: "sha256:another"}, recovery.Approve{Wave: wave},
		recovery.Pause{}, recovery.Resume{}, recovery.Resume{Wave: wave}, recovery.Resume{}, recovery.Close{},
		recovery.Retry{Host: host}, recovery.Retry{Host: host, Rung: pick(w, "own", "ready", "race", "rescue", "helper", "hands", "none")},
		recovery.Retry{Host: host, Rung: "restore"}, recovery.ApproveRestore{Host: host, Loss: 1000 * time.Hour}, recovery.ApproveRestore{Host: host, Loss: w.draw(0, 50*time.Hour)},
		recovery.CancelAttempt{Host: w.restored(host), Reason: "too slow"}, recovery.CancelAttempt{Host: w.restored(host), Reason: "wrong"}, recovery.ClearDebt{Host: host, Debt: w.anyDebt(host), By: by, Note: "we live with it", Accepted: true}, recovery.CancelAttempt{Host: host},
		recovery.Skip{Host: host, Reason: "gone"}, recovery.Skip{Host: host},
		recovery.Override{Target: "host:" + host, Reason: "now"}, recovery.Override{Target: fmt.Sprintf("wave:%d", wave), Reason: "now"},
		recovery.Override{Target: "service:" + w.fleet.Services[0].Name, Reason: "now"}, recovery.Override{Target: "what", Reason: "x"},
		recovery.Claim{Host: host, By: by, For: time.Hour}, recovery.Claim{Host: host, By: by}, recovery.Claim{Host: "nobody", By: by},
		recovery.HandsDone{Host: host, By: by, Spent: time.Minute}, recovery.ClearDebt{Host: host, Debt: "agent-disabled", By: by},
		recovery.Refused{Host: host, Peer: "192.0.2.66", Why: "wrong certificate"}, recovery.BootAsked{Host: host, Peer: "192.0.2.66"},
	))
}

// restored is a host that is being restored, if there is one.
func (w *World) restored(otherwise string) string {
	for _, h := range w.house.engine.State().Hosts() {
		if n := len(h.Attempts); h.Phase == recovery.Attempting && h.Attempts[n-1].Method == recovery.MethodRestore {
			return h.Host.Name
		}
	}
	return otherwise
}

// anyDebt is one that a host owes, if it does.
func (w *World) anyDebt(host string) string {
	for _, d := range w.house.engine.State().Host(host).Debts {
		if d.Cleared.IsZero() {
			return d.ID
		}
	}
	return "agent-disabled"
}

// becomeCalm ends the trouble: machines, networks and people do their best from now on, and the incident must come to its end.
func (w *World) becomeCalm() {
	w.calm = true
	w.odds.safe = 0
	for i := range w.sites {
		w.sites[i].cut = false
	}
	for _, r := range w.repositories {
		r.trouble = ""
	}
	for _, m := range w.machines {
		m.mute, m.sick, m.deaf, m.never, m.silent, m.door = false, false, false, false, false, ""
		m.good = max(m.good, 1)
		m.tell()
		if m.runs == own && m.link == nil {
			m.connect(w.draw(0, time.Minute))
		}
	}
	w.after(w.draw(time.Minute, 10*time.Minute), w.care)
}

// care is a round of people who end everything: what is held is resumed, hand work is done, debts are cleared.
func (w *World) care() {
	w.after(w.draw(5*time.Minute, 20*time.Minute), w.care)
	s := w.house.engine.State()
	if !w.house.up || s.ID == "" || s.Outcome != "" {
		return
	}
	if !s.Approved && !s.Aborted {
		_ = w.act(recovery.Approve{Digest: s.Plan.Digest})
	}
	if !s.PausedAt.IsZero() {
		_ = w.act(recovery.Resume{})
	}
	for _, wave := range s.Waves {
		if wave.OpenedAt.IsZero() && !wave.Approved {
			_ = w.act(recovery.Approve{Wave: wave.N})
		}
		if wave.HeldBy != "" {
			_ = w.act(recovery.Resume{Wave: wave.N})
		}
	}
	w.work()
	if w.house.up && s.Settled() {
		_ = w.act(recovery.Close{})
	}
}

// work is what people do at the hosts in one round.
func (w *World) work() {
	s := w.house.engine.State()
	why := s.Why(w.house.moment)
	for _, h := range s.Hosts() {
		if !w.house.up {
			return
		}
		m := w.byName[h.Host.Name]
		switch {
		case h.Phase == recovery.NeedsHands:
			w.byHand(m, h)
		case why[m.name()].Code == recovery.WaitApproval && s.Approved:
			_ = w.act(recovery.ApproveRestore{Host: m.name(), Loss: 1000 * time.Hour, Reason: "the department agrees"})
		case why[m.name()].Code == recovery.WaitDependency && w.someSkipped():
			_ = w.act(recovery.Override{Target: "host:" + m.name(), Reason: "what it needs was skipped"})
		case h.Phase == recovery.Skipped && m.bad > 0 || h.Phase == recovery.Attempting:
		case m.safe && m.runs == own:
			m.restart() // somebody finds it in safe mode
		case m.bad == 0 && (m.runs == parked || m.runs == off && h.OpenDebts() == 0):
			m.restart() // somebody finds it off and switches it on
		}
		for _, d := range h.Debts {
			if d.Cleared.IsZero() {
				_ = w.act(recovery.ClearDebt{Host: m.name(), Debt: d.ID, By: "ann", Note: "seen at the console"})
			}
		}
	}
}

func (w *World) someSkipped() bool {
	for _, h := range w.house.engine.State().Hosts() {
		if h.Phase == recovery.Skipped {
			return true
		}
	}
	return false
}

// byHand is a person at a console: the host is repaired, started, and reported.
func (w *World) byHand(m *machine, h *recovery.HostState) {
	m.bad, m.left, m.good, m.sick, m.changed = 0, 0, 1, false, -1
	m.target, m.sticks = false, false
	m.restart()
	by := "ann"
	if h.Owner != "" {
		by = h.Owner
	}
	if err := w.act(recovery.HandsDone{Host: m.name(), By: by, Spent: 20 * time.Minute}); err != nil {
		_ = w.act(recovery.HandsDone{Host: m.name(), By: "ann", Spent: 20 * time.Minute})
	}
}
