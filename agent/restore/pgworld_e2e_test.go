//go:build e2e && unix

package restore

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const pgBin = "/usr/lib/postgresql/15/bin"

// pgWorld is a real PostgreSQL cluster with a table people, that archives its logs into a repository of base backups.
type pgWorld struct {
	t      *testing.T
	root   string
	data   string
	repo   string // base/ and wal/
	socket string
	uid    int // whom all of it belongs to
	gid    int
	up     bool
}

// newPGWorld makes and starts a cluster, with small segments of logs. Its settings are such as no other machine could start with.
func newPGWorld(t *testing.T, checksums bool) *pgWorld {
	t.Helper()
	if _, err := os.Stat(pgBin + "/postgres"); err != nil {
		wanted(t, "PostgreSQL 15 is not installed here")
	}
	w := &pgWorld{t: t, root: pgScratch(t), uid: os.Geteuid(), gid: os.Getegid()}
	if w.uid == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		w.uid, _ = strconv.Atoi(u.Uid)
		w.gid, _ = strconv.Atoi(u.Gid)
	}
	w.data, w.repo, w.socket = w.root+"/data", w.root+"/repo", pgRoom(t)
	for _, dir := range []string{w.root, w.repo, w.repo + "/base", w.repo + "/wal", w.socket} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		w.give(dir)
	}
	args := []string{"-D", w.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "--wal-segsize=1"}
	if checksums {
		args = append(args, "-k")
	}
	w.program("initdb", args...)
	w.configure("postgresql.conf", "listen_addresses = ''\nunix_socket_directories = '"+w.socket+"'\narchive_mode = on\nautovacuum = off\n"+
		"log_timezone = 'Europe/Berlin'\narchive_command = 'test ! -f "+w.repo+"/wal/%f && cp %p "+w.repo+"/wal/%f'\n")
	t.Cleanup(func() {
		if w.up {
			w.program("pg_ctl", "-D", w.data, "stop", "-m", "immediate")
		}
	})
	w.start()
	w.sql("create table people (id int primary key, name text, born timestamptz default now())")
	w.sql("insert into people select i, 'person number '||i||repeat(' x', 40) from generate_series(1, 1000) i")
	return w
}

// pgScratch is a folder that another user can get into.
func pgScratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		t.Fatal(err)
	}
	return dir
}

// pgRoom is a folder with a name that is short enough for a socket.
func pgRoom(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgw") //nolint:usetesting // the path of t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *pgWorld) give(path string) {
	w.t.Helper()
	if err := os.Chown(path, w.uid, w.gid); err != nil {
		w.t.Fatal(err)
	}
}

// program runs one of PostgreSQL's programs as the cluster's user.
func (w *pgWorld) program(name string, args ...string) string {
	w.t.Helper()
	out, err := w.try(name, args...)
	if err != nil {
		w.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(out)
}

func (w *pgWorld) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.WithoutCancel(w.t.Context()), filepath.Join(pgBin, name), args...)
	cmd.Dir = w.socket
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PGHOST=" + w.socket, "PGUSER=postgres", "PGDATABASE=postgres", "PGOPTIONS=-c session_preload_libraries= -c statement_timeout=0", "PATH=" + os.Getenv("PATH")}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(w.uid), Gid: uint32(w.gid)}} //nolint:gosec // a user's number
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *pgWorld) configure(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.data, name), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *pgWorld) start() {
	w.t.Helper()
	w.program("pg_ctl", "-D", w.data, "-l", w.root+"/log", "-w", "start")
	w.up = true
}

func (w *pgWorld) stop() {
	w.t.Helper()
	w.program("pg_ctl", "-D", w.data, "-m", "fast", "-w", "stop")
	w.up = false
}

// sql runs a statement and returns its answer.
func (w *pgWorld) sql(text string) string {
	w.t.Helper()
	return w.program("psql", "-XqAtw", "-v", "ON_ERROR_STOP=1", "-c", text)
}

// now is the server's clock, between two transactions.
func (w *pgWorld) now() time.Time {
	w.t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.999999", w.sql("select clock_timestamp() at time zone 'UTC'"))
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

// back makes a base backup without logs; pg_basebackup returns when all that it needs is archived.
func (w *pgWorld) back(name string) {
	w.t.Helper()
	w.program("pg_basebackup", "-D", filepath.Join(w.repo, "base", name), "-c", "fast", "-X", "none", "--no-sync")
	done := w.now()
	w.await(func() bool { return w.now().Sub(done) > 1100*time.Millisecond }) // points are dated in whole seconds
}

// archive sees to it that all is archived that was written until now.
func (w *pgWorld) archive() {
	w.t.Helper()
	name := w.sql("select pg_walfile_name(pg_current_wal_lsn())")
	w.sql("select pg_switch_wal()")
	w.await(func() bool { return w.sql("select last_archived_wal >= '"+name+"' from pg_stat_archiver") == "t" })
}

func (w *pgWorld) await(there func() bool) {
	w.t.Helper()
	ctx := w.t.Context()
	for deadline := time.Now().Add(30 * time.Second); !there(); {
		if time.Now().After(deadline) || ctx.Err() != nil {
			w.t.Fatal("what was awaited did not come")
		}
	}
}

// heap is the file of a table.
func (w *pgWorld) heap(table string) string {
	w.t.Helper()
	return filepath.Join(w.data, w.sql("select pg_relation_filepath('"+table+"')"))
}

const pgPage = 8192

// flip is damage of the first kind: 16 bytes are inverted in the first row of a table's first page, from its header on. The
// server is stopped meanwhile, so nothing of it is in the logs.
func (w *pgWorld) flip(table string) {
	w.t.Helper()
	path := w.heap(table)
	w.sql("checkpoint")
	w.stop()
	w.patch(path, func(page []byte) {
		row := int(binary.LittleEndian.Uint32(page[24:28]) & 0x7fff) // the first line pointer's offset
		for i := row + 18; i < row+34; i++ {                         // t_infomask2, t_infomask, t_hoff, and the first columns
			page[i] ^= 0xff
		}
	})
	w.start()
}

// stale is damage of the second kind: the first page of a table is put back as it was before twenty of its rows were updated, with the
// checksum that it had. The new versions of those rows lie in other pages, so now there are two of each. The index has entries for both,
// unless a vacuum came between, which with is for: SQL to run after the update.
func (w *pgWorld) stale(table, with string) {
	w.t.Helper()
	path := w.heap(table)
	w.sql("checkpoint")
	var old []byte
	w.patch(path, func(page []byte) { old = append(old, page...) })
	w.sql("update " + table + " set name = 'new name of '||id where id <= 20")
	w.sql(with)
	w.sql("checkpoint")
	w.stop()
	w.patch(path, func(page []byte) { copy(page, old) })
	w.start()
}

func (w *pgWorld) patch(path string, change func(page []byte)) {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	page := make([]byte, pgPage)
	if _, err := f.ReadAt(page, 0); err != nil {
		w.t.Fatal(err)
	}
	change(page)
	if _, err := f.WriteAt(page, 0); err != nil {
		w.t.Fatal(err)
	}
}

// work is a job on the repository's data set.
func (w *pgWorld) work(point string) SetWork {
	return SetWork{Point: point, Repository: Repository{Name: "pg-backups", Kind: "postgresql", Location: w.repo},
		Set: Set{Name: "people-db", Kind: "database", Engine: "postgresql", Invariants: []Invariant{
			{Name: "people-unique", SQL: "select count(*), count(distinct id) from people", Expect: "equal"}}}}
}

// points lists the points, by name.
func (w *pgWorld) points() map[string]Point {
	w.t.Helper()
	list, err := postgresqlBackend{}.List(w.t.Context(), w.work(""))
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(map[string]Point)
	for _, p := range list {
		all[p.ID] = p
	}
	return all
}

// restored is a data directory to which a job's point was restored and prepared.
func (w *pgWorld) restored(s SetWork) (dir string, reached time.Time) {
	w.t.Helper()
	dir = pgScratch(w.t)
	if err := (postgresqlBackend{}).Restore(w.t.Context(), s, dir, nil); err != nil {
		w.t.Fatal(err)
	}
	reached, err := pgEngine{}.Prepare(w.t.Context(), s, dir)
	if err != nil {
		w.t.Fatal(err)
	}
	pgNobodyOn(w.t, dir)
	return dir, reached
}

// ask starts a restored data directory as a cluster of its own, with its own settings, and asks it.
func (w *pgWorld) ask(dir, sql string) string {
	w.t.Helper()
	room := pgRoom(w.t)
	w.give(room)
	w.program("pg_ctl", "-D", dir, "-l", room+"/log", "-o", "-c unix_socket_directories="+room+" -c archive_mode=off", "-w", "start")
	defer w.program("pg_ctl", "-D", dir, "-m", "fast", "-w", "stop")
	return w.program("psql", "-XqAtw", "-h", room, "-c", sql)
}

// pgNobodyOn fails when a process has its working directory in dir, as those of a database have.
func pgNobodyOn(t *testing.T, dir string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(found) == 0 {
		t.Fatalf("no processes can be looked at: %v", err)
	}
	for _, link := range found {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, dir) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			t.Errorf("process %s is left on %s: %q", filepath.Base(filepath.Dir(link)), dir, line)
		}
	}
	rooms, _ := filepath.Glob(filepath.Join(os.TempDir(), "pg[0-9]*"))
	for _, room := range rooms {
		until(t, "the private folder "+room+" is gone, or another test's server runs in it", func() bool {
			text, err := os.ReadFile(filepath.Join(room, "postgresql.conf"))
			return err != nil || len(text) == 0 || pgRuns(room)
		})
	}
}

// pgRuns is whether a server with the settings of a private folder runs.
func pgRuns(room string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), room+"/postgresql.conf") {
			return true
		}
	}
	return false
}
