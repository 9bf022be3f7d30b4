//go:build e2e && unix

package restore

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPostgreSQLPointInTime(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("monday")
	w.sql("insert into people values (2001, 'before')")
	moment := w.now()
	w.sql("insert into people values (2002, 'after')")
	w.archive()
	w.back("tuesday")
	w.sql("insert into people values (2003, 'last')")
	last := w.now()
	w.archive()
	if err := os.Mkdir(filepath.Join(w.repo, "base", "unfinished"), 0o755); err != nil {
		t.Fatal(err)
	}

	points := w.points()
	monday, tuesday := points["monday"], points["tuesday"]
	if len(points) != 2 || !monday.TakenAt.Before(tuesday.TakenAt) || monday.Kind != "database" {
		t.Fatalf("points %+v", points)
	}
	if u := monday.Until; u.After(last) || last.Sub(u) > 10*time.Second || !u.Equal(tuesday.Until) && !tuesday.Until.IsZero() {
		t.Errorf("they reach until %v and %v; the last row was in at %v", u, tuesday.Until, last)
	}

	s := w.work("monday")
	s.TakenAt, s.Moment = monday.TakenAt, moment
	dir, reached := w.restored(s)
	if reached.After(moment) || moment.Sub(reached) > 10*time.Second {
		t.Errorf("asked for %v, reached %v", moment, reached)
	}
	if got := w.ask(dir, "select string_agg(id::text, ' ') from people where id > 2000"); got != "2001" {
		t.Errorf("at the moment there were the rows %q", got)
	}
	s.Moment = time.Time{}
	dir, reached = w.restored(s)
	if !reached.Equal(monday.Until) {
		t.Errorf("as far as it reaches is %v, reached %v", monday.Until, reached)
	}
	if got := w.ask(dir, "select string_agg(id::text, ' ') from people where id > 2000"); got != "2001 2002 2003" {
		t.Errorf("at the end there were the rows %q", got)
	}
	s.Moment = monday.Until
	dir, _ = w.restored(s)
	if got := w.ask(dir, "select string_agg(id::text, ' ') from people where id > 2000"); got != "2001 2002 2003" {
		t.Errorf("until %v there were the rows %q", s.Moment, got)
	}

	// The timeline that the first restore began is archived by then: another restore begins another one, and stays on its own.
	history, err := os.ReadFile(filepath.Join(dir, "pg_wal", "00000002.history"))
	if err != nil {
		t.Fatal(err)
	}
	plant(t, filepath.Join(w.repo, "wal"), map[string]string{"00000002.history": string(history)})
	dir, _ = w.restored(s)
	if !isThere(filepath.Join(dir, "pg_wal", "archive_status", "00000003.history.ready")) {
		t.Error("the restored database does not go on with a timeline of its own")
	}
}

// The levels at which the two kinds of damage are found, and below which they are not.
func TestPostgreSQLDamageIsFoundAtItsLevel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		checksums bool
		damage    func(w *pgWorld)
		level     int
	}{
		{"none", true, func(*pgWorld) {}, 5},
		{"flipped bytes without checksums", false, func(w *pgWorld) { w.flip("people") }, 3},
		{"a stale page with checksums", true, func(w *pgWorld) { w.stale("people", "select") }, 4},
		{"a stale page with checksums, after a vacuum", true, func(w *pgWorld) { w.stale("people", "vacuum people") }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newPGWorld(t, c.checksums)
			c.damage(w)
			w.back("day")
			w.archive()
			if out, err := w.try("pg_dump", "--file=/dev/null"); (err != nil) != !c.checksums {
				t.Errorf("pg_dump by hand: %v: %s", err, out)
			}
			if _, err := w.try("psql", "-Xqc", "reindex index people_pkey"); (err == nil) != (c.level == 5) {
				t.Errorf("rebuilding the unique index: %v", err)
			}
			w.program("pg_verifybackup", "-w", w.repo+"/wal", w.repo+"/base/day")
			s := w.work("day")
			if by, err := (postgresqlBackend{}).Check(t.Context(), s, nil); err != nil {
				t.Fatalf("L1 by %s: %v", by, err)
			}
			dir, _ := w.restored(s)
			checks, err := pgEngine{}.Check(t.Context(), s, dir, 4)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", checks)
			pgNobodyOn(t, dir)
			for i, check := range checks {
				if check.Level != 3+i || check.OK != (check.Level < c.level) || check.By == "" || check.Detail == "" {
					t.Errorf("check %+v; the damage is found at level %d", check, c.level)
				}
			}
			if len(checks) != min(4, c.level)-2 {
				t.Errorf("checks %+v", checks)
			}
		})
	}
}
