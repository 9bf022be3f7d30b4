package recovery

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"time"
)

// The simulator plays everything that is not the core: the journal, the clock, machines with a boot loop, agents that answer,
// remedies whose results follow a script. It checks after every event what must always hold (check_test.go).

var t0 = time.Date(2024, 7, 19, 6, 30, 0, 0, time.UTC)

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

type sim struct {
	tb      tb
	s       *State
	now     time.Time
	entries []Entry // as they came back from the journal
	far     map[string]*machine
	queue   []timed
	jobs    map[string]Job // running on the far side
	resumed map[string]bool
	starts  map[string]int // job id -> how often the script was started
	script  func(m *machine, j Job) Result
	digests map[string]Playbook // versions by digest
	asked   map[string]int      // request for facts -> how many versions of the playbook there were when it was first made
	actor   string
	maxTick int // longest chain of ticks seen

	outside map[string]*outsider // by host
	run1    int                  // which life of the coordinator this is

	bootOf map[string]string // attempt -> boot in which its script changed the host's running system
}

type timed struct {
	at time.Time
	do func()
}

// machine is one host as it truly is.
type machine struct {
	host     *Host
	up       bool // its agent is connected
	bad      int
	good     int
	sick     bool
	safe     bool
	mute     bool // its agent never answers
	boot     int
	answered string // on this connection
	changed  int    // boot in which a script last changed it; -1: never
	noBoot   bool   // never comes up again
	probes   string // digest of the playbook version that its agent probes for
}

func (m *machine) bootID() string { return fmt.Sprintf("%s-boot%d", m.host.Name, m.boot) }

func newSim(tb tb, f Fleet, p Playbook) *sim {
	x := &sim{tb: tb, s: NewState(), now: t0, far: map[string]*machine{}, jobs: map[string]Job{}, resumed: map[string]bool{},
		starts: map[string]int{}, asked: map[string]int{}, digests: map[string]Playbook{p.Digest: p}, bootOf: map[string]string{}, actor: "engine", outside: map[string]*outsider{}}
	x.script = func(*machine, Job) Result { return Result{Class: Succeeded} }
	for i := range f.Hosts {
		x.far[f.Hosts[i].Name] = &machine{host: &f.Hosts[i], bad: 1, good: 1, boot: 1, changed: -1, probes: digest1}
		x.outside[f.Hosts[i].Name] = &outsider{cycles: map[string]int{}, ran: map[string]Result{}, served: map[string]int{}}
	}
	return x
}

// start declares and approves.
func (x *sim) start(f Fleet, p Playbook) *sim {
	x.tb.Helper()
	x.must(Declare{Incident: "i-1", Title: "test", Fleet: f, Playbook: p})
	x.must(Approve{Digest: x.s.Plan.Digest})
	x.settle()
	return x
}

// do decides, appends and applies, as the coordinator does.
func (x *sim) do(in Input) ([]Event, error) {
	x.tb.Helper()
	events, err := Decide(x.s, in, x.now)
	if err != nil {
		if refused := (*Error)(nil); !errors.As(err, &refused) || len(events) > 0 {
			x.tb.Fatalf("%T: error %T %v with %d events", in, err, err, len(events))
		}
		return nil, err
	}
	for _, e := range events {
		entry := Entry{Seq: x.s.Seq + 1, At: x.now, Actor: x.actor, Event: e}
		back := x.roundTrip(e)
		from := x.before(entry)
		x.s.Apply(entry)
		if h := x.s.hosts[hostOf(e)]; h != nil {
			x.legal(h, e, from)
		}
		entry.Event = back
		x.entries = append(x.entries, entry)
	}
	return events, nil
}

func (x *sim) must(in Input) []Event {
	x.tb.Helper()
	events, err := x.do(in)
	if err != nil {
		x.tb.Fatalf("%T %+v: %v", in, in, err)
	}
	return events
}

func (x *sim) refuses(in Input, kind ErrorKind) string {
	x.tb.Helper()
	_, err := x.do(in)
	e := (*Error)(nil)
	if !errors.As(err, &e) || e.Kind != kind {
		x.tb.Fatalf("%T %+v: got %v, want an error of kind %s", in, in, err, kind)
	}
	return e.Message
}

func (x *sim) roundTrip(e Event) Event {
	x.tb.Helper()
	data, err := EncodeEvent(e)
	if err != nil {
		x.tb.Fatalf("encode %s: %v", e.Kind(), err)
	}
	back, err := DecodeEvent(e.Kind(), data)
	if err != nil {
		x.tb.Fatalf("decode %s: %v", e.Kind(), err)
	}
	again, _ := EncodeEvent(back)
	if string(again) != string(data) {
		x.tb.Fatalf("%s does not survive the journal:\n%s\n%s", e.Kind(), data, again)
	}
	return back
}

// tick lets time act until nothing follows.
func (x *sim) tick() {
	x.tb.Helper()
	for n := 0; ; n++ {
		if len(x.must(Tick{})) == 0 {
			x.maxTick = max(x.maxTick, n)
			return
		}
		if n > 10+4*len(x.s.Waves)+2*len(x.s.order) {
			x.tb.Fatalf("ticks do not come to an end: %d steps, last %s", n, x.entries[len(x.entries)-1].Event.Kind())
		}
	}
}

// settle ticks, starts and drops jobs, and tells the agents.
func (x *sim) settle() {
	x.tb.Helper()
	x.tick()
	wanted := map[string]bool{}
	for _, j := range x.s.Work(x.now) {
		wanted[j.ID] = true
		if _, running := x.jobs[j.ID]; !running {
			x.jobs[j.ID] = j
			x.launch(j)
		}
	}
	for id := range x.jobs {
		if !wanted[id] {
			delete(x.jobs, id)
		}
	}
	for _, h := range x.s.order {
		x.instruct(x.far[h.Host.Name])
	}
	x.check()
}

func (x *sim) instruct(m *machine) {
	if !m.up || m.mute {
		return
	}
	in := x.s.Instruct(m.host.Name, x.now)
	if in.ID == "" || in.ID == m.answered {
		return
	}
	m.answered = in.ID
	x.asks(in.ID)
	boot := m.boot
	x.after(time.Second, func() {
		if m.up && m.boot == boot {
			v := m.facts()
			v.Answers = in.ID
			x.see(v)
		}
	})
}

func (m *machine) facts() Sighting {
	mode := BootNormal
	if m.safe {
		mode = BootSafe
	}
	return Sighting{Host: m.host.Name, Connected: true, Source: "agent", BootID: m.bootID(), BootMode: mode,
		Content: []Content{{Playbook: m.probes, Bad: m.bad, Good: m.good}}, Health: []Check{{Name: "disk", OK: !m.sick}}}
}

func (x *sim) see(v Sighting) {
	x.tb.Helper()
	v.At = x.now
	x.must(Sighted{x.s.See(v)})
}

// boots brings a machine up with a new boot id; one without an agent just boots.
func (x *sim) boots(m *machine) {
	x.down(m)
	m.boot++
	if m.noBoot {
		return
	}
	if m.host.Agent {
		m.up, m.answered = true, ""
		x.see(m.facts())
		if m.bad > 0 {
			boot := m.boot
			x.after(30*time.Second, func() {
				if m.boot == boot && m.bad > 0 {
					x.down(m) // it crashes again and stays down
				}
			})
		}
	}
}

func (x *sim) down(m *machine) {
	if m.up {
		m.up = false
		x.see(Sighting{Host: m.host.Name, Source: "agent"})
	}
}

// launch plays a job: the script takes a minute, a restart two.
func (x *sim) launch(j Job) {
	m := x.far[j.Host.Name]
	if j.Kind == JobVerify {
		x.asks(j.ID)
		x.after(3*time.Minute, func() { x.finish(j, x.probe(m, j)) })
		return
	}
	switch j.Kind {
	case JobRestore:
		x.restored(m, j)
		return
	case JobCancel:
		x.after(time.Second, func() {
			x.finish(j, Result{Class: Succeeded})
			if of, running := x.jobs[j.Of]; running {
				x.finish(of, Result{Class: Cancelled})
			}
		})
		return
	}
	if j.Kind == JobUnboot || j.Rung.Kind == RungRescue || j.Rung.Kind == RungHelper {
		x.fromOutside(m, j)
		return
	}
	x.starts[j.ID]++
	x.after(time.Minute, func() {
		if _, running := x.jobs[j.ID]; !running {
			return // the engine let go of it
		}
		r := x.script(m, j)
		if r.Class == Succeeded {
			m.bad = min(m.bad, r.Exit) // a script whose exit is 1 lies: see lying
			r.Exit = 0
			m.changed = m.boot
			x.bootOf[j.ID] = m.bootID()
			if j.Rung.Environment != EnvLinux {
				delete(x.bootOf, j.ID)
				m.changed = -1 // the host's own system was not running
			} else {
				r.Boot = m.bootID()
			}
			if j.Reboot {
				r.Rebooted = true
				x.down(m)
				x.after(2*time.Minute, func() { x.boots(m) })
			} else if m.host.Agent && !m.up && m.bad == 0 && !m.noBoot { // nothing crashes it any more
				m.up, m.answered = true, ""
				x.see(m.facts())
			}
		}
		x.finish(j, r)
	})
}

func (x *sim) probe(m *machine, j Job) Result {
	if m.bad > 0 || m.noBoot || m.bootID() == j.BootBefore {
		return Result{Class: TimedOut, Detail: "no facts of another boot"}
	}
	v := m.facts()
	v.Source, v.Content[0].Playbook = "ssh", j.Playbook
	return Result{Class: Succeeded, Sighting: &v}
}

func (x *sim) finish(j Job, r Result) {
	x.tb.Helper()
	if _, running := x.jobs[j.ID]; !running {
		return
	}
	delete(x.jobs, j.ID)
	if r.Sighting != nil {
		v := *r.Sighting
		v.Host, v.At, v.Answers = j.Host.Name, x.now, j.ID
		x.s.See(v)
	}
	x.must(Finished{Job: j.ID, Host: j.Host.Name, Result: r, Resumed: x.resumed[j.ID]})
}

func (x *sim) after(d time.Duration, do func()) {
	x.queue = append(x.queue, timed{x.now.Add(d), do})
	sort.SliceStable(x.queue, func(i, j int) bool { return x.queue[i].at.Before(x.queue[j].at) })
}

// step goes to the next moment at which something happens. It reports whether there was one.
func (x *sim) step() bool {
	x.tb.Helper()
	wake := x.s.Wake(x.now)
	if !wake.IsZero() && !wake.After(x.now) {
		x.tb.Fatalf("wake %s is not after %s", wake, x.now)
	}
	switch {
	case len(x.queue) > 0 && (wake.IsZero() || !x.queue[0].at.After(wake)):
		next := x.queue[0]
		x.queue = x.queue[1:]
		x.now = next.at
		next.do()
	case !wake.IsZero():
		x.now = wake
	default:
		return false
	}
	x.settle()
	return true
}

// run steps until the condition holds.
func (x *sim) run(what string, until func() bool) {
	x.tb.Helper()
	for n := 0; !until(); n++ {
		if n > 20000 || !x.step() {
			x.dump()
			x.tb.Fatalf("never: %s (after %d steps)", what, n)
		}
	}
}

// advance lets d pass, step by step.
func (x *sim) advance(d time.Duration) {
	x.tb.Helper()
	end := x.now.Add(d)
	for {
		wake := x.s.Wake(x.now)
		first := end
		if len(x.queue) > 0 && x.queue[0].at.Before(first) {
			first = x.queue[0].at
		}
		if !wake.IsZero() && wake.Before(first) {
			first = wake
		}
		if !first.Before(end) {
			x.now = end
			x.settle()
			return
		}
		x.step()
	}
}

// crash throws the coordinator's memory away and folds the journal; the sightings were flushed.
func (x *sim) crash() {
	x.tb.Helper()
	live := x.s
	x.s = x.fold()
	x.s.seen = live.seen
	live.unremember()
	x.s.unremember()
	if !reflect.DeepEqual(live, x.s) {
		x.tb.Fatalf("the fold differs from the live state: %s", difference(live, x.s))
	}
	x.run1++
	for id, j := range x.jobs {
		x.resumed[id] = true
		if j.Rung.Kind == RungRescue || j.Rung.Kind == RungHelper || j.Kind == JobUnboot {
			delete(x.jobs, id) // what works from outside dies with the coordinator; it is taken up again where it stood
		}
	}
}

// unremember empties what is kept only to be quick.
func (s *State) unremember() {
	s.restock()
	for _, b := range s.Points.shelves {
		b.newest = nil
	}
}

func (x *sim) fold() *State {
	s := NewState()
	for _, e := range x.entries {
		s.Apply(e)
	}
	return s
}

func difference(a, b *State) string {
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range va.NumField() {
		name := va.Type().Field(i).Name
		fa, fb := fmt.Sprintf("%+v", va.Field(i)), fmt.Sprintf("%+v", vb.Field(i))
		if name != "hosts" && name != "order" && name != "active" && name != "members" && name != "grouped" && fa != fb && len(fa) < 3000 {
			return name + ": " + fa + " / " + fb
		}
	}
	for i := range a.order {
		if !reflect.DeepEqual(a.order[i], b.order[i]) {
			return fmt.Sprintf("host %+v / %+v", *a.order[i], *b.order[i])
		}
	}
	return "somewhere"
}
