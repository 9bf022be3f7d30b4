package sim

import (
	"fmt"
	"strconv"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// system is what runs on a machine.
type system int

const (
	off     system = iota
	booting        // on its way to whatever its boot target says
	own            // its own system
	rescue         // the rescue system
	parked         // it gave up: powered, and waiting for a person
)

// machine is one host as it truly is.
type machine struct {
	w    *World
	host *recovery.Host
	site int

	runs    system
	boot    int  // counts its starts; names the boot id
	bad     int  // files that the playbook's probes find
	left    int  // files that only the revised playbook's probes find
	good    int  // files that are as they should be
	sick    bool // a health check fails
	mute    bool // its agent never answers a request
	silent  bool // its agent does not connect
	parks   int  // crashes until it parks; 0: it loops for ever
	crashes int  // in a row
	limps   bool // bad content does not crash it
	safe    bool // this boot of its own system is in safe mode, where nothing crashes it
	loops   time.Duration
	door    recovery.Class // how SSH ends here before anything starts: "" for well
	reached bool           // a rescue system at another address always answers

	target  bool // its next start goes into the rescue system
	sticks  bool // its BMC keeps a boot target that was meant for one start
	deaf    bool // its BMC takes no new boot target
	never   bool // it never boots the rescue system
	changed int  // boot in which a script last changed its running system; -1: never

	unboots  int                // jobs that were to clear its boot target
	claims   map[string]*script // attempt folders on its disk
	current  *script            // the one that runs
	cycles   map[string]int     // attempts that switched it on for the rescue system
	link     *link
	errands  map[string]*errand // restores that its agent was told of
	order    []*errand          // the same as they came
	restores []*errand          // of its data, by whomever
	copies   []oldCopy          // of its data, from before swaps
	looks    []truth            // what was true each time when its agent looked; a sighting carries the number of its look
}

// script is one execution, as the runner's folder on the disk knows it.
type script struct {
	id     string
	runs   int // how often it was started
	boot   int
	ended  bool
	result recovery.Result
	reboot bool // a restart was sent after it

	foreign bool // what started it is in no journal any more
}

// truth is what a machine was at a moment.
type truth struct {
	well bool
	what string
}

func (m *machine) name() string             { return m.host.Name }
func (m *machine) bootID() string           { return m.bootName(m.boot) }
func (m *machine) bootName(boot int) string { return m.host.Name + "-" + strconv.Itoa(boot) }

// found is how many bad files the probes of a playbook find. The revised one's find more.
func (m *machine) found(digest string) int {
	if m.w.revisedBy(digest) {
		return m.bad + m.left
	}
	return m.bad
}

// truth judges the machine by what it is, not by what anybody says.
func (m *machine) truth() truth {
	t := truth{what: fmt.Sprintf("system %d, boot %d, changed in %d, bad %d+%d, good %d, sick %v, boot target %v, safe mode %v", m.runs, m.boot, m.changed, m.bad, m.left, m.good, m.sick, m.target, m.safe)}
	t.well = m.runs == own && !m.safe && m.found(m.w.playbook().Digest) == 0 && m.good > 0 && !m.sick && !m.target && (m.changed != m.boot || m.w.playbook().Reboot != recovery.RebootRequired)
	return t
}

// down ends whatever runs.
func (m *machine) down(to system) {
	m.runs = to
	if m.link != nil {
		m.link.cut(m.w.draw(0, 30*time.Second))
	}
	m.current = nil // its folder keeps the claim without an exit
	m.fell()
}

// restart sends the machine through a start of its own.
func (m *machine) restart() {
	m.down(booting)
	boot := m.boot
	m.w.after(m.w.draw(30*time.Second, 4*time.Minute), func() {
		if m.runs == booting && m.boot == boot {
			m.start()
		}
	})
}

// switchOn is what a power control does; a machine that runs stays as it is.
func (m *machine) switchOn() {
	if m.runs == off || m.runs == parked {
		m.restart()
	}
}

// start ends a boot: in the rescue system where the boot target says so and the coordinator gives it, else in its own.
func (m *machine) start() {
	m.boot++
	m.current = nil
	if m.target {
		if !m.sticks {
			m.target = false
		}
		if m.w.house.boot(m) && !m.never {
			m.runs = rescue
			return
		}
	}
	m.runs, m.safe = own, m.w.chance(m.w.odds.safe)
	m.rose()
	if m.bad == 0 || m.limps || m.safe {
		m.crashes = 0
		m.connect(m.w.draw(time.Second, time.Minute))
		return
	}
	m.connect(m.w.draw(time.Second, m.loops))
	m.dies()
}

// dies lets bad content crash the machine after a while, if it is still there.
func (m *machine) dies() {
	boot := m.boot
	m.w.after(m.loops, func() {
		if m.boot == boot && m.runs == own && m.bad > 0 && !m.safe {
			m.crash()
		}
	})
}

// crash is what bad content does: the machine starts again, or gives up.
func (m *machine) crash() {
	m.w.tally.Crashes++
	if m.crashes++; m.parks > 0 && m.crashes >= m.parks {
		m.down(parked)
		return
	}
	if m.w.chance(m.w.odds.heals) {
		m.bad, m.left = 0, 0 // the vendor's channel was quicker in this boot
	}
	m.restart()
}

// spoil brings the bad content back.
func (m *machine) spoil() {
	m.bad = 1
	m.tell()
	if m.runs == own && !m.limps {
		m.dies()
	}
}

// facts are what the machine's probes find now.
func (m *machine) facts() recovery.Sighting {
	m.looks = append(m.looks, m.truth())
	v := recovery.Sighting{Host: m.name(), Connected: true, Source: "agent", BootID: m.bootID(), BootMode: recovery.BootNormal,
		Content: []recovery.Content{m.probe(m.w.books[0])}, Health: []recovery.Check{{Name: "disk", OK: !m.sick}}}
	if m.safe {
		v.BootMode = recovery.BootSafe
	}
	if m.w.probed {
		v.Content = append(v.Content, m.probe(m.w.books[1]))
	}
	return v
}

func (m *machine) probe(p recovery.Playbook) recovery.Content {
	bad := m.found(p.Digest)
	return recovery.Content{Playbook: p.Digest, Bad: bad, Good: m.good, Missing: m.good == 0 && bad == 0, Detail: strconv.Itoa(len(m.looks) - 1)}
}

// gather answers a request.
func (m *machine) gather(id string) recovery.Sighting {
	v := m.facts()
	v.Answers = id
	return v
}

// claim is the runner on the machine's disk: the first to ask for an attempt starts its script, with a watchdog that ends it after the
// limit, and everybody else joins it.
func (m *machine) claim(j recovery.Job, in system, limit time.Duration) *script {
	if s := m.claims[j.ID]; s != nil {
		return s
	}
	s := &script{id: j.ID, boot: m.boot}
	m.claims[j.ID] = s
	s.runs++
	m.w.tally.Executions++
	if m.current != nil {
		m.w.breach("one-script-at-a-time", m.name(), "%s starts while %s runs", j.ID, m.current.id)
	}
	if e := m.restoring(); e != nil {
		m.w.breach("repair-or-restore", m.name(), "%s starts while %s restores it", j.ID, e.id)
	}
	m.current = s
	tale, took := m.w.tale(m, j)
	if took > limit {
		tale, took = recovery.Result{Class: recovery.TimedOut, Signature: "script over its limit"}, limit
	}
	boot := m.boot
	m.w.after(took, func() {
		if m.current != s || m.boot != boot || m.runs != in {
			return // the machine went down under it
		}
		m.current = nil
		s.ended, s.result = true, tale
		m.apply(tale, j, in)
	})
	return s
}

// apply is what a script that ended has done to the machine: Result.Exit of a success is how much it left.
func (m *machine) apply(r recovery.Result, j recovery.Job, in system) {
	if r.Class != recovery.Succeeded {
		return
	}
	m.bad = min(m.bad, r.Exit)
	if m.w.revisedBy(j.Playbook) {
		m.left = min(m.left, r.Exit)
	}
	m.changed = m.boot
	if in == rescue || j.Rung.Environment != recovery.EnvLinux {
		m.changed = -1 // its own system was not running
	}
}
