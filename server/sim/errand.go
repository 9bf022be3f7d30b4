package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// errand is a restore as the claim on its runner's disk knows it. It goes on without the coordinator. When its machine goes down it is
// interrupted: what was only beside begins anew when somebody asks for it again, and a swap that had begun goes to its end.
type errand struct {
	id     string
	w      *World
	m      *machine // whose agent does it
	of     *machine // whose data it is
	job    recovery.Job
	until  time.Duration // its agent's limit, in world time
	link   *link         // to which its end is told
	goes   int           // counts interruptions: what was arranged before one does not happen
	stage  stage
	reads  *repository
	sets   []recovery.SetResult
	swaps  int
	result recovery.Result
}

// stage is how far an errand has come.
type stage int

const (
	idle      stage = iota // nobody has asked for it in this life of its agent
	queued                 // behind another with the same target
	restoring              // beside
	swapping
	ended
)

func (e *errand) active() bool { return e.stage == restoring || e.stage == swapping }

// asks is an order that has come to an agent. It begins the job, which ends before the coordinator's own limit, or joins it.
func (m *machine) asks(j recovery.Job, until time.Duration, over *link) {
	e := m.errands[j.ID]
	if e == nil {
		e = &errand{id: j.ID, w: m.w, m: m, of: m.w.byName[j.Host.Name], job: j}
		m.keep(e)
	}
	e.link = over
	switch e.stage {
	case ended:
		e.tell()
	case idle:
		e.stage, e.until = queued, until
		e.after(until-m.w.now, e.late)
		e.turn()
	}
}

// keep claims an errand.
func (m *machine) keep(e *errand) {
	m.errands[e.id] = e
	m.order = append(m.order, e)
	e.of.restores = append(e.of.restores, e)
}

// stops is the order to let go of a job before its swap.
func (m *machine) stops(id string, host *machine) {
	e := m.errands[id]
	if e == nil {
		e = &errand{id: id, w: m.w, m: m, of: host}
		m.keep(e)
	}
	if e.stage != swapping && e.stage != ended {
		e.end(recovery.Result{Class: recovery.Cancelled, Signature: "stopped"})
	}
}

// after goes on with the errand, unless its machine has gone down or it has ended by then.
func (e *errand) after(d time.Duration, do func()) {
	goes := e.goes
	e.w.after(d, func() {
		if e.goes == goes && e.stage != ended {
			do()
		}
	})
}

// turn begins when nobody else works on the same target.
func (e *errand) turn() {
	before := true
	for _, other := range e.m.order {
		if other == e {
			before = false
		}
		if other != e && other.of == e.of && (other.active() || other.stage == queued && before) {
			e.after(10*time.Second, e.turn)
			return
		}
	}
	e.begin()
}

// late ends an errand whose time is over, unless it swaps.
func (e *errand) late() {
	if e.stage != swapping {
		e.end(recovery.Result{Class: recovery.TimedOut, Signature: "out of time"})
	}
}

// begin restores everything beside, one data set after the other.
func (e *errand) begin() {
	w := e.w
	if s := e.of.current; s != nil && !s.foreign {
		w.breach("repair-or-restore", e.of.name(), "%s begins to restore it while %s runs there", e.id, s.id)
	}
	e.stage, e.sets = restoring, nil
	w.tally.Restorings++
	if r := w.unlucky(e); r.Class != "" {
		e.after(w.draw(time.Second, 30*time.Second), func() { e.end(r) })
		return
	}
	e.set(0)
}

// unlucky says how a restore ends before it has moved anything: a zero class when it does not.
func (w *World) unlucky(e *errand) recovery.Result {
	for _, x := range e.job.Sets {
		switch w.repository(x.Repository.Name).trouble {
		case recovery.Unreachable:
			return recovery.Result{Class: recovery.Unreachable, Signature: pick(w, "repository locked", "repository unreachable")}
		case recovery.AuthRefused:
			return recovery.Result{Class: recovery.AuthRefused, Signature: "repository password refused"}
		}
		if b := w.byRef[x.Point.PointRef]; b == nil || b.Gone {
			return recovery.Result{Class: recovery.Failed, Signature: "restore point not there"}
		}
	}
	if !w.calm && w.chance(w.odds.fails) {
		return recovery.Result{Class: recovery.Failed, Signature: pick(w, "not enough space", "local disk error")}
	}
	return recovery.Result{}
}

// set reads one data set out of its repository, in parts, each as quick as the others that read there let it be.
func (e *errand) set(n int) {
	if n == len(e.job.Sets) {
		e.after(e.w.draw(time.Second, 20*time.Second), e.swap)
		return
	}
	x := e.job.Sets[n]
	e.reads = e.w.repository(x.Repository.Name)
	e.reads.reads++
	if e.reads.reads > e.reads.spec.Slots {
		e.w.breach("repository-slots", e.of.name(), "%s is the restore %d that reads %s at this moment, which has %d slots", e.id, e.reads.reads, x.Repository.Name, e.reads.spec.Slots)
	}
	e.part(n, 4)
}

func (e *errand) part(n, left int) {
	x := e.job.Sets[n]
	if left == 0 {
		e.leave()
		e.check(n)
		return
	}
	rate := float64(max(e.reads.spec.Bandwidth, 30*mb)) / float64(e.reads.reads)
	e.after(time.Second+time.Duration(float64(x.Point.Size)/4/rate*float64(time.Second)), func() { e.part(n, left-1) })
}

func (e *errand) leave() {
	if e.reads != nil {
		e.reads.reads--
		e.reads = nil
	}
}

// check looks at what was restored beside, as far as the job asks.
func (e *errand) check(n int) {
	x := e.job.Sets[n]
	b := e.w.byRef[x.Point.PointRef]
	s := recovery.SetResult{DataSet: x.Set.Name, Repository: x.Repository.Name, Point: x.Point.ID, Bytes: x.Point.Size, Moment: x.Target}
	at := epoch.Add(e.w.now)
	for level := recovery.L2; level <= max(x.Level, recovery.L2); level++ {
		ok := b.damaged == recovery.L0 || level < b.damaged
		s.Checks = append(s.Checks, recovery.PointCheck{Level: level, OK: ok, At: at, By: "restore"})
		if !ok {
			e.sets = append(e.sets, s)
			signature := recovery.SignatureDamagedPoint
			if level > recovery.L2 {
				signature = recovery.SignatureCheckFailed
			}
			e.end(recovery.Result{Class: recovery.Failed, Signature: signature})
			return
		}
	}
	e.sets = append(e.sets, s)
	e.after(e.w.draw(0, 20*time.Second), func() { e.set(n + 1) })
}

// swap begins the swap, which nothing stops any more.
func (e *errand) swap() {
	e.stage = swapping
	e.after(e.w.draw(0, 10*time.Second), e.swapped)
}

// swapped exchanges old data and new, once for all.
func (e *errand) swapped() {
	w, of := e.w, e.of
	e.swaps++
	w.tally.Swaps++
	if e.swaps > 1 {
		w.breach("swaps-at-most-once", of.name(), "%s has swapped its data %d times", e.id, e.swaps)
	}
	book := w.book(e.job.Playbook)
	stopped := e.m != of && book.Reboot != recovery.RebootForbidden && of.runs != off
	if stopped {
		of.down(off)
	}
	of.bad, of.left, of.good = 0, 0, 1
	of.changed = -1
	if e.m == of {
		of.changed = of.boot
	}
	for i, x := range e.job.Sets {
		b := w.byRef[x.Point.PointRef]
		if b.damaged > recovery.L0 && w.chance(500) {
			of.sick = true // what nobody had checked
		}
		if b.TakenAt.After(epoch) {
			of.bad = 1
		}
		e.sets[i].Swapped, e.sets[i].Kept = true, fmt.Sprintf("%s.old-%s", x.Set.Target, e.id)
		of.copies = append(of.copies, oldCopy{e.id, x.Set.Name, false})
	}
	if stopped {
		of.switchOn()
	} else if of.runs == own {
		of.tell()
	}
	r := recovery.Result{Class: recovery.Succeeded, Rebooted: e.job.Reboot}
	if !w.calm && w.chance(w.odds.fails) {
		r = recovery.Result{Class: recovery.Failed, Signature: "start failed after the swap"}
	}
	e.end(r)
}

// end keeps the result and tells it.
func (e *errand) end(r recovery.Result) {
	e.leave()
	r.Sets, r.Boot = e.sets, e.m.bootID()
	e.stage, e.result = ended, r
	e.goes++
	e.tell()
	if r.Rebooted && e.link != nil {
		e.w.restarts(e.of, e.job)
		e.of.restart()
	}
}

func (e *errand) tell() {
	if l := e.link; l != nil {
		r := e.result
		l.say(func() { e.w.house.told(e.m, e.id, r) })
	}
}

// fell interrupts what an agent does when its machine goes down.
func (m *machine) fell() {
	for _, e := range m.order {
		e.link = nil
		if e.stage == ended {
			continue
		}
		e.leave()
		e.goes++
		if e.stage != swapping {
			e.stage = idle
		}
	}
}

// rose lets an agent that has started take care of swaps that had begun.
func (m *machine) rose() {
	for _, e := range m.order {
		if e.stage == swapping {
			e.after(m.w.draw(0, 10*time.Second), e.swapped)
		}
	}
}

// oldCopy is what a swap has kept.
type oldCopy struct {
	attempt, set string
	removed      bool
}

func (c oldCopy) debt() string {
	return recovery.DebtOldCopy + "/" + c.set + c.attempt[strings.LastIndex(c.attempt, "/"):]
}

// restoring reports an errand that works on the machine's data now.
func (m *machine) restoring() *errand {
	for _, e := range m.restores {
		if e.active() {
			return e
		}
	}
	return nil
}
