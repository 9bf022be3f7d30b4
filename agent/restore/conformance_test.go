package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// conformWorld is a repository, with one data set that it holds no point of yet, as the suite of all backends needs it.
type conformWorld struct {
	backend Backend
	work    SetWork // of the data set: Set and Repository
	// take makes one more point of the data set from the folder tree, as taken at at, and returns where below a restored folder that
	// tree lies ("" for the folder itself). It may first add to the tree what its kind of point must hold, and must not keep the tree.
	take func(t *testing.T, tree string, at time.Time) (inside string)
	adds []string // names at the top of a restored folder that a restore adds to what was backed up

	wrong       func(t *testing.T) SetWork // work with a wrong secret; nil: this kind of repository has none
	secrets     []string                   // text that no error may hold
	unreachable func(t *testing.T) SetWork // work with a repository that is not there

	damage            func(t *testing.T)                 // spoils the data of the newest point, not its listing; needed by a Checker
	restoreSeesDamage bool                               // Restore finds that too
	held              func(t *testing.T, id string) bool // whether the repository's own retention keeps the point; needed by a Holder

	marked string // what every program of this backend has in its environment, and no other; empty: TMPDIR is set for them, which keeps other tests waiting
}

const (
	conformBig  = 30 << 20 // bytes of the largest file of the suite's tree
	conformSlow = 1 << 20  // bytes per second at which that one cannot be done before it is stopped
)

// conform holds a backend against the contracts of Backend, Checker, Holder and Sizer. Its parts build on each other, in order; the
// last one damages the repository.
func conform(t *testing.T, w conformWorld) {
	defer leavesNoGoroutine(t)()
	older := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	newer := older.Add(24 * time.Hour)
	tree, small := t.TempDir(), t.TempDir()
	var inside string
	var newest SetWork
	part := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow()
		}
	}

	part("ListOfNothing", func(t *testing.T) {
		if got, err := w.backend.List(t.Context(), w.work); err != nil || len(got) != 0 {
			t.Fatalf("a data set without points lists %v, %v", got, err)
		}
	})
	part("ListOldestFirst", func(t *testing.T) {
		plant(t, tree, map[string]string{"a": "older"})
		plant(t, small, map[string]string{"a": "older"})
		plantHard(t, tree)
		inside = w.take(t, tree, newer)
		w.take(t, small, older)
		points, err := w.backend.List(t.Context(), w.work)
		if err != nil || len(points) != 2 {
			t.Fatalf("listed %+v, %v; want two points", points, err)
		}
		for i, at := range []time.Time{older, newer} {
			if p := points[i]; p.ID == "" || p.Kind != w.work.Set.Kind || !p.TakenAt.Equal(at) || !p.Until.IsZero() && p.Until.Before(at) {
				t.Errorf("point %d is %+v; want one of kind %q, taken at %v", i, p, w.work.Set.Kind, at)
			}
		}
		if points[0].ID == points[1].ID {
			t.Errorf("both points are called %q", points[0].ID)
		}
		newest = w.work
		newest.Point, newest.TakenAt, newest.Size = points[1].ID, points[1].TakenAt, points[1].Size
	})
	part("Size", func(t *testing.T) {
		sizer, ok := w.backend.(Sizer)
		if !ok {
			return
		}
		size, err := sizer.Size(t.Context(), newest)
		if want := bytesIn(t, tree); err != nil || size < want || size > want+want/10 {
			t.Errorf("size is %d, %v; a restore writes %d bytes", size, err, want)
		}
		newest.Size = size
		_, err = sizer.Size(t.Context(), unknownPoint(newest))
		isFault(t, w, err, Failed, signatureGone)
	})
	part("RestoreEqualsSource", func(t *testing.T) {
		into := t.TempDir()
		var told progressLog
		if err := w.backend.Restore(t.Context(), newest, into, told.add); err != nil {
			t.Fatal(err)
		}
		sameTree(t, tree, filepath.Join(into, inside), w.adds)
		told.isSound(t, newest.Size)
	})
	part("RestoreOfUnknownPoint", func(t *testing.T) {
		into := t.TempDir()
		isFault(t, w, w.backend.Restore(t.Context(), unknownPoint(newest), into, nil), Failed, signatureGone)
		isEmpty(t, into)
	})
	part("RestoreIntoFilledFolder", func(t *testing.T) {
		into := t.TempDir()
		plant(t, into, map[string]string{"mine": "untouched"})
		isFault(t, w, w.backend.Restore(t.Context(), newest, into, nil), Failed, signatureNotEmpty)
		if data, err := os.ReadFile(filepath.Join(into, "mine")); string(data) != "untouched" || len(entriesOf(t, into)) != 1 {
			t.Errorf("what was in the folder is now %q, %v, among %v", data, err, entriesOf(t, into))
		}
		isFault(t, w, w.backend.Restore(t.Context(), newest, filepath.Join(into, "missing"), nil), Failed, "restore folder cannot be read")
	})
	part("RestoreEndsWithItsContext", func(t *testing.T) {
		marked := w.marked
		if marked == "" {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir) // every program that the agent starts has it in its environment
			marked = "TMPDIR=" + dir
		}
		slow := newest
		slow.Rate = conformSlow
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stopped time.Time
		var once sync.Once
		err := w.backend.Restore(ctx, slow, t.TempDir(), func(done, _ int64) {
			if done > 0 {
				once.Do(func() { stopped = time.Now(); cancel() })
			}
		})
		isFault(t, w, err, Cancelled, signatureLetGo)
		if took := time.Since(stopped); stopped.IsZero() || took > 15*time.Second {
			t.Errorf("it ended %v after it was stopped", took)
		}
		noProcessHas(t, marked)
	})
	part("TimeIsUp", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err := w.backend.List(ctx, w.work)
		isFault(t, w, err, TimedOut, signatureTimedOut)
		into := t.TempDir()
		isFault(t, w, w.backend.Restore(ctx, newest, into, nil), TimedOut, signatureTimedOut)
		isEmpty(t, into)
	})
	part("HoldAndRelease", func(t *testing.T) {
		holder, ok := w.backend.(Holder)
		if !ok {
			return
		}
		for _, release := range []bool{false, false, true, true} {
			s := newest
			s.Hold, s.Release = "INC-2026/03 02,a", release
			if err := holder.Hold(t.Context(), s); err != nil {
				t.Fatalf("hold, release %v: %v", release, err)
			}
			if held := w.held(t, newest.Point); held == release {
				t.Errorf("after release %v the point is held: %v", release, held)
			}
			if points, err := w.backend.List(t.Context(), w.work); err != nil || len(points) != 2 || points[1].ID != newest.Point {
				t.Errorf("after release %v the points are %+v, %v", release, points, err)
			}
		}
		s := unknownPoint(newest)
		s.Hold = "INC-1"
		isFault(t, w, holder.Hold(t.Context(), s), Failed, signatureGone)
	})
	part("RestoreAfterAll", func(t *testing.T) {
		into := t.TempDir()
		if err := w.backend.Restore(t.Context(), newest, into, nil); err != nil {
			t.Fatal(err)
		}
		sameTree(t, tree, filepath.Join(into, inside), w.adds)
	})
	part("WrongSecret", func(t *testing.T) {
		if w.wrong == nil {
			return
		}
		s := w.wrong(t)
		_, err := w.backend.List(t.Context(), s)
		isFault(t, w, err, AuthRefused, "")
		s.Point, s.TakenAt = newest.Point, newest.TakenAt
		into := t.TempDir()
		isFault(t, w, w.backend.Restore(t.Context(), s, into, nil), AuthRefused, "")
		isEmpty(t, into)
	})
	part("RepositoryUnreachable", func(t *testing.T) {
		s := w.unreachable(t)
		_, err := w.backend.List(t.Context(), s)
		isFault(t, w, err, Unreachable, "")
		s.Point, s.TakenAt = newest.Point, newest.TakenAt
		into := t.TempDir()
		isFault(t, w, w.backend.Restore(t.Context(), s, into, nil), Unreachable, "")
		isEmpty(t, into)
	})
	part("Damage", func(t *testing.T) {
		checker, isChecker := w.backend.(Checker)
		if isChecker {
			if by, err := checker.Check(t.Context(), newest, nil); err != nil || by == "" {
				t.Fatalf("check of a sound repository: %q, %v", by, err)
			}
		}
		if !isChecker && !w.restoreSeesDamage {
			return
		}
		w.damage(t)
		if isChecker {
			_, err := checker.Check(t.Context(), newest, nil)
			isFault(t, w, err, Failed, SignatureDamagedPoint)
		}
		if w.restoreSeesDamage {
			isFault(t, w, w.backend.Restore(t.Context(), newest, t.TempDir(), nil), Failed, SignatureDamagedPoint)
		}
	})
}

func unknownPoint(s SetWork) SetWork {
	s.Point = strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '8', r >= 'a' && r <= 'e':
			return r + 1
		default:
			return r
		}
	}, s.Point)
	return s
}

// isFault holds an error against what every one must be: a Fault of the class and signature wanted ("" for any) that a person
// understands and that groups with its like.
func isFault(t *testing.T, w conformWorld, err error, class, signature string) {
	t.Helper()
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Errorf("error is %v, which is no Fault; want one of class %q, %q", err, class, signature)
		return
	}
	if fault.Class != class || signature != "" && fault.Signature != signature {
		t.Errorf("fault is %v; want class %q, %q", fault, class, signature)
	}
	if !regexp.MustCompile(`^[A-Za-z][A-Za-z ,-]{2,59}$`).MatchString(fault.Signature) {
		t.Errorf("signature %q does not group: only words may be in it", fault.Signature)
	}
	if !regexp.MustCompile(`^[^a-z\x00-\x1f][^\x00-\x1f]{10,}[.]$`).MatchString(fault.Detail) || len(fault.Detail) > maxSaid {
		t.Errorf("detail is not a sentence on one line: %q", fault.Detail)
	}
	for _, secret := range w.secrets {
		if strings.Contains(fault.Error(), secret) {
			t.Errorf("the fault tells a secret: %v", fault)
		}
	}
}

// progressLog keeps what was told of a restore.
type progressLog struct {
	mu   sync.Mutex
	told [][2]int64
}

func (l *progressLog) add(done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, [2]int64{done, total})
}

// isSound: what is done never shrinks, and ends at the total where one is known.
func (l *progressLog) isSound(t *testing.T, size int64) {
	t.Helper()
	var before int64
	for _, p := range l.told {
		if p[0] < before || p[1] > 0 && p[0] > p[1] {
			t.Errorf("progress is told as %v", l.told)
			break
		}
		before = p[0]
	}
	if len(l.told) == 0 {
		t.Error("no progress was told")
	} else if last := l.told[len(l.told)-1]; size > 0 && (last[1] == 0 || last[0] != last[1]) {
		t.Errorf("the last word on progress is %d of %d; want it done, as the size was known", last[0], last[1])
	}
}

func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// plantHard plants all that is easily lost on the way.
func plantHard(t *testing.T, dir string) {
	t.Helper()
	deep := filepath.Join(dir, "deep", "er")
	big := make([]byte, conformBig)
	source := rand.NewChaCha8([32]byte{6})
	_, _ = source.Read(big)
	for _, err := range []error{
		os.MkdirAll(deep, 0o755),
		os.Mkdir(filepath.Join(dir, "empty folder"), 0o700),
		os.WriteFile(filepath.Join(dir, "big"), big, 0o640),
		os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "two words"), []byte("spaces"), 0o600),
		os.WriteFile(filepath.Join(dir, "two\nlines"), []byte("newline"), 0o600),
		os.WriteFile(filepath.Join(dir, "-rf *"), []byte("dash"), 0o600),
		os.WriteFile(filepath.Join(deep, "programme"), []byte("#!/bin/sh\n"), 0o750),
		os.Chmod(filepath.Join(deep, "programme"), 0o750),
		os.WriteFile(filepath.Join(deep, "read only"), []byte("r"), 0o400),
		os.Symlink("../../two words", filepath.Join(deep, "link")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sameTree compares all names, modes, links and bytes.
func sameTree(t *testing.T, want, got string, adds []string) {
	t.Helper()
	a, b := describe(t, want), describe(t, got)
	for _, name := range adds {
		delete(b, name)
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			t.Errorf("%q is %q in what was backed up, and %q in what was restored", name, a[name], b[name])
		}
		delete(b, name)
	}
	for name, is := range b {
		t.Errorf("%q (%s) was never backed up, and is in what was restored", name, is)
	}
}

func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		is := info.Mode().String()
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			is += " to " + to
		case d.Type().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // only read
			sum := sha256.New()
			if _, err := io.Copy(sum, f); err != nil {
				return err
			}
			is += fmt.Sprintf(" %d bytes %x", info.Size(), sum.Sum(nil))
		}
		all[name] = is
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func bytesIn(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func entriesOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func isEmpty(t *testing.T, dir string) {
	t.Helper()
	if names := entriesOf(t, dir); len(names) > 0 {
		t.Errorf("%q were written", names)
	}
}

// leavesNoGoroutine labels this goroutine, and so all that it starts. What it returns fails when one of those is still there, whatever
// goroutines other tests have.
func leavesNoGoroutine(t *testing.T) func() {
	const key = "blackstart-test"
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels(key, t.Name())))
	return func() {
		t.Helper()
		pprof.SetGoroutineLabels(context.Background())
		var all bytes.Buffer
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(time.Second); ; <-tick.C {
			all.Reset()
			if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(all.String(), fmt.Sprintf("%q:%q", key, t.Name())) {
				return
			}
			if time.Now().After(end) {
				t.Errorf("goroutines were left behind: %s", all.String())
				return
			}
		}
	}
}

// noProcessHas looks in the environment of every other process for a variable that only ours were told of.
func noProcessHas(t *testing.T, marked string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(found) == 0 {
		t.Fatalf("no processes can be looked at: %v", err)
	}
	for _, path := range found {
		if env, err := os.ReadFile(path); err == nil && strings.Contains("\x00"+string(env), "\x00"+marked) {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "comm"))
			t.Errorf("process %s (%s) was left behind", filepath.Base(filepath.Dir(path)), strings.TrimSpace(string(name)))
		}
	}
}

// wanted fails, or skips where a person runs the tests, for want of a part.
func wanted(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}
