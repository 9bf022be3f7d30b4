package recovery

import (
	"fmt"
	"strings"
	"time"
)

// Decide says what follows at the time now from the results in done: their ends, then, unless the run is stopping, the start
// of whatever may start, and the run's end when nothing is left. All of it can be written at once. Decide reads only. A result
// of an attempt that is not under way changes nothing.
func (s *AdHoc) Decide(done []Finished, stopping bool, now time.Time) []Event {
	if s.ID == "" || !s.Ended.IsZero() {
		return nil
	}
	d := runDecision{AdHoc: s, now: now, counts: s.Counts(), over: make(map[string]bool, len(done))}
	defer d.undo()
	for _, in := range done {
		d.end(in)
	}
	if !stopping {
		d.start()
	}
	if d.counts.Waiting == 0 && d.counts.UnderWay == 0 {
		d.events = append(d.events, s.ended(d.counts))
	}
	return d.events
}

// runDecision is a decision in the making. What it books in the state's usage it gives back: undo.
type runDecision struct {
	*AdHoc
	now    time.Time
	events []Event
	counts RunCounts
	over   map[string]bool // hosts whose attempt ends with this decision
	booked []booking
}

type booking struct {
	host *AdHocHost
	n    int
}

func (d *runDecision) book(h *AdHocHost, n int) {
	d.AdHoc.book(h, n)
	d.booked = append(d.booked, booking{h, n})
}

func (d *runDecision) undo() {
	for _, b := range d.booked {
		d.AdHoc.book(b.host, -b.n)
	}
}

// end records a result. There is no second try: a person who wants one runs again.
func (d *runDecision) end(in Finished) {
	h := d.active[in.Host]
	if h == nil || h.Attempt.ID != in.Job || d.over[in.Host] {
		return
	}
	d.over[in.Host] = true
	r := in.known("")
	d.book(h, -1)
	d.counts.UnderWay--
	d.counts.Results[r.Class]++
	d.events = append(d.events, &AttemptEnded{Attempt: in.Job, Host: in.Host, Result: r, Rung: h.Rung,
		Reason: string(r.Class) + note(firstOf(r.Signature, r.Detail))})
}

// start starts what may start: always the next host of the council that has the fewest attempts under way.
func (d *runDecision) start() {
	at := make(map[*lane]*AdHocHost, len(d.councils)) // the next host to look at
	for _, lanes := range d.lanes {
		for _, l := range lanes {
			if l.first != nil {
				at[l] = l.first
			}
		}
	}
	next := func(council string) *lane {
		var best *lane
		for _, l := range d.lanes[council] {
			if h := at[l]; h != nil && (best == nil || h.place < at[best].place) {
				best = l
			}
		}
		return best
	}
	for d.usage.slots[ResourceSSH] > 0 {
		council, found := d.usage.turn(d.councils, func(c string) bool { return next(c) != nil })
		if !found {
			return
		}
		l := next(council)
		h := at[l]
		if d.usage.fullFor(h.Host, h.Rung, nil) != "" {
			at[l] = nil // and so are all behind it
			continue
		}
		at[l] = h.next
		if d.fullGroup(h) == nil {
			d.book(h, 1)
			d.counts.Waiting--
			d.counts.UnderWay++
			d.events = append(d.events, d.started(h))
		}
	}
}

func (d *runDecision) started(h *AdHocHost) Event {
	timeout := attemptTimeout(d.Declared.Playbook, h.Host, h.Rung)
	name := rungName(h.Host, h.Rung)
	return &AttemptStarted{
		Attempt: Attempt{ID: h.Host.Name + "/1", Host: h.Host.Name, N: 1, Rung: h.Rung, RungName: name, Playbook: d.Declared.Playbook.Digest,
			Started: d.now, Timeout: timeout, Deadline: d.now.Add(2*timeout + leaseSlack)},
		Reason: "run on rung " + name,
	}
}

// fullGroup is a group of the host of which as many are worked on as are allowed, or nil.
func (s *AdHoc) fullGroup(h *AdHocHost) *Group {
	for _, name := range h.Host.Groups {
		if g := s.groups[name]; g != nil {
			if _, full := s.usage.groupFull(g); full {
				return g
			}
		}
	}
	return nil
}

func (s *AdHoc) ended(c RunCounts) Event {
	var parts []string
	for class, n := range sorted(c.byClass()) {
		parts = append(parts, fmt.Sprintf("%d %s", n, class))
	}
	return &RunEnded{Hosts: len(s.Hosts), Succeeded: c.Results[Succeeded], Reason: "every host has its result: " + firstOf(strings.Join(parts, ", "), "there was none to run on")}
}

func (c RunCounts) byClass() map[string]int {
	m := make(map[string]int, len(c.Results))
	for class, n := range c.Results {
		m[string(class)] = n
	}
	return m
}

// Why says for every waiting host what it waits for.
func (s *AdHoc) Why() map[string]Reason {
	reasons := make(map[string]Reason, s.counts.Waiting)
	for _, h := range s.Hosts {
		if !h.waits() {
			continue
		}
		r := Reason{WaitNext, "it starts next"}
		if g := s.fullGroup(h); g != nil {
			r = groupIsFull(g, s.usage.group[g.Name])
		} else if name := s.usage.fullFor(h.Host, h.Rung, nil); name != "" {
			r = slotIsTaken(name)
		}
		reasons[h.Host.Name] = r
	}
	return reasons
}
