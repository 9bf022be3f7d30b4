package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// swapWorld is one place on a real disk, as it is just before the swap.
func swapWorld(t *testing.T, file, existed, part, inodes bool) place {
	t.Helper()
	dir := t.TempDir()
	p := place{Target: filepath.Join(dir, "data"), Beside: filepath.Join(dir, "data.new"), Old: filepath.Join(dir, "data.old"), Existed: existed}
	p.New = p.Beside
	if part || file {
		p.New = filepath.Join(p.Beside, "srv", "data")
	}
	lay(t, p.New, "new", file)
	if existed {
		lay(t, p.Target, "old", file)
		if file {
			p.Sides = []string{"-wal"}
			lay(t, p.Target+"-wal", "log", true)
		}
	}
	if inodes {
		info, err := os.Lstat(p.New)
		if err != nil {
			t.Fatal(err)
		}
		p.Inode = inode(info)
	}
	return p
}

func lay(t *testing.T, path, what string, file bool) {
	t.Helper()
	if !file {
		path = filepath.Join(path, "is")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(what), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holds is what a path holds: "old", "new", or nothing.
func holds(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		data, err = os.ReadFile(filepath.Join(path, "is"))
	}
	if err != nil && !isNothing(err) {
		t.Fatal(err)
	}
	return string(data)
}

var errCrash = errors.New("the machine is off")

// crashing is a mover whose machine goes off after step n, or just before it; n < 0: never.
func crashing(exchanges bool, n int) (mover, *int) {
	steps := new(int)
	return mover{exchanges: exchanges, step: func(string) { *steps++ }, fail: func(string, string) error {
		if *steps == n {
			return errCrash
		}
		return nil
	}}, steps
}

// Wherever the machine goes off on the way in, on the way back, or in both, what is live is whole, the old is there, nothing of it lies in the
// folder that is thrown away, and the next try gets to its end.
func TestSwapLosesNothingAtAnyStep(t *testing.T) {
	inMemory(t)
	for bits := range 32 {
		file, existed, part, inodes, exchanges := bits&1 > 0, bits&2 > 0, bits&4 > 0, bits&8 > 0, bits&16 > 0
		t.Run(fmt.Sprintf("file=%v existed=%v part=%v inodes=%v exchanges=%v", file, existed, part, inodes, exchanges), func(t *testing.T) {
			if exchanges && !canExchange {
				exchanges = false
			}
			for first := range 6 {
				for second := range 6 {
					p := swapWorld(t, file, existed, part, inodes)
					check := func(when string) {
						t.Helper()
						live, old := holds(t, p.Target), holds(t, p.Old)
						if existed && live != "old" && old != "old" {
							t.Fatalf("%s: the old is lost: live %q, old %q", when, live, old)
						}
						if !existed && old != "" {
							t.Fatalf("%s: there is an old %q of nothing", when, old)
						}
						if existed && exchanges && inodes && live == "" {
							t.Fatalf("%s: nothing is live, though names can be exchanged", when)
						}
						if what := holds(t, p.New); what == "old" {
							t.Fatalf("%s: the old lies in the folder that is thrown away", when)
						}
						if live != "new" && holds(t, p.New) != "new" && old != "new" {
							t.Fatalf("%s: the new is lost", when)
						}
					}
					m, _ := crashing(exchanges, first)
					err := p.swapIn(m)
					check("on the way in")
					if err != nil && !errors.Is(err, errCrash) {
						t.Fatal(err)
					}
					m, _ = crashing(exchanges, second)
					if err := p.swapOut(m); err != nil && !errors.Is(err, errCrash) {
						t.Fatal(err)
					}
					check("on the way back")
					m, _ = crashing(exchanges, -1)
					back := (first+second)%2 == 0
					if back {
						err = p.swapOut(m)
					} else {
						err = p.swapIn(m)
					}
					check("at the end")
					live, old, log := "new", "", p.Old+"-wal"
					if existed {
						old = "old"
					}
					if back {
						live, old, log = old, "", p.Target+"-wal"
					}
					if err != nil || holds(t, p.Target) != live || holds(t, p.Old) != old {
						t.Fatalf("crashes after %d and %d: %v, live %q, old %q; want %q and %q", first, second, err, holds(t, p.Target), holds(t, p.Old), live, old)
					}
					if len(p.Sides) > 0 && holds(t, log) != "log" {
						t.Fatalf("crashes after %d and %d: the log of the old is not with it", first, second)
					}
				}
			}
		})
	}
}

// What somebody else puts where something is to go is not overwritten.
func TestSwapOverwritesNothing(t *testing.T) {
	inMemory(t)
	for _, file := range []bool{true, false} {
		for _, there := range []string{"target", "old"} {
			p := swapWorld(t, file, there == "old", false, true)
			path := p.Target
			if there == "old" {
				path = p.Old
			}
			lay(t, path, "foreign", file)
			m, _ := crashing(canExchange, -1)
			if err := p.swapIn(m); err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("%s: %v", there, err)
			}
			if err := renameToNothing(p.New, path); err == nil || holds(t, path) != "foreign" {
				t.Errorf("%s: renamed over it, and there is %q: %v", there, holds(t, path), err)
			}
			if err := renameUnlessThere(p.New, path); err == nil || holds(t, path) != "foreign" {
				t.Errorf("%s: renamed over it, and there is %q: %v", there, holds(t, path), err)
			}
		}
	}
}

func TestSidesOfSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	lay(t, path+"-wal", "log", true)
	lay(t, path+"-journal", "log", true)
	lay(t, path, "SQLite format 3", true)
	if sides := sidesOf(path); len(sides) > 0 {
		t.Errorf("a text has %q", sides)
	}
	lay(t, path, "SQLite format 3\x00and pages", true)
	if sides := sidesOf(path); !slices.Equal(sides, []string{"-wal", "-journal"}) {
		t.Errorf("a database has %q", sides)
	}
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lay(t, filepath.Join(dir, "real", "data"), "old", false)
	for link, to := range map[string]string{"link": "real", "broken": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"real/data":     "real/data",
		"link/data":     "real/data",
		"link":          "real",
		"link/none/yet": "real/none/yet",
		"broken":        "",
		"broken/data":   "",
	} {
		got, err := resolve(filepath.Join(dir, path))
		if want == "" && err == nil || want != "" && got != filepath.Join(dir, want) {
			t.Errorf("%s lies at %q, %v; want %q", path, got, err, want)
		}
	}
}
