package restore

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// peopleDB makes a database of 2000 people by the sqlite3 program, in a folder of a name that must be quoted.
func peopleDB(t *testing.T, more string) (s SetWork, dir, file string) {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		wanted(t, "sqlite3 is not installed")
	}
	dir = filepath.Join(t.TempDir(), "a ?b#c%41 é")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "people.db")
	sqliteRun(t, file, `CREATE TABLE person(id INTEGER PRIMARY KEY, ssn TEXT UNIQUE, born TEXT, parent INTEGER REFERENCES person(id));
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) INSERT INTO person SELECT i, printf('ssn-%08d', i), '2026-03-09 10:00:00', NULL FROM n;`+more)
	s = SetWork{
		Set:   Set{Name: "people", Host: "db1", Kind: "files", Engine: "sqlite", Options: map[string]string{"file": "people.db"}},
		Point: "p1", TakenAt: time.Date(2026, 3, 10, 2, 0, 0, 0, time.UTC),
	}
	return s, dir, file
}

func sqliteRun(t *testing.T, file, sql string) {
	t.Helper()
	if said, err := exec.Command("sqlite3", "-init", os.DevNull, "-batch", "-bail", file, sql).CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v: %s", err, said)
	}
}

// checkedAs compares what was checked with lines of "LEVEL OK BY".
func checkedAs(t *testing.T, got []Check, want ...string) {
	t.Helper()
	var is []string
	for _, c := range got {
		is = append(is, strings.Join([]string{[]string{"L0", "L1", "L2", "L3", "L4"}[c.Level], map[bool]string{true: "ok", false: "failed"}[c.OK], c.By}, " "))
		if c.At.IsZero() || c.Detail == "" {
			t.Errorf("check %+v has no time or no detail", c)
		}
	}
	if !slices.Equal(is, want) {
		t.Errorf("checked %q (%+v); want %q", is, got, want)
	}
}

func TestSqliteChecksASoundDatabase(t *testing.T) {
	s, dir, _ := peopleDB(t, "")
	s.Set.Invariants = []Invariant{
		{Name: "unique", SQL: "SELECT count(ssn), count(DISTINCT ssn) FROM person", Expect: "equal"},
		{Name: "comment first", SQL: "-- all of them\nSELECT count(*) FROM person;", Expect: ">= 2000"},
		{Name: "fresh", SQL: "SELECT max(born) FROM person", Expect: "within 26h"},
		{Name: "parents", SQL: "SELECT count(*) FROM pragma_foreign_key_check", Expect: "= 0"},
		{Name: "lines", SQL: "SELECT 'two' || char(10) || 'lines|1'", Expect: "!= two"},
		{Name: "by command", Command: []string{"sh", "-c", `sqlite3 "$BLACKSTART_RESTORED/people.db" 'SELECT count(*) FROM person'`}, Expect: "= 2000"},
	}
	if at, err := (sqliteEngine{}).Prepare(t.Context(), s, dir); err != nil || !at.IsZero() {
		t.Fatalf("prepare: %v, %v", at, err)
	}
	before := describe(t, dir)
	checks, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	checkedAs(t, checks, "L3 ok sqlite integrity_check", "L4 ok invariant unique", "L4 ok invariant comment first", "L4 ok invariant fresh", "L4 ok invariant parents",
		"L4 ok invariant lines", "L4 ok invariant by command")
	if after := describe(t, dir); len(after) != 1 || after["people.db"] != before["people.db"] {
		t.Errorf("the folder is %q; it was %q", after, before)
	}
	checks, err = sqliteEngine{}.Check(t.Context(), s, dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	checkedAs(t, checks, "L3 ok sqlite integrity_check")
	if checks, err := (sqliteEngine{}).Check(t.Context(), s, dir, 2); err != nil || len(checks) != 0 {
		t.Errorf("at level 2: %v, %v", checks, err)
	}
	s.Set.Options = nil // what was restored is the file itself
	if checks, err = (sqliteEngine{}).Check(t.Context(), s, filepath.Join(dir, "people.db"), 3); err != nil {
		t.Fatal(err)
	}
	checkedAs(t, checks, "L3 ok sqlite integrity_check")
}

// The first invariant that does not hold ends the list.
func TestSqliteInvariantThatDoesNotHold(t *testing.T) {
	s, dir, _ := peopleDB(t, "")
	s.Set.Invariants = []Invariant{
		{Name: "many", SQL: "SELECT count(*) FROM person", Expect: "> 0"},
		{Name: "names", SQL: "SELECT id FROM person WHERE ssn = 'nobody'", Expect: "= 1"}, // no row
		{Name: "never asked", SQL: "SELECT 1", Expect: "= 1"},
	}
	checks, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	checkedAs(t, checks, "L3 ok sqlite integrity_check", "L4 ok invariant many", "L4 failed invariant names")
	s.Set.Invariants = []Invariant{{Name: "newest", SQL: "SELECT max(born) FROM person", Expect: "within 15h"}} // 16 hours before the point
	if checks, err = (sqliteEngine{}).Check(t.Context(), s, dir, 4); err != nil {
		t.Fatal(err)
	}
	checkedAs(t, checks, "L3 ok sqlite integrity_check", "L4 failed invariant newest")
	s.Moment = s.TakenAt.Add(-2 * time.Hour)
	if checks, err = (sqliteEngine{}).Check(t.Context(), s, dir, 4); err != nil || !checks[1].OK || !checks[1].Moment.Equal(s.Moment) {
		t.Errorf("at a moment before the point's: %+v, %v", checks, err)
	}
}

// Damage is found at the level that can see it.
func TestSqliteDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(data []byte) []byte
		want   string
	}{
		{"an index entry is lost", func(data []byte) []byte {
			i := bytes.LastIndex(data, []byte("ssn-00001000")) // in the index or the table: they no longer agree
			data[i+8] = '9'
			return data
		}, "L3 failed sqlite integrity_check"},
		{"a page is overwritten", func(data []byte) []byte {
			copy(data[3*4096:4*4096], bytes.Repeat([]byte{0xa5}, 4096))
			return data
		}, "L3 failed sqlite integrity_check"},
		{"the end is missing", func(data []byte) []byte { return data[:len(data)/2] }, "L3 failed sqlite integrity_check"},
		{"the header is gone", func(data []byte) []byte { copy(data, "not a sqlite file"); return data }, "L3 failed sqlite integrity_check"},
		{"all is gone", func([]byte) []byte { return nil }, "L3 failed sqlite integrity_check"},
		{"a value is another", func(data []byte) []byte { return bytes.ReplaceAll(data, []byte("2026-03-09"), []byte("2026-02-09")) }, "L3 ok sqlite integrity_check"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir, file := peopleDB(t, "")
			s.Set.Invariants = []Invariant{{Name: "fresh", SQL: "SELECT max(born) FROM person", Expect: "within 26h"}}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, c.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := (sqliteEngine{}).Prepare(t.Context(), s, dir); err != nil {
				t.Fatal(err)
			}
			checks, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{c.want}
			if strings.Contains(c.want, "ok") {
				want = append(want, "L4 failed invariant fresh")
			}
			checkedAs(t, checks, want...)
		})
	}
}

// backedUpOpen is what a backup finds of a database, with all that lies beside it, in the middle of a transaction that begins as sql says.
func backedUpOpen(t *testing.T, file, sql string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "restored")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup.sh")
	plant(t, filepath.Dir(backup), map[string]string{"backup.sh": `cp "$FILE"* "$DIR"`})
	cmd := exec.Command("sqlite3", "-init", os.DevNull, "-batch", "-bail", file)
	cmd.Env = append(os.Environ(), "FILE="+file, "DIR="+dir)
	cmd.Stdin = strings.NewReader(sql + "\n.shell sh " + backup + "\n")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return dir
}

// A database that was open when it was backed up is not all in its file: its newest rows are in the log, and what a transaction has begun
// to change is in the journal.
func TestSqliteThatWasBackedUpOpen(t *testing.T) {
	for _, c := range []struct {
		name, mode, sql, beside string
		rule                    Invariant
	}{
		{
			"with a log", "PRAGMA journal_mode=WAL;", `INSERT INTO person VALUES(2001, 'ssn-of-the-log', '2026-03-10 01:00:00', NULL);`, "people.db-wal",
			Invariant{Name: "newest", SQL: "SELECT count(*) FROM person WHERE ssn = 'ssn-of-the-log'", Expect: "= 1"},
		},
		{
			"with a journal", "", `PRAGMA cache_size=1; BEGIN; UPDATE person SET born = 'half done';`, "people.db-journal",
			Invariant{Name: "nothing half done", SQL: "SELECT count(*) FROM person WHERE born = 'half done'", Expect: "= 0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, file := peopleDB(t, c.mode)
			s.Set.Invariants = []Invariant{c.rule}
			dir := backedUpOpen(t, file, c.sql)
			if !isFile(filepath.Join(dir, c.beside)) {
				t.Fatalf("the backup has no %s, so that this test shows nothing", c.beside)
			}
			_, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
			isFault(t, conformWorld{}, err, Failed, "check cannot be made")
			if _, err := (sqliteEngine{}).Prepare(t.Context(), s, dir); err != nil {
				t.Fatal(err)
			}
			checks, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
			if err != nil {
				t.Fatal(err)
			}
			checkedAs(t, checks, "L3 ok sqlite integrity_check", "L4 ok invariant "+c.rule.Name)
			if names := entriesOf(t, dir); !slices.Equal(names, []string{"people.db"}) {
				t.Errorf("the folder holds %q", names)
			}
		})
	}
}

// A log belongs to a database: one beside a file that is none cannot be taken in.
func TestSqliteLogBesideDamage(t *testing.T) {
	s, _, file := peopleDB(t, "PRAGMA journal_mode=WAL;")
	dir := backedUpOpen(t, file, `DELETE FROM person WHERE id = 1;`)
	plant(t, dir, map[string]string{"people.db": strings.Repeat("not a database ", 1000)})
	_, err := sqliteEngine{}.Prepare(t.Context(), s, dir)
	isFault(t, conformWorld{}, err, Failed, SignatureDamagedPoint)
}

// What is wrong with the question says nothing of the point.
func TestSqliteCheckThatCannotBeMade(t *testing.T) {
	s, dir, file := peopleDB(t, "")
	live := filepath.Join(filepath.Dir(dir), "live.db") // sound, and not what was restored
	if err := errors.Join(os.Link(file, live), os.Symlink(live, filepath.Join(dir, "link.db"))); err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(t.TempDir(), "marker")
	for _, c := range []struct {
		name   string
		change func(s *SetWork)
	}{
		{"no option", func(s *SetWork) { s.Set.Options = nil }},
		{"no such file", func(s *SetWork) { s.Set.Options["file"] = "persons.db" }},
		{"a folder", func(s *SetWork) { s.Set.Options["file"] = "." }},
		{"a file outside", func(s *SetWork) { s.Set.Options["file"] = "../live.db" }},
		{"a link to the outside", func(s *SetWork) { s.Set.Options["file"] = "link.db" }},
		{"no sqlite3", func(s *SetWork) { s.Set.Options["sqlite3"] = "/nonexistent/sqlite3" }},
		{"no such table", func(s *SetWork) { s.Set.Invariants[0].SQL = "SELECT count(*) FROM persons" }},
		{"malformed JSON", func(s *SetWork) { s.Set.Invariants[0].SQL = "SELECT json('{')" }},
		{"two rows", func(s *SetWork) { s.Set.Invariants[0].SQL = "SELECT id FROM person LIMIT 2" }},
		{"an unknown expectation", func(s *SetWork) { s.Set.Invariants[0].Expect = "many" }},
		{"one column for equal", func(s *SetWork) { s.Set.Invariants[0].Expect = "equal" }},
		{"a write", func(s *SetWork) { s.Set.Invariants[0].SQL = "DELETE FROM person RETURNING 1" }},
		{"a command of the shell", func(s *SetWork) { s.Set.Invariants[0].SQL = ".shell touch " + marker }},
		{"an option", func(s *SetWork) { s.Set.Invariants[0].SQL = "-cmd\n.shell touch " + marker }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.Set.Options = map[string]string{"file": "people.db"}
			s.Set.Invariants = []Invariant{{Name: "many", SQL: "SELECT count(*) FROM person", Expect: "= 2000"}}
			c.change(&s)
			_, err := sqliteEngine{}.Check(t.Context(), s, dir, 4)
			var signature string
			if c.name == "no sqlite3" {
				signature = "program cannot be started"
			} else {
				signature = "check cannot be made"
			}
			isFault(t, conformWorld{}, err, Failed, signature)
		})
	}
	if isFile(marker) {
		t.Error("SQL of an invariant ran a command")
	}
	s.Set.Invariants = []Invariant{{Name: "many", SQL: "SELECT count(*) FROM person", Expect: "= 2000"}}
	if checks, err := (sqliteEngine{}).Check(t.Context(), s, dir, 4); err != nil || len(checks) != 2 || !checks[1].OK {
		t.Errorf("afterwards: %+v, %v", checks, err)
	}
}

func isFile(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
