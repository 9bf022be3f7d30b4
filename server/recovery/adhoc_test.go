package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func runRequest(f Fleet) RunRequest {
	return RunRequest{Run: "RUN-1", Playbook: testPlaybook(), Scripts: []RunScript{{EnvLinux, "true\n"}}, Fleet: f}
}

// adHoc is a run with its journal.
type adHoc struct {
	*AdHoc

	entries []Entry
	now     time.Time
}

func newAdHoc(tb tb, r RunRequest) *adHoc {
	tb.Helper()
	d, err := NewRun(r)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	x := &adHoc{AdHoc: NewAdHoc(), now: t0}
	x.apply(d)
	return x
}

func (x *adHoc) apply(events ...Event) {
	for _, e := range events {
		entry := Entry{Seq: x.Seq + 1, At: x.now, Actor: "engine", Event: e}
		x.Apply(entry)
		x.entries = append(x.entries, entry)
	}
}

// step decides and applies, and returns the ids of the attempts that start.
func (x *adHoc) step(stopping bool, done ...Finished) []string {
	x.now = x.now.Add(time.Second)
	events := x.Decide(done, stopping, x.now)
	x.apply(events...)
	var started []string
	for _, e := range events {
		if v, ok := e.(*AttemptStarted); ok {
			started = append(started, v.Attempt.ID)
		}
	}
	return started
}

func finished(class Class, ids ...string) []Finished {
	var list []Finished
	for _, id := range ids {
		host, _, _ := strings.Cut(id, "/")
		list = append(list, Finished{Job: id, Host: host, Result: Result{Class: class}})
	}
	return list
}

func TestARunIsDeclared(t *testing.T) {
	host := func(change func(*Host)) Host {
		h := flat(1).Hosts[0]
		h.Name = "x"
		change(&h)
		return h
	}
	for _, c := range []struct {
		name   string
		host   Host
		change func(*RunRequest)
		rung   string
		why    string
	}{
		{"the first rung", host(func(*Host) {}), func(*RunRequest) {}, "own", ""},
		{"a rung by name", host(func(*Host) {}), func(r *RunRequest) { r.Rung = "rescue" }, "rescue", ""},
		{"a rung that it has not", host(func(*Host) {}), func(r *RunRequest) { r.Rung = "ilo" }, "", "its ladder has no rung ilo, only own, rescue, hands"},
		{"a person's rung by name", host(func(*Host) {}), func(r *RunRequest) { r.Rung = "hands" }, "", "it is a person's"},
		{"no ssh rung", host(func(h *Host) { h.Ladder = h.Ladder[2:] }), func(*RunRequest) {}, "", "its ladder has no ssh rung"},
		{"another product", host(func(h *Host) { h.EDR.Product = "" }), func(*RunRequest) {}, "", "playbook edr is for hosts that run edr, and this one runs none that the fleet file names"},
		{"another OS", host(func(*Host) {}), func(r *RunRequest) { r.Playbook.Match.OS = []string{"windows"} }, "", "playbook edr is for windows, and this host is linux"},
		{"no script for it", host(func(h *Host) { h.Ladder = h.Ladder[1:] }), func(r *RunRequest) { r.Playbook.Environments = []string{EnvLinux} }, "", "rescue: playbook edr has no script for rescue-linux"},
		{"no runner for it", host(func(h *Host) { h.Ladder[0].Environment = EnvWindowsSafeMode; h.Ladder = h.Ladder[:1] }),
			func(r *RunRequest) { r.Playbook.Environments = []string{EnvWindowsSafeMode} }, "", "own: this version cannot run scripts in windows-safe-mode"},
		{"a restarting rung where that is forbidden", host(func(*Host) {}), func(r *RunRequest) { r.Rung = "rescue"; r.Playbook.Reboot = RebootForbidden },
			"", "it restarts the host, which playbook edr forbids"},
		{"a script in a rescue system", host(func(h *Host) { h.Ladder = h.Ladder[1:] }), func(r *RunRequest) { r.Plain = true; r.Playbook.Environments = []string{EnvLinux} },
			"", "its first usable rung is rescue, and a script of no playbook runs in a rescue system only where that rung is asked for by name"},
	} {
		f := flat(1)
		f.Hosts[0] = c.host
		r := runRequest(f)
		c.change(&r)
		d, err := NewRun(r)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := d.Hosts[0]; got.RungName != c.rung || got.Refused != c.why || (got.Rung < 0) != (c.why != "") {
			t.Errorf("%s: %+v, want rung %q, %q", c.name, got, c.rung, c.why)
		}
		if got := len(d.Fleet.Hosts); (got == 0) != (c.why != "") {
			t.Errorf("%s: %d hosts take part", c.name, got)
		}
	}
}

func TestARunIsRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*RunRequest)
		kind   ErrorKind
		want   string
	}{
		{func(r *RunRequest) { r.Run = "" }, KindInvalid, "a run needs a name"},
		{func(r *RunRequest) { r.Fleet.Hosts = nil }, KindInvalid, "no host is chosen"},
		{func(r *RunRequest) { r.Scripts = nil }, KindInvalid, "playbook edr has no script"},
		{func(r *RunRequest) { r.Fleet.Hosts = append(r.Fleet.Hosts, r.Fleet.Hosts[0]) }, KindInvalid, "host h000 is chosen twice"},
		{func(r *RunRequest) { r.Reboot, r.Playbook.Reboot = true, RebootForbidden }, KindRefused, "playbook edr forbids to restart a host"},
	} {
		r := runRequest(flat(2))
		c.change(&r)
		_, err := NewRun(r)
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || !strings.HasPrefix(e.Message, c.want) {
			t.Errorf("%v, want %s: %s", err, c.kind, c.want)
		}
	}
}

// A run restarts no more of a group than may be down together, for it does not wait until they are back.
func TestARunRestartsOnlyAsManyAsMayBeDown(t *testing.T) {
	f := flat(5)
	f.Groups = []Group{{Name: "five", MaxAtOnce: 3, MaxDown: 2}}
	for i := range f.Hosts {
		f.Hosts[i].Groups = []string{"five"}
	}
	r := runRequest(f)
	d, err := NewRun(r)
	if err != nil || len(d.Fleet.Hosts) != 5 {
		t.Fatalf("without a restart %d of 5 take part, %v", len(d.Fleet.Hosts), err)
	}
	r.Reboot = true
	if d, err = NewRun(r); err != nil || len(d.Fleet.Hosts) != 2 || !strings.HasPrefix(d.Hosts[2].Refused, "2 of group five will be restarted by this run") {
		t.Fatalf("with a restart: %+v, %v", d, err)
	}
	x := newAdHoc(t, r)
	x.step(false)
	if job, ok := x.Job("h000"); !ok || !job.Reboot || job.Plain || job.Incident != "RUN-1" || job.ID != "h000/1" || job.Timeout != 8*time.Minute || job.Rung.Name != "own" {
		t.Errorf("the job is %+v, %v", job, ok)
	}
}

// What limits the run is in its declaration: what its hosts use, and hosts at once as a person asked.
func TestARunKeepsItsLimits(t *testing.T) {
	f := flat(2)
	f.Hosts[0].Resources, f.Hosts[1].Groups = []string{"hall"}, []string{"pair"}
	f.Resources = []Resource{{"san", 1}, {"hall", 2}, {ResourceSSH, 7}}
	f.Groups = []Group{{Name: "pair", MaxAtOnce: 1}, {Name: "other", MaxAtOnce: 1}}
	for _, c := range []struct{ asked, want int }{{0, 7}, {3, 3}, {50, 50}} {
		r := runRequest(f)
		r.AtOnce = c.asked
		d, err := NewRun(r)
		if err != nil {
			t.Fatal(err)
		}
		if want := []Resource{{"hall", 2}, {ResourceSSH, c.want}}; !reflect.DeepEqual(d.Fleet.Resources, want) {
			t.Errorf("resources %v, want %v", d.Fleet.Resources, want)
		}
		if len(d.Fleet.Groups) != 1 || d.Fleet.Groups[0].Name != "pair" {
			t.Errorf("groups %v", d.Fleet.Groups)
		}
	}
	f.Resources = nil
	if d, err := NewRun(runRequest(f)); err != nil || !reflect.DeepEqual(d.Fleet.Resources, []Resource{{ResourceSSH, DefaultSSHSlots}}) {
		t.Errorf("resources %v, %v", d.Fleet.Resources, err)
	}
}

func TestARunFromStartToEnd(t *testing.T) {
	f := flat(4)
	f.Resources = []Resource{{ResourceSSH, 2}}
	x := newAdHoc(t, runRequest(f))
	if got := x.step(false); !slices.Equal(got, []string{"h000/1", "h001/1"}) {
		t.Fatalf("%v start", got)
	}
	if why := x.Why(); len(why) != 2 || why["h002"].Code != WaitSlot {
		t.Errorf("they wait for %v", why)
	}
	if job, ok := x.Job("h000"); !ok || job.Reboot || job.Kind != JobRepair {
		t.Errorf("the job is %+v, %v: nothing is restarted unasked", job, ok)
	}
	x.apply(&AttemptStarted{Attempt: Attempt{ID: "h000/2", Host: "h000"}}, &AttemptStarted{Attempt: Attempt{Host: "h002"}}, &AttemptStarted{Attempt: Attempt{ID: "h009/1", Host: "h009"}})
	if c := x.Counts(); c.UnderWay != 2 || c.Waiting != 2 || x.Work()[0].ID != "h000/1" {
		t.Fatalf("strange entries have changed something: %+v, %+v", c, x.Work())
	}
	before := len(x.entries)
	if got := x.step(false, append(finished(Failed, "h001/1"), finished(Succeeded, "h001/1", "h009/1", "h003/1")...)...); !slices.Equal(got, []string{"h002/1"}) {
		t.Fatalf("%v start", got)
	}
	if n := len(x.entries) - before; n != 2 {
		t.Errorf("%d events follow from one result: those that come twice, or of nobody's attempt, change nothing", n)
	}
	if got := x.step(true, finished(Succeeded, "h000/1", "h002/1")...); got != nil || !x.Ended.IsZero() {
		t.Fatalf("%v start while stopping; ended %v", got, x.Ended)
	}
	if got := x.step(false); !slices.Equal(got, []string{"h003/1"}) {
		t.Fatalf("%v start", got)
	}
	lost := finished(Unreachable, "h003/1")
	lost[0].Resumed = true
	x.step(false, lost...)
	if x.Ended.IsZero() || x.Decide(nil, false, x.now) != nil {
		t.Fatal("it has not ended, or goes on")
	}
	want := map[Class]int{Succeeded: 2, Failed: 1, Lost: 1}
	if c := x.Counts(); !reflect.DeepEqual(c.Results, want) || c.Ended() != 4 || c.Waiting != 0 || c.UnderWay != 0 {
		t.Errorf("%+v", c)
	}
	end := x.entries[len(x.entries)-1].Event.(*RunEnded)
	if end.Hosts != 4 || end.Succeeded != 2 || end.Reason != "every host has its result: 1 failed, 1 lost, 2 succeeded" {
		t.Errorf("%+v", end)
	}
}

// Councils get a fair share of a scarce resource, and one whose site is full does not keep the others waiting.
func TestARunSharesFairly(t *testing.T) {
	f := flat(12)
	f.Resources = []Resource{{ResourceSSH, 4}, {"hall", 1}}
	for i := range f.Hosts {
		f.Hosts[i].Council = map[bool]string{true: "big", false: "small"}[i < 8]
		if i >= 8 {
			f.Hosts[i].Resources = []string{"hall"}
		}
	}
	x := newAdHoc(t, runRequest(f))
	if got := x.step(false); !slices.Equal(got, []string{"h000/1", "h008/1", "h001/1", "h002/1"}) {
		t.Errorf("%v start", got)
	}
	if got := x.step(false, finished(Succeeded, "h000/1", "h008/1")...); !slices.Equal(got, []string{"h009/1", "h003/1"}) {
		t.Errorf("%v start", got)
	}
	if why := x.Why()["h010"]; why.Code != WaitSlot {
		t.Errorf("h010 waits for %v", why)
	}
}

// A declaration from a strange journal makes nothing panic.
func TestAdHocApplyIsTotal(t *testing.T) {
	for _, f := range eventTypes {
		s := NewAdHoc()
		e, n := f(), 0
		s.Apply(Entry{Seq: 1, At: t0, Event: e})
		filled(reflect.ValueOf(e).Elem(), &n)
		s.Apply(Entry{Seq: 2, At: t0, Event: e})
		s.Apply(Entry{Seq: 3, At: t0, Event: e})
		if s.Seq != 3 {
			t.Errorf("seq %d", s.Seq)
		}
		s.Decide(nil, false, t0)
		s.Work()
		s.Why()
		s.Counts()
	}
}

// anyRun draws a run whose limits bite.
func anyRun(t *rapid.T) RunRequest {
	f := Fleet{Name: "any", Resources: []Resource{{ResourceSSH, 1 + below(t, 6, "ssh")}, {"hall", 1 + below(t, 4, "hall")}, {"san", 1 + below(t, 3, "san")}}}
	for i := range 3 {
		f.Groups = append(f.Groups, Group{Name: fmt.Sprintf("g%d", i), MaxAtOnce: below(t, 4, "at once"), MaxDown: below(t, 3, "down")})
	}
	for i := range 1 + below(t, 40, "hosts") {
		h := Host{Name: fmt.Sprintf("h%02d", i), OS: "linux", EDR: EDR{Product: "edr"}, Ladder: rungs(), Council: fmt.Sprintf("c%d", below(t, 3, "council"))}
		for _, r := range []string{"hall", "san"} {
			if chance(t, 40, r) {
				h.Resources = append(h.Resources, r)
			}
		}
		for _, g := range f.Groups {
			if chance(t, 25, g.Name) {
				h.Groups = append(h.Groups, g.Name)
			}
		}
		if chance(t, 10, "no rung") {
			h.Ladder = h.Ladder[2:]
		}
		f.Hosts = append(f.Hosts, h)
	}
	r := runRequest(f)
	r.Reboot = chance(t, 20, "reboot")
	r.AtOnce = below(t, 8, "forks")
	return r
}

// Whatever comes in whichever order: no limit is ever exceeded, no host is tried twice, nobody waits for nothing, the fold of
// the journal is the state, and every run comes to its end.
func TestRunsKeepTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRun(t)
		x := newAdHoc(t, r)
		slots := map[string]int{}
		for _, res := range x.Declared.Fleet.Resources {
			slots[res.Name] = res.Slots
		}
		hosts := map[string]Host{}
		for _, h := range r.Fleet.Hosts {
			hosts[h.Name] = h
		}
		running, starts := map[string]bool{}, map[string]int{}
		var late []Finished
		for range 10_000 {
			var done []Finished
			for id := range sorted(running) {
				if chance(t, 40, "ends") {
					done = append(done, finished(rapid.SampledFrom([]Class{Succeeded, Failed, Unreachable, TimedOut, Lost}).Draw(t, "class"), id)...)
					delete(running, id)
				}
			}
			late = append(late, done...)
			if chance(t, 10, "ghost") {
				done = append(done, late...)
			}
			stopping := chance(t, 10, "stopping")
			before := fmt.Sprint(x.usage)
			events := x.Decide(done, stopping, x.now)
			if again := x.Decide(done, stopping, x.now); !reflect.DeepEqual(events, again) || fmt.Sprint(x.usage) != before {
				t.Fatalf("to decide has changed something: %v, then %v", events, again)
			}
			if chance(t, 5, "crash") {
				events = nil // nothing of it was written; the remedy still has the results
				for _, f := range done {
					running[f.Job] = starts[f.Job] == 1 && x.active[f.Host] != nil && x.active[f.Host].Attempt.ID == f.Job
					if !running[f.Job] {
						delete(running, f.Job)
					}
				}
			}
			x.apply(events...)
			for _, e := range events {
				if v, ok := e.(*AttemptEnded); ok {
					delete(running, v.Attempt) // also by a result that had been thought lost
				}
				if v, ok := e.(*AttemptStarted); ok {
					id := v.Attempt.ID
					if starts[id]++; starts[id] > 1 || stopping || v.Attempt.Rung != 0 {
						t.Fatalf("%s starts %d times, on rung %d, stopping: %v", id, starts[id], v.Attempt.Rung, stopping)
					}
					running[id] = true
				}
			}
			x.keeps(t, running, hosts, slots)
			if !x.Ended.IsZero() {
				break
			}
			if len(running) == 0 && !stopping && events == nil && !chance(t, 50, "crash again") && x.Decide(nil, false, x.now) == nil {
				t.Fatalf("nothing is under way and nothing follows; they wait for %v", x.Why())
			}
		}
		if x.Ended.IsZero() || len(starts) != len(x.Declared.Fleet.Hosts) {
			t.Fatalf("ended %v, %d of %d hosts tried", x.Ended, len(starts), len(x.Declared.Fleet.Hosts))
		}
		x.folds(t)
	})
}

// keeps counts what is taken anew, from the attempts under way alone.
func (x *adHoc) keeps(t *rapid.T, running map[string]bool, hosts map[string]Host, slots map[string]int) {
	var want, got []string
	used, grouped := map[string]int{}, map[string]int{}
	for id := range sorted(running) {
		want = append(want, id)
		host, _, _ := strings.Cut(id, "/")
		used[ResourceSSH]++
		for _, r := range hosts[host].Resources {
			used[r]++
		}
		for _, g := range hosts[host].Groups {
			grouped[g]++
		}
	}
	for _, j := range x.Work() {
		got = append(got, j.ID)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("work is %v, under way are %v", got, want)
	}
	for name, n := range used {
		if n > slots[name] {
			t.Fatalf("%d attempts use %s, which has %d slots", n, name, slots[name])
		}
	}
	for _, g := range x.Declared.Fleet.Groups {
		if grouped[g.Name] > max(1, g.MaxAtOnce) {
			t.Fatalf("%d of group %s are in work", grouped[g.Name], g.Name)
		}
	}
	for host, r := range x.Why() {
		if r.Text == "" || running[host+"/1"] {
			t.Fatalf("%s waits: %v", host, r)
		}
	}
}

// folds reads the journal as another program would, from its bytes.
func (x *adHoc) folds(t *rapid.T) {
	again := NewAdHoc()
	for _, e := range x.entries {
		data, err := EncodeEvent(e.Event)
		if err != nil {
			t.Fatal(err)
		}
		if e.Event, err = DecodeEvent(e.Event.Kind(), data); err != nil {
			t.Fatal(err)
		}
		again.Apply(e)
	}
	view := func(s *AdHoc) string {
		data, err := json.Marshal([]any{s.ID, s.Seq, s.Began, s.Ended, s.Counts(), s.Hosts, s.Work()})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if a, b := view(x.AdHoc), view(again); a != b {
		t.Fatalf("the fold is\n%s\nwant\n%s", b, a)
	}
}

// The cost of a run grows with its hosts, not with their square: what all hosts of a full site wait for is looked at once.
func TestARunOfManyHostsIsCheap(t *testing.T) {
	perHost := func(n int) time.Duration {
		f := flat(1)
		h := f.Hosts[0]
		f.Hosts = nil
		f.Resources = []Resource{{ResourceSSH, 256}, {"hall", 4}}
		for i := range n {
			h.Name, h.Resources = fmt.Sprintf("h%06d", i), []string{"hall"}
			f.Hosts = append(f.Hosts, h)
		}
		x := newAdHoc(t, runRequest(f))
		began := time.Now()
		for ids := x.step(false); len(ids) > 0; {
			ids = append(ids[1:], x.step(false, finished(Succeeded, ids[0])...)...)
		}
		if x.Ended.IsZero() {
			t.Fatal("it has not ended")
		}
		return time.Since(began) / time.Duration(n)
	}
	best := func(n int) time.Duration { return min(perHost(n), perHost(n), perHost(n)) } // other programs run too
	small, large := best(1000), best(16_000)
	t.Logf("a host costs %v in a run of 1000 and %v in one of 16000", small, large)
	if large > 8*small {
		t.Errorf("a host costs %v in a run of 1000 and %v in one of 16000", small, large)
	}
}
