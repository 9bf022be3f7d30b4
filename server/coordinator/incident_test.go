package coordinator

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestAnIncidentFromDeclarationToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.open()
		w.boot()
		synctest.Wait()
		if id := w.declare(); id != time.Now().UTC().Format(time.DateOnly)+"-1" {
			t.Errorf("the incident is called %s", id)
		}
		synctest.Wait()
		if n := w.remedy.starts(); n != 0 {
			t.Fatalf("%d jobs were sent before anybody approved", n)
		}
		w.approve()
		w.until("recovery", allRecovered)
		w.do(recovery.ClearDebt{Debt: "kept", By: "ada"})
		w.do(recovery.Close{})
		w.view(func(v View) {
			if v.State.Outcome != recovery.OutcomeClosed {
				t.Errorf("the outcome is %q", v.State.Outcome)
			}
			w.checkOrder(v.Entries)
			cleared := 0
			for _, e := range v.Entries {
				if _, ok := e.Event.(*recovery.DebtCleared); ok {
					cleared++
				}
			}
			if cleared != len(w.fleet.Hosts) {
				t.Errorf("%d debts were cleared, of %d", cleared, len(w.fleet.Hosts))
			}
		})
		if n := w.executions(); n != len(w.fleet.Hosts) {
			t.Errorf("%d scripts ran", n)
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}

func TestOperatorsAreToldWhyNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		check := func(want string, kind recovery.ErrorKind, err error) {
			t.Helper()
			var e *recovery.Error
			if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(e.Message, want) {
				t.Errorf("want %s %q, got %v", kind, want, err)
			}
		}
		do := func(incident string, in recovery.Input) error { return c.Do(w.ctx, incident, "operator:ada", in) }
		check("no incident", recovery.KindNotFound, do("", recovery.Pause{}))
		check("no incident", recovery.KindNotFound, c.View(w.ctx, "", func(View) {}))
		_, err := c.Declare(w.ctx, "operator:ada", Declaration{Playbook: "heal"})
		check(`no playbook "heal": there are mend`, recovery.KindNotFound, err)
		_, err = c.Declare(w.ctx, "operator:ada", Declaration{Began: time.Now().Add(time.Hour)})
		check("future", recovery.KindInvalid, err)
		id := w.declare()
		_, err = c.Declare(w.ctx, "operator:ada", Declaration{})
		check("still open", recovery.KindRefused, err)
		check("there is no incident x-1", recovery.KindNotFound, do("x-1", recovery.Pause{}))
		check("there is no incident x-1", recovery.KindNotFound, c.View(w.ctx, "x-1", func(View) {}))
		check("read the plan", recovery.KindRefused, do(id, recovery.Approve{Digest: "sha256:other"}))
		check("not in the fleet", recovery.KindNotFound, do("", recovery.Retry{Host: "nobody"}))
		check("nothing is paused", recovery.KindRefused, do("", recovery.Resume{}))
		check("no open debt", recovery.KindNotFound, do("", recovery.ClearDebt{Host: "ns1", Debt: "kept"}))
		check("no host has an open debt", recovery.KindNotFound, do("", recovery.ClearDebt{Debt: "kept"}))
		w.do(recovery.Abort{Reason: "enough"})
		w.until("the abort", func(v View) bool { return v.State.Outcome == recovery.OutcomeAborted })
		check("nothing in it can be changed", recovery.KindRefused, do("", recovery.Pause{}))
		next := w.declare()
		if !strings.HasSuffix(next, "-2") {
			t.Errorf("the second incident is called %s", next)
		}
		check("is over", recovery.KindRefused, do(id, recovery.Pause{}))
		n := 0
		if err := c.Incidents(w.ctx, func(v View) { n++ }); err != nil || n != 2 {
			t.Errorf("%d incidents, %v", n, err)
		}
		if err := w.halt(); err != nil {
			t.Error(err)
		}
		check2 := func(err error) {
			t.Helper()
			if !errors.Is(err, ErrStopped) {
				t.Errorf("a stopped coordinator says %v", err)
			}
		}
		check2(do("", recovery.Pause{}))
		check2(c.View(w.ctx, "", func(View) {}))
		check2(c.Refuse(w.ctx, recovery.Refused{}))
		_, err = c.Attach(w.ctx, recovery.Sighting{Host: "ns1"})
		check2(err)
	})
}

// In a second incident the ids of attempts and requests begin anew. Nothing of the first may be taken for the second's.
func TestASecondIncidentBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		l, err := c.Attach(w.ctx, w.hosts["ns1"].facts())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Detach()
		// The jobs of the first incident hang, and end with a success after the second has begun.
		hang := make(chan struct{})
		release := sync.OnceFunc(func() { close(hang) })
		defer release()
		w.remedy.fail = func(job recovery.Job) *recovery.Result {
			<-hang
			return &recovery.Result{Class: recovery.Succeeded}
		}
		first := w.declare()
		synctest.Wait()
		asked := <-l.Instructions()
		v := w.hosts["ns1"].facts()
		v.Answers = asked.ID
		if err := l.Sighted(w.ctx, v); err != nil {
			t.Fatal(err)
		}
		w.approve()
		w.until("an attempt", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Attempting })
		w.do(recovery.Abort{})
		// An abort waits for what is in flight: the lease ends it, the goroutine hangs on.
		w.until("the abort", func(v View) bool { return v.State.Outcome != "" })
		second := w.declare()
		synctest.Wait() // an attempt would leave nothing to ask
		w.approve()
		select {
		case i := <-l.Instructions():
			if i.ID != asked.ID {
				t.Errorf("asked for %s, before for %s", i.ID, asked.ID)
			}
		case <-time.After(time.Hour):
			t.Error("the agent is not asked again in the second incident")
		}
		w.view(func(v View) {
			if seen, _ := v.State.Seen("ns1"); seen.Answers != "" {
				t.Errorf("the answer of incident %s counts in %s: %s", first, second, seen.Answers)
			}
		})
		w.until("an attempt", func(v View) bool { return v.State.Host("ns1").Phase == recovery.Attempting })
		seq := uint64(0)
		w.view(func(v View) { seq = v.State.Seq })
		w.remedy.mu.Lock()
		w.remedy.fail = func(job recovery.Job) *recovery.Result { return nil }
		w.remedy.mu.Unlock()
		synctest.Wait()
		if n := w.remedy.starts(); n < 2 {
			t.Errorf("the second incident's attempt was not started: %d jobs", n)
		}
		push(w, c, func() { // as the late end of the first incident's job
			late := recovery.Job{ID: "ns1/1", Incident: first, Host: *c.engine.State().Host("ns1").Host}
			c.finished(engine.Start{Job: late}, recovery.Result{Class: recovery.Failed, Signature: "ghost"})
		})
		synctest.Wait()
		w.view(func(v View) {
			for _, e := range v.Entries[seq:] {
				if x, ok := e.Event.(*recovery.AttemptEnded); ok {
					t.Errorf("the end of %s's job was taken for %s's: %+v", first, second, x)
				}
			}
		})
		release()
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}
