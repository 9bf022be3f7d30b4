package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRestore(t *testing.T) {
	x := newSite(t)
	x.engine.moment = time.Date(2026, 3, 1, 5, 0, 0, 0, time.UTC)
	db, files, file := x.set("db"), x.set("none-files"), x.set("file")
	db.Set.Engine, db.Level = "fake", 4
	db.Set.Invariants = []Invariant{{Name: "people", SQL: "select 1", Expect: ">= 1"}}
	db.Moment = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	db.Set.Part, files.Set.Part = "", ""
	file.Set.Stop, file.Set.Start = db.Set.Stop, db.Set.Start // one program uses both
	if err := os.Chmod(db.Set.Target, 0o751|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(db.Set.Target)
	if err != nil {
		t.Fatal(err)
	}
	x.backend.moves = func(p Progress) { p(700, 700) }
	r := x.do(x.worker(), x.job("db1/1", db, files, file))
	x.want(r, Succeeded, "")
	for i, name := range []string{"db", "none-files", "file"} {
		s := r.Sets[i]
		kept := filepath.Join(x.dir, name) + ".blackstart-old-inc-1_db1_1"
		if name == "none-files" {
			kept = ""
		}
		if x.live(name) != "new" || !s.Swapped || s.Kept != kept || kept != "" && holds(t, kept) != "old" || s.Bytes != 700 {
			t.Errorf("%s: live %q, %+v", name, x.live(name), s)
		}
		if s.Set != name || s.Repository != "vault" || s.Point != "p1" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	var levels []string
	for _, c := range r.Sets[0].Checks {
		levels = append(levels, fmt.Sprint(c.Level, c.OK))
	}
	if !r.Sets[0].Moment.Equal(x.engine.moment) || !slices.Equal(levels, []string{"2 true", "3 true", "4 true"}) {
		t.Errorf("the database: %+v", r.Sets[0])
	}
	if want := []string{"prepare db.blackstart-new-inc-1_db1_1", "check db.blackstart-new-inc-1_db1_1"}; !slices.Equal(x.engine.saw, want) {
		t.Errorf("the engine saw %q", x.engine.saw)
	}
	if want := []string{"stop none-files", "stop db", "start db", "start none-files"}; !slices.Equal(x.ran(), want) {
		t.Errorf("ran %q", x.ran())
	}
	after, err := os.Stat(db.Set.Target)
	if err != nil || after.Mode() != before.Mode() {
		t.Errorf("the folder was %v and is %v", before.Mode(), after.Mode())
	}
	if left := x.remains(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestNotEnoughSpace(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		one, two int64 // sizes; 0: the repository tells
		shared   bool
		kind     string
		free     int64
		enough   bool
	}{
		"just enough":             {100 * mib, 0, false, KindRestore, 105*mib + 64*mib, true},
		"a byte too little":       {100 * mib, 0, false, KindRestore, 105*mib + 64*mib - 1, false},
		"two, a disk each":        {100 * mib, 100 * mib, false, KindRestore, 105*mib + 64*mib, true},
		"two on a disk":           {100 * mib, 100 * mib, true, KindRestore, 2*105*mib + 64*mib, true},
		"two on a disk, too full": {100 * mib, 100 * mib, true, KindRestore, 2*105*mib + 64*mib - 1, false},
		"checks, one by one":      {100 * mib, 40 * mib, true, KindCheck, 105*mib + 64*mib, true},
		"checks, the other order": {40 * mib, 100 * mib, true, KindCheck, 105*mib + 64*mib, true},
		"checks, too full":        {40 * mib, 100 * mib, true, KindCheck, 105*mib + 64*mib - 1, false},
		"asked, enough":           {0, 0, false, KindRestore, 5250 + 64*mib, true},
		"asked, too full":         {0, 0, false, KindRestore, 5249 + 64*mib, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.machine.room = func(path string) (string, int64, error) {
				if disk, _, ok := strings.Cut(filepath.Base(path), "."); ok && !c.shared {
					return disk, c.free, nil
				}
				return "disk", c.free, nil
			}
			sets := []SetWork{x.set("one")}
			sets[0].Size = c.one
			if c.one == 0 {
				sets[0].Repository.Kind = "whole"
			}
			if c.two > 0 {
				sets = append(sets, x.set("two"))
				sets[1].Size = c.two
			}
			before, _ := os.ReadDir(x.dir)
			work := x.job("db1/1", sets...)
			work.Kind = c.kind
			r := x.do(x.worker(), work)
			if c.enough {
				x.want(r, Succeeded, "")
				return
			}
			x.want(r, Failed, "not enough space")
			after, _ := os.ReadDir(x.dir)
			if x.backend.count("one") != 0 || len(after) != len(before) {
				t.Errorf("restored %d times, there is %v", x.backend.count("one"), after)
			}
			if !strings.Contains(r.Detail, fmt.Sprint(c.free)) || !strings.Contains(r.Detail, fmt.Sprint(c.free+1)) {
				t.Errorf("told %q", r.Detail)
			}
		})
	}
}

// What another job is still going to write is not free, and what it has written already is not counted twice.
func TestRoomIsKeptForOtherJobs(t *testing.T) {
	x := newSite(t)
	x.backend.hold = make(chan struct{})
	x.backend.moves = func(p Progress) { p(600<<20, 1000<<20) }
	free := int64(2000 << 20)
	x.machine.room = func(string) (string, int64, error) { return "disk", free, nil }
	w := x.worker()
	one, two := x.set("one"), x.set("two")
	one.Size, two.Size = 1000<<20, 1000<<20
	first := ask(w, x.job("1", one))
	<-x.backend.entered
	free -= 600 << 20
	r := x.do(w, x.job("2", two))
	x.want(r, Failed, "not enough space") // 1400 are free, of which 450 are for the other job
	if !strings.Contains(r.Detail, fmt.Sprint(450<<20)) {
		t.Errorf("told %q", r.Detail)
	}
	two.Size = 800 << 20 // 840 and 64
	second := ask(w, x.job("3", two))
	<-x.backend.entered
	close(x.backend.hold)
	x.want(x.await(first), Succeeded, "")
	x.want(x.await(second), Succeeded, "")
}

// What is refused is refused before anything is read from the repository.
func TestRefusedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		signature string
		alter     func(x *site, w *Work)
	}{
		"no sets":            {"bad job", func(_ *site, w *Work) { w.Sets = nil }},
		"kind":               {"bad job", func(_ *site, w *Work) { w.Kind = "dance" }},
		"list of two":        {"bad job", func(x *site, w *Work) { w.Kind, w.Sets = KindList, append(w.Sets, x.set("two")) }},
		"repository":         {"repository kind not known", func(_ *site, w *Work) { w.Sets[0].Repository.Kind = "tape" }},
		"L3, no engine":      {"cannot be checked that far", func(_ *site, w *Work) { w.Sets[0].Level = 3 }},
		"unknown engine":     {"cannot be checked that far", func(_ *site, w *Work) { w.Sets[0].Set.Engine = "oracle" }},
		"L4, no invariants":  {"cannot be checked that far", func(_ *site, w *Work) { w.Sets[0].Level, w.Sets[0].Set.Engine = 4, "fake" }},
		"L5":                 {"cannot be checked that far", func(_ *site, w *Work) { w.Sets[0].Level, w.Sets[0].Set.Engine = 5, "fake" }},
		"check to L0":        {"cannot be checked that far", func(_ *site, w *Work) { w.Kind, w.Sets[0].Level = KindCheck, 0 }},
		"check to L1":        {"cannot be checked that far", func(_ *site, w *Work) { w.Kind, w.Sets[0].Level = KindCheck, 1 }},
		"hold":               {"points cannot be held", func(_ *site, w *Work) { w.Kind = KindHold }},
		"relative":           {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "srv" }},
		"no target":          {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "" }},
		"root":               {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "/" }},
		"root, otherwise":    {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "/etc/.." }},
		"mount point":        {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "/proc" }},
		"above mount points": {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Target = "/dev" }},
		"the agent's own":    {"target not allowed", func(x *site, w *Work) { w.Sets[0].Set.Target = filepath.Join(x.cfg.StateDir, "work", "data") }},
		"above its own":      {"target not allowed", func(x *site, w *Work) { w.Sets[0].Set.Target = filepath.Dir(x.dir) }},
		"part leaves":        {"target not allowed", func(_ *site, w *Work) { w.Sets[0].Set.Part = "../../etc" }},
		"no scratch":         {"target not allowed", func(_ *site, w *Work) { w.Kind, w.Sets[0].Set.Target = KindCheck, "" }},
		"one in the other":   {"targets overlap", func(x *site, w *Work) { w.Sets = append(w.Sets, x.set("one/inner")) }},
		"the same by a link": {"targets overlap", func(x *site, w *Work) {
			two := x.set("none-link")
			if err := os.Symlink("one", two.Set.Target); err != nil {
				x.Fatal(err)
			}
			w.Sets = append(w.Sets, two)
		}},
		"link to nothing": {"target not allowed", func(x *site, w *Work) {
			w.Sets[0].Set.Target = filepath.Join(x.dir, "link")
			if err := os.Symlink("nothing", w.Sets[0].Set.Target); err != nil {
				x.Fatal(err)
			}
		}},
		"old in the way": {"something is in the way", func(x *site, _ *Work) {
			lay(x.T, filepath.Join(x.dir, "one.blackstart-old-inc-1_db1_1"), "foreign", false)
		}},
		"new in the way": {"something is in the way", func(x *site, _ *Work) {
			lay(x.T, filepath.Join(x.dir, "one.blackstart-new-inc-1_db1_1"), "foreign", false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" && strings.Contains(name, "mount") {
				t.Skip("what is mounted is known on Linux only")
			}
			x := newSite(t)
			work := x.job("db1/1", x.set("one"))
			c.alter(x, &work)
			x.want(x.do(x.worker(), work), Failed, c.signature)
			if x.backend.count("one") != 0 || x.live("one") != "old" || len(x.ran()) > 0 {
				t.Errorf("it was begun: restored %d times, live %q, ran %q", x.backend.count("one"), x.live("one"), x.ran())
			}
			for _, path := range x.remains() {
				if holds(t, path) != "foreign" {
					t.Errorf("left %s", path)
				}
			}
			if strings.HasSuffix(name, "in the way") && strings.HasPrefix(name, "new") && len(x.remains()) == 0 {
				t.Error("what was in the way is gone")
			}
		})
	}
}

// A target that is a link stays one: what it leads to is swapped.
func TestTargetIsALink(t *testing.T) {
	x := newSite(t)
	s := x.set("none-link")
	lay(t, filepath.Join(x.dir, "elsewhere", "real"), "old", false)
	if err := os.Symlink(filepath.Join("elsewhere", "real"), s.Set.Target); err != nil {
		t.Fatal(err)
	}
	r := x.do(x.worker(), x.job("db1/1", s))
	x.want(r, Succeeded, "")
	info, err := os.Lstat(s.Set.Target)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 || holds(t, filepath.Join(x.dir, "elsewhere", "real")) != "new" {
		t.Errorf("the link is %v, %v", info, err)
	}
	if want := filepath.Join(x.dir, "elsewhere", "real.blackstart-old-inc-1_db1_1"); r.Sets[0].Kept != want || holds(t, want) != "old" {
		t.Errorf("kept at %s", r.Sets[0].Kept)
	}
}

// Whatever goes wrong before the swap, the live data is not touched, nothing stays beside it, and the programs run.
func TestNothingIsSwapped(t *testing.T) {
	for name, c := range map[string]struct {
		class, signature string
		alter            func(x *site, s *SetWork)
	}{
		"repository":      {AuthRefused, "password refused", func(x *site, _ *SetWork) { x.backend.err = &Fault{AuthRefused, "password refused", "No."} }},
		"no fault":        {Failed, "unknown error", func(x *site, _ *SetWork) { x.backend.err = errors.New("odd") }},
		"odd class":       {Failed, "odd", func(x *site, _ *SetWork) { x.backend.err = &Fault{Succeeded, "odd", "It is."} }},
		"damaged":         {Failed, SignatureDamagedPoint, func(x *site, _ *SetWork) { x.backend.err = &Fault{Failed, SignatureDamagedPoint, "Bad."} }},
		"check failed":    {Failed, SignatureCheckFailed, func(x *site, _ *SetWork) { x.backend.writes = "bad" }},
		"check not made":  {Failed, "no server", func(x *site, _ *SetWork) { x.engine.err = &Fault{Failed, "no server", "It does not start."} }},
		"check too short": {Failed, "not checked far enough", func(x *site, _ *SetWork) { x.engine.below = 1 }},
		"nothing there":   {Failed, "nothing was restored", func(_ *site, s *SetWork) { s.Set.Part = "srv/one/empty" }},
		"part missing":    {Failed, "part not in the restore point", func(_ *site, s *SetWork) { s.Set.Part = "srv/one/gone" }},
		"part by a link":  {Failed, "part not in the restore point", func(_ *site, s *SetWork) { s.Set.Part = "srv/one/link/passwd" }},
		"another kind":    {Failed, "target is another kind of thing", func(_ *site, s *SetWork) { s.Set.Part = "srv/one/is" }},
		"stop fails":      {Failed, "stop failed", func(x *site, _ *SetWork) { x.fails["stop"] = errors.New("ended with exit 1: no") }},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.cfg.Backends["fake"] = fakeOdd{x.backend}
			s := x.set("one")
			s.Set.Engine, s.Level = "fake", 3
			c.alter(x, &s)
			r := x.do(x.worker(), x.job("db1/1", s, x.set("two")))
			x.want(r, c.class, c.signature)
			if x.live("one") != "old" || x.live("two") != "old" || len(x.remains()) > 0 || len(x.stopped()) > 0 {
				t.Errorf("live %q and %q, left %q, standing still %q", x.live("one"), x.live("two"), x.remains(), x.stopped())
			}
			for _, s := range r.Sets {
				if s.Swapped || s.Kept != "" {
					t.Errorf("told %+v", s)
				}
			}
			switch checks := r.Sets[0].Checks; name {
			case "damaged":
				if len(checks) != 1 || checks[0].OK || checks[0].Level != 2 || checks[0].At.IsZero() {
					t.Errorf("checks %+v", checks)
				}
			case "check failed":
				if len(checks) != 2 || !checks[0].OK || checks[1].OK || checks[1].Level != 3 {
					t.Errorf("checks %+v", checks)
				}
			case "repository", "no fault":
				if len(checks) != 0 {
					t.Errorf("checks %+v of a point that is not at fault", checks)
				}
			case "stop fails":
				if want := []string{"stop two", "start one", "start two"}; !slices.Equal(x.ran(), want) {
					t.Errorf("ran %q", x.ran())
				}
			}
		})
	}
}

// fakeOdd restores the whole folder, with odd things in it, whatever part is asked for.
type fakeOdd struct{ *fakeBackend }

func (f fakeOdd) Restore(ctx context.Context, s SetWork, into string, p Progress) error {
	s.Set.Part = "srv/" + s.Set.Name
	err := f.fakeBackend.Restore(ctx, s, into, p)
	dir := filepath.Join(into, "srv", s.Set.Name)
	return errors.Join(err, os.Mkdir(filepath.Join(dir, "empty"), 0o700), os.Symlink("/etc", filepath.Join(dir, "link")))
}

// Data that is live is not taken away again because a program does not start.
func TestStartFailsAfterTheSwap(t *testing.T) {
	x := newSite(t)
	x.fails["start"] = errors.New("ended with exit 1: no")
	r := x.do(x.worker(), x.job("db1/1", x.set("one")))
	x.want(r, Failed, "start failed after the swap")
	if x.live("one") != "new" || !r.Sets[0].Swapped || holds(t, r.Sets[0].Kept) != "old" || !strings.Contains(r.Detail, "start one") {
		t.Errorf("live %q, %+v", x.live("one"), r)
	}
}

// A database's log does not meet the database that comes in its place, and stays with the old one.
func TestSQLiteLogStaysWithItsDatabase(t *testing.T) {
	x := newSite(t)
	s := x.set("file.db")
	lay(t, s.Set.Target, "SQLite format 3\x00old", true)
	lay(t, s.Set.Target+"-wal", "log", true)
	r := x.do(x.worker(), x.job("db1/1", s))
	x.want(r, Succeeded, "")
	if x.live("file.db") != "new" || holds(t, s.Set.Target+"-wal") != "" || holds(t, r.Sets[0].Kept+"-wal") != "log" {
		t.Errorf("live %q, its log %q, the old one's %q", x.live("file.db"), holds(t, s.Set.Target+"-wal"), holds(t, r.Sets[0].Kept+"-wal"))
	}
}

func TestCheck(t *testing.T) {
	scratch := t.TempDir()
	for name, c := range map[string]struct {
		level            int
		alter            func(x *site, s *SetWork)
		class, signature string
		checks           string
	}{
		"repository":         {1, nil, Succeeded, "", "1 true fake check 2/7"},
		"repository damaged": {1, func(x *site, _ *SetWork) { x.backend.err = &Fault{Failed, SignatureDamagedPoint, "Bad."} }, Failed, SignatureDamagedPoint, "1 false fake check 2/7"},
		"repository away":    {1, func(x *site, _ *SetWork) { x.backend.err = &Fault{Unreachable, "away", "Away."} }, Unreachable, "away", ""},
		"restores":           {2, nil, Succeeded, "", "2 true restore"},
		"does not":           {2, func(x *site, _ *SetWork) { x.backend.err = &Fault{Failed, SignatureDamagedPoint, "Bad."} }, Failed, SignatureDamagedPoint, "2 false restore"},
		"engine":             {3, nil, Succeeded, "", "2 true restore,3 true fake"},
		"engine says no":     {3, func(x *site, _ *SetWork) { x.backend.writes = "bad" }, Failed, SignatureCheckFailed, "2 true restore,3 false fake"},
		"elsewhere":          {3, func(_ *site, s *SetWork) { s.Set.Options, s.Set.Target = map[string]string{"scratch": scratch}, "" }, Succeeded, "", "2 true restore,3 true fake"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			s := x.set("one")
			s.Repository.Kind, s.Set.Engine, s.Level, s.Part, s.Parts = "whole", "fake", c.level, 2, 7
			if c.alter != nil {
				c.alter(x, &s)
			}
			other := s
			other.Set.Name, other.Point = "other", "p2" // the same data, of another point
			work := x.job("check", s, other)
			work.Kind = KindCheck
			r := x.do(x.worker(), work)
			x.want(r, c.class, c.signature)
			for i := range 2 {
				var checks []string
				for _, k := range r.Sets[i].Checks {
					checks = append(checks, fmt.Sprint(k.Level, " ", k.OK, " ", k.By))
				}
				if got := strings.Join(checks, ","); got != c.checks {
					t.Errorf("checks %q; want %q", got, c.checks)
				}
			}
			left, _ := os.ReadDir(scratch)
			if x.live("one") != "old" || len(x.remains()) > 0 || len(left) > 0 || len(x.ran()) > 0 {
				t.Errorf("live %q, left %q %v, ran %q", x.live("one"), x.remains(), left, x.ran())
			}
		})
	}
}

func TestListAndHold(t *testing.T) {
	x := newSite(t)
	w := x.worker()
	work := x.job("list", x.set("one"))
	work.Kind = KindList
	r := x.do(w, work)
	x.want(r, Succeeded, "")
	if len(r.Points) != 2 || r.Points[0].ID != "p1" || r.Points[1].ID != "p2" {
		t.Errorf("points %+v", r.Points)
	}
	work = x.job("hold", x.set("one"), x.set("two"))
	work.Kind, work.Sets[0].Repository.Kind, work.Sets[1].Repository.Kind = KindHold, "whole", "whole"
	x.want(x.do(w, work), Succeeded, "")
	if x.backend.count("one") != 2 || x.backend.count("two") != 1 {
		t.Errorf("calls %v", x.backend.calls)
	}
}

// A program that starts something may leave it running; one that stops something may not leave anything.
func TestPrograms(t *testing.T) {
	said := filepath.Join(t.TempDir(), "said")
	err := runProgram(t.Context(), []string{"/bin/sh", "-c", "printf 'not\\033[1m to\\nday' >&2; exit 4"}, said)
	if err == nil || !strings.Contains(err.Error(), "exit 4") || !strings.Contains(err.Error(), "to; day") || strings.Contains(err.Error(), "\033") {
		t.Errorf("a start that fails: %v", err)
	}
	if err := runProgram(t.Context(), []string{"/bin/sh", "-c", "echo no >&2; exit 3"}, ""); err == nil || !strings.Contains(err.Error(), "exit 3: no") {
		t.Errorf("a stop that fails: %v", err)
	}
	if err := runProgram(t.Context(), []string{"/nonexistent/program"}, said); err == nil {
		t.Error("a program that is not there was started")
	}

	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := runProgram(t.Context(), []string{"/bin/sh", "-c", `mkfifo "$1"; { read line < "$1"; echo "$line" > "$1.answer"; mv "$1.answer" "$1.done"; } & exit 0`, "sh", pipe}, said); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _ = f.WriteString("alive\n")
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		if data, err := os.ReadFile(pipe + ".done"); err == nil && string(data) == "alive\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what was started does not live")
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := runProgram(ctx, []string{"/bin/sh", "-c", "sleep 600 & wait"}, said); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a start that hangs: %v", err)
	}
}

// When the disk takes no more records nothing is swapped; and when the swap has begun, it goes on.
func TestClaimCannotBeKept(t *testing.T) {
	for step, c := range map[string]struct {
		file, class, signature, live string
		kept                         bool
	}{
		"flushed":         {recordFile, Failed, "claim cannot be kept", "old", true},
		"program stopped": {recordFile, Failed, "claim cannot be kept", "old", true},
		"rename":          {recordFile, Succeeded, "", "new", true},
		"program started": {resultFile, Succeeded, "", "new", false},
	} {
		t.Run(step, func(t *testing.T) {
			x := newSite(t)
			block := filepath.Join(x.cfg.StateDir, "work", "inc-1_db1_1", c.file+".tmp")
			x.machine.step = func(what string) {
				if what == step {
					_ = os.Mkdir(block, 0o700)
				}
			}
			work := x.job("db1/1", x.set("one"))
			work.Reboot = true
			w := x.open()
			r := x.do(w, work)
			w.Close()
			x.want(r, c.class, c.signature)
			if x.live("one") != c.live || len(x.remains()) > 0 || len(x.stopped()) > 0 || r.Rebooted != (c.kept && c.class == Succeeded) {
				t.Errorf("live %q, left %q, standing still %q, %+v", x.live("one"), x.remains(), x.stopped(), r)
			}
			if err := os.Remove(block); err != nil {
				t.Fatal(err)
			}
			x.machine.step = func(string) {}
			w = x.open()
			again := x.do(w, work)
			w.Close()
			if again.Class != c.class || !again.Joined || x.live("one") != c.live || x.backend.count("one") != 1 || len(x.stopped()) > 0 {
				t.Errorf("told again %+v, live %q", again, x.live("one"))
			}
		})
	}
}
