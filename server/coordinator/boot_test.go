package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// rescueWorld is an estate whose hosts are reached only by the rescue rung.
func rescueWorld(t *testing.T) *world {
	w := newWorld(t)
	for i := range w.fleet.Hosts {
		h := &w.fleet.Hosts[i]
		h.Power = &recovery.Control{Name: "bmc", Kind: recovery.ControlAgent, Program: "fence"}
		h.Ladder = []recovery.Rung{
			{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvLinux, Boot: &recovery.Control{Name: "pxe", Kind: recovery.ControlAgent, Program: "boot"}},
			{Name: "hands", Kind: recovery.RungHands},
		}
	}
	return w
}

func (w *world) incident() string {
	w.Helper()
	list, err := w.journal.Incidents()
	if err != nil || len(list) != 1 {
		w.Fatalf("incidents %v, %v", list, err)
	}
	return list[0]
}

// journaled is what the journal holds on disk of steps and boots, in order.
func (w *world) journaled(host string) []string {
	w.Helper()
	var list []string
	err := w.journal.Read(w.incident(), func(e recovery.Entry) error {
		switch v := e.Event.(type) {
		case *recovery.AttemptProgressed:
			if v.Host == host {
				list = append(list, string(v.Step))
			}
		case *recovery.RescueServed:
			if v.Host == host {
				list = append(list, "served to "+v.Peer)
			}
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// Each step is on disk when told returns; the rescue system is given once, also by the next life of the coordinator, which
// learns how far the attempt had come.
func TestStepsAreOnDiskBeforeTheyAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rescueWorld(t)
		defer w.close()
		var mu sync.Mutex
		began := map[string][]recovery.Step{} // host: the steps at which each life took the attempt up
		waits := make(chan string, 16)        // hosts whose attempt waits for its rescue system
		w.remedy.climb = func(ctx context.Context, job recovery.Job, told func(recovery.Step, string) error) recovery.Result {
			mu.Lock()
			began[job.Host.Name] = append(began[job.Host.Name], job.Step)
			mu.Unlock()
			if job.Step == "" {
				for i, step := range []recovery.Step{recovery.StepPowerOff, recovery.StepBootTarget, recovery.StepPowerOn} {
					if err := told(step, "note"); err != nil {
						t.Errorf("%s: %v", step, err)
					}
					if got := w.journaled(job.Host.Name); len(got) != i+1 || got[i] != string(step) {
						t.Errorf("after told(%s) the journal holds %v", step, got)
					}
				}
				if err := told(recovery.StepPowerOff, ""); err == nil {
					t.Error("a step back was recorded")
				}
				waits <- job.Host.Name
			}
			<-ctx.Done()
			if err := told(recovery.StepInside, ""); err == nil {
				t.Error("a job that was stopped could record a step")
			}
			return recovery.Result{Class: recovery.Lost}
		}
		c := w.open()
		id := w.declare()
		w.approve()
		host := <-waits
		_, attempt, err := c.Boot(w.ctx, host, "192.0.2.1")
		if err != nil || attempt != host+"/1" {
			t.Fatalf("boot: %q, %v", attempt, err)
		}
		var refused *recovery.Error
		if _, _, err := c.Boot(w.ctx, host, "192.0.2.1"); !errors.As(err, &refused) {
			t.Errorf("a second time: %v", err)
		}
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
		c = w.open()
		synctest.Wait()
		if _, _, err := c.Boot(w.ctx, host, "192.0.2.1"); !errors.As(err, &refused) {
			t.Errorf("after a restart: %v", err)
		}
		boots, err := c.RescueBoots(w.ctx)
		if want := fmt.Sprintf("[{%s %s/1 %s}]", id, host, host); err != nil || fmt.Sprint(boots) != want {
			t.Errorf("rescue boots %v, %v, want %s", boots, err, want)
		}
		if got, want := w.journaled(host), []string{"power-off", "boot-target", "power-on", "served to 192.0.2.1"}; !slices.Equal(got, want) {
			t.Errorf("journal %v, want %v", got, want)
		}
		mu.Lock()
		if got, want := began[host], []recovery.Step{"", recovery.StepPowerOn}; !slices.Equal(got, want) {
			t.Errorf("lives began at %q, want %q", got, want)
		}
		mu.Unlock()
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
	})
}

// Whoever lies in wait for a host is told at once when its agent phones home.
func TestAnAgentThatConnectsIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		heard := make(chan string, 4)
		c := w.open(func(c *Coordinator) { c.cfg.Heard = func(host string) { heard <- host } })
		if _, err := c.Attach(w.ctx, recovery.Sighting{Host: "ns2", Connected: true}); err != nil {
			t.Fatal(err)
		}
		select {
		case host := <-heard:
			if host != "ns2" {
				t.Errorf("heard %s", host)
			}
		case <-time.After(time.Second):
			t.Error("nobody was told")
		}
		if err := w.halt(); err != nil {
			t.Fatal(err)
		}
	})
}
