package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestTheInboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Coordinator{inbox: engine.NewInbox(inboxSize, ErrStopped)} // nobody takes anything out
		for range inboxSize {
			if err := c.inbox.Send(t.Context(), func() {}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.inbox.Send(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more than fits: %v", err)
		}
	})
}

// A caller who has given up has its memory back: what it asked for never happens.
func TestACallerWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		block := make(chan struct{})
		push(w, c, func() { <-block })
		synctest.Wait()
		ctx, cancel := context.WithCancel(w.ctx)
		ran := false
		answers := make(chan error, 2)
		go func() { answers <- c.inbox.Call(ctx, func() error { ran = true; return nil }) }()
		go func() {
			_, err := c.Attach(ctx, recovery.Sighting{Host: "ns1", Connected: true})
			answers <- err
		}()
		synctest.Wait() // both are in the inbox
		cancel()
		for range 2 {
			if err := <-answers; !errors.Is(err, context.Canceled) {
				t.Errorf("the caller is told %v", err)
			}
		}
		close(block)
		synctest.Wait()
		if ran {
			t.Error("it was done all the same")
		}
		if err := c.inbox.Call(w.ctx, func() error {
			if _, seen := c.engine.Seen("ns1"); seen || len(c.links) > 0 {
				t.Error("an agent that has gone is connected")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

func TestAFaultOfOursEndsOneCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var out bytes.Buffer
		w.log = hclog.New(&hclog.LoggerOptions{Output: &out, Mutex: new(sync.Mutex)})
		c := w.open()
		w.boot()
		w.declare()
		if err := c.View(w.ctx, "", func(View) { panic("a bad page") }); err == nil || !strings.Contains(err.Error(), "has a fault") {
			t.Errorf("the reader is told %v", err)
		}
		w.remedy.fail = func(job recovery.Job) *recovery.Result {
			if job.ID == "ns1/1" {
				panic("a bad job")
			}
			return nil
		}
		w.approve()
		w.until("recovery", allRecovered)
		w.view(func(v View) {
			if a := v.State.Host("ns1").Attempts; a[0].Result.Class != recovery.Lost || len(a) != 2 {
				t.Errorf("ns1's attempts: %+v", a)
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.String(), "a fault of this program"); n != 2 {
			t.Errorf("%d faults in the log: %s", n, out.String())
		}
	})
}

func TestTheNewestInstructionWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		l, err := c.Attach(w.ctx, w.hosts["ns1"].facts())
		if err != nil {
			t.Fatal(err)
		}
		w.declare()
		w.approve()
		// Nobody takes the first instruction; the attempt brings another.
		w.until("the claim", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Verifying })
		synctest.Wait()
		if i := <-l.Instructions(); i.ID != "ns1/1/verify/0" || !i.Verify {
			t.Errorf("the agent is told %+v", i)
		}
		select {
		case i := <-l.Instructions():
			t.Errorf("and %+v", i)
		default:
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// A host that came back while its old connection lingers must not be judged by what the old boot said.
func TestAnOldLinkIsDeafAndDumb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		m := w.hosts["ns1"]
		old, err := c.Attach(w.ctx, m.facts())
		if err != nil {
			t.Fatal(err)
		}
		w.declare()
		m.boots, m.bad = 7, false
		if _, err := c.Attach(w.ctx, m.facts()); err != nil {
			t.Fatal(err)
		}
		m.bad = true
		if err := old.Sighted(w.ctx, m.facts()); err != nil {
			t.Fatal(err)
		}
		old.Detach()
		synctest.Wait()
		w.view(func(v View) {
			if s, _ := v.State.Seen("ns1"); !s.Connected || s.BootID != "ns1-boot-7" || s.Content[0].Bad != 0 {
				t.Errorf("ns1 was last seen as %+v", s)
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

func TestLastWordsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		saved := func() map[string]recovery.Sighting {
			all, err := w.journal.Sightings()
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		for _, name := range w.names() {
			if _, err := c.Attach(w.ctx, w.hosts[name].facts()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(saved()); n != 0 {
			t.Errorf("%d sightings were written one by one", n)
		}
		time.Sleep(sightingFlush + time.Millisecond) //nolint:forbidigo // the clock of a synctest bubble
		synctest.Wait()
		if n := len(saved()); n != len(w.fleet.Hosts) {
			t.Errorf("%d sightings are on disk after %v", n, sightingFlush)
		}
		if err := w.halt(); err != nil { // while all are connected
			t.Fatal(err)
		}
		w.open()
		w.declare()
		w.view(func(v View) {
			for _, h := range v.State.Hosts() {
				if s, ok := v.State.Seen(h.Host.Name); !ok || s.Connected || s.Content[0].Bad != 1 {
					t.Errorf("%s was last seen as %+v", h.Host.Name, s)
				}
				if h.Scope.Class != recovery.Parked {
					t.Errorf("%s is %s: %s", h.Host.Name, h.Scope.Class, h.Scope.Evidence)
				}
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// A job that an earlier run had started is asked for again with the same id, and its result says so.
func TestARestartJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.open()
		w.boot()
		synctest.Wait()
		w.declare()
		w.approve()
		w.until("an attempt", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Attempting })
		synctest.Wait()
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
		began := w.remedy.starts()
		w.open()
		w.view(func(v View) {
			if a := v.State.Host("ns1").Attempts; len(a) != 1 || !a[0].Ended.IsZero() {
				t.Errorf("the shutdown has ended the attempt: %+v", a)
			}
		})
		w.until("recovery", allRecovered)
		w.view(func(v View) {
			if a := v.State.Host("ns1").Attempts; len(a) != 1 || !a[0].Result.Joined {
				t.Errorf("the attempt was not joined: %+v", a)
			}
		})
		if began == 0 || w.executions() != len(w.fleet.Hosts) {
			t.Errorf("%d jobs before, %d executions", began, w.executions())
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// A host that cannot be reached after a restart may be restarting because of the script: that is no failure to connect.
func TestUnreachableAfterARestartIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		hang := make(chan struct{})
		w.remedy.fail = func(recovery.Job) *recovery.Result {
			<-hang
			return &recovery.Result{Class: recovery.Cancelled}
		}
		w.open()
		w.declare()
		w.approve()
		w.until("an attempt", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Attempting })
		w.stop()
		synctest.Wait()
		close(hang) // what a job says during the shutdown counts for nothing
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
		w.remedy.fail = func(recovery.Job) *recovery.Result { return &recovery.Result{Class: recovery.Unreachable} }
		w.open()
		w.until("the end", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Verifying })
		w.until("another", func(v View) bool {
			return len(v.State.Host("ns1").Attempts) == 2 && !v.State.Host("ns1").Attempts[1].Ended.IsZero()
		})
		w.view(func(v View) {
			a := v.State.Host("ns1").Attempts
			if a[0].Result.Class != recovery.Lost || a[1].Result.Class != recovery.Unreachable {
				t.Errorf("ns1's attempts: %+v", a)
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

func TestAFloodOfRefusalsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		w.declare()
		flood := func(host string, n int) {
			for i := range n {
				if err := c.Refuse(w.ctx, recovery.Refused{Host: host, Peer: "192.0.2.1:9", Why: fmt.Sprintf("it says it is %q", fmt.Sprint("x", i))}); err != nil {
					t.Fatal(err)
				}
			}
		}
		count := func() (n int) {
			w.view(func(v View) { n = len(v.Entries) - 3 })
			return n
		}
		flood("ns1", 1000)
		if n := count(); n != refusalsPerHost {
			t.Errorf("%d refusals of one host were recorded", n)
		}
		for i := range 1000 {
			flood(fmt.Sprint("h", i), 1)
		}
		if n := count(); n != refusalsInAll {
			t.Errorf("%d refusals were recorded in a minute", n)
		}
		time.Sleep(time.Minute + time.Second) //nolint:forbidigo // the clock of a synctest bubble
		flood("ns1", 1)
		if n := count(); n != refusalsInAll+1 {
			t.Errorf("%d refusals were recorded after the minute", n)
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// The incident keeps the fleet that it was declared with; the file's is for whatever comes next.
func TestTheFleetFileChangesBetweenRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.open()
		w.declare()
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w.log = hclog.New(&hclog.LoggerOptions{Output: &out, Mutex: new(sync.Mutex)})
		hosts := append([]recovery.Host(nil), w.fleet.Hosts[1:]...) // ns1 is gone
		hosts[0].Site = "elsewhere"                                 // ns2 has moved
		newcomer := hosts[1]
		newcomer.Name = "web9"
		w.fleet.Hosts = append(hosts, newcomer)
		c := w.open()
		for _, want := range []string{"not-in-file=ns1", "changed=ns2", "not-in-incident=web9"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the log lacks %s: %s", want, out.String())
			}
		}
		member := func(name string, want bool, site string) {
			t.Helper()
			h, ok, err := c.Member(w.ctx, name)
			if err != nil || ok != want || h.Site != site {
				t.Errorf("%s: %v %v %v", name, h, ok, err)
			}
		}
		member("ns1", true, "")
		member("ns2", true, "")
		member("web9", true, "")
		member("other", false, "")
		w.do(recovery.Abort{})
		w.until("the abort", func(v View) bool { return v.State.Outcome != "" })
		member("ns1", false, "")
		member("ns2", true, "elsewhere")
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

func TestAPlaybookIsMissingAfterARestart(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.open()
	w.declare()
	if err := w.halt(); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(w.file())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	_, err = New(Config{Journal: j, Remedy: w.remedy, Playbooks: new(playbook.Library), Fleet: w.fleet, Log: w.log})
	if err == nil || !strings.Contains(err.Error(), "runs playbook mend with digest sha256:") {
		t.Errorf("it starts with %v", err)
	}
}

// Whoever else writes into the incident has taken over: this coordinator must not go on.
func TestAConflictStopsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		id := w.declare()
		other := []recovery.Entry{{Seq: 4, At: time.Now(), Actor: "engine", Event: &recovery.IncidentPaused{Reason: "somebody else"}}}
		if err := w.journal.Append(id, 3, other); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(w.ctx, id, "operator:ada", recovery.Pause{}); !errors.Is(err, ErrStopped) {
			t.Errorf("the operator is told %v", err)
		}
		if err := w.over(); !errors.Is(err, journal.ErrConflict) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// What the journal refuses for what it is was not written, so it was not done, and the loop goes on.
func TestWhatCannotBeWrittenIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		_, err := c.Declare(w.ctx, "operator:ada", Declaration{Began: time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)}) // no JSON time
		if err == nil || !strings.Contains(err.Error(), "was not done") {
			t.Errorf("the operator is told %v", err)
		}
		w.declare()
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// What a job says that we have let go of is not news, unless it knows how the attempt ended.
func TestADroppedJobSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		never := engine.JobKey{Incident: time.Now().UTC().Format(time.DateOnly) + "-1", ID: "ns1/1"}
		w.hosts["ns1"].scripts[never] = &script{done: make(chan struct{})}
		w.open()
		w.declare()
		w.approve()
		w.until("the end of the lease", func(v View) bool { return len(v.State.Host("ns1").Attempts) == 2 })
		synctest.Wait()
		w.view(func(v View) {
			if a := v.State.Host("ns1").Attempts[0]; a.Result.Class != recovery.TimedOut {
				t.Errorf("the attempt ended as %+v", a.Result)
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

// The laptop sleeps for ten hours, or its clock is put right: no lease runs out by that, and the journal says what happened.
func TestALeapOfTheMachinesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		key := engine.JobKey{Incident: time.Now().UTC().Format(time.DateOnly) + "-1", ID: "ns1/1"}
		done := make(chan struct{})
		w.hosts["ns1"].scripts[key] = &script{done: done}
		c := w.open()
		w.declare()
		w.approve()
		w.until("an attempt", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Attempting })
		push(w, c, func() { // what the clocks showed before the leap
			wall, ran := c.cfg.Clock.Read()
			c.keeper = engine.Timekeeper{}
			c.keeper.Tell(wall.Add(-10*time.Hour), ran)
		})
		synctest.Wait()
		w.view(func(v View) {
			if a := v.State.Host("ns1").Attempts; len(a) != 1 || !a[0].Ended.IsZero() {
				t.Errorf("after the leap the attempts are %+v", a)
			}
			leaps := 0
			for _, e := range v.Entries {
				if x, ok := e.Event.(*recovery.CoordinatorRestarted); ok && strings.Contains(x.Reason, "put forward, by 10h0m") {
					leaps++
				}
			}
			if leaps != 1 {
				t.Errorf("the journal tells of %d leaps", leaps)
			}
		})
		close(done)
		w.until("its end", func(v View) bool { return !v.State.Host("ns1").Attempts[0].Ended.IsZero() })
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}
