package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// trouble is one thing that goes wrong, and the next one after it.
func (w *World) trouble() {
	if w.calm {
		return
	}
	w.after(w.draw(0, 2*w.odds.pace), w.trouble)
	m := w.anyMachine()
	kinds := []func(*machine){
		w.crash, w.crash, w.crash, w.partition, w.ghost, w.ghost, w.jump, w.olderCopy, w.keepCopy, w.keepCopy, w.massSilence, w.impostor, w.impostor, w.revise, w.confuse, w.news, w.news, w.news, w.repositoryTrouble,
		func(m *machine) { m.spoil() },
		func(m *machine) { m.parkNow() },
		func(m *machine) { m.sick = !m.sick; m.tell() },
		func(m *machine) { m.mute = !m.mute },
		func(m *machine) { m.cutOff() },
		func(m *machine) { m.restart() },
		func(m *machine) { m.heal() },
		func(m *machine) { m.deaf = !m.deaf },
		func(m *machine) { m.never = !m.never },
		func(m *machine) { m.sticks = !m.sticks },
		func(m *machine) {
			m.door = pick[recovery.Class](w, "", "", recovery.AuthRefused, recovery.HostKeyMismatch)
		},
	}
	kinds[w.below(len(kinds))](m)
}

// crash ends the coordinator: now, at its next append (before or after it), or between two orders.
func (w *World) crash(*machine) {
	h := w.house
	if !h.up {
		return
	}
	switch w.below(5) {
	case 0:
		h.stop(w.draw(time.Second, 40*time.Minute))
	case 1, 2:
		h.fuse = fuse{lit: true, before: true}
	case 3:
		h.fuse = fuse{lit: true, orders: -1}
	case 4:
		h.fuse = fuse{lit: true, orders: w.below(4)}
	}
}

// partition cuts a site off for a while.
func (w *World) partition(*machine) {
	n := w.below(len(w.sites))
	if w.sites[n].cut {
		return
	}
	w.tally.Partitions++
	w.sites[n].cut = true
	for _, m := range w.machines {
		if m.site == n && m.link != nil {
			m.link.cut(w.draw(0, time.Minute))
			m.connect(w.draw(time.Second, time.Minute))
		}
	}
	w.after(w.draw(time.Minute, 2*time.Hour), func() { w.sites[n].cut = false })
}

// massSilence is a fault of the coordinator's own network.
func (w *World) massSilence(*machine) {
	if w.sites[0].cut || w.sites[1].cut || w.sites[2].cut {
		return
	}
	for i := range w.sites {
		w.sites[i].cut = true
	}
	for _, m := range w.machines {
		if m.link != nil {
			m.link.cut(w.draw(0, time.Minute))
			m.connect(w.draw(time.Second, time.Minute))
		}
	}
	w.after(w.draw(time.Minute, time.Hour), func() {
		for i := range w.sites {
			w.sites[i].cut = false
		}
	})
}

// jump sets the coordinator's clock, or lets its machine sleep.
func (w *World) jump(*machine) {
	h := w.house
	by := w.draw(3*time.Second, 5*time.Hour)
	switch w.below(3) {
	case 0:
		h.set += by
	case 1:
		h.set -= by
	case 2:
		h.slept += by
		h.set += by // the world did not wait; only this machine's own clock stood still
	}
}

// keepCopy copies the journal, as a responder does.
func (w *World) keepCopy(*machine) {
	if h := w.house; h.up && len(h.disk.values) > 0 && len(h.copies) < 5 {
		h.copies = append(h.copies, h.disk.copy())
	}
}

// olderCopy lets people go on from an older copy of the journal.
func (w *World) olderCopy(*machine) {
	h := w.house
	if len(h.copies) == 0 || !h.up || !w.chance(300) {
		return
	}
	h.fall()
	h.disk.restore(h.copies[w.below(len(h.copies))])
	h.copies = nil
	for _, m := range w.machines {
		m.forgetErrands()
	}
	w.tally.Restores++
	w.after(w.draw(time.Minute, 30*time.Minute), w.goOn)
}

// goOn starts the coordinator on the older copy, as docs/architecture.md tells people: when no script of the lost tail runs any more, and after a look
// at the boot targets. Nobody can know what the lost tail had sent, and what that had changed.
func (w *World) goOn() {
	if slices.ContainsFunc(w.machines, func(m *machine) bool { return m.current != nil }) {
		w.after(time.Minute, w.goOn)
		return
	}
	for _, m := range w.machines {
		clear(m.cycles)
		m.changed = -1
		for _, s := range m.claims {
			s.foreign = true
		}
		m.target, m.sticks = false, false
	}
	w.forget()
	w.house.start()
	w.house.settle()
}

// forgetErrands is what people do whose journal is an older one: restores that it may not know are stopped, and their claims put away.
func (m *machine) forgetErrands() {
	m.fell()
	clear(m.errands)
	m.order, m.restores, m.copies = nil, nil, nil
}

// repositoryTrouble lets a repository fail all who use it, for a while.
func (w *World) repositoryTrouble(*machine) {
	if len(w.repositories) == 0 {
		return
	}
	r := pick(w, w.repositories...)
	r.trouble = pick(w, recovery.Unreachable, recovery.Unreachable, recovery.AuthRefused)
	w.after(w.draw(time.Minute, 2*time.Hour), func() { r.trouble = "" })
}

// ghost delivers the result of an attempt that is over, or of one that never was. It must change nothing.
func (w *World) ghost(m *machine) {
	h := w.house
	if !h.up || h.engine.State().ID == "" {
		return
	}
	s := h.engine.State().Host(m.name())
	id := fmt.Sprintf("%s/%d", m.name(), 1+w.below(len(s.Attempts)+2))
	if w.chance(250) {
		id += pick(w, "/verify/0", "/verify/1", "/unboot/1")
	}
	v := recovery.Sighting{Host: m.name(), BootID: "ghost", Connected: true, Content: []recovery.Content{{Playbook: w.playbook().Digest, Good: 1}}}
	r := recovery.Result{Class: pick(w, recovery.Succeeded, recovery.Failed, recovery.Unreachable, recovery.HostKeyMismatch, recovery.Lost, recovery.NothingFound),
		Signature: "ghost", Sighting: &v, BootTarget: pick(w, "", recovery.BootTargetDisk)}
	h.haunt(m, id, r, w.chance(500))
}

// revise is a person who takes the other version of the playbook, because the first misses something, or back again.
func (w *World) revise(*machine) {
	if s := w.house.engine.State(); w.house.up && s.Approved && w.chance(300) {
		other := w.books[0]
		if s.Playbook.Digest == other.Digest {
			other = w.books[1]
		}
		_ = w.act(recovery.Revise{Playbook: other, Reason: "the other version finds more"})
	}
}

// impostor asks in a host's name what to boot, best of all while that host has just been given the rescue system.
func (w *World) impostor(m *machine) {
	for _, other := range w.machines {
		if other.runs == rescue {
			m = other
			break
		}
	}
	if m.runs == off || m.runs == booting {
		return // it may be the host itself
	}
	_ = w.house.take("host:"+m.name(), recovery.BootAsked{Host: m.name(), Peer: "192.0.2.66"})
}

// confuse lets a remedy ask for a step of an attempt that it has left behind, or that it has no business to take.
func (w *World) confuse(*machine) {
	h := w.house
	if !h.up || h.engine.State().ID == "" {
		return
	}
	for _, x := range h.engine.State().Hosts() {
		if n := len(x.Attempts); x.Phase == recovery.Attempting && n > 0 && x.Attempts[n-1].Step != "" {
			step := pick(w, recovery.StepPowerOff, recovery.StepBootTarget, recovery.StepPowerOn, "sideways")
			if !x.Attempts[n-1].Step.Reached(step) {
				continue // that is still to come
			}
			if err := h.take("engine", recovery.Progressed{Job: x.Attempts[n-1].ID, Host: x.Host.Name, Step: step}); err == nil && step != x.Attempts[n-1].Step {
				w.breach("stale-changes-nothing", x.Host.Name, "a step that %s has left, %q, is taken for a step forward", x.Attempts[n-1].ID, step)
			}
			return
		}
	}
}

// parkNow lets a machine give up.
func (m *machine) parkNow() { m.down(parked) }

// cutOff breaks the agent's link, which comes back soon, or stays away.
func (m *machine) cutOff() {
	if m.link == nil {
		return
	}
	m.link.cut(m.w.draw(0, time.Minute))
	m.silent = m.w.chance(300)
	m.connect(m.w.draw(0, time.Minute))
}

// heal is the vendor's channel, or a person who tells nobody.
func (m *machine) heal() {
	m.bad, m.left = 0, 0
	m.restart()
}
