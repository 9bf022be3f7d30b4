package coordinator

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var errDisk = fmt.Errorf("%w: test: no space left", journal.ErrAppend)

// crashAt lets the coordinator's n-th append fail: before anything was written, or after everything was. Appends that went well
// are noted with the remedy, which then knows what may be sent.
func (w *world) crashAt(n int, written bool) func(*Coordinator) {
	return func(c *Coordinator) {
		write := c.write
		c.write = func(incident string, expected uint64, entries []recovery.Entry) error {
			if n--; n == 0 {
				w.sent = maps.Clone(c.jobs)
			}
			if n == 0 && !written {
				return errDisk
			}
			if err := write(incident, expected, entries); err != nil {
				return err
			}
			if n == 0 {
				return errDisk
			}
			w.remedy.mu.Lock()
			defer w.remedy.mu.Unlock()
			for _, e := range entries {
				if v, ok := e.Event.(*recovery.AttemptStarted); ok {
					w.remedy.recorded[v.Attempt.ID] = true
				}
			}
			return nil
		}
	}
}

// reload notes what the journal holds: a new coordinator may send that.
func (w *world) reload(c *Coordinator) {
	w.remedy.mu.Lock()
	defer w.remedy.mu.Unlock()
	for _, h := range c.engine.State().Hosts() {
		for _, a := range h.Attempts {
			w.remedy.recorded[a.ID] = true
		}
	}
}

// The coordinator dies at each of its appends in turn. Each time another one goes on from the same file.
func TestACrashAtEveryAppend(t *testing.T) {
	total := 0
	for _, written := range []bool{false, true} {
		for n := 1; ; n++ {
			crashed := false
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.remedy.strict = true
				c := w.open(w.reload, w.crashAt(n, written))
				w.boot()
				crashed = w.play(c)
				w.view(func(v View) { w.checkOrder(v.Entries) })
				if ran := w.executions(); ran != len(w.fleet.Hosts) {
					t.Errorf("%d scripts ran for %d hosts", ran, len(w.fleet.Hosts))
				}
				if err := w.halt(); err != nil {
					t.Error(err)
				}
			})
			if t.Failed() {
				t.Fatalf("after a crash at append %d, written: %v", n, written)
			}
			if !crashed {
				break
			}
			total++
		}
	}
	if total < 50 {
		t.Errorf("only %d crashes were tried", total)
	}
}

// play brings the incident to its end, as a responder does who starts the coordinator again when it dies.
func (w *world) play(c *Coordinator) (crashed bool) {
	w.Helper()
	steps := []func() error{
		func() error {
			_, err := c.Declare(w.ctx, "operator:ada", Declaration{Title: "a bad day"})
			return err
		},
		func() error {
			var digest string
			if err := c.View(w.ctx, "", func(v View) { digest = v.State.Plan.Digest }); err != nil {
				return err
			}
			return c.Do(w.ctx, "", "operator:ada", recovery.Approve{Digest: digest})
		},
		func() error { return w.follow(c) },
	}
	for len(steps) > 0 {
		err := steps[0]()
		var no *recovery.Error
		switch {
		case err == nil, crashed && errors.As(err, &no) && no.Kind == recovery.KindRefused: // it had been done before the crash
			steps = steps[1:]
		case errors.Is(err, ErrStopped) && !crashed:
			crashed = true
			if err := w.over(); !errors.Is(err, journal.ErrAppend) {
				w.Fatalf("it ended with %v", err)
			}
			for key := range c.jobs {
				if w.sent[key] == nil {
					w.Errorf("job %v was sent after the failed append", key)
				}
			}
			if !pass(w.ctx, 15*time.Second) {
				return crashed
			}
			c = w.open(w.reload, w.crashAt(-1, false))
		default:
			w.Fatalf("with %d steps to go: %v", len(steps), err)
		}
	}
	return crashed
}

// follow returns when every host has recovered, or with ErrStopped.
func (w *world) follow(c *Coordinator) error {
	changed, end := c.Watch()
	defer end()
	limit := time.After(48 * time.Hour)
	for {
		done := false
		if err := c.View(w.ctx, "", func(v View) { done = allRecovered(v) }); err != nil || done {
			return err
		}
		select {
		case <-changed:
		case <-c.Done():
			return ErrStopped
		case <-limit:
			return errors.New("it never ended")
		}
	}
}

func TestNothingIsSentAfterAFailedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		c := w.open()
		var links []*Link
		for _, name := range w.names() {
			l, err := c.Attach(w.ctx, w.hosts[name].facts())
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, l)
		}
		id := w.declare()
		synctest.Wait()
		for _, l := range links {
			<-l.Instructions()
		}
		if err := w.journal.Close(); err != nil { // the disk goes away
			t.Fatal(err)
		}
		var digest string
		w.view(func(v View) { digest = v.State.Plan.Digest })
		if err := c.Do(w.ctx, "", "operator:ada", recovery.Approve{Digest: digest}); !errors.Is(err, ErrStopped) {
			t.Errorf("what could not be recorded is answered with %v", err)
		}
		err := <-w.ended
		w.stop()
		if err == nil || !strings.HasPrefix(err.Error(), "stopped sending: ") {
			t.Errorf("it ended with %v", err)
		}
		if n := w.remedy.starts(); n != 0 {
			t.Errorf("%d jobs were sent", n)
		}
		if c.engine.State().Approved || c.engine.State().Seq != 3 {
			t.Error("memory has run ahead of the disk")
		}
		for _, l := range links {
			select {
			case i := <-l.Instructions():
				t.Errorf("%s was told %v", l.host, i)
			default:
			}
		}
		w.open()
		w.view(func(v View) {
			if v.State.ID != id || v.State.Approved || len(v.Entries) != 4 || v.Entries[3].Event.Kind() != "coordinator-restarted" {
				t.Errorf("the journal holds %s with %d entries, approved %v", v.State.ID, len(v.Entries), v.State.Approved)
			}
		})
		if err := w.halt(); err != nil {
			t.Error(err)
		}
	})
}
