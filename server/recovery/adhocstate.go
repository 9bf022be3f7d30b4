package recovery

import (
	"slices"
	"strings"
	"time"
)

// AdHoc is the state of a run: the fold of its journal. Its exported fields are read-only outside Apply.
type AdHoc struct {
	ID       string
	Seq      uint64
	Began    time.Time
	Ended    time.Time // zero while something is left to do
	Declared RunDeclared
	Hosts    []*AdHocHost // those that take part, in the order of the declaration

	byName   map[string]*AdHocHost
	groups   map[string]*Group
	usage    usage
	lanes    map[string][]*lane    // by council
	councils []string              // in the order of their first hosts
	active   map[string]*AdHocHost // with an attempt under way
	counts   RunCounts
}

// AdHocHost is one host in a run.
type AdHocHost struct {
	Host    *Host
	Rung    int
	Attempt Attempt // the zero Attempt while it waits

	place      int // in AdHoc.Hosts
	lane       *lane
	prev, next *AdHocHost // of those that wait in the lane
}

// lane holds, in order, the waiting hosts of one council that use the same resources: what one of them lacks, all lack.
type lane struct{ first, last *AdHocHost }

// RunCounts are a run's hosts in numbers.
type RunCounts struct {
	Waiting  int
	UnderWay int
	Results  map[Class]int // of attempts that have ended
	Refused  int           // chosen, and taking no part
}

// Ended is how many hosts have a result.
func (c RunCounts) Ended() int {
	n := 0
	for _, k := range c.Results {
		n += k
	}
	return n
}

// NewAdHoc returns a state to which a run's journal can be applied.
func NewAdHoc() *AdHoc {
	return &AdHoc{byName: map[string]*AdHocHost{}, groups: map[string]*Group{}, lanes: map[string][]*lane{},
		active: map[string]*AdHocHost{}, counts: RunCounts{Results: map[Class]int{}}}
}

// Apply folds one entry into the state. It is total and decides nothing: an entry about something unknown changes nothing.
func (s *AdHoc) Apply(e Entry) {
	s.Seq, e.At = e.Seq, e.At.UTC().Round(0) // as it comes back from the journal
	switch v := e.Event.(type) {
	case *RunDeclared:
		s.declare(v, e.At)
	case *AttemptStarted:
		if h := s.byName[v.Attempt.Host]; h != nil && h.waits() && v.Attempt.ID != "" {
			h.leave()
			h.Attempt, h.Attempt.Ended = v.Attempt, time.Time{}
			s.active[h.Host.Name] = h
			s.book(h, 1)
			s.counts.Waiting--
			s.counts.UnderWay++
		}
	case *AttemptEnded:
		if h := s.active[v.Host]; h != nil && h.Attempt.ID == v.Attempt {
			h.Attempt.Ended, h.Attempt.Result = e.At, v.Result
			delete(s.active, v.Host)
			s.book(h, -1)
			s.counts.UnderWay--
			s.counts.Results[v.Result.Class]++
		}
	case *RunEnded:
		s.Ended = e.At
	}
}

func (s *AdHoc) declare(v *RunDeclared, at time.Time) {
	if s.ID != "" {
		return
	}
	s.ID, s.Began, s.Declared = v.Run, at, *v
	s.usage = newUsage(v.Fleet.Resources)
	for i := range v.Fleet.Groups {
		s.groups[v.Fleet.Groups[i].Name] = &v.Fleet.Groups[i]
	}
	rung := make(map[string]int, len(v.Hosts))
	for _, c := range v.Hosts {
		if c.Refused != "" {
			s.counts.Refused++
			continue
		}
		rung[c.Host] = c.Rung
	}
	byNeed := map[string]*lane{}
	for i := range v.Fleet.Hosts {
		host := &v.Fleet.Hosts[i]
		r, chosen := rung[host.Name]
		if !chosen || r < 0 || r >= len(host.Ladder) || s.byName[host.Name] != nil {
			continue
		}
		h := &AdHocHost{Host: host, Rung: r, place: len(s.Hosts)}
		s.Hosts, s.byName[host.Name] = append(s.Hosts, h), h
		need := host.Council + "\x00" + strings.Join(slices.Concat(host.Resources, []string{""}, host.Ladder[r].Resources), "\x00")
		if byNeed[need] == nil {
			byNeed[need] = &lane{}
			if s.lanes[host.Council] == nil {
				s.councils = append(s.councils, host.Council)
			}
			s.lanes[host.Council] = append(s.lanes[host.Council], byNeed[need])
		}
		byNeed[need].add(h)
		s.book(h, 0) // so that a booking adds no key
		s.counts.Waiting++
	}
}

func (l *lane) add(h *AdHocHost) {
	h.lane, h.prev = l, l.last
	if l.last == nil {
		l.first = h
	} else {
		l.last.next = h
	}
	l.last = h
}

// leave takes the host out of its lane. A cursor that stands on it still finds the way on.
func (h *AdHocHost) leave() {
	if h.prev == nil {
		h.lane.first = h.next
	} else {
		h.prev.next = h.next
	}
	if h.next == nil {
		h.lane.last = h.prev
	} else {
		h.next.prev = h.prev
	}
	h.prev, h.next = nil, nil
}

func (h *AdHocHost) waits() bool { return h.Attempt.ID == "" }

// UnderWay reports whether the host's attempt has started and has no result yet.
func (h *AdHocHost) UnderWay() bool { return !h.waits() && h.Attempt.Ended.IsZero() }

// Over reports whether the host has its result.
func (h *AdHocHost) Over() bool { return !h.waits() && !h.Attempt.Ended.IsZero() }

// book notes what an attempt takes (1) or gives back (-1).
func (s *AdHoc) book(h *AdHocHost, n int) {
	s.usage.take(h.Host, h.Rung, nil, n)
	for _, name := range h.Host.Groups {
		s.usage.group[name] += n
	}
}

// Counts are the run's hosts in numbers, now.
func (s *AdHoc) Counts() RunCounts {
	c := s.counts
	c.Results = make(map[Class]int, len(s.counts.Results))
	for k, n := range s.counts.Results {
		c.Results[k] = n
	}
	return c
}

// Work lists the jobs that ought to be running, in the order of the declaration. It follows from the journal alone.
func (s *AdHoc) Work() []Job {
	hosts := make([]*AdHocHost, 0, len(s.active))
	for _, h := range s.active {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(x, y *AdHocHost) int { return x.place - y.place })
	jobs := make([]Job, len(hosts))
	for i, h := range hosts {
		jobs[i] = s.job(h)
	}
	return jobs
}

// Job is what a host's attempt under way does; false: none is.
func (s *AdHoc) Job(host string) (Job, bool) {
	h := s.active[host]
	if h == nil {
		return Job{}, false
	}
	return s.job(h), true
}

func (s *AdHoc) job(h *AdHocHost) Job {
	return Job{ID: h.Attempt.ID, Incident: s.ID, Kind: JobRepair, Host: *h.Host, Rung: h.Host.Ladder[h.Rung], Playbook: s.Declared.Playbook.Digest,
		Reboot: s.Declared.Reboot, Timeout: h.Attempt.Timeout, Plain: s.Declared.Plain}
}
