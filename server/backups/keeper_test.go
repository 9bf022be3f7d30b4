package backups

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHub stands for the hub and the agents behind it, which outlive the program: a job that was claimed once is joined ever after.
type fakeHub struct {
	*testing.T
	points map[string][]recovery.RestorePoint // by data set
	takes  time.Duration                      // a check
	fault  bool                               // the next job panics
	silent bool                               // nothing can be listed

	mu       sync.Mutex
	intended map[string]bool
	began    map[string]time.Time
	asked    map[string]int
	checked  map[recovery.PointRef]int // checks that were really made
}

func newHub(t *testing.T) *fakeHub {
	return &fakeHub{T: t, points: map[string][]recovery.RestorePoint{}, takes: time.Hour, intended: map[string]bool{}, began: map[string]time.Time{},
		asked: map[string]int{}, checked: map[recovery.PointRef]int{}}
}

func (f *fakeHub) Run(ctx context.Context, job recovery.Job) recovery.Result {
	f.mu.Lock()
	if job.Kind != recovery.JobList && !f.intended[job.ID] {
		f.Errorf("%s is sent before its intent is on disk", job.ID)
	}
	f.asked[job.ID]++
	began, joined := f.began[job.ID]
	if !joined {
		began = time.Now()
		f.began[job.ID] = began
		if job.Kind == recovery.JobCheck {
			f.checked[job.Sets[0].Point.PointRef]++
		}
	}
	fault, silent := f.fault, f.silent
	f.fault = false
	f.mu.Unlock()
	if fault {
		panic("a fault")
	}
	takes := time.Second
	if job.Kind == recovery.JobCheck {
		takes = f.takes
	}
	timer := time.NewTimer(time.Until(began.Add(takes)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return recovery.Result{Class: recovery.Lost, Joined: joined}
	case <-timer.C:
	}
	s := job.Sets[0]
	switch job.Kind {
	case recovery.JobList:
		if silent {
			return recovery.Result{Class: recovery.Unreachable, Detail: "nobody answers"}
		}
		return recovery.Result{Class: recovery.Succeeded, Points: f.points[s.Set.Name]}
	case recovery.JobCheck:
		check := recovery.PointCheck{Level: s.Level, OK: true, At: time.Now(), By: "test"}
		return recovery.Result{Class: recovery.Succeeded, Joined: joined, Sets: []recovery.SetResult{{DataSet: s.Set.Name, Checks: []recovery.PointCheck{check}}}}
	default:
		return recovery.Result{Class: recovery.Succeeded, Joined: joined}
	}
}

// jobs is how many were asked for.
func (f *fakeHub) jobs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func (f *fakeHub) note(entries []recovery.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		if v, ok := e.Event.(*recovery.BackupJobStarted); ok {
			f.intended[v.Job] = true
		}
	}
}

// pass lets time pass in a synctest.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // only in a bubble of synctest, where it takes no time

func estate() recovery.Fleet {
	f := recovery.Fleet{Name: "town", Tiers: []recovery.Tier{{Name: "first"}},
		Repositories:   []recovery.Repository{{Name: "bases", Kind: recovery.RepositoryPostgreSQL, Slots: 1}},
		BackupPolicies: []recovery.BackupPolicy{{Name: "p", Every: 24 * time.Hour, Keep: 14 * 24 * time.Hour, Level: recovery.L3, Verify: 7 * 24 * time.Hour}}}
	for _, name := range []string{"a", "b"} {
		f.Hosts = append(f.Hosts, recovery.Host{Name: name, Tier: "first", Data: recovery.DataPrimary, Agent: true})
		f.DataSets = append(f.DataSets, recovery.DataSet{Name: name, Host: name, Kind: recovery.PointDatabase, Repository: "bases", Policy: "p", Engine: recovery.EnginePostgreSQL})
	}
	return f
}

// world is one folder in which programs come and go.
type world struct {
	*testing.T
	file  string
	hub   *fakeHub
	crash int  // the write that fails, counted from 1; 0: none
	whole bool // all of it is there, and the program does not know
	wrote int
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, file: filepath.Join(t.TempDir(), "backups.db"), hub: newHub(t)}
	for _, name := range []string{"a", "b"} {
		for i := range 3 {
			w.hub.points[name] = append(w.hub.points[name], recovery.RestorePoint{PointRef: recovery.PointRef{ID: fmt.Sprintf("%s-%d", name, i)}, TakenAt: time.Now().Add(time.Duration(i-4) * 24 * time.Hour)})
		}
	}
	return w
}

var errDisk = fmt.Errorf("%w: test: no space left", journal.ErrAppend)

// program is a keeper that runs.
type program struct {
	*Keeper
	stop func() error // ends it and tells what Run returned
	over chan error
}

func (w *world) open() *program {
	w.Helper()
	j, err := journal.Open(w.file)
	if err != nil {
		w.Fatal(err)
	}
	k, err := New(Config{Journal: j, Fleet: estate(), Run: w.hub.Run, Log: hclog.NewNullLogger()})
	if err != nil {
		w.Fatal(err)
	}
	write := k.write
	k.write = func(story string, seq uint64, entries []recovery.Entry) error {
		if len(entries) == 0 {
			return nil
		}
		w.wrote++
		if w.wrote == w.crash && !w.whole {
			return errDisk
		}
		if err := write(story, seq, entries); err != nil {
			return err
		}
		w.hub.note(entries)
		if w.wrote == w.crash {
			return errDisk
		}
		return nil
	}
	ctx, cancel := context.WithCancel(w.Context())
	p := &program{Keeper: k, over: make(chan error, 1)}
	go func() {
		err := k.Run(ctx)
		_ = j.Close()
		p.over <- err
	}()
	p.stop = func() error {
		cancel()
		return <-p.over
	}
	return p
}

// levels are what the points of a data set have, newest first.
func (p *program) levels(t *testing.T, name string) (list []recovery.Level) {
	t.Helper()
	err := p.Read(t.Context(), func(c *catalog.Catalog, _ time.Time) {
		for _, q := range c.Points(name) {
			list = append(list, q.Level())
		}
	})
	if err != nil {
		t.Error(err)
	}
	return list
}

func (w *world) entries() (list []string) {
	w.Helper()
	j, err := journal.OpenReadOnly(w.file)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	if err := j.Read(catalog.Story, func(e recovery.Entry) error { list = append(list, e.Event.Kind()); return nil }); err != nil {
		w.Fatal(err)
	}
	return list
}

// It lists at once, checks what policies ask one after the other, answers people, and a day in which nothing changes is not
// written down.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open()
		news := p.Watch(t.Context())
		pass(3 * time.Hour)
		if _, open := <-news; !open {
			t.Error("nothing has changed")
		}
		for _, name := range []string{"a", "b"} {
			if got := p.levels(t, name); !slices.Equal(got, []recovery.Level{recovery.L3, recovery.L0, recovery.L0}) {
				t.Errorf("%s has %v", name, got)
			}
		}
		wrote := w.wrote
		pass(24 * time.Hour)
		if w.wrote != wrote {
			t.Errorf("%d writes in a day in which nothing changed", w.wrote-wrote)
		}
		if err := p.Do(t.Context(), "operator:ada", catalog.Verify{DataSets: []string{"a"}, All: true}); err != nil {
			t.Error(err)
		}
		var refused *recovery.Error
		if err := p.Do(t.Context(), "operator:ada", catalog.Verify{DataSets: []string{"c"}}); !errors.As(err, &refused) || refused.Kind != recovery.KindNotFound {
			t.Error(err)
		}
		pass(4 * time.Hour)
		if got := p.levels(t, "a"); !slices.Equal(got, []recovery.Level{recovery.L3, recovery.L3, recovery.L3}) {
			t.Errorf("a has %v", got)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		for range news { // what it told last, and its end
			continue
		}
		if err := p.Do(t.Context(), "operator:ada", catalog.Scan{}); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		if n := len(w.entries()); n < 10 || n > 40 {
			t.Errorf("%d entries: %v", n, w.entries())
		}
	})
}

// A program that ends in the middle of a check is followed by one that joins it: nothing is checked twice, and no listing is taken for an old one.
func TestJobsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open()
		pass(time.Minute)
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		p = w.open()
		pass(3 * time.Hour)
		for _, name := range []string{"a", "b"} {
			if got := p.levels(t, name); got[0] != recovery.L3 {
				t.Errorf("%s has %v", name, got)
			}
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		for ref, n := range w.hub.checked {
			if n != 1 {
				t.Errorf("%s was checked %d times", ref, n)
			}
		}
		joined := 0
		for id, n := range w.hub.asked {
			if n > 1 {
				joined++
				if strings.HasPrefix(id, "list/") {
					t.Errorf("%s was asked for %d times: an agent would tell the old result", id, n)
				}
			}
		}
		if joined != 1 {
			t.Errorf("%d jobs were joined", joined)
		}
	})
}

// The program dies at each of its writes in turn, before or after all of it was written. Each time another goes on from the same
// file: each point is checked once, and nothing is sent before its intent is on disk.
func TestACrashAtEveryWrite(t *testing.T) {
	total := 0
	for _, whole := range []bool{false, true} {
		for n := 1; ; n++ {
			died := false
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.crash, w.whole = n, whole
				p := w.open()
				news := p.Watch(t.Context())
				pass(5 * time.Minute)
				_ = p.Do(t.Context(), "operator:ada", catalog.Verify{DataSets: []string{"a"}, All: true})
				_ = p.Do(t.Context(), "engine", catalog.Held{Incident: "INC-1", Points: []recovery.PointRef{{DataSet: "b", Repository: "bases", ID: "b-0"}}})
				pass(5 * time.Hour)
				select {
				case err := <-p.over:
					if died = true; !errors.Is(err, journal.ErrAppend) {
						t.Errorf("it ended with %v", err)
					}
					for range news {
						continue
					}
					if err := p.Do(t.Context(), "operator:ada", catalog.Scan{}); !errors.Is(err, ErrStopped) {
						t.Errorf("dead, it answers %v", err)
					}
					p = w.open()
					pass(5 * time.Minute)
					_ = p.Do(t.Context(), "operator:ada", catalog.Verify{DataSets: []string{"a"}})
					pass(5 * time.Hour)
				default:
				}
				for _, name := range []string{"a", "b"} {
					if got := p.levels(t, name); len(got) != 3 || got[0] != recovery.L3 {
						t.Errorf("%s has %v", name, got)
					}
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				w.entries() // it reads without a gap
			})
			if t.Failed() {
				t.Fatalf("after a crash at write %d, written: %v", n, whole)
			}
			if !died {
				break
			}
			total++
		}
	}
	if total < 10 {
		t.Errorf("only %d crashes were tried", total)
	}
}

// What was put off is tried again by whoever starts the program again.
func TestAStartTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.silent = true
		p := w.open()
		pass(5 * time.Second) // the next try is in a minute
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		w.hub.silent = false
		p = w.open()
		pass(10 * time.Second)
		if got := p.levels(t, "a"); len(got) != 3 {
			t.Errorf("a has %v", got)
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A fault of this program in a job ends that job alone.
func TestAFaultInAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.fault = true
		p := w.open()
		pass(4 * time.Hour)
		for _, name := range []string{"a", "b"} {
			if got := p.levels(t, name); len(got) != 3 || got[0] != recovery.L3 {
				t.Errorf("%s has %v", name, got)
			}
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The clock of the machine is set back: time goes on from where it was.
func TestTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		j, err := journal.Open(w.file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		var mu sync.Mutex
		var back time.Duration
		start := time.Now()
		k, err := New(Config{Journal: j, Fleet: estate(), Run: func(ctx context.Context, job recovery.Job) recovery.Result {
			w.hub.note([]recovery.Entry{{Event: &recovery.BackupJobStarted{Job: job.ID}}})
			return w.hub.Run(ctx, job)
		}, Log: hclog.NewNullLogger(), Clock: func() (time.Time, time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(-back), time.Since(start)
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- k.Run(ctx) }()
		pass(time.Minute)
		mu.Lock()
		back = 48 * time.Hour
		mu.Unlock()
		before := w.hub.jobs()
		pass(3 * time.Hour)
		if now := w.hub.jobs(); now < before+4 {
			t.Errorf("%d jobs in three hours", now-before)
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// A journal of something else is not taken for that of the backups.
func TestAnotherJournal(t *testing.T) {
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	if err := j.Append("INC-1", 0, []recovery.Entry{{Seq: 1, At: time.Now(), Actor: "engine", Event: &recovery.IncidentPaused{}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Journal: j, Fleet: estate(), Log: hclog.NewNullLogger()}); err == nil || !strings.Contains(err.Error(), "INC-1") {
		t.Error(err)
	}
}

// A caller that gives up has not read, and one that did has.
func TestReadIsOverWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		read := false
		if err := p.Read(ctx, func(*catalog.Catalog, time.Time) { read = true }); err == nil != read {
			t.Errorf("%v, read %v", err, read)
		}
		if err := p.Read(t.Context(), func(*catalog.Catalog, time.Time) { panic("a fault") }); err == nil {
			t.Error("a fault in a look is no error")
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}
