package sim

import (
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// link is one stream of an agent to the coordinator. Words on it come in order; the end of it is noticed later, perhaps after the next
// link has begun.
type link struct {
	m       *machine
	life    int    // of the coordinator that it leads to
	sent    string // id of the last request on it
	cutn    bool
	last    time.Duration // when its last word arrives
	brought time.Duration // when the coordinator's last word does
}

// connect lets the machine's agent phone home after a while, if it can by then; it tries again as long as the machine is up.
func (m *machine) connect(after time.Duration) {
	if !m.host.Agent || m.silent {
		return
	}
	boot := m.boot
	m.w.after(after, func() {
		switch {
		case m.boot != boot || m.runs != own || m.link != nil:
		case !m.w.connected(m):
			m.connect(m.w.draw(5*time.Second, time.Minute))
		default:
			l := &link{m: m, life: m.w.house.life}
			m.link = l
			v := m.facts()
			l.say(func() { m.w.house.attach(l, v) })
		}
	})
}

// say brings a word over the link, after the words before it.
func (l *link) say(hear func()) {
	w := l.m.w
	if l.cutn {
		return
	}
	at := max(w.now+w.draw(time.Millisecond, w.odds.latency), l.last)
	l.last = at
	w.at(at, func() {
		if !l.cutn && l.life == w.house.life && w.house.up {
			hear()
		}
	})
}

// cut ends the link; the coordinator notices after a while.
func (l *link) cut(noticed time.Duration) {
	if l.cutn {
		return
	}
	l.cutn = true
	if l.m.link == l {
		l.m.link = nil
	}
	w := l.m.w
	w.after(noticed, func() {
		if l.life == w.house.life && w.house.up {
			w.house.detach(l)
		}
	})
}

// asked is an instruction on the link. The agent looks and answers.
func (l *link) asked(in recovery.Instruction) {
	m := l.m
	if m.mute || !in.Verify {
		return
	}
	boot := m.boot
	m.w.after(m.w.draw(100*time.Millisecond, m.w.odds.answer), func() {
		if m.boot != boot || m.runs != own || l.cutn {
			return
		}
		v := m.gather(in.ID)
		l.say(func() { m.w.house.hear(l, v) })
		if m.w.chance(m.w.odds.doubled) {
			l.say(func() { m.w.house.hear(l, v) })
		}
	})
}

// tell lets an agent that is connected say what has changed.
func (m *machine) tell() {
	if m.link != nil && m.runs == own {
		l, v := m.link, m.facts()
		l.say(func() { m.w.house.hear(l, v) })
	}
}
