package adhoc

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRemedy stands for the hosts, which outlive the program: a script that was started once is joined ever after.
type fakeRemedy struct {
	*testing.T
	takes time.Duration
	class func(host string) recovery.Class // nil: all succeed

	mu       sync.Mutex
	intended map[string]bool      // attempts whose intent is on disk
	began    map[string]time.Time // when each script began, on its host
	starts   map[string]int       // of scripts
	atOnce   int
	most     int
}

func newFake(t *testing.T) *fakeRemedy {
	return &fakeRemedy{T: t, takes: time.Second, intended: map[string]bool{}, began: map[string]time.Time{}, starts: map[string]int{}}
}

func (f *fakeRemedy) Run(ctx context.Context, job recovery.Job) recovery.Result {
	f.mu.Lock()
	if !f.intended[job.ID] {
		f.Errorf("%s is sent before its intent is on disk", job.ID)
	}
	began, joined := f.began[job.ID]
	if !joined {
		began = time.Now()
		f.began[job.ID] = began
		f.starts[job.ID]++
	}
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.atOnce--
	}()
	ended := time.NewTimer(time.Until(began.Add(f.takes)))
	defer ended.Stop()
	select {
	case <-ctx.Done():
		return recovery.Result{Class: recovery.Lost, Signature: "cancelled in mid-run", Joined: joined}
	case <-ended.C:
	}
	class := recovery.Succeeded
	if f.class != nil {
		class = f.class(job.Host.Name)
	}
	if class == "panic" {
		panic("a fault")
	}
	return recovery.Result{Class: class, Joined: joined}
}

// note takes up what is on disk.
func (f *fakeRemedy) note(entries []recovery.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		if v, ok := e.Event.(*recovery.AttemptStarted); ok {
			f.intended[v.Attempt.ID] = true
		}
	}
}

func declared(t testing.TB, hosts, atOnce int) *recovery.RunDeclared {
	t.Helper()
	f := recovery.Fleet{Name: "depot", Resources: []recovery.Resource{{Name: recovery.ResourceSSH, Slots: atOnce}}, Groups: []recovery.Group{{Name: "pair", MaxAtOnce: 1}}}
	for i := range hosts {
		h := recovery.Host{Name: fmt.Sprintf("h%02d", i), OS: "linux", Ladder: []recovery.Rung{{Name: "own", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: "192.0.2.1"}}}
		if i < 2 {
			h.Groups = []string{"pair"}
		}
		f.Hosts = append(f.Hosts, h)
	}
	d, err := recovery.NewRun(recovery.RunRequest{Run: "RUN-1", Fleet: f, Scripts: []recovery.RunScript{{Environment: recovery.EnvLinux, Text: "true\n"}},
		Playbook: recovery.Playbook{Name: "mend", Digest: "sha256:1", Environments: []string{recovery.EnvLinux}, Timeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// world is one folder in which programs come and go.
type world struct {
	*testing.T
	file   string
	remedy *fakeRemedy
	crash  int // the append that fails, counted from 1; 0: none
	whole  bool
	wrote  int
}

var errDisk = fmt.Errorf("%w: test: no space left", journal.ErrAppend)

// open starts a program; the returned function ends it.
func (w *world) open() (*Run, func()) {
	w.Helper()
	j, err := journal.Open(w.file)
	if err != nil {
		w.Fatal(err)
	}
	r, err := New(Config{Journal: j, Actor: "operator:ada", Log: hclog.NewNullLogger()})
	if err != nil {
		w.Fatal(err)
	}
	w.reload(j)
	write := r.write
	r.write = func(run string, expected uint64, entries []recovery.Entry) error {
		w.wrote++
		if w.wrote == w.crash && !w.whole {
			return errDisk
		}
		if err := write(run, expected, entries); err != nil {
			return err
		}
		w.remedy.note(entries)
		if w.wrote == w.crash {
			return errDisk // all of it is there, and the program does not know
		}
		return nil
	}
	return r, func() { _ = j.Close() }
}

func (w *world) reload(j *journal.Journal) {
	w.Helper()
	ids, err := j.Incidents()
	if err != nil {
		w.Fatal(err)
	}
	for _, id := range ids {
		if err := j.Read(id, func(e recovery.Entry) error { w.remedy.note([]recovery.Entry{e}); return nil }); err != nil {
			w.Fatal(err)
		}
	}
}

// play takes the run to its end, as a responder does who starts the program again when it dies. It returns how often it died.
func (w *world) play(hosts, atOnce int) (state *recovery.AdHoc, deaths int) {
	w.Helper()
	for range 3 {
		r, end := w.open()
		err := error(nil)
		if r.State().ID == "" {
			err = r.Declare(declared(w.T, hosts, atOnce))
		}
		if err == nil {
			err = r.Go(w.Context(), w.remedy)
		}
		end()
		if err == nil {
			return r.State(), deaths
		}
		if !errors.Is(err, journal.ErrAppend) {
			w.Fatal(err)
		}
		deaths++
	}
	w.Fatal("it dies again and again")
	return nil, 0
}

func newWorld(t *testing.T) *world {
	return &world{T: t, file: filepath.Join(t.TempDir(), "journal.db"), remedy: newFake(t)}
}

// check holds what must be true of every run that has ended.
func (w *world) check(s *recovery.AdHoc, hosts, atOnce int) {
	w.Helper()
	if s.Ended.IsZero() || len(s.Hosts) != hosts || s.Counts().Ended() != hosts {
		w.Errorf("ended %v, %d hosts, %+v", s.Ended, len(s.Hosts), s.Counts())
	}
	for id, n := range w.remedy.starts {
		if n != 1 {
			w.Errorf("the script of %s ran %d times", id, n)
		}
	}
	if len(w.remedy.starts) != hosts || w.remedy.most > atOnce {
		w.Errorf("%d scripts ran for %d hosts, at most %d at once where %d may", len(w.remedy.starts), hosts, w.remedy.most, atOnce)
	}
}

// The program dies at each of its appends in turn, before or after all of it was written. Each time another goes on from the
// same file: every host is tried once, and nothing is sent before its intent is on disk.
func TestACrashAtEveryAppend(t *testing.T) {
	const hosts, atOnce = 7, 3
	total := 0
	for _, whole := range []bool{false, true} {
		for n := 1; ; n++ {
			deaths := 0
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.crash, w.whole = n, whole
				var s *recovery.AdHoc
				s, deaths = w.play(hosts, atOnce)
				w.check(s, hosts, atOnce)
			})
			if t.Failed() {
				t.Fatalf("after a crash at append %d, written: %v", n, whole)
			}
			if deaths == 0 {
				break
			}
			total++
		}
	}
	if total < 8 {
		t.Errorf("only %d crashes were tried", total)
	}
}

// Results that come together are written together, with the starts that they make room for.
func TestOneWriteForABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const hosts, atOnce = 100, 20
		s, _ := w.play(hosts, atOnce)
		w.check(s, hosts, atOnce)
		if rounds := hosts / atOnce; w.wrote > 2+4*rounds { // all end at the same moment, but not in the same turn of the loop
			t.Errorf("%d writes for %d hosts of which %d go together", w.wrote, hosts, atOnce)
		}
	})
}

// The pair's second member waits for the first although there is room.
func TestAGroupGoesOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, _ := w.play(5, 5)
		w.check(s, 5, 5)
		if gap := w.remedy.began["h01/1"].Sub(w.remedy.began["h00/1"]); gap < w.remedy.takes {
			t.Errorf("the second of a pair began %v after the first", gap)
		}
	})
}

// A stop starts nothing more, waits for what is under way, and can be taken up.
func TestStopAndTakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		r, end := w.open()
		if err := r.Declare(declared(t, 6, 2)); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(w.remedy.takes/2, stop)
		err := r.Go(ctx, w.remedy)
		end()
		if c := r.State().Counts(); !errors.Is(err, ErrStopped) || c.UnderWay != 0 || c.Waiting != 4 || c.Results[recovery.Succeeded] != 2 {
			t.Fatalf("%v, %+v", err, c)
		}
		s, _ := w.play(6, 2)
		w.check(s, 6, 2)
	})
}

// A program that is killed leaves scripts running: the next one joins them, and a host that it cannot reach then is lost, not
// unreachable, for the script may have run.
func TestAKilledRunIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.remedy.takes = time.Hour
		w.crash = 3 // the first result
		w.remedy.class = func(host string) recovery.Class {
			return map[string]recovery.Class{"h03": recovery.Unreachable, "h04": "panic"}[host]
		}
		s, deaths := w.play(5, 5)
		w.check(s, 5, 5)
		want := map[string]recovery.Class{"h02": "", "h03": recovery.Lost, "h04": recovery.Lost}
		got := map[string]recovery.Class{}
		for _, h := range s.Hosts[2:] {
			got[h.Host.Name] = h.Attempt.Result.Class
			if !h.Attempt.Result.Joined && h.Host.Name != "h04" {
				t.Errorf("%s was not joined: %+v", h.Host.Name, h.Attempt.Result)
			}
		}
		if deaths != 1 || !reflect.DeepEqual(got, want) {
			t.Errorf("%d deaths, %v, want %v", deaths, got, want)
		}
	})
}

func TestTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.play(3, 1)
		j, err := journal.OpenReadOnly(w.file)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		var out strings.Builder
		if err := j.Verify(&out); err != nil || !strings.Contains(out.String(), "ok      RUN-1  8 entries") {
			t.Errorf("%v\n%s", err, &out)
		}
		var kinds, actors []string
		if err := j.Read("RUN-1", func(e recovery.Entry) error {
			kinds = append(kinds, e.Event.Kind())
			actors = append(actors, e.Actor)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		const s, e = "attempt-started", "attempt-ended"
		if want := []string{"run-declared", s, e, s, e, s, e, "run-ended"}; !slices.Equal(kinds, want) {
			t.Errorf("the journal holds %v", kinds)
		}
		if actors[0] != "operator:ada" || actors[1] != "engine" {
			t.Errorf("by %v", actors)
		}
	})
}

func TestAJournalOfAnIncidentIsNoRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal.db")
	j, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for i, want := range []string{"holds incident one and no run", "holds 2 incidents"} {
		id := []string{"one", "two"}[i]
		if err := j.Append(id, 0, []recovery.Entry{{Seq: 1, At: time.Now(), Actor: "engine", Event: &recovery.IncidentPaused{}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Journal: j}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
