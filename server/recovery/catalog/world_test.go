package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// noon is when stories begin.
var noon = time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// fakeRepository is what a repository and the agents that work on it would do.
type fakeRepository struct {
	listed  []recovery.RestorePoint // its points
	class   recovery.Class          // how its jobs end; empty: succeeded
	bad     map[string]recovery.Level
	rotten  map[int]bool  // parts that do not read well
	takes   time.Duration // a check
	refuses bool          // holds
}

// world is a catalog with its journal, its time, and the agents.
type world struct {
	testing.TB
	c       *Catalog
	fleet   recovery.Fleet
	now     time.Time
	journal []recovery.Entry
	at      map[string]*fakeRepository
	running map[string]time.Time // jobs, and when they end
	kinds   map[string]recovery.Job
	done    []string // jobs in the order in which they ended
	most    map[string]int
}

func newWorld(t testing.TB, f recovery.Fleet) *world {
	w := &world{TB: t, c: New(f), fleet: f, now: noon, at: map[string]*fakeRepository{}, running: map[string]time.Time{}, kinds: map[string]recovery.Job{}, most: map[string]int{}}
	for _, r := range f.Repositories {
		w.at[r.Name] = &fakeRepository{takes: time.Hour, bad: map[string]recovery.Level{}, rotten: map[int]bool{}}
	}
	return w
}

// try decides an input and takes what follows, as it comes back from the journal.
func (w *world) try(in Input) ([]recovery.Event, error) {
	w.Helper()
	events, err := Decide(w.c, in, w.now)
	if err != nil {
		return nil, err
	}
	seq := w.c.Seq
	entries := make([]recovery.Entry, len(events))
	for i, e := range events {
		data, err := recovery.EncodeEvent(e)
		if err != nil {
			w.Fatal(err)
		}
		back, err := recovery.DecodeEvent(e.Kind(), data)
		if err != nil {
			w.Fatal(err)
		}
		if again, _ := recovery.EncodeEvent(back); string(again) != string(data) {
			w.Fatalf("%s is changed by the journal:\n%s\n%s", e.Kind(), data, again)
		}
		entries[i] = recovery.Entry{At: w.now, Actor: "test", Event: back}
		if w.c.Lasting(e) {
			seq++
			entries[i].Seq = seq
			w.journal = append(w.journal, entries[i])
		}
	}
	for _, e := range entries {
		w.c.Apply(e)
	}
	return events, nil
}

func (w *world) take(in Input) []recovery.Event {
	w.Helper()
	events, err := w.try(in)
	if err != nil {
		w.Fatal(err)
	}
	return events
}

// settle lets time act and starts what ought to run.
func (w *world) settle() {
	w.Helper()
	for range 100 {
		if len(w.take(Tick{})) == 0 {
			w.start()
			return
		}
	}
	w.Fatal("time acts for ever")
}

func (w *world) start() {
	w.Helper()
	lanes := map[string]int{}
	named := map[string]bool{}
	for _, job := range w.c.Work(w.now) {
		named[job.ID] = true
		s := job.Sets[0]
		if job.Kind == recovery.JobCheck {
			for _, lane := range []string{"check in " + s.Repository.Name, "check by " + job.Runner} {
				if lanes[lane]++; lanes[lane] > 1 {
					w.Fatalf("two of %s at once", lane)
				}
			}
		}
		if _, ok := w.running[job.ID]; !ok {
			took := time.Second
			if job.Kind == recovery.JobCheck {
				took = w.at[s.Repository.Name].takes
			}
			w.running[job.ID], w.kinds[job.ID] = w.now.Add(took), job
		}
	}
	for id := range w.running {
		if !named[id] {
			w.Fatalf("%s ought to run no more although it has not ended", id)
		}
	}
}

// until lets time pass, the agents work, and time act.
func (w *world) until(end time.Time) {
	w.Helper()
	for range 1_000_000 {
		w.settle()
		next, id := end, ""
		for job, at := range w.running {
			if at.Before(next) || at.Equal(next) && (id == "" || job < id) {
				next, id = at, job
			}
		}
		if wake := w.c.Wake(w.now); !wake.IsZero() && wake.Before(next) {
			if !wake.After(w.now) {
				w.Fatalf("it would wake at %s, which is now", wake)
			}
			w.now = wake
			continue
		}
		w.now = next
		if id == "" {
			w.settle()
			return
		}
		job := w.kinds[id]
		delete(w.running, id)
		w.done = append(w.done, id)
		w.take(Finished{Job: id, Result: w.result(job)})
	}
	w.Fatal("time does not pass")
}

// result is what the fake agent would answer.
func (w *world) result(job recovery.Job) recovery.Result {
	s := job.Sets[0]
	r := w.at[s.Repository.Name]
	if r.class != "" {
		return recovery.Result{Class: r.class, Detail: "the repository is not there"}
	}
	if job.Kind == recovery.JobList {
		var points []recovery.RestorePoint
		for _, p := range r.listed {
			if p.DataSet == s.Set.Name {
				points = append(points, p)
			}
		}
		return recovery.Result{Class: recovery.Succeeded, Points: points}
	}
	if job.Kind == recovery.JobHold {
		if r.refuses {
			return recovery.Result{Class: recovery.Failed, Signature: "no holds here"}
		}
		return recovery.Result{Class: recovery.Succeeded}
	}
	result := recovery.Result{Class: recovery.Succeeded}
	var checks []recovery.PointCheck
	from := recovery.L2
	if s.Level == recovery.L1 {
		from = recovery.L1
	}
	for level := from; level <= s.Level; level++ {
		check := recovery.PointCheck{Level: level, OK: true, At: w.now, By: "test " + level.String()}
		worst, damaged := r.bad[s.Point.ID]
		if damaged && level >= worst || s.Parts > 1 && r.rotten[s.Part] || level == recovery.L1 && s.Parts < 2 && len(r.rotten) > 0 {
			check.OK, check.Detail = false, "it is damaged"
			result.Class, result.Signature = recovery.Failed, recovery.SignatureCheckFailed
		}
		if checks = append(checks, check); !check.OK {
			break
		}
	}
	result.Sets = []recovery.SetResult{{DataSet: s.Set.Name, Repository: s.Repository.Name, Point: s.Point.ID, Checks: checks}}
	return result
}

// daily are n daily points of a data set, the newest from an hour before noon.
func daily(dataSet, repository string, n int) []recovery.RestorePoint {
	var list []recovery.RestorePoint
	for i := range n {
		list = append(list, recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: dataSet, Repository: repository, ID: fmt.Sprintf("%s-%02d", dataSet, i+1)},
			Kind: recovery.PointFiles, TakenAt: noon.Add(-time.Hour - time.Duration(n-1-i)*day)})
	}
	return list
}

func ref(dataSet, repository string, n int) recovery.PointRef {
	return recovery.PointRef{DataSet: dataSet, Repository: repository, ID: fmt.Sprintf("%s-%02d", dataSet, n)}
}

// estate is a small fleet: two tiers, three data sets in two repositories.
func estate() recovery.Fleet {
	return recovery.Fleet{
		Name:     "town",
		Tiers:    []recovery.Tier{{Name: "first"}, {Name: "second"}},
		Services: []recovery.Service{{Name: "people", Title: "People register", Tier: "first", Council: "north", Owner: "Ada"}, {Name: "files", Tier: "second"}},
		Hosts: []recovery.Host{
			{Name: "db1", Service: "people", Tier: "first", Council: "north", Data: recovery.DataPrimary, Agent: true},
			{Name: "fs1", Service: "files", Tier: "second", Data: recovery.DataReplica, Agent: true},
			{Name: "fs2", Service: "files", Tier: "second", Data: recovery.DataReplica, Agent: true},
			{Name: "web1", Service: "files", Tier: "second", Data: recovery.DataNone, Agent: true},
		},
		Repositories: []recovery.Repository{
			{Name: "bases", Kind: recovery.RepositoryPostgreSQL, Location: "/bases", Slots: 1, Quiet: "22:00-05:00", CheckRate: 1 << 20},
			{Name: "vault", Kind: recovery.RepositoryRestic, Location: "/vault", Slots: 2, OffSite: true},
		},
		DataSets: []recovery.DataSet{
			{Name: "files-a", Host: "fs1", Kind: recovery.PointFiles, Repository: "vault", Policy: "daily"},
			{Name: "files-b", Host: "fs2", Kind: recovery.PointFiles, Repository: "vault", Policy: "daily"},
			{Name: "people-db", Host: "db1", Kind: recovery.PointDatabase, Repository: "bases", Policy: "deep", Engine: recovery.EnginePostgreSQL,
				Invariants: []recovery.Invariant{{Name: "people-unique", SQL: "select 1", Expect: "= 1"}}},
		},
		BackupPolicies: []recovery.BackupPolicy{
			{Name: "daily", Every: day, Keep: 30 * day, Level: recovery.L1, Verify: 7 * day, Undetected: 20 * day},
			{Name: "deep", Every: day, Keep: 14 * day, Level: recovery.L4, Verify: 7 * day},
		},
	}
}

func kinds(events []recovery.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.Kind())
	}
	return list
}

// starts are the data sets of the jobs of a kind of word that were started, in their order.
func (w *world) checks(word string) []string {
	var list []string
	for _, e := range w.journal {
		if v, ok := e.Event.(*recovery.BackupJobStarted); ok && (&job{BackupJobStarted: v}).word() == word {
			list = append(list, fmt.Sprintf("%s %s %s %d/%d", v.Point.DataSet, v.Point.ID, v.Level, v.Part, v.Parts))
		}
	}
	return list
}

func (w *world) want(what string, got, want any) {
	w.Helper()
	if !reflect.DeepEqual(got, want) {
		w.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func kindOf(err error) recovery.ErrorKind {
	if e, ok := err.(*recovery.Error); ok { //nolint:errorlint // it is never wrapped
		return e.Kind
	}
	return ""
}

func (w *world) find(r recovery.PointRef) recovery.RestorePoint {
	w.Helper()
	list := w.c.Points(r.DataSet)
	i := slices.IndexFunc(list, func(p recovery.RestorePoint) bool { return p.PointRef == r })
	if i < 0 {
		w.Fatalf("%s is not known", r)
	}
	return list[i]
}
