package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A job that is asked for twice is done once, and tells its newest asker.
func TestJoin(t *testing.T) {
	x := newSite(t)
	x.backend.hold = make(chan struct{})
	w := x.worker()
	work := x.job("db1/1", x.set("one"))
	first := ask(w, work)
	<-x.backend.entered
	stages := make(chan string, 100)
	second := make(chan Result, 1)
	w.Do(work, func(r Report) {
		if r.Incident != "inc-1" || r.Job != "db1/1" {
			t.Errorf("told of %q %q", r.Incident, r.Job)
		}
		stages <- r.Stage
		if r.Result != nil {
			second <- *r.Result
		}
	})
	if got := <-stages; got != "restoring one" {
		t.Errorf("who joins is told %q at first", got)
	}
	close(x.backend.hold)
	r := x.await(second)
	x.want(r, Succeeded, "")
	if !r.Joined || x.backend.count("one") != 1 || x.live("one") != "new" {
		t.Errorf("joined %v, restored %d times, live %q", r.Joined, x.backend.count("one"), x.live("one"))
	}
	select {
	case r := <-first:
		t.Errorf("the earlier asker was told %+v", r)
	default:
	}
}

func TestResultIsToldAgain(t *testing.T) {
	x := newSite(t)
	work := x.job("db1/1", x.set("one"))
	w := x.open()
	r := x.do(w, work)
	x.want(r, Succeeded, "")
	if r.Joined || r.Boot != "boot-1" {
		t.Errorf("first told %+v", r)
	}
	again := x.do(w, work)
	w.Close()
	x.boot = "boot-2"
	w = x.worker()
	later := x.do(w, work)
	for _, a := range []Result{again, later} {
		if !a.Joined || a.Class != Succeeded || a.Boot != "boot-1" || len(a.Sets) != 1 || a.Sets[0].Kept != r.Sets[0].Kept || a.Took != r.Took {
			t.Errorf("told again %+v; at first %+v", a, r)
		}
	}
	if n := x.backend.count("one"); n != 1 {
		t.Errorf("restored %d times", n)
	}
	w.Stop("inc-1", "db1/1") // is too late
	x.want(x.do(w, work), Succeeded, "")
}

func TestStopBeforeTheSwap(t *testing.T) {
	for _, at := range []string{"waiting", "restoring", "stopping programs", "not known yet"} {
		t.Run(at, func(t *testing.T) {
			x := newSite(t)
			x.backend.hold = make(chan struct{})
			work := x.job("db1/1", x.set("one"))
			inStop := make(chan struct{})
			if at == "stopping programs" {
				close(x.backend.hold)
				run := x.machine.run
				x.machine.run = func(ctx context.Context, argv []string, said string) error {
					err := run(ctx, argv, said)
					if argv[0] == "stop" {
						close(inStop)
						<-ctx.Done()
						err = ctx.Err()
					}
					return err
				}
			}
			w := x.worker()
			switch at {
			case "waiting":
				other := x.job("db1/0", x.set("one"))
				ask(w, other)
				<-x.backend.entered
				defer w.Stop("inc-1", "db1/0")
			case "not known yet":
				w.Stop("inc-1", "db1/1")
				x.want(x.do(w, work), Cancelled, "stopped")
			}
			c := ask(w, work)
			switch at {
			case "restoring":
				<-x.backend.entered
			case "stopping programs":
				<-inStop
			}
			w.Stop("inc-1", "db1/1")
			r := x.await(c)
			x.want(r, Cancelled, "stopped")
			x.want(x.do(w, work), Cancelled, "stopped")
			if live := x.live("one"); live != "old" || r.Sets != nil && r.Sets[0].Swapped {
				t.Errorf("live %q, %+v", live, r.Sets)
			}
			if at == "waiting" {
				return // the other one works
			}
			if left := x.remains(); len(left) > 0 {
				t.Errorf("left %q", left)
			}
			if down := x.stopped(); len(down) > 0 {
				t.Errorf("%q stand still", down)
			}
		})
	}
}

// Once the swap has begun neither Stop nor Close keeps a job from its end.
func TestNothingStopsASwap(t *testing.T) {
	x := newSite(t)
	work := x.job("db1/1", x.set("one"))
	var w *Worker
	closed := make(chan struct{})
	x.machine.step = func(what string) {
		if what == "exchange" || what == "rename" && !canExchange {
			w.Stop("inc-1", "db1/1")
			go func() {
				w.Close()
				close(closed)
			}()
			<-w.ctx.Done()
		}
	}
	w = x.open()
	r := x.do(w, work)
	<-closed
	x.want(r, Succeeded, "")
	if x.live("one") != "new" || len(x.stopped()) > 0 {
		t.Errorf("live %q, standing still %q", x.live("one"), x.stopped())
	}
}

// A job that Close interrupts tells nothing, and is done when it is asked for again.
func TestCloseInterrupts(t *testing.T) {
	for _, at := range []string{"restoring", "stopping programs"} {
		x := newSite(t)
		work := x.job("db1/1", x.set("one"))
		x.backend.hold = make(chan struct{})
		inStop := make(chan struct{}, 2)
		plain := x.machine.run
		if at == "stopping programs" {
			close(x.backend.hold)
			x.machine.run = func(ctx context.Context, argv []string, said string) error {
				err := plain(ctx, argv, said)
				if argv[0] == "stop" {
					inStop <- struct{}{}
					<-ctx.Done()
				}
				return err
			}
		}
		w := x.open()
		c := ask(w, work)
		<-x.backend.entered
		if at == "stopping programs" {
			<-inStop
		}
		w.Close()
		select {
		case r := <-c:
			t.Errorf("%s: told %+v", at, r)
		default:
		}
		if down := x.stopped(); len(down) > 0 || x.live("one") != "old" {
			t.Errorf("%s: live %q, standing still %q", at, x.live("one"), down)
		}
		w.Do(work, func(Report) { t.Error("told after Close") })
		x.backend.hold, x.machine.run = nil, plain
		w = x.open()
		r := x.do(w, work)
		w.Close()
		x.want(r, Succeeded, "")
		if !r.Joined || x.live("one") != "new" || len(x.remains()) > 0 {
			t.Errorf("%s: %+v, live %q, left %q", at, r, x.live("one"), x.remains())
		}
	}
}

// Four at once; the others wait in order, up to a bound; and whoever has ended is not "busy".
func TestTurns(t *testing.T) {
	x := newSite(t)
	w := x.worker()
	list := func(id string) Work {
		work := x.job(id, x.set("none-"+id))
		work.Kind = KindList
		return work
	}
	ended := list("ended")
	x.want(x.do(w, ended), Succeeded, "")
	<-x.backend.entered

	x.backend.hold = make(chan struct{})
	var results []<-chan Result
	waiting := func(n int) func() bool { return func() bool { return len(w.queue) == n } }
	for i := range atOnce + maxWaiting {
		results = append(results, ask(w, list(fmt.Sprint(i))))
		w.until(t, waiting(max(0, i+1-atOnce)))
	}
	for range atOnce {
		<-x.backend.entered
	}
	busy := list("busy")
	x.want(x.do(w, busy), Unreachable, "agent busy")
	if r := x.do(w, ended); r.Class != Succeeded {
		t.Errorf("a job that has ended is told as %+v", r)
	}
	close(x.backend.hold)
	for _, c := range results {
		x.want(x.await(c), Succeeded, "")
	}
	if x.backend.most != atOnce {
		t.Errorf("%d at once", x.backend.most)
	}
	x.want(x.do(w, busy), Succeeded, "")
}

// until waits for a condition on what the Worker's lock guards.
func (w *Worker) until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		w.mu.Lock()
		ok := holds()
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
		<-time.After(time.Millisecond)
	}
}

// Jobs that have a target in common, or one target within the other, are never at work together, and keep their order.
func TestOneJobForEachTarget(t *testing.T) {
	x := newSite(t)
	x.backend.hold = make(chan struct{})
	w := x.worker()
	a, inner, other := x.set("one"), x.set("one/inner"), x.set("two")
	first := ask(w, x.job("1", a))
	<-x.backend.entered
	second := ask(w, x.job("2", inner, other))
	w.until(t, func() bool { return len(w.queue) == 1 })
	third := ask(w, x.job("3", other)) // waits behind the second
	w.until(t, func() bool { return len(w.queue) == 2 })
	check := x.job("4", a)
	check.Kind = KindCheck // touches nothing that is live
	fourth := ask(w, check)
	if name := <-x.backend.entered; name != "one" {
		t.Errorf("%s began beside a job with its target", name)
	}
	w.mu.Lock()
	if len(w.active) != 2 || len(w.queue) != 2 || w.queue[0].id != "2" {
		t.Errorf("%d at work and %d waiting", len(w.active), len(w.queue))
	}
	w.mu.Unlock()
	close(x.backend.hold)
	for _, c := range []<-chan Result{first, fourth, third} {
		x.want(x.await(c), Succeeded, "")
	}
	x.await(second)
}

func TestFaultOfThisProgram(t *testing.T) {
	x := newSite(t)
	x.backend.panics = true
	w := x.worker()
	work := x.job("db1/1", x.set("one"))
	x.want(x.do(w, work), Failed, "fault of this program")
	x.want(x.do(w, work), Failed, "fault of this program")
	if x.live("one") != "old" || len(x.remains()) > 0 || x.backend.count("one") != 1 {
		t.Errorf("live %q, left %q, tried %d times", x.live("one"), x.remains(), x.backend.count("one"))
	}
	x.backend.panics = false
	x.want(x.do(w, x.job("db1/2", x.set("one"))), Succeeded, "")
}

func TestReboot(t *testing.T) {
	x := newSite(t)
	work := x.job("db1/1", x.set("one"))
	work.Reboot = true
	restarts := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.restarts
	}
	w := x.open()
	done := make(chan Result, 1)
	w.Do(work, func(r Report) {
		if r.Result == nil {
			return
		}
		if _, err := os.Stat(filepath.Join(w.dir, "inc-1_db1_1", resultFile)); err != nil || restarts() != 0 {
			t.Errorf("told before the result is kept, or after %d restarts: %v", restarts(), err)
		}
		done <- *r.Result
	})
	if r := x.await(done); !r.Rebooted {
		t.Errorf("%+v", r)
	}
	w.group.Wait()
	if restarts() != 1 {
		t.Errorf("restarted %d times", restarts())
	}
	w.Close()
	x.boot = "boot-2"
	w = x.worker()
	if r := x.do(w, work); !r.Rebooted || r.Boot != "boot-1" {
		t.Errorf("told after the restart: %+v", r)
	}
	x.backend.err = &Fault{Unreachable, "repository not there", "It is not there."}
	work.Job = "db1/2"
	r := x.do(w, work)
	x.want(r, Unreachable, "repository not there")
	w.group.Wait()
	if restarts() != 1 || r.Rebooted {
		t.Errorf("restarted %d times, %+v", restarts(), r)
	}
}

// A restart that a crash came before is made up for when the result is told again.
func TestRebootAfterACrash(t *testing.T) {
	x := newSite(t)
	work := x.job("db1/1", x.set("one"))
	work.Reboot = true
	restart := x.cfg.Restart
	x.cfg.Restart = func() error { return errors.New("not now") }
	w := x.open()
	x.do(w, work)
	w.Close()
	x.cfg.Restart = restart
	w = x.open()
	x.do(w, work)
	w.group.Wait()
	w.Close()
	if x.restarts != 1 {
		t.Errorf("restarted %d times", x.restarts)
	}
}

// Progress is told every second, stages at once; the rate is that of the last seconds, and the time left comes from it.
func TestProgress(t *testing.T) {
	x := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		const size = 40_000
		x.backend.entered = make(chan string, 10)
		x.backend.moves = func(p Progress) {
			for i := range 100 { // ten seconds slowly, then ten seconds three times as quick
				p(int64(100*(i+1)), size)
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in synctest
			}
			for i := range 100 {
				p(int64(10_000+300*(i+1)), size)
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in synctest
			}
		}
		w := x.open()
		type told struct {
			at time.Duration
			Report
		}
		began := time.Now()
		var all []told
		done := make(chan struct{})
		w.Do(x.job("db1/1", x.set("one")), func(r Report) {
			all = append(all, told{time.Since(began), r})
			if r.Result != nil {
				close(done)
			}
		})
		<-done
		w.Close()
		var restoring []told
		for i, r := range all {
			if r.Stage != "restoring one" || r.Result != nil {
				continue
			}
			if restoring = append(restoring, r); len(restoring) > 2 && r.at-all[i-1].at < time.Second {
				t.Errorf("told at %v and at %v", all[i-1].at, r.at)
			}
		}
		if n := len(restoring); n < 18 || n > 22 {
			t.Errorf("told %d times in 20 seconds", n)
		}
		near := func(at time.Duration, rate int64, left time.Duration) {
			for _, r := range restoring {
				if r.at >= at {
					if r.Total != size || r.Rate < rate*9/10 || r.Rate > rate*11/10 || (r.Left-left).Abs() > 2*time.Second {
						t.Errorf("after %v: %d of %d, rate %d, left %v; want a rate of %d and %v", r.at, r.Done, r.Total, r.Rate, r.Left, rate, left)
					}
					return
				}
			}
			t.Errorf("nothing was told after %v", at)
		}
		near(8*time.Second, 1000, 32*time.Second)
		near(17*time.Second, 3000, 3*time.Second)
		if last := all[len(all)-1].Result; last.Sets[0].Bytes != size || last.Took < 20*time.Second {
			t.Errorf("ended with %+v", last)
		}
	})
}

func TestOutOfTime(t *testing.T) {
	x := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		x.backend.entered, x.backend.hold = make(chan string, 10), make(chan struct{})
		w := x.open()
		work := x.job("db1/1", x.set("one"))
		began := time.Now()
		r := <-ask(w, work)
		w.Close()
		x.want(r, TimedOut, "out of time")
		if took := time.Since(began); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("let go of after %v", took)
		}
		if x.live("one") != "old" || len(x.remains()) > 0 || len(x.ran()) > 0 {
			t.Errorf("live %q, left %q, ran %q", x.live("one"), x.remains(), x.ran())
		}
	})
}

func TestOneWorkerInAFolder(t *testing.T) {
	x := newSite(t)
	w := x.open()
	if _, err := New(x.cfg); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second worker: %v", err)
	}
	w.Close()
	x.worker()
}

func TestClaimNames(t *testing.T) {
	seen := map[string]string{}
	for _, n := range [][2]string{
		{"a", "b/c"}, {"a", "b_c"}, {"a_b", "c"}, {"a/b", "c"}, {"", "a/b"}, {"a", ""}, {"", "a"}, {"..", ".."}, {"a", ".."}, {"-a", "b"},
		{"ä", "b"}, {"ö", "b"}, {"a", strings.Repeat("x", 300)}, {"a", strings.Repeat("x", 301)}, {"a\x00", "b"}, {"a", "b."},
	} {
		name := claimName(n[0], n[1])
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q are both %s", n, other, name)
		}
		seen[name] = fmt.Sprint(n)
		if len(name) > 90 || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\ `) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			t.Errorf("%q is a bad name", name)
		}
	}
	if name := claimName("inc-1", "db1/3/verify"); name != "inc-1_db1_3_verify" {
		t.Errorf("a plain name became %s", name)
	}
}

// What cannot be read is told as lost: nobody knows what was done.
func TestUnreadableClaimIsLost(t *testing.T) {
	for file, text := range map[string]string{resultFile: "{", recordFile: `{"Stage":"dancing"}`, workFile: `{"Incident":"other","Job":"other"}`} {
		x := newSite(t)
		dir := filepath.Join(x.cfg.StateDir, "work", "inc-1_db1_1")
		lay(t, filepath.Join(dir, file), text, true)
		w := x.open()
		r := x.do(w, x.job("db1/1", x.set("one")))
		w.Close()
		x.want(r, Lost, "claim cannot be read")
		if x.live("one") != "old" || x.backend.count("one") != 0 {
			t.Errorf("%s: it was done", file)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	put := func(name, file string, age time.Duration) {
		path := filepath.Join(dir, name, file)
		lay(t, path, "{}", true)
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range keepClaims {
		put(fmt.Sprintf("day-%d", i), resultFile, time.Hour*time.Duration(i)/20)
	}
	put("young-beyond-the-newest", resultFile, keepLeast-time.Hour)
	put("beyond-the-newest", resultFile, keepLeast+time.Hour)
	put("month", resultFile, keepMost+time.Hour)
	put("not-ended", workFile, keepMost+time.Hour)
	names, removed, err := prune(dir, now)
	slices.Sort(removed)
	if err != nil || !slices.Equal(removed, []string{"beyond-the-newest", "month"}) || len(names) != keepClaims+2 {
		t.Errorf("removed %q, kept %d, %v", removed, len(names), err)
	}
	if ended, known := names["not-ended"]; !known || ended {
		t.Errorf("a job that has not ended: %v, %v", ended, known)
	}
	if !names["day-7"] {
		t.Error("a job that has ended counts as one that has not")
	}
}
