package restore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// power lets a worker go on for some steps; then its machine is off: nothing of it runs any further, not even its clean-up.
type power struct {
	steps int32 // after which it goes off; 0: never
	made  atomic.Int32
	off   chan struct{} // closed: it is off
	bury  chan struct{} // closed: the test is over, and what stands still may end
	names []string
}

func newPower(steps int) *power {
	return &power{steps: int32(steps), off: make(chan struct{}), bury: make(chan struct{})}
}

func (p *power) step(what string) {
	n := p.made.Add(1)
	if p.steps == 0 {
		p.names = append(p.names, what)
		return
	}
	if n == p.steps {
		close(p.off)
	}
	if n >= p.steps {
		<-p.bury
		runtime.Goexit()
	}
}

// until gives the worker's job to power until it goes off, or to its end.
func (x *site) until(p *power, work Work) (r Result, ended bool) {
	x.Helper()
	m := x.machine
	m.step = p.step
	w, err := newWorker(x.cfg, m)
	if err != nil {
		x.Fatal(err)
	}
	results := ask(w, work)
	select {
	case r = <-results:
		w.Close()
		return r, true
	case <-p.off:
	}
	_ = w.lock.Close() // as a process that is gone
	x.Cleanup(func() {
		close(p.bury)
		w.mu.Lock()
		jobs := slices.Collect(maps.Values(w.jobs))
		w.mu.Unlock()
		for _, j := range jobs {
			w.end(j, nil)
		}
		w.group.Wait()
	})
	return Result{}, false
}

// The machine goes off after every single thing that a restore leaves on disk: of one and two data sets, files and folders, with old data and
// without, where names can be exchanged and where not, and in restores that go well, that fail their check, and that must swap back. Then the
// coordinator asks again, or stops the job, or says nothing. Nothing is lost at any moment, and what is live is whole, and of one time.
func TestCrashAtEveryStep(t *testing.T) {
	type world struct {
		sets      []string
		exchanges bool
		trouble   string
	}
	var worlds []world
	for _, sets := range [][]string{{"one"}, {"none"}, {"one", "two"}, {"file", "none"}, {"none", "file"}} {
		for _, exchanges := range []bool{true, false} {
			for _, trouble := range []string{"", "check", "swap"} {
				worlds = append(worlds, world{sets, exchanges && canExchange, trouble})
			}
		}
	}
	begin := func(t *testing.T, v world) (*site, Work) {
		x := newSite(t)
		x.machine.moves = v.exchanges
		if v.trouble == "check" {
			x.backend.writes = "bad"
		}
		last := v.sets[len(v.sets)-1]
		x.machine.fail = func(from, to string) error {
			if target := filepath.Join(x.dir, last); v.trouble == "swap" && to == target && strings.Contains(from, "-new-") {
				return errors.New("the disk says no")
			} else if v.trouble == "swap" && v.exchanges && to == target {
				if _, err := os.Lstat(target); err == nil && holds(t, from) == "new" {
					return errors.New("the disk says no")
				}
			}
			return nil
		}
		var sets []SetWork
		for _, name := range v.sets {
			s := x.set(name)
			s.Set.Engine, s.Level = "fake", 3
			sets = append(sets, s)
		}
		return x, x.job("db1/1", sets...)
	}
	whole := func(x *site, v world, when string) (isNew bool) {
		x.Helper()
		news := 0
		for _, name := range v.sets {
			live := x.live(name)
			old := ""
			if found, _ := filepath.Glob(filepath.Join(x.dir, name+".blackstart-old-*")); len(found) > 0 {
				old = holds(x.T, found[0])
			}
			existed := !strings.Contains(name, "none")
			switch {
			case live == "new":
				news++
			case live == "" && (!existed || !v.exchanges):
			case live != "old":
				x.Fatalf("%s: %s holds %q", when, name, live)
			}
			if existed && live != "old" && old != "old" {
				x.Fatalf("%s: the old data of %s is lost: live %q, kept %q", when, name, live, old)
			}
		}
		return news == len(v.sets)
	}
	settled := func(x *site, v world, when string) {
		x.Helper()
		isNew := whole(x, v, when)
		for _, name := range v.sets {
			if live := x.live(name); !isNew && live != "old" && (live != "" || !strings.Contains(name, "none")) {
				x.Errorf("%s: %s holds %q, and not all of it is new", when, name, live)
			}
		}
		if down := x.stopped(); len(down) > 0 {
			x.Errorf("%s: %q stand still", when, down)
		}
		if left := x.remains(); len(left) > 0 {
			x.Errorf("%s: left beside: %q", when, left)
		}
	}
	for i, v := range worlds {
		t.Run(fmt.Sprintf("%s exchanges=%v trouble=%s", strings.Join(v.sets, "+"), v.exchanges, v.trouble), func(t *testing.T) {
			x, work := begin(t, v)
			p := newPower(0)
			x.until(p, work)
			settled(x, v, "without a crash")
			for n := 1; n <= len(p.names); n++ {
				for mode, next := range []string{"ask", "stop", "silence", "crash again"} {
					if (n+mode+i)%2 == 1 {
						continue // another world's
					}
					x, work := begin(t, v)
					when := fmt.Sprintf("step %d (%s), then %s", n, p.names[n-1], next)
					if r, ended := x.until(newPower(n), work); ended {
						t.Fatalf("%s: ended %+v", when, r)
					}
					atCrash := whole(x, v, when)
					if next == "crash again" {
						x.until(newPower(1+(n*7)%11), work)
						whole(x, v, when)
					}
					restores := x.backend.count(v.sets[0])
					w := x.open()
					switch next {
					case "silence":
						w.group.Wait()
						settled(x, v, when)
						if x.backend.count(v.sets[0]) != restores {
							t.Errorf("%s: it is restored unasked", when)
						}
					case "stop":
						w.Stop(work.Incident, work.Job)
					}
					r := x.do(w, work)
					w.Close()
					settled(x, v, when)
					isNew := whole(x, v, when)
					switch r.Class {
					case Succeeded:
						if !isNew || v.trouble != "" {
							t.Errorf("%s: said to have succeeded", when)
						}
						for i, s := range r.Sets {
							if kept := holds(t, s.Kept); !s.Swapped || s.Kept != "" && kept != "old" || (s.Kept == "") != strings.Contains(v.sets[i], "none") {
								t.Errorf("%s: %+v keeps %q", when, s, kept)
							}
						}
					case Cancelled:
						if isNew || next != "stop" || atCrash {
							t.Errorf("%s: said to be cancelled", when)
						}
					default:
						if isNew || v.trouble == "" {
							t.Errorf("%s: ended %s, %s (%s)", when, r.Class, r.Signature, r.Detail)
						}
					}
					w = x.open()
					again := x.do(w, work)
					w.Close()
					if !again.Joined || again.Class != r.Class || again.Boot != r.Boot || len(again.Sets) != len(r.Sets) {
						t.Errorf("%s: told %+v at first and %+v again", when, r, again)
					}
				}
			}
		})
	}
}

// A check that the machine goes off in leaves nothing behind once the agent runs again, asked or not.
func TestCrashOfACheckLeavesNoScratch(t *testing.T) {
	x := newSite(t)
	check := func() Work {
		s := x.set("one")
		s.Set.Engine, s.Level = "fake", 3
		work := x.job("check", s)
		work.Kind = KindCheck
		return work
	}
	p := newPower(0)
	x.until(p, check())
	for n := 1; n <= len(p.names); n++ {
		x = newSite(t)
		work := check()
		if _, ended := x.until(newPower(n), work); ended {
			t.Fatalf("step %d: ended", n)
		}
		w := x.open()
		w.group.Wait()
		if left := x.remains(); len(left) > 0 {
			t.Errorf("step %d (%s): left %q", n, p.names[n-1], left)
		}
		if r := x.do(w, work); r.Class != Succeeded || x.live("one") != "old" {
			t.Errorf("step %d (%s): %+v", n, p.names[n-1], r)
		}
		w.Close()
	}
}
