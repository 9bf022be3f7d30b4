package restore

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = time.Hour // of every job here

func restoreJob(id string) recovery.Job {
	return recovery.Job{
		Incident: "i1", ID: id, Kind: recovery.JobRestore, Runner: "db1", Timeout: limit,
		Sets: []recovery.SetWork{{
			Set: recovery.DataSet{Name: "people"}, Repository: recovery.Repository{Name: "vault"},
			Point: recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: "people", Repository: "vault", ID: "p9"}},
		}},
	}
}

func cancelJob(of string) recovery.Job {
	return recovery.Job{Incident: "i1", ID: of + "/cancel", Kind: recovery.JobCancel, Runner: "db1", Of: of, Timeout: limit}
}

// run runs a job; what it returns comes through the channel.
func run(ctx context.Context, h *Hub, job recovery.Job) <-chan recovery.Result {
	out := make(chan recovery.Result, 1)
	go func() { out <- h.Run(ctx, job) }()
	synctest.Wait()
	return out
}

// ended returns the result of a job that must have ended by now.
func ended(t *testing.T, out <-chan recovery.Result) recovery.Result {
	t.Helper()
	synctest.Wait()
	select {
	case res := <-out:
		return res
	default:
		t.Fatal("it has not ended")
		return recovery.Result{}
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a synctest bubble
}

func stillRuns(t *testing.T, out <-chan recovery.Result) {
	t.Helper()
	synctest.Wait()
	select {
	case res := <-out:
		t.Fatalf("it has ended: %+v", res)
	default:
	}
}

// given takes the orders that are due on a link, as "people's" session would: each as its job's id, and one to stop as "stop ID".
func given(t *testing.T, l *Link) []string {
	t.Helper()
	synctest.Wait()
	var ids []string
	select {
	case <-l.Due():
	default:
		return nil
	}
	if err := l.Deliver(func(o Order) error { ids = append(ids, word(o)); return nil }); err != nil {
		t.Fatal(err)
	}
	return ids
}

func word(o Order) string {
	if o.Stop {
		return "stop " + o.Job.ID
	}
	return o.Job.ID
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Fatalf("the agent is told %q, want %q", got, want)
	}
}

func result(id string, class recovery.Class) Report {
	return Report{Incident: "i1", Job: id, Result: &recovery.Result{Class: class, Detail: "as the agent told"}}
}

func TestAConnectedAgentIsGivenTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		other, l := h.Attach("db2", true), h.Attach("db1", true)
		out := run(t.Context(), h, restoreJob("db1/1"))
		expect(t, given(t, other))
		expect(t, given(t, l), "db1/1")
		expect(t, given(t, l))
		pass(time.Minute)
		l.Heard(Report{Incident: "i1", Job: "db1/1", Progress: recovery.Progress{Stage: "restoring people", Done: 5, Total: 9}})
		p, ok := h.Progress("i1", "db1/1")
		if want := (recovery.Progress{At: time.Now(), Stage: "restoring people", Done: 5, Total: 9}); !ok || p != want {
			t.Errorf("progress %+v, %v", p, ok)
		}
		stillRuns(t, out)
		l.Heard(result("db1/1", recovery.Succeeded))
		if res := ended(t, out); res.Class != recovery.Succeeded || res.Joined || res.Detail != "as the agent told" {
			t.Errorf("%+v", res)
		}
		if _, ok := h.Progress("i1", "db1/1"); ok {
			t.Error("the job stays behind")
		}
		empty(t, h)
	})
}

// empty checks that nothing of any job is kept.
func empty(t *testing.T, h *Hub) {
	t.Helper()
	if len(h.jobs)+len(h.of) > 0 {
		t.Errorf("%d jobs and %d runners are still kept", len(h.jobs), len(h.of))
	}
}

// The job's time runs while its agent is away, and the agent's own limit is what is left, less what it takes to collect the result.
func TestALateAgentIsGivenWhatTimeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		h.ConnectWithin = time.Hour
		out := run(t.Context(), h, restoreJob("db1/1"))
		if p, ok := h.Progress("i1", "db1/1"); !ok || p.Stage != "waiting for the agent of db1" {
			t.Errorf("progress %+v, %v", p, ok)
		}
		pass(40 * time.Minute)
		expect(t, given(t, h.Attach("db1", false))) // it was started without restore = yes
		l := h.Attach("db1", true)
		<-l.Due()
		var got Order
		_ = l.Deliver(func(o Order) error { got = o; return nil })
		want := restoreJob("db1/1")
		want.Timeout = 20*time.Minute - 10*time.Second
		if got.Stop || !reflect.DeepEqual(got.Job, want) {
			t.Errorf("it is told %+v", got)
		}
		l.Heard(result("db1/1", recovery.TimedOut))
		if res := ended(t, out); res.Class != recovery.TimedOut {
			t.Errorf("%+v", res)
		}
	})
}

func TestAJobWhoseTimeIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		during    func(*testing.T, *Hub)
		class     recovery.Class
		signature string
		detail    string
	}{
		"nobody came":           {func(*testing.T, *Hub) {}, recovery.Unreachable, "agent not connected", "did not connect in time"},
		"it does no such work":  {func(_ *testing.T, h *Hub) { h.Attach("db1", false) }, recovery.Unreachable, "agent not connected", "restore = yes"},
		"it was never told":     {func(_ *testing.T, h *Hub) { h.Attach("db1", true).Detach() }, recovery.Unreachable, "agent not connected", "nothing was started"},
		"it did not come back":  {func(t *testing.T, h *Hub) { l := h.Attach("db1", true); given(t, l); l.Detach() }, recovery.Lost, "agent did not come back", "look at the machine"},
		"it came back too late": {func(t *testing.T, h *Hub) { given(t, h.Attach("db1", true)); h.Attach("db1", true) }, recovery.Lost, "agent did not come back", "look at the machine"},
		"it says nothing":       {func(t *testing.T, h *Hub) { given(t, h.Attach("db1", true)) }, recovery.Lost, "no end in time", "look at the machine"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, began := New(), time.Now()
				h.ConnectWithin = limit
				out := run(t.Context(), h, restoreJob("db1/1"))
				c.during(t, h)
				res := <-out
				if res.Class != c.class || res.Signature != c.signature || !strings.Contains(res.Detail, c.detail) || time.Since(began) != limit {
					t.Errorf("after %v: %+v", time.Since(began), res)
				}
				if strings.Contains(res.Signature, "db1") {
					t.Errorf("the signature names the host: %q", res.Signature)
				}
				empty(t, h)
			})
		})
	}
}

// A job whose agent was never told of it is given back soon, so that something else can be tried. Who was told is waited for.
func TestAJobWaitsALittleForAnAgentThatWasNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		told  bool
		class recovery.Class
		after time.Duration
	}{
		"never told":     {false, recovery.Unreachable, 3 * time.Minute},
		"told, and gone": {true, recovery.Lost, limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, began := New(), time.Now()
				out := run(t.Context(), h, restoreJob("db1/1"))
				if l := h.Attach("db1", true); c.told {
					given(t, l)
					l.Detach()
				}
				if res := <-out; res.Class != c.class || time.Since(began) != c.after {
					t.Errorf("after %v: %+v", time.Since(began), res)
				}
				empty(t, h)
			})
		})
	}
}

// A connection that is lost neither ends a job nor forgets it: the agent is given it again and joins it by its id.
func TestAnAgentThatComesBackIsGivenTheJobAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		first := h.Attach("db1", true)
		out := run(t.Context(), h, restoreJob("db1/1"))
		expect(t, given(t, first), "db1/1")
		first.Heard(Report{Incident: "i1", Job: "db1/1", Progress: recovery.Progress{Stage: "restoring people", Done: 5, Rate: 7, Left: time.Minute}})
		first.Detach()
		if p, _ := h.Progress("i1", "db1/1"); p.Stage != "waiting for the agent of db1" || p.Done != 5 || p.Rate != 0 || p.Left != 0 {
			t.Errorf("progress while it is away: %+v", p)
		}
		stillRuns(t, out)
		pass(10 * time.Minute)
		second := h.Attach("db1", true)
		expect(t, given(t, second), "db1/1")
		second.Heard(result("db1/1", recovery.Succeeded))
		if res := ended(t, out); res.Class != recovery.Succeeded {
			t.Errorf("%+v", res)
		}
	})
}

// What could not be sent is given on the next link.
func TestAnOrderThatCannotBeSentIsGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		broken := errors.New("the stream is over")
		l := h.Attach("db1", true)
		out, cancelled := run(t.Context(), h, restoreJob("db1/1")), run(t.Context(), h, cancelJob("db1/2"))
		<-l.Due()
		if err := l.Deliver(func(o Order) error {
			if o.Stop {
				return broken
			}
			return nil
		}); !errors.Is(err, broken) {
			t.Error(err)
		}
		l.Detach()
		stillRuns(t, cancelled)
		l = h.Attach("db1", true)
		expect(t, given(t, l), "db1/1", "stop db1/2")
		if res := ended(t, cancelled); res.Class != recovery.Succeeded {
			t.Errorf("%+v", res)
		}
		l.Heard(result("db1/1", recovery.Succeeded))
		ended(t, out)
	})
}

// The newest link counts: an older one has nothing to deliver, and its end takes nothing away.
func TestANewerLinkTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		older := h.Attach("db1", true)
		out := run(t.Context(), h, restoreJob("db1/1"))
		newer := h.Attach("db1", true)
		expect(t, given(t, older))
		older.Detach()
		expect(t, given(t, newer), "db1/1")
		newer.Heard(result("db1/1", recovery.Succeeded))
		ended(t, out)
	})
}

func TestACancelledJobTellsItsOwnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		l := h.Attach("db1", true)
		out := run(t.Context(), h, restoreJob("db1/1"))
		expect(t, given(t, l), "db1/1")
		cancelled := run(t.Context(), h, cancelJob("db1/1"))
		stillRuns(t, cancelled)
		expect(t, given(t, l), "stop db1/1")
		if res := ended(t, cancelled); res.Class != recovery.Succeeded {
			t.Errorf("%+v", res)
		}
		stillRuns(t, out)
		// The agent may never have heard it: whoever comes back is told again, after the job.
		l.Detach()
		l = h.Attach("db1", true)
		expect(t, given(t, l), "db1/1", "stop db1/1")
		expect(t, given(t, l))
		l.Heard(result("db1/1", recovery.Cancelled))
		if res := ended(t, out); res.Class != recovery.Cancelled {
			t.Errorf("%+v", res)
		}
		empty(t, h)
	})
}

// While the agent is away a cancel waits. It reaches the agent after the job, in whatever order the two were asked for: an agent that
// knows of no such job would forget the cancel.
func TestACancelReachesTheAgentAfterItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		h.ConnectWithin = limit
		cancelled := run(t.Context(), h, cancelJob("db1/1"))
		out := run(t.Context(), h, restoreJob("db1/1"))
		pass(limit / 2)
		stillRuns(t, cancelled)
		l := h.Attach("db1", true)
		told := given(t, l)
		if told[len(told)-1] != "stop db1/1" || told[len(told)-2] != "db1/1" {
			t.Errorf("it is told %q", told)
		}
		ended(t, cancelled)
		l.Heard(result("db1/1", recovery.Cancelled))
		ended(t, out)

		if res := <-run(t.Context(), New(), cancelJob("db1/1")); res.Class != recovery.Unreachable || res.Signature != "agent not connected" {
			t.Errorf("nobody could be told: %+v", res)
		}
	})
}

// A coordinator that stops lets go of its jobs and stops none: the next one is told how they ended.
func TestACoordinatorThatStopsDoesNotStopTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		l := h.Attach("db1", true)
		ctx, stop := context.WithCancel(t.Context())
		out := run(ctx, h, restoreJob("db1/1"))
		check := restoreJob("check")
		check.Kind = recovery.JobCheck
		checked := run(ctx, h, check)
		expect(t, given(t, l), "db1/1", "check")
		stop()
		for _, out := range []<-chan recovery.Result{out, checked} {
			if res := ended(t, out); res.Class != recovery.Lost || res.Signature != "cancelled in mid-run" {
				t.Errorf("%+v", res)
			}
		}
		expect(t, given(t, l))
		l.Heard(result("db1/1", recovery.Succeeded)) // nobody waits for it
		empty(t, h)
		l.Detach()

		next := New()
		out = run(t.Context(), next, restoreJob("db1/1"))
		l = next.Attach("db1", true)
		expect(t, given(t, l), "db1/1")
		told := result("db1/1", recovery.Succeeded)
		told.Result.Joined = true
		l.Heard(told)
		if res := ended(t, out); res.Class != recovery.Succeeded || !res.Joined {
			t.Errorf("%+v", res)
		}
	})
}

// A job that runs already is joined, and ends for nobody when one of those who wait gives up.
func TestASecondRunJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		l := h.Attach("db1", true)
		ctx, leave := context.WithCancel(t.Context())
		first := run(ctx, h, restoreJob("db1/1"))
		expect(t, given(t, l), "db1/1")
		pass(limit / 2)
		second := run(t.Context(), h, restoreJob("db1/1"))
		expect(t, given(t, l))
		leave()
		if res := ended(t, first); res.Class != recovery.Lost {
			t.Errorf("%+v", res)
		}
		stillRuns(t, second)
		l.Heard(result("db1/1", recovery.Succeeded))
		if res := ended(t, second); res.Class != recovery.Succeeded || !res.Joined {
			t.Errorf("%+v", res)
		}
		// Once it has ended, who asks again has the agent tell it again.
		third := run(t.Context(), h, restoreJob("db1/1"))
		expect(t, given(t, l), "db1/1")
		l.Heard(result("db1/1", recovery.Succeeded))
		ended(t, third)
	})
}

// Only the agent that was given a job is believed of it.
func TestWhoseReportsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		thief, l := h.Attach("db2", true), h.Attach("db1", true)
		out, cancelled := run(t.Context(), h, restoreJob("db1/1")), run(t.Context(), h, cancelJob("db1/9"))
		l.Heard(result("db1/1", recovery.Succeeded)) // before it was given
		stillRuns(t, out)
		expect(t, given(t, h.Attach("db3", true)))
		var nobody *Link
		for _, who := range []*Link{thief, nobody} {
			who.Heard(result("db1/1", recovery.Succeeded))
			who.Heard(Report{Incident: "i1", Job: "db1/1", Progress: recovery.Progress{Done: 1}})
		}
		<-l.Due()
		_ = l.Deliver(func(o Order) error {
			if o.Stop {
				l.Heard(result("db1/9/cancel", recovery.Failed)) // a cancel has no reports
			}
			return nil
		})
		if res := ended(t, cancelled); res.Class != recovery.Succeeded {
			t.Errorf("%+v", res)
		}
		l.Heard(result("db1/7", recovery.Succeeded))
		l.Heard(Report{Incident: "other", Job: "db1/1", Result: &recovery.Result{Class: recovery.Succeeded}})
		stillRuns(t, out)
		if p, _ := h.Progress("i1", "db1/1"); p.Done != 0 {
			t.Errorf("progress %+v", p)
		}
		l.Heard(result("db1/1", recovery.Failed))
		if res := ended(t, out); res.Class != recovery.Failed {
			t.Errorf("%+v", res)
		}
	})
}

func TestWhatIsNoWorkForAnAgent(t *testing.T) {
	for want, change := range map[string]func(*recovery.Job){
		"names no data set":         func(j *recovery.Job) { j.Sets = nil },
		"is not done by agents":     func(j *recovery.Job) { j.Kind = recovery.JobRepair },
		"whose agent is to do it":   func(j *recovery.Job) { j.Runner = "" },
		"which job to let go of":    func(j *recovery.Job) { j.Kind = recovery.JobCancel },
		`kind "" is not done by ag`: func(j *recovery.Job) { j.Kind = "" },
	} {
		job := restoreJob("db1/1")
		change(&job)
		if res := New().Run(t.Context(), job); res.Class != recovery.Failed || !strings.Contains(res.Detail, want) {
			t.Errorf("want %q: %+v", want, res)
		}
	}
}

// Watchers hear of progress at most once a second for each job, and of the last word too.
func TestHowOftenWatchersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := New(), 0
		h.Changed = func() { told++ }
		l := h.Attach("db1", true)
		out := run(t.Context(), h, restoreJob("db1/1"))
		given(t, l)
		for range 100 { // five seconds
			l.Heard(Report{Incident: "i1", Job: "db1/1"})
			pass(50 * time.Millisecond)
		}
		pass(time.Minute)
		synctest.Wait()
		if told < 5 || told > 6 {
			t.Errorf("in five seconds they were told %d times", told)
		}
		told = 0
		l.Heard(Report{Incident: "i1", Job: "db1/1"})
		l.Heard(Report{Incident: "i1", Job: "db1/1", Progress: recovery.Progress{Stage: "swapping"}})
		pass(tellEvery)
		synctest.Wait()
		if told != 2 {
			t.Errorf("of the last word they were told %d times", told)
		}
		l.Heard(Report{Incident: "i1", Job: "db1/1"})
		l.Heard(result("db1/1", recovery.Succeeded))
		ended(t, out)
		told = 0
		pass(time.Minute)
		if told != 0 {
			t.Error("they are told of a job that has ended")
		}
	})
}

// Ten thousand connected agents cost a little memory and no goroutine.
func TestTenThousandAgents(t *testing.T) {
	h := New()
	before, goroutines := heap(), runtime.NumGoroutine()
	links := make([]*Link, 10_000)
	for i := range links {
		links[i] = h.Attach(strings.Repeat("h", 1+i%50)+string(rune(0x1000+i)), i%2 == 0)
	}
	if each := (heap() - before) / int64(len(links)); each > 512 {
		t.Errorf("an agent costs %d bytes", each)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	for _, l := range links {
		l.Detach()
	}
	if len(h.links) != 0 {
		t.Errorf("%d links stay", len(h.links))
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An agent that was never told is not waited for as long as the work would take: another way may be open. One that was told is.
func TestAnAgentThatIsAwayIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, began := New(), time.Now()
		res := <-run(t.Context(), h, restoreJob("db1/1"))
		if res.Class != recovery.Unreachable || res.Signature != "agent not connected" || time.Since(began) != 3*time.Minute {
			t.Errorf("%+v after %s", res, time.Since(began))
		}
		began = time.Now()
		resumed := restoreJob("db1/1")
		resumed.Resumed = true // it may have been told before the coordinator restarted
		if res := <-run(t.Context(), h, resumed); time.Since(began) != limit {
			t.Errorf("%+v after %s", res, time.Since(began))
		}
		out := run(t.Context(), h, restoreJob("db1/2"))
		l := h.Attach("db1", true)
		<-l.Due()
		_ = l.Deliver(func(Order) error { return nil })
		l.Detach()
		began = time.Now()
		if res := <-out; res.Class != recovery.Lost || time.Since(began) < 50*time.Minute {
			t.Errorf("%+v after %s", res, time.Since(began))
		}
	})
}
