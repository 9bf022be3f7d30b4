//go:build e2e && linux

package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func pgFault(t *testing.T, err error, class, signature string) {
	t.Helper()
	isFault(t, conformWorld{}, err, class, signature)
}

func TestPostgreSQLConforms(t *testing.T) {
	w := newPGWorld(t, true)
	w.archive()
	w.program("pg_basebackup", "-D", w.root+"/model", "-c", "fast", "-X", "fetch", "--no-sync")
	model, err := readBase(w.root + "/model")
	if err != nil {
		t.Fatal(err)
	}
	done, _ := filepath.Glob(w.root + "/model/pg_wal/archive_status/*")
	for _, path := range append(done, w.root+"/model/backup_manifest") {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	lsn := func(l pgLSN) string { return fmt.Sprintf("%X/%X", l>>32, l&0xffffffff) }
	start, end := lsn(model.start), lsn(model.end)
	repo := t.TempDir()
	if err := errors.Join(os.Mkdir(repo+"/base", 0o755), os.Mkdir(repo+"/wal", 0o755)); err != nil {
		t.Fatal(err)
	}
	name := func(at time.Time) string { return "base-" + at.Format("20060102") }
	var newest time.Time
	s := w.work("")
	s.Repository.Location = repo
	conform(t, conformWorld{
		backend: postgresqlBackend{}, work: s, restoreSeesDamage: true,
		take: func(t *testing.T, tree string, at time.Time) string {
			for _, args := range [][]string{{"-a", w.root + "/model/.", tree}, {"-a", tree, filepath.Join(repo, "base", name(at))}} {
				if out, err := exec.CommandContext(t.Context(), "cp", args...).CombinedOutput(); err != nil {
					t.Fatalf("cp: %v: %s", err, out)
				}
			}
			pgPlant(t, filepath.Join(repo, "base", name(at)), at.Add(-time.Second), model.timeline, start, end)
			if at.After(newest) {
				newest = at
			}
			return ""
		},
		unreachable: func(*testing.T) SetWork {
			away := s
			away.Repository.Location = filepath.Join(repo, "away")
			return away
		},
		damage: func(t *testing.T) {
			f, err := os.OpenFile(filepath.Join(repo, "base", name(newest), "big"), os.O_RDWR, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("flip"), 12345678)
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		held: func(_ *testing.T, id string) bool {
			found, _ := filepath.Glob(filepath.Join(repo, "base", id+".blackstart-hold-*"))
			return len(found) == 1
		},
	})
}

// fill writes some segments of logs, and returns the names of all that are archived then.
func (w *pgWorld) fill() []string {
	w.t.Helper()
	for range 4 {
		w.sql("create table if not exists filler (t text)")
		w.sql("insert into filler select repeat('filler', 100) from generate_series(1, 3000)")
	}
	w.archive()
	found, err := filepath.Glob(w.repo + "/wal/????????????????????????")
	if err != nil || len(found) < 8 {
		w.t.Fatalf("segments %q, %v", found, err)
	}
	return found
}

func TestPostgreSQLLogsWithAGap(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("day")
	w.sql("insert into people values (2001, 'before the gap')")
	before := w.now()
	segments := w.fill()
	w.sql("insert into people values (2002, 'after the gap')")
	after := w.now()
	w.archive()
	whole := w.points()["day"]
	gap := segments[len(segments)-3]
	kept, err := os.ReadFile(gap)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("missing", func(t *testing.T) {
		if err := os.Remove(gap); err != nil {
			t.Fatal(err)
		}
		point := w.points()["day"]
		if !point.Until.Before(whole.Until) || point.Until.Before(before) {
			t.Errorf("with the gap it reaches until %v, without until %v", point.Until, whole.Until)
		}
		s := w.work("day")
		s.TakenAt, s.Moment = point.TakenAt, after
		dir := pgScratch(t)
		if err := (postgresqlBackend{}).Restore(t.Context(), s, dir, nil); err != nil {
			t.Fatal(err)
		}
		_, err := pgEngine{}.Prepare(t.Context(), s, dir)
		pgFault(t, err, Failed, signatureMoment)
		s.Moment = before
		if dir, _ = w.restored(s); w.ask(dir, "select max(id) from people") != "2001" {
			t.Error("the row before the gap is not there")
		}
	})
	t.Run("damaged", func(t *testing.T) {
		bad := bytes.Clone(kept)
		for i := range 64 {
			bad[len(bad)/2+i] ^= 0xff
		}
		if err := os.WriteFile(gap, bad, 0o644); err != nil { //nolint:gosec // as it was
			t.Fatal(err)
		}
		s := w.work("day")
		_, err := postgresqlBackend{}.Check(t.Context(), s, nil)
		pgFault(t, err, Failed, SignatureDamagedPoint)
		for _, moment := range []time.Time{{}, after.Add(-time.Millisecond)} {
			s.Moment = moment
			dir := pgScratch(t)
			if err := (postgresqlBackend{}).Restore(t.Context(), s, dir, nil); err != nil {
				t.Fatal(err)
			}
			_, err = pgEngine{}.Prepare(t.Context(), s, dir)
			pgFault(t, err, Failed, "")
			pgNobodyOn(t, dir)
		}
	})
	t.Run("missing at the start", func(t *testing.T) {
		label, err := os.ReadFile(w.repo + "/base/day/backup_label")
		if err != nil {
			t.Fatal(err)
		}
		_, first, _ := strings.Cut(string(label), "(file ")
		if err := os.Remove(w.repo + "/wal/" + first[:24]); err != nil {
			t.Fatal(err)
		}
		if points := w.points(); len(points) != 0 {
			t.Errorf("a backup that cannot be restored is listed: %+v", points)
		}
		pgFault(t, postgresqlBackend{}.Restore(t.Context(), w.work("day"), t.TempDir(), nil), Failed, signatureLogs)
	})
}

func TestPostgreSQLMomentBeforeThePoint(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	moment := w.now()
	w.sql("insert into people values (2001, 'x')")
	w.back("day")
	w.sql("insert into people values (2002, 'x')")
	w.archive()
	s := w.work("day")
	s.Moment = moment
	pgFault(t, postgresqlBackend{}.Restore(t.Context(), s, t.TempDir(), nil), Failed, signatureMoment)

	dir := pgScratch(t)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", w.repo+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Set.Options = map[string]string{"base": "base/day", "wal": "wal"}
	_, err := pgEngine{}.Prepare(t.Context(), s, dir)
	pgFault(t, err, Failed, signatureMoment)
}

// A data directory brings settings, roles and signals that no other machine could start with, or that would hide damage.
func TestPostgreSQLHostileSettings(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.sql("create database shop")
	w.sql("alter role postgres set statement_timeout = 1")
	w.sql("alter role postgres set session_preload_libraries = 'no_such_library'")
	w.back("day")
	w.archive()
	s := w.work("day")
	s.Set.Invariants = append(s.Set.Invariants, Invariant{Name: "slow", SQL: "select 'one' || chr(27) || E'\\ntwo', pg_sleep(0.1)", Expect: "= other"})
	dir := pgScratch(t)
	if err := (postgresqlBackend{}).Restore(t.Context(), s, dir, nil); err != nil {
		t.Fatal(err)
	}
	hostile := map[string]string{
		"postgresql.conf":      "shared_preload_libraries = 'no_such_library'\nssl = on\nport = 5432\nlisten_addresses = '*'\ndata_directory = '/nonexistent'\narchive_mode = on\narchive_command = 'touch /tmp/archived-by-mistake'\n",
		"postgresql.auto.conf": "this is no setting\nshared_preload_libraries = 'no_such_library'\nrecovery_target_time = 'yesterday'\nprimary_conninfo = 'host=192.0.2.1'\n",
		"pg_ident.conf":        "nonsense",
		"pg_hba.conf":          "local all all reject\n",
		"standby.signal":       "",
		"postmaster.pid":       "1\n/var/lib/postgresql\n",
	}
	plant(t, dir, hostile)
	if _, err := (pgEngine{}).Prepare(t.Context(), s, dir); err != nil {
		t.Fatal(err)
	}
	checks, err := pgEngine{}.Check(t.Context(), s, dir, 4)
	if err != nil || len(checks) != 3 || !checks[0].OK || !checks[1].OK || checks[2].OK || strings.ContainsFunc(checks[2].By+checks[2].Detail, func(r rune) bool { return r < ' ' }) {
		t.Errorf("checks %+v, %v", checks, err)
	}
	for _, name := range []string{"standby.signal", "recovery.signal", "postmaster.pid", "postmaster.opts", "backup_label", "backup_label.old", "backup_manifest", "postgresql.auto.conf.blackstart"} {
		if isThere(filepath.Join(dir, name)) {
			t.Errorf("%s is left", name)
		}
		delete(hostile, name)
	}
	for _, name := range slices.Sorted(maps.Keys(hostile)) {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != hostile[name] {
			t.Errorf("%s is now %q, %v", name, text, err)
		}
	}
	if isThere("/tmp/archived-by-mistake") {
		t.Error("something was archived")
	}
	if out := w.program("pg_controldata", dir); !strings.Contains(out, "shut down\n") {
		t.Errorf("it was not shut down cleanly: %s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, "postgresql.auto.conf"), nil, 0o644); err != nil { //nolint:gosec // a test
		t.Fatal(err)
	}
	plant(t, dir, map[string]string{"postgresql.conf": "listen_addresses = ''\n", "pg_hba.conf": "local all all trust\n", "pg_ident.conf": ""})
	if got := w.ask(dir, "select count(*) from pg_extension where extname = 'amcheck'"); got != "0" {
		t.Errorf("amcheck is left: %q", got)
	}
}

// What the fleet file may ask of a database, and what it may not.
func TestPostgreSQLInvariants(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.sql("create database shop")
	w.back("day")
	w.archive()
	s := w.work("day")
	s.TakenAt = w.points()["day"].TakenAt
	dir, _ := w.restored(s)
	programs, control, err := pgOpenData(t.Context(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := startPG(t.Context(), s, programs, dir, control, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.kill() //nolint:errcheck // stop has said it
	touched := filepath.Join(t.TempDir(), "touched")
	for _, c := range []struct {
		name      string
		rule      Invariant
		database  string
		ok        bool
		signature string // of an error
		detail    string
	}{
		{"two columns", Invariant{SQL: "select count(*), count(distinct id) from people", Expect: "equal"}, "", true, "", "1000"},
		{"a number", Invariant{SQL: "select count(*) from people;", Expect: ">= 1001"}, "", false, "", "1000"},
		{"a time", Invariant{SQL: "select max(born) from people", Expect: "within 26h"}, "", true, "", ""},
		{"another database", Invariant{SQL: "select current_database()", Expect: "= shop"}, "shop", true, "", ""},
		{"no row", Invariant{SQL: "select id from people where id < 0", Expect: "= 0"}, "", false, "", ""},
		{"many rows", Invariant{SQL: "select id from people", Expect: "= 0"}, "", false, "check cannot be made", ""},
		{"no such table", Invariant{SQL: "select 1 from persons", Expect: "= 1"}, "", false, "check cannot be made", ""},
		{"a change", Invariant{SQL: "delete from people returning 1", Expect: "= 1"}, "", false, "check cannot be made", ""},
		{"a command of psql", Invariant{SQL: `\! touch ` + touched, Expect: "= 1"}, "", false, "check cannot be made", ""},
		{"no such expectation", Invariant{SQL: "select 1", Expect: "nearly"}, "", false, "check cannot be made", ""},
		{"a program", Invariant{Command: []string{"/bin/sh", "-c", pgBin + `/psql -XqAt -F ' ' -c "select count(*), 1000 from people"; echo more`}, Expect: "equal"}, "", true, "", "1000"},
		{"a program that fails", Invariant{Command: []string{"/bin/sh", "-c", "echo 1; exit 3"}, Expect: "= 1"}, "", false, "", "exit status 3"},
		{"a program that is not there", Invariant{Command: []string{"/bin/sh", "-c", "no-such-program"}, Expect: "= 1"}, "", false, "check cannot be made", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Name = c.name
			s.Set.Options = map[string]string{"database": c.database}
			check, err := server.ask(t.Context(), s, dir, c.rule)
			if c.signature != "" {
				pgFault(t, err, Failed, c.signature)
				return
			}
			if err != nil || check.Level != 4 || check.OK != c.ok || check.By != "invariant "+c.name || !strings.Contains(check.Detail, c.detail) {
				t.Errorf("check %+v, %v", check, err)
			}
		})
	}
	if err := server.stop(t.Context()); err != nil {
		t.Error(err)
	}
	if isThere(touched) {
		t.Error("an invariant ran a program through psql")
	}
	pgNobodyOn(t, dir)
}

// A database that is busy when the job is stopped, and one that an agent left behind when it was killed.
func TestPostgreSQLLeavesNobody(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("day")
	w.archive()
	s := w.work("day")
	dir, _ := w.restored(s)

	s.Set.Invariants = []Invariant{{Name: "endless", SQL: "select count(*), 1 from generate_series(1, 1000000000000)", Expect: "equal"}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := pgEngine{}.Check(ctx, s, dir, 4)
		ended <- err
	}()
	w.await(func() bool { return len(ended) > 0 || pgBusy(dir) })
	cancel()
	began := time.Now()
	pgFault(t, <-ended, Cancelled, signatureLetGo)
	if took := time.Since(began); took >= pgGrace {
		t.Errorf("it took %v: it was killed, and did not shut down at once", took)
	}
	pgNobodyOn(t, dir)

	room := pgRoom(t)
	w.give(room)
	plant(t, room, map[string]string{"c.conf": "listen_addresses = ''\nunix_socket_directories = '" + room + "'\n", "h.conf": "local all all trust\n", "i.conf": ""})
	for _, name := range []string{"c.conf", "h.conf", "i.conf"} {
		w.give(filepath.Join(room, name))
	}
	w.program("pg_ctl", "-D", dir, "-l", room+"/log", "-o", "-c config_file="+room+"/c.conf -c hba_file="+room+"/h.conf -c ident_file="+room+"/i.conf", "-w", "start")
	if err := os.Rename(filepath.Join(dir, pgAuto), filepath.Join(dir, pgAside)); err != nil {
		t.Fatal(err)
	}
	s.Set.Invariants = nil
	if checks, err := (pgEngine{}).Check(t.Context(), s, dir, 4); err != nil || len(checks) != 1 || !checks[0].OK {
		t.Errorf("on a database that was left behind: %+v, %v", checks, err)
	}
	if !isThere(filepath.Join(dir, pgAuto)) {
		t.Error("its settings were not put back")
	}
	pgNobodyOn(t, dir)
}

// pgBusy is whether a server on dir works on a statement.
func pgBusy(dir string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range found {
		if at, err := os.Readlink(link); err == nil && at == dir {
			if line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline")); bytes.Contains(line, []byte("SELECT")) {
				return true
			}
		}
	}
	return false
}

// A restored folder of another repository: base backups, and logs beside them.
func TestPostgreSQLBaseAndLogsAsFolders(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("monday")
	w.sql("insert into people values (2001, 'before')")
	moment := w.now()
	w.sql("insert into people values (2002, 'after')")
	w.archive()
	w.back("tuesday")
	dir := pgScratch(t)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", w.repo, dir+"/srv").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := w.work("a snapshot")
	s.Moment = moment
	s.Set.Options = map[string]string{"base": "srv/base", "wal": "srv/wal"}
	if _, err := (pgEngine{}).Prepare(t.Context(), s, dir); err != nil {
		t.Fatal(err)
	}
	if got := w.ask(dir, "select string_agg(id::text, ' ') from people where id > 2000"); got != "2001" {
		t.Errorf("rows %q", got)
	}
	if isThere(dir+"/srv") || !isThere(dir+"/pg_wal/archive_status/00000002.history.ready") {
		t.Error("the folder is not the data directory alone, with the history of its timeline to be archived")
	}
}

// A copy of the disk as it was in the midst of work, without any backup's label.
func TestPostgreSQLAsAfterACrash(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.sql("insert into people values (2001, 'x')")
	w.program("pg_ctl", "-D", w.data, "-m", "immediate", "stop")
	w.up = false
	dir := pgScratch(t)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", w.data+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if reached, err := (pgEngine{}).Prepare(t.Context(), w.work("disk"), dir); err != nil || !reached.IsZero() {
		t.Fatalf("reached %v, %v", reached, err)
	}
	if got := w.ask(dir, "select max(id) from people"); got != "2001" {
		t.Errorf("the newest row is %q", got)
	}
}

func TestPostgreSQLFullDisk(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("day")
	w.archive()
	into := t.TempDir()
	if err := syscall.Mount("tmpfs", into, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("a small file system for the test: %v (it needs root)", err)
	}
	defer func() {
		if err := syscall.Unmount(into, 0); err != nil {
			t.Error(err)
		}
	}()
	pgFault(t, postgresqlBackend{}.Restore(t.Context(), w.work("day"), into, nil), Failed, "no space left")
}

func TestPostgreSQLOwnDamage(t *testing.T) {
	t.Parallel()
	w := newPGWorld(t, true)
	w.back("day")
	w.archive()
	s := w.work("day")
	control, err := os.ReadFile(w.repo + "/base/day/global/pg_control")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.repo + "/base/day/global/pg_control"); err != nil {
		t.Fatal(err)
	}
	pgFault(t, postgresqlBackend{}.Restore(t.Context(), s, t.TempDir(), nil), Failed, SignatureDamagedPoint)
	_, err = postgresqlBackend{}.Check(t.Context(), s, nil)
	pgFault(t, err, Failed, SignatureDamagedPoint)
	if err := os.WriteFile(w.repo+"/base/day/global/pg_control", control, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.repo, "base/day/PG_VERSION")); err != nil {
		t.Fatal(err)
	}
	_, err = postgresqlBackend{}.Check(t.Context(), s, nil)
	pgFault(t, err, Failed, "")
	s.Repository.Location = "/nonexistent"
	pgFault(t, postgresqlBackend{}.Hold(t.Context(), s), Unreachable, "")
}
