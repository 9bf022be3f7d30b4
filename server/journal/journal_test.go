package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(child(role)) //nolint:forbidigo // this is main
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2024, 7, 19, 5, 30, 0, 123456789, time.UTC)

// entry makes entry n of a test incident; its content follows from n alone.
func entry(n uint64) recovery.Entry {
	e := recovery.Entry{Seq: n, At: start.Add(time.Duration(n) * time.Second), Actor: "engine"}
	switch n % 3 {
	case 0:
		e.Actor = "operator:åsa"
		e.Event = &recovery.HostSkipped{Host: fmt.Sprintf("brt-app%02d", n), Reason: "<no> “power”\n & no hands"}
	case 1:
		e.Event = &recovery.WavePassed{Wave: int(n), Reason: strings.Repeat("proven ", int(n%40))}
	default:
		e.Event = &recovery.HostRecovered{Host: fmt.Sprintf("brt-app%02d", n), Reason: "held", Debts: []recovery.Debt{{ID: "keys", What: "rotate"}}}
	}
	return e
}

func entriesFrom(first, last uint64) []recovery.Entry {
	var es []recovery.Entry
	for n := first; n <= last; n++ {
		es = append(es, entry(n))
	}
	return es
}

func openTemp(t testing.TB) *Journal {
	t.Helper()
	return reopen(t, filepath.Join(t.TempDir(), "journal.db"))
}

func reopen(t testing.TB, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, incident string, es ...recovery.Entry) {
	t.Helper()
	if err := j.Append(incident, es[0].Seq-1, es); err != nil {
		t.Fatal(err)
	}
}

func readAll(j *Journal, incident string) ([]recovery.Entry, error) {
	var es []recovery.Entry
	err := j.Read(incident, func(e recovery.Entry) error { es = append(es, e); return nil })
	return es, err
}

func wantEntries(t testing.TB, j *Journal, incident string, last uint64) {
	t.Helper()
	got, err := readAll(j, incident)
	if err != nil {
		t.Fatal(err)
	}
	if want := entriesFrom(1, last); !reflect.DeepEqual(got, want) {
		t.Fatalf("incident %s has %d entries, want %d, or they differ", incident, len(got), len(want))
	}
}

func TestAppendAndRead(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "b-2024", entriesFrom(1, 3)...)
	mustAppend(t, j, "a-2025 æ", entriesFrom(1, 1)...)
	mustAppend(t, j, "b-2024", entriesFrom(4, 700)...) // more than two steps of reading
	if err := j.Append("b-2024", 700, nil); err != nil {
		t.Fatalf("nothing to append: %v", err)
	}
	for range 2 {
		wantEntries(t, j, "b-2024", 700)
		wantEntries(t, j, "a-2025 æ", 1)
		ids, err := j.Incidents()
		if err != nil || !reflect.DeepEqual(ids, []string{"b-2024", "a-2025 æ"}) {
			t.Fatalf("incidents %q, %v", ids, err)
		}
		if n, err := j.LastSeq("b-2024"); n != 700 || err != nil {
			t.Fatalf("last %d, %v", n, err)
		}
		if n, err := j.LastSeq("never"); n != 0 || err != nil {
			t.Fatalf("last %d, %v", n, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = reopen(t, j.path)
	}
	if _, err := readAll(j, "never"); !errors.Is(err, ErrNoIncident) {
		t.Fatalf("reading an unknown incident: %v", err)
	}
}

func TestCallbackMayAppendAndEndsTheReading(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entriesFrom(1, 2)...)
	seen := uint64(0)
	err := j.Read("i", func(e recovery.Entry) error {
		if seen = e.Seq; e.Seq == 1 {
			return j.Append("i", 2, entriesFrom(3, 3))
		}
		return nil
	})
	if err != nil || seen < 2 {
		t.Fatalf("read up to %d, %v", seen, err)
	}
	enough := errors.New("enough")
	if err := j.Read("i", func(recovery.Entry) error { return enough }); !errors.Is(err, enough) {
		t.Fatalf("got %v", err)
	}
}

func TestConflict(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entriesFrom(1, 5)...)
	for _, expected := range []uint64{0, 4, 6} {
		err := j.Append("i", expected, []recovery.Entry{entry(expected + 1)})
		var conflict *ConflictError
		if !errors.Is(err, ErrConflict) || !errors.As(err, &conflict) || conflict.Expected != expected || conflict.Have != 5 {
			t.Fatalf("expected %d: %v", expected, err)
		}
		if errors.Is(err, ErrAppend) || !strings.Contains(err.Error(), "5") || !strings.Contains(err.Error(), fmt.Sprint(expected)) {
			t.Fatalf("expected %d: %v", expected, err)
		}
	}
	mustAppend(t, j, "i", entry(6)) // a conflict does not poison
	wantEntries(t, j, "i", 6)
}

func TestRacingAppendsOneWins(t *testing.T) {
	j := openTemp(t)
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() { errs[i] = j.Append("i", 0, entriesFrom(1, 1)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrConflict) {
			t.Fatal(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d writers won", won)
	}
	wantEntries(t, j, "i", 1)
}

type strangeEvent struct{}

func (strangeEvent) Kind() string { return "strange" }

func TestRefusedEntriesLeaveNothing(t *testing.T) {
	j := openTemp(t)
	huge := entry(2)
	huge.Event = &recovery.WavePassed{Reason: strings.Repeat("x", maxAppend+1)}
	nobody, noEvent, strange, late := entry(2), entry(2), entry(2), entry(2)
	nobody.Actor, noEvent.Event, strange.Event = "", nil, strangeEvent{}
	late.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		incident string
		entries  []recovery.Entry
		want     string
	}{
		"gap":           {"i", []recovery.Entry{entry(1), entry(3)}, "entry 3 was given where 2 belongs"},
		"not first":     {"i", []recovery.Entry{entry(2)}, "entry 2 was given where 1 belongs"},
		"twice":         {"i", []recovery.Entry{entry(1), entry(1)}, "entry 1 was given where 2 belongs"},
		"oversize":      {"i", []recovery.Entry{entry(1), huge}, "64 MiB"},
		"no actor":      {"i", []recovery.Entry{entry(1), nobody}, "actor"},
		"no event":      {"i", []recovery.Entry{entry(1), noEvent}, "no event"},
		"unknown kind":  {"i", []recovery.Entry{entry(1), strange}, "strange"},
		"year 10000":    {"i", []recovery.Entry{entry(1), late}, "10000"},
		"no incident":   {"", []recovery.Entry{entry(1)}, "empty"},
		"long incident": {strings.Repeat("i", 129), []recovery.Entry{entry(1)}, "128 bytes"},
		"control":       {"i\n", []recovery.Entry{entry(1)}, "U+000A"},
		"not UTF-8":     {"i\xff", []recovery.Entry{entry(1)}, "UTF-8"},
	} {
		err := j.Append(c.incident, 0, c.entries)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrAppend) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ids, err := j.Incidents(); len(ids) != 0 || err != nil {
		t.Fatalf("something was kept: %q, %v", ids, err)
	}
	mustAppend(t, j, "i", entry(1))
}

func TestSecondOpenerIsRefused(t *testing.T) {
	t.Parallel()
	j := openTemp(t)
	for name, open := range map[string]func(string) (*Journal, error){"write": Open, "read": OpenReadOnly} {
		before := time.Now()
		_, err := open(j.path)
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), j.path) {
			t.Fatalf("%s: %v", name, err)
		}
		if runtime.GOOS == "linux" && !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("%s: the holder is not named: %v", name, err)
		}
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("%s: refused after %s only", name, took)
		}
	}
	mustAppend(t, j, "i", entry(1)) // the first goes on undisturbed
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	first, err := OpenReadOnly(j.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, err := OpenReadOnly(j.path)
	if err != nil {
		t.Fatalf("two readers: %v", err)
	}
	defer func() { _ = second.Close() }()
	wantEntries(t, second, "i", 1)
	if err := second.Append("i", 1, entriesFrom(2, 2)); !errors.Is(err, ErrAppend) {
		t.Fatalf("append to a journal opened for reading: %v", err)
	}
	if _, err := Open(j.path); !errors.Is(err, ErrLocked) {
		t.Fatalf("a writer beside readers: %v", err)
	}
}

func TestFileModeAndPlace(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entry(1))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(j.path, 0o644); err != nil {
			t.Fatal(err)
		}
		again := reopen(t, j.path)
		info, err := os.Stat(j.path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		_ = again.Close()
	}
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Fatalf("a folder: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "such", "folder.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no folder: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(empty); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Fatalf("an empty file for reading: %v", err)
	}
	mustAppend(t, reopen(t, empty), "i", entry(1))
}

func TestSightings(t *testing.T) {
	j := openTemp(t)
	var all []recovery.Sighting
	for i := range 934 {
		all = append(all, recovery.Sighting{Host: fmt.Sprintf("host%03d", i), At: start, BootID: "a", Health: []recovery.Check{{Name: "dns", OK: true}}})
	}
	if err := j.SaveSightings(all); err != nil {
		t.Fatal(err)
	}
	all[7].BootID, all[7].Connected = "b", true
	if err := j.SaveSightings(all[7:8]); err != nil {
		t.Fatal(err)
	}
	if err := j.SaveSightings([]recovery.Sighting{{Host: "x"}, {}}); err == nil || errors.Is(err, ErrAppend) {
		t.Fatalf("a sighting without a host: %v", err)
	}
	_ = j.Close()
	got, err := reopen(t, j.path).Sightings()
	if err != nil || len(got) != len(all) {
		t.Fatalf("%d sightings, %v", len(got), err)
	}
	for _, want := range all {
		if !reflect.DeepEqual(got[want.Host], want) {
			t.Fatalf("got %+v, want %+v", got[want.Host], want)
		}
	}
}

func TestEpochCountsStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	for i, start := range []struct{ atLeast, want uint64 }{{0, 1}, {0, 2}, {1000, 1000}, {1000, 1001}, {900, 1002}, {0, 1003}} {
		j := reopen(t, path)
		if got, err := j.NextEpoch(start.atLeast); got != start.want || err != nil {
			t.Fatalf("start %d: epoch %d, %v; want %d", i, got, err, start.want)
		}
		_ = j.Close()
	}
}

func TestSnapshotOpensByItself(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entriesFrom(1, 50)...)
	if err := j.SaveSightings([]recovery.Sighting{{Host: "h", At: start}}); err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	// Appending while the copy is under way must neither wait for it nor show in it.
	w := writerFunc(func(p []byte) (int, error) {
		if n, err := j.LastSeq("i"); err != nil {
			return 0, err
		} else if n < 60 {
			mustAppend(t, j, "i", entry(n+1))
		}
		return copied.Write(p)
	})
	if err := j.Snapshot(w); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := reopen(t, path)
	wantEntries(t, c, "i", 50)
	mustAppend(t, c, "i", entry(51))
	if err := j.Snapshot(writerFunc(func([]byte) (int, error) { return 0, errors.New("gone") })); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Fatalf("a copy that fails: %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAppendsNeedNotWaitForReadersWhileTheFileGrows(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entry(1))
	tx, err := j.db.Begin(false) // a reader that stays
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	big := entry(2)
	big.Event = &recovery.WavePassed{Reason: strings.Repeat("x", 8<<20)}
	mustAppend(t, j, "i", big)
}
