package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pgPlant makes a base backup's folder from what lies in dir: its manifest, as pg_basebackup writes it, with the range of logs given.
func pgPlant(t *testing.T, dir string, at time.Time, timeline uint32, start, end string) {
	t.Helper()
	files := []map[string]any{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(name, "pg_wal/") || name == "backup_manifest" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		files = append(files, map[string]any{"Path": name, "Size": len(data), "Last-Modified": at.UTC().Format("2006-01-02 15:04:05 GMT"),
			"Checksum-Algorithm": "CRC32C", "Checksum": fmt.Sprintf("%02x%02x%02x%02x", byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": %s,\n\"WAL-Ranges\": [\n{ \"Timeline\": %d, \"Start-LSN\": %q, \"End-LSN\": %q }\n],\n",
		list, timeline, start, end)
	sum := sha256.Sum256([]byte(text))
	plant(t, dir, map[string]string{"backup_manifest": text + `"Manifest-Checksum": "` + hex.EncodeToString(sum[:]) + "\"}\n"})
}

func TestReadBase(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	plant(t, dir, map[string]string{"PG_VERSION": "15\n", "backup_label": "text", "two\nlines": "x"})
	if _, err := readBase(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a manifest: %v", err)
	}
	pgPlant(t, dir, at, 3, "1A/2000028", "1A/2000100")
	b, err := readBase(dir)
	if err != nil || b.size != 8 || b.timeline != 3 || b.start != 0x1a_02000028 || b.end != 0x1a_02000100 || !b.takenAt.Equal(at.Add(time.Second)) || len(b.files) != 3 {
		t.Fatalf("read %+v, %v", b, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "backup_manifest"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"cut off":           string(text[:len(text)/2]),
		"changed":           strings.Replace(string(text), `"Size":3`, `"Size":4`, 1),
		"leads out":         strings.Replace(string(text), "PG_VERSION", "../VERSION", 1),
		"without checksum":  strings.Replace(string(text), "Manifest-Checksum", "Manifest", 1),
		"of another format": "[1]",
	} {
		plant(t, dir, map[string]string{"backup_manifest": bad})
		if _, err := readBase(dir); !errors.Is(err, errManifest) {
			t.Errorf("a manifest that is %s: %v", name, err)
		}
	}
	for name, path := range map[string]string{"up": "../x", "absolute": "/etc/passwd", "nothing": ""} {
		if err := (&pgBase{}).take(&pgFile{Path: path}); err == nil {
			t.Errorf("a manifest may name %s", name)
		}
	}
	odd := pgFile{Encoded: "61ff"}
	if err := (&pgBase{}).take(&odd); err != nil || odd.Path != "a\xff" {
		t.Errorf("an encoded name is %q, %v", odd.Path, err)
	}
}

// The times in a history file are of a zone that only an abbreviation names, so only what lies between them is taken from it.
func TestBackupIsCompleteAtItsEnd(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from, to string
		want     time.Duration
	}{
		{"2026-03-01 03:00:00 CET", "2026-03-01 03:07:30 CET", 7*time.Minute + 30*time.Second},
		{"2026-03-01 03:00:00 CET", "2026-03-01 04:07:30 CEST", 0},
		{"2026-03-01 03:00:00 CET", "2026-03-01 02:00:00 CET", 0},
		{"2026-03-01 03:00:00 CET", "later", 0},
	} {
		logs := &pgLogs{archive: t.TempDir(), size: 16 << 20}
		plant(t, logs.archive, map[string]string{"000000010000001A00000002.00000028.backup": "START TIME: " + c.from + "\nSTOP TIME: " + c.to + "\n"})
		b := &pgBase{timeline: 1, start: 0x1a_02000028, takenAt: start}
		if got := b.finishedAt(logs); got.Sub(start) != c.want {
			t.Errorf("from %s to %s it is complete after %v, want %v", c.from, c.to, got.Sub(start), c.want)
		}
	}
}

func TestLogsWithoutGap(t *testing.T) {
	archive, base := t.TempDir(), t.TempDir()
	own := filepath.Join(base, "pg_wal")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	whole := strings.Repeat("w", 1<<20)
	plant(t, own, map[string]string{"0000000200000000000000FF": whole})
	plant(t, archive, map[string]string{
		"000000020000000000000100": whole, "000000020000000000000101": whole, // a segment of 1 MiB has 4096 to a name
		"000000010000000000000102": whole,         // of another timeline
		"000000020000000000000102": whole[:1<<19], // still being copied
		"000000020000000000000103": whole,         // beyond the gap
		"00000002.history":         "1\t0/100000\n", "x.history": "", "000000020000000000000101.partial": whole,
	})
	b := &pgBase{dir: base, timeline: 2, start: 0xff00028, end: 0x10000100}
	logs := &pgLogs{archive: archive}
	if !logs.follow(b) || logs.size != 1<<20 || len(logs.segments) != 3 || logs.bytes() != 3<<20 {
		t.Errorf("the logs are %d bytes each: %q", logs.size, logs.segments)
	}
	if got := logs.histories(); len(got) != 1 || filepath.Base(got[0]) != "00000002.history" {
		t.Errorf("histories %q", got)
	}
	b.end = 0x10300000
	if logs.follow(b) {
		t.Error("a backup that ends after the gap has all its logs")
	}
	b.start, b.end = 0xfe00028, 0xfe00100
	if logs.follow(b) {
		t.Error("a backup has a first log that is not there")
	}
	if got := (&pgLogs{size: 16 << 20}).name(1, 0x1a02); got != "000000010000001A00000002" {
		t.Errorf("segment is called %s", got)
	}
}

// fakeDump is a pg_waldump that prints what lies in the segment's file.
func fakeDump(t *testing.T) pgPrograms {
	t.Helper()
	dir := t.TempDir()
	writeProgram(t, filepath.Join(dir, "pg_waldump"), "#!/bin/sh\ncat \"$2\"\n")
	return pgPrograms{dir, 15}
}

func TestHowFarLogsReach(t *testing.T) {
	dir := t.TempDir()
	line := func(verb, at string) string {
		return "rmgr: Transaction len (rec/tot):     34/    34, tx:        725, lsn: 0/03008340, prev 0/03006DC0, desc: " + verb + " " + at + " UTC; inval msgs: catcache 80\n"
	}
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	plant(t, dir, map[string]string{
		"0": line("COMMIT", "2026-03-01 10:00:00.000001") + line("COMMIT", "2026-03-01 10:10:00.5"),
		"1": "",
		"2": line("ABORT", "2026-03-01 10:20:00.000000") + line("COMMIT_PREPARED 17:", "2026-03-01 10:30:00.25"),
		"3": line("COMMIT", "2026-03-01 10:40:00.000000"),
		"4": line("COMMIT", "2026-03-01 10:50:00.000000"),
		"5": line("PREPARE gid x, desc: COMMIT", "2026-03-01 23:00:00.000000") + "desc: COMMIT never UTC\n",
	})
	all := []string{}
	for _, name := range []string{"0", "1", "2", "3", "4", "5"} {
		all = append(all, filepath.Join(dir, name))
	}
	logs := func(n int) *pgLogs { return &pgLogs{size: 1 << 20, segments: all[:n:n], programs: fakeDump(t)} }
	for n, want := range []time.Duration{0, 10*time.Hour + 10*time.Minute + 500*time.Millisecond, 10*time.Hour + 10*time.Minute + 500*time.Millisecond, 10*time.Hour + 30*time.Minute + 250*time.Millisecond} {
		got, err := logs(n).reach(t.Context())
		if err != nil || n == 0 && !got.IsZero() || n > 0 && got.Sub(day) != want {
			t.Errorf("%d segments reach until %v, %v; want %v", n, got, err, want)
		}
	}
	if got, _ := logs(6).reach(t.Context()); got.Sub(day) != 10*time.Hour+50*time.Minute {
		t.Errorf("the last segment has no end of a transaction, and they reach until %v", got)
	}
	b := &pgBase{start: 0x28, end: 0x100}
	for _, c := range []struct{ minute, want int }{{-5, 2}, {5, 4}, {15, 4}, {25, 5}, {35, 5}, {45, 6}, {55, 6}} {
		l := logs(6)
		if err := l.until(t.Context(), b, day.Add(10*time.Hour+time.Duration(c.minute)*time.Minute)); err != nil || len(l.segments) != c.want {
			t.Errorf("to minute %d %d segments are needed, %v; want %d", c.minute, len(l.segments), err, c.want)
		}
	}
	l := logs(6)
	b.end = 0x300100
	if err := l.until(t.Context(), b, day.Add(9*time.Hour)); err != nil || len(l.segments) != 4 {
		t.Errorf("a backup that ends in the fourth needs %d, %v", len(l.segments), err)
	}
}

func TestPostgreSQLComplaints(t *testing.T) {
	for said, want := range map[string]string{
		"pg_dump: error: Error message from server: ERROR:  invalid page in block 0 of relation base/5/16384": SignatureDamagedPoint,
		"ERROR:  invalid memory alloc request size 18446744073709551613":                                      SignatureDamagedPoint,
		`ERROR:  could not open file "base/5/16384": No such file or directory`:                               SignatureDamagedPoint,
		"pg_dump: error: server closed the connection unexpectedly":                                           SignatureDamagedPoint,
		"LOG:  startup process (PID 7) was terminated by signal 6: Aborted":                                   SignatureDamagedPoint,
		"FATAL:  recovery ended before configured recovery target was reached":                                SignatureDamagedPoint,
		`ERROR:  could not access file "$libdir/postgis-3": No such file or directory`:                        "database programs fail",
		`ERROR:  could not open extension control file "/usr/share/postgresql/15/extension/amcheck.control"`:  "database programs fail",
		"pg_dumpall: error: could not fsync file \"/dev/null\": Invalid argument":                             "database programs fail",
		"FATAL:  database files are incompatible with server":                                                 "database programs fail",
		"LOG:  server process (PID 7) was terminated by signal 9: Killed":                                     "database programs fail",
		"ERROR:  out of memory": "database programs fail",
		"":                      "database programs fail",
		`PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device`: signatureFull,
	} {
		if f := pgComplains("The database", said); f.Signature != want || f.Class != Failed {
			t.Errorf("%q is taken for %q", said, f.Signature)
		}
	}
}

func TestPostgreSQLKeepsToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
		plant(t, filepath.Dir(from), map[string]string{"from": strings.Repeat("x", 3<<20)})
		var told progressLog
		began := time.Now()
		c := pgCopy{ctx: t.Context(), told: told.add, total: 3 << 20, rate: 1 << 20, began: began}
		if err := c.log(from, to); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("three megabytes at one a second took %v", took)
		}
		told.isSound(t, 3<<20)
		if data, err := os.ReadFile(to); len(data) != 3<<20 {
			t.Errorf("%d bytes were copied, %v", len(data), err)
		}
	})
}

// A base backup of a version that is not installed here hides no other, and is told of when there is no other.
func TestPointsOfAnotherVersion(t *testing.T) {
	repo := t.TempDir()
	pgTree(t, repo, "wal/000000010000000000000002", "base/old/pg_wal/x", "base/old/backup_label")
	plant(t, filepath.Join(repo, "base/old"), map[string]string{"PG_VERSION": "99\n"})
	plant(t, filepath.Join(repo, "wal"), map[string]string{"000000010000000000000002": strings.Repeat("w", 16<<20)})
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	pgPlant(t, filepath.Join(repo, "base/old"), at, 1, "0/2000028", "0/2000100")
	s := SetWork{Repository: Repository{Location: repo}, Set: Set{Kind: "database"}}
	var fault *Fault
	if points, err := (postgresqlBackend{}).List(t.Context(), s); !errors.As(err, &fault) || fault.Signature != "database programs missing" {
		t.Errorf("listed %+v, %v", points, err)
	}
	pgTree(t, repo, "base/new/backup_label")
	programs := fakeDump(t)
	writeProgram(t, filepath.Join(programs.dir, "postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) 98.2'\n")
	t.Setenv("PATH", programs.dir+":"+os.Getenv("PATH"))
	plant(t, filepath.Join(repo, "base/new"), map[string]string{"PG_VERSION": "98\n"})
	pgPlant(t, filepath.Join(repo, "base/new"), at, 1, "0/2000028", "0/2000100")
	points, err := postgresqlBackend{}.List(t.Context(), s)
	if err != nil || len(points) != 1 || points[0].ID != "new" || !points[0].TakenAt.Equal(at.Add(time.Second)) || !points[0].Until.IsZero() || points[0].Kind != "database" {
		t.Errorf("listed %+v, %v", points, err)
	}
}
