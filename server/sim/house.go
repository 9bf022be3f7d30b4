package sim

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

// house is the machine that the coordinator runs on: the engine, its disk, its clocks, and the power that may go at any moment. It does
// what server/coordinator does, without goroutines.
type house struct {
	w      *World
	disk   *disk
	engine *engine.Engine
	audit  *audit.Auditor
	keeper engine.Timekeeper
	up     bool
	life   int
	set    time.Duration // what people have set the wall clock ahead by
	slept  time.Duration // what its own clock has missed
	moment time.Time
	links  map[string]*link
	jobs   map[string]*job
	wake   time.Duration // in world time; 0: none
	fuse   fuse
	copies []copied
}

// fuse lets the power go at the next append, or between two orders.
type fuse struct {
	lit    bool
	before bool // the append; else after it
	orders int  // that are still carried out when the append is survived; -1: all
}

var errPower = fmt.Errorf("%w: the power is gone", journal.ErrAppend)

// start is a new life of the coordinator on what the disk holds.
func (h *house) start() {
	h.disk.powerCut()
	story, err := h.disk.read()
	if err != nil {
		h.w.breach("journal-opens", "", "%v", err)
		return
	}
	h.life++
	h.up = true
	h.links, h.jobs, h.fuse = map[string]*link{}, map[string]*job{}, fuse{}
	h.engine = engine.New(h.write, []engine.Story{story}, h.disk.sightings)
	h.w.revised = story.State.Playbook.Digest == h.w.books[1].Digest
	h.audit = audit.New()
	h.disk.record(story.Entries)
	for _, e := range story.Entries {
		h.read(e)
	}
	for _, m := range h.w.machines {
		h.audit.Hear(m.name(), false) // nobody is connected yet
	}
	h.keeper = engine.Timekeeper{}
	h.keeper.NotBefore(h.engine.Alive())
	h.look()
	h.w.listen(true, !h.engine.State().PausedAt.IsZero())
	h.must(h.engine.Resume(h.moment))
	for _, m := range h.w.machines {
		if m.link != nil {
			m.link.cut(0)
		}
		if m.runs == own {
			m.connect(h.w.draw(time.Second, h.w.odds.returns))
		}
	}
	h.w.at(h.w.now+5*time.Second, h.flush(h.life))
	h.w.after(h.w.draw(0, 10*time.Second), h.w.tellAll)
}

// stop is a power cut, or kill -9.
func (h *house) stop(down time.Duration) {
	if !h.up {
		return
	}
	h.fall()
	h.w.after(down, func() {
		if !h.up {
			h.start()
			h.settle()
		}
	})
}

// fall is the same without a start after it.
func (h *house) fall() {
	h.w.tally.Kills++
	if h.w.chance(200) {
		h.compare()
	}
	h.up, h.fuse = false, fuse{}
	h.w.listen(false, false)
}

// compare holds the fold of what is on disk against the live state.
func (h *house) compare() {
	if h.engine.Failed() != nil {
		return // its memory stopped before the disk did
	}
	d := *h.disk
	d.values = d.values[:d.synced]
	story, err := d.read()
	if err != nil {
		h.w.breach("journal-opens", "", "%v", err)
		return
	}
	for _, m := range h.w.machines {
		if v, ok := h.engine.State().Seen(m.name()); ok {
			story.State.See(v)
		}
	}
	for _, s := range []*recovery.State{story.State, h.engine.State()} {
		lookUp(s)
	}
	if !reflect.DeepEqual(story.State, h.engine.State()) {
		h.w.breach("replay-equals-live", "", "the fold of %d entries is another state than the live one: %s", d.synced, difference(story.State, h.engine.State()))
	}
}

// lookUp has a state remember all that it only keeps to be quick.
func lookUp(s *recovery.State) {
	for _, d := range s.Fleet.DataSets {
		s.Points.Of(d.Name)
	}
	for _, h := range s.Hosts() {
		s.LadderOf(h)
	}
}

func difference(a, b *recovery.State) string {
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range va.NumField() {
		name := va.Type().Field(i).Name
		fa, fb := fmt.Sprintf("%+v", va.Field(i)), fmt.Sprintf("%+v", vb.Field(i))
		if va.Field(i).Kind() != reflect.Map && fa != fb && len(fa) < 2000 && name != "order" {
			return name + ": " + fa + " / " + fb
		}
	}
	for i, h := range a.Hosts() {
		if o := b.Hosts()[i]; !reflect.DeepEqual(h, o) {
			return fmt.Sprintf("host %+v / %+v", *h, *o)
		}
	}
	return "in a map"
}

// write is the engine's way to the disk. The power may go before or after.
func (h *house) write(_ string, expectedSeq uint64, entries []recovery.Entry) error {
	burns := h.fuse.lit
	if burns && h.fuse.before {
		return errPower
	}
	if err := h.disk.append(expectedSeq, entries); err != nil {
		return err
	}
	h.disk.record(entries)
	for _, e := range entries {
		h.judge(e)
	}
	if burns && h.fuse.orders < 0 {
		return errPower
	}
	return nil
}

// look takes the time.
func (h *house) look() {
	wall := epoch.Add(h.w.now + h.set)
	now, leap := h.keeper.Tell(wall, h.w.now-h.slept)
	h.moment = now
	if leap > 0 {
		h.w.tally.Leaps++
		h.must(h.engine.Leapt(leap, now))
	}
}

// must takes an error that only a fault, or the power, explains.
func (h *house) must(err error) {
	if err == nil || !h.up {
		return
	}
	var fault *engine.FaultError
	var no *recovery.Error
	switch {
	case errors.As(err, &fault):
		h.w.breach("no-panic", "", "%v\n%s", fault.Panic, fault.Stack)
	case h.engine.Failed() != nil:
		h.stop(h.w.draw(time.Second, 20*time.Minute))
	case errors.As(err, &no):
	default:
		h.w.breach("no-error", "", "%v", err)
	}
}

// take brings an input to the engine; a refusal is for whoever asked.
func (h *house) take(actor string, in recovery.Input) error {
	if !h.up {
		return errPower
	}
	h.look()
	_, err := h.engine.Take(actor, in, h.moment)
	h.must(err)
	return err
}

func (h *house) attach(l *link, v recovery.Sighting) {
	h.links[l.m.name()] = l
	l.sent = ""
	h.sighted(v)
	h.errands(l.m)
}

func (h *house) hear(l *link, v recovery.Sighting) {
	if h.links[l.m.name()] == l {
		h.sighted(v)
	}
}

func (h *house) detach(l *link) {
	if h.links[l.m.name()] == l {
		delete(h.links, l.m.name())
		h.sighted(recovery.Sighting{Host: l.m.name(), Source: "agent"})
	}
}

func (h *house) sighted(v recovery.Sighting) {
	h.look()
	if !h.up {
		return
	}
	h.audit.Hear(v.Host, v.Connected)
	h.must(h.engine.Sighted(v, h.moment))
	h.instruct(h.w.byName[v.Host])
}

func (h *house) instruct(m *machine) {
	l := h.links[m.name()]
	if l == nil || !h.up {
		return
	}
	if in := h.engine.State().Instruct(m.name(), h.moment); in.ID != "" && in.ID != l.sent {
		l.sent = in.ID
		if !l.cutn {
			l.asked(in)
		}
	}
}

// boot answers a machine that asks the network what to boot.
func (h *house) boot(m *machine) bool {
	before := h.life
	err := h.take("host:"+m.name(), recovery.BootAsked{Host: m.name(), Peer: "192.0.2.9"})
	return err == nil && h.up && h.life == before
}

// settle lets time act, and carries out what follows.
func (h *house) settle() {
	if !h.up || h.w.failed != nil {
		return
	}
	due := h.wake > 0 && h.w.now >= h.wake
	if !due && !h.engine.Dirty() {
		return
	}
	h.look()
	orders, err := h.engine.Settle(h.moment)
	h.must(err)
	if !h.up {
		return
	}
	h.w.settled()
	for _, start := range orders.Start {
		if h.fuse.lit && h.fuse.orders == 0 {
			h.stop(h.w.draw(time.Second, 20*time.Minute))
			return
		}
		h.fuse.orders--
		h.launch(start)
	}
	for _, key := range orders.Cancel {
		if j := h.jobs[key.ID]; j != nil {
			j.cancel()
		}
	}
	h.allWanted()
	for _, m := range h.w.machines {
		if h.links[m.name()] != nil {
			h.instruct(m)
		}
	}
	h.wake = 0
	if at := h.engine.State().Wake(h.moment); !at.IsZero() {
		h.wake = h.w.now + max(at.Sub(h.moment), time.Millisecond, h.w.grain)
	}
}

// flush saves the last words every few seconds of a life, as the coordinator does.
func (h *house) flush(life int) func() {
	return func() {
		if h.life != life || !h.up {
			return
		}
		h.must(h.engine.SaveSightings(h.disk.saveSightings))
		h.w.at(h.w.now+h.w.odds.flush, h.flush(life))
	}
}
