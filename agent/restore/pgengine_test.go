package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pgTree plants files by their paths.
func pgTree(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		plant(t, filepath.Join(dir, filepath.Dir(name)), map[string]string{filepath.Base(name): name})
	}
}

func TestGatherDataDirectory(t *testing.T) {
	const segment = "000000010000000000000001"
	for _, c := range []struct {
		name     string
		files    []string
		options  map[string]string
		want     []string
		withLogs bool
	}{
		{"itself", []string{"PG_VERSION", "base/1/2"}, nil, []string{"PG_VERSION", "base/1/2"}, false},
		{"below, called as a folder within it", []string{"base/PG_VERSION", "base/base/1/2", "base/pg_wal/" + segment, "wal/00000002.history", "wal/" + segment, "wal/x", "other"},
			map[string]string{"base": "base", "wal": "wal"}, []string{"PG_VERSION", "base/1/2", "pg_wal/" + segment, "pg_wal/00000002.history"}, true},
		{"deep below, without logs", []string{"srv/pg/PG_VERSION", "srv/wal"}, map[string]string{"base": "srv/pg", "wal": "srv/none"}, []string{"PG_VERSION"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			pgTree(t, dir, c.files...)
			got, err := pgGather(SetWork{Set: Set{Options: c.options}}, dir)
			if err != nil || got != c.withLogs {
				t.Fatalf("gathered with logs %v, %v", got, err)
			}
			if is := describe(t, dir); len(is) < len(c.want) {
				t.Errorf("there is %q", is)
			}
			for _, name := range c.want {
				if !isThere(filepath.Join(dir, name)) {
					t.Errorf("%s is missing among %q", name, describe(t, dir))
				}
			}
			for _, name := range []string{"other", "wal", "srv", "base/base", pgLifted} {
				if isThere(filepath.Join(dir, name)) {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
	for _, base := range []string{"", "nowhere", "../" + filepath.Base(t.TempDir()), "/etc"} {
		var fault *Fault
		if _, err := pgGather(SetWork{Set: Set{Options: map[string]string{"base": base}}}, t.TempDir()); !errors.As(err, &fault) || fault.Signature != "no database there" {
			t.Errorf("without a data directory at %q: %v", base, err)
		}
	}
}

// Of several base backups the newest is taken that was there at the moment.
func TestPickBaseBackup(t *testing.T) {
	dir := t.TempDir()
	day := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for i, name := range []string{"c", "a", "b"} {
		pgTree(t, dir, "store/"+name+"/PG_VERSION", "store/"+name+"/backup_label")
		pgPlant(t, filepath.Join(dir, "store", name), day.AddDate(0, 0, i), 1, "0/2000028", "0/2000100")
	}
	pgTree(t, dir, "store/unfinished/PG_VERSION")
	for moment, want := range map[time.Time]string{{}: "b", day.AddDate(0, 0, 9): "b", day.AddDate(0, 0, 1): "c", day.AddDate(0, 0, 1).Add(time.Second): "a", day.Add(time.Hour): "c"} {
		if got, err := pgPick(SetWork{Moment: moment}, dir, "store"); err != nil || filepath.Base(got) != want {
			t.Errorf("for %v it is %s, %v; want %s", moment, got, err, want)
		}
	}
	if got, err := pgPick(SetWork{Moment: day.Add(-time.Hour)}, dir, "store"); err == nil {
		t.Errorf("for a moment before all it is %s", got)
	}
}

func TestDataElsewhereIsRefused(t *testing.T) {
	for _, link := range []string{"pg_wal", "pg_tblspc/16400", "base/5", "global/pg_control", "PG_VERSION"} {
		dir := t.TempDir()
		pgTree(t, dir, filepath.Dir(link)+"/x")
		if err := os.Symlink("/nonexistent", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		var fault *Fault
		if err := pgWithin(dir); !errors.As(err, &fault) || fault.Signature != signatureOutside {
			t.Errorf("a link at %s: %v", link, err)
		}
	}
	dir := t.TempDir()
	pgTree(t, dir, "tablespace_map")
	if err := pgWithin(dir); err == nil {
		t.Error("a map of tablespaces is taken")
	}
	dir = t.TempDir()
	for _, link := range []string{"postgresql.conf", "pg_hba.conf", "server.key"} {
		if err := os.Symlink("/nonexistent", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := pgWithin(dir); err != nil {
		t.Errorf("settings that lie elsewhere are not read: %v", err)
	}
}

// A postmaster.pid that came with the data may name any process of this machine.
func TestForeignServerIsLeftAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are told apart by /proc")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	pids := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := command{path: "/bin/sh", args: []string{"-c", "echo $$; exec sleep 600"}, line: func(line string) { pids <- line }}.run(ctx)
		ended <- err
	}()
	pid := <-pids
	plant(t, dir, map[string]string{"postmaster.pid": pid + "\n/var/lib/postgresql/15/main\n"})
	if err := pgRelease(t.Context(), dir); err != nil || isThere(filepath.Join(dir, "postmaster.pid")) {
		t.Errorf("released %v", err)
	}
	if n, _ := strconv.Atoi(pid); !isThere("/proc/"+strconv.Itoa(n)) || len(ended) > 0 {
		t.Error("a process was ended that had nothing to do with it")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPostgreSQLSettings(t *testing.T) {
	moment := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.FixedZone("", 3600))
	dir := t.TempDir()
	pgTree(t, dir, "pg_replslot/a/state", "pg_replslot/b/state")
	text := pgSettings(dir, map[string]string{"wal_level setting": "minimal", "max_prepared_xacts setting": "7", "track_commit_timestamp setting": "on"}, &pgRecovery{moment})
	for _, want := range []string{"listen_addresses = ''\n", "archive_mode = 'off'\n", "wal_level = 'replica'\n", "max_prepared_transactions = '7'\n", "track_commit_timestamp = 'on'\n",
		"max_replication_slots = '12'\n", "max_logical_replication_workers = '0'\n", "recovery_target_time = '2026-03-01 11:00:00.123456+00'\n", "recovery_target_timeline = 'current'\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if text := pgSettings(dir, nil, nil); strings.Contains(text, "recovery") || strings.Contains(text, "restore_command") {
		t.Errorf("a plain start recovers:\n%s", text)
	}
	if got := pgSetting("name", `a'b\c`); got != `name = 'a''b\\c'`+"\n" {
		t.Errorf("quoted %s", got)
	}
}

func TestPostgreSQLProgramsMissing(t *testing.T) {
	dir := t.TempDir()
	want := func(signature, bin string) {
		t.Helper()
		var fault *Fault
		if _, err := pgProgramsFor(t.Context(), bin, dir); !errors.As(err, &fault) || fault.Signature != signature {
			t.Errorf("want %q, got %v", signature, err)
		}
	}
	want("no database there", "")
	plant(t, dir, map[string]string{"PG_VERSION": "9.6\n"})
	want("database version not known", "")
	plant(t, dir, map[string]string{"PG_VERSION": "99\n"})
	want("database programs missing", "")
	want("database programs missing", dir)
	writeProgram(t, filepath.Join(dir, "postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1 (Debian 99.1-1)'\n")
	for _, bin := range []string{dir, ""} {
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		if p, err := pgProgramsFor(t.Context(), bin, dir); err != nil || p.dir != dir || p.major != 99 {
			t.Errorf("with %q: %+v, %v", bin, p, err)
		}
	}
}
