//go:build e2e && unix

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	pgBin    = "/usr/lib/postgresql/15/bin"
	pgPage   = 8192
	keptDays = 14
)

// hall is a municipality's town hall: one host with a PostgreSQL of its own, a restic repository with a point for each of the last fourteen
// days, and what is needed to run the responder's programs.
type hall struct {
	*realEstate
	level    string // at which its damage is found
	data     string // the live data directory
	root     string // what the agent takes for the host's disk
	backup   string // what each snapshot holds: base/day and wal
	vault    string // the restic repository
	password string // a file
	socket   string
	uid, gid int
	points   []string // restic's ids, the oldest first
	agent    *exec.Cmd
}

// newHall makes a cluster and its fourteen points. The damage comes in before the point of day bad (1 to 14).
func newHall(t *testing.T, binaries string, damage damage, bad int) *hall {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		t.Fatal(err)
	}
	e := &realEstate{t: t, dir: dir, binary: filepath.Join(binaries, "blackstart"), agentBin: filepath.Join(binaries, "blackstart-agent"),
		addr: fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1")), fleet: filepath.Join(dir, "fleet.yaml"), key: filepath.Join(dir, "id_ed25519")}
	h := &hall{realEstate: e, level: damage.level, root: filepath.Join(dir, "disk"), vault: filepath.Join(dir, "restic"), password: filepath.Join(dir, "restic.pw"),
		uid: os.Geteuid(), gid: os.Getegid()}
	h.data, h.backup = filepath.Join(h.root, "srv", "main"), filepath.Join(dir, "backup")
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", e.key)
	h.write(h.password, "correct horse battery staple\n")
	h.cluster(damage.checksums)
	h.restic("init")
	newest := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
	for day := 1; day <= keptDays; day++ {
		at := newest.AddDate(0, 0, day-keptDays)
		if day == bad {
			damage.do(h)
		}
		h.sql(fmt.Sprintf("insert into people select i, 'person number '||i from generate_series(%d, %d) i; insert into journal values ('%s', 'day %d')",
			day*1000, day*1000+9, at.Add(-10*time.Minute).Format(time.RFC3339), day))
		h.back(at)
	}
	for _, s := range h.snapshots() {
		h.points = append(h.points, s.ID)
	}
	if len(h.points) != keptDays {
		t.Fatalf("%d points were made", len(h.points))
	}
	// What the outage left: the bad update has put its file into the data directory since the last backup.
	h.write(filepath.Join(h.data, "edr-isolated.bin"), "EDRC\x01\x00"+strings.Repeat("\x00", 64))
	h.book()
	attempts := 4
	if bad == 1 {
		attempts = 2 // nothing is left to try after the repair: the host goes to a person the sooner
	}
	h.fleetFile(damage.level, attempts)
	return h
}

// cluster makes and starts a PostgreSQL with the table people and a journal of what was entered when.
func (h *hall) cluster(checksums bool) {
	h.t.Helper()
	if h.uid == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			h.t.Fatal(err)
		}
		h.uid, _ = strconv.Atoi(u.Uid)
		h.gid, _ = strconv.Atoi(u.Gid)
	}
	socket, err := os.MkdirTemp("/tmp", "hall") //nolint:usetesting // the path of t.TempDir is too long for a socket
	if err != nil {
		h.t.Fatal(err)
	}
	h.socket = socket
	h.t.Cleanup(func() { os.RemoveAll(socket) })
	for _, dir := range []string{socket, filepath.Dir(h.data), h.backup, filepath.Join(h.backup, "base"), filepath.Join(h.backup, "wal")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.Chown(dir, h.uid, h.gid); err != nil {
			h.t.Fatal(err)
		}
	}
	args := []string{"-D", h.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "--wal-segsize=1"}
	if checksums {
		args = append(args, "-k")
	}
	h.program("initdb", args...)
	file := filepath.Join(h.data, "postgresql.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(file, string(text)+"listen_addresses = ''\nunix_socket_directories = '"+socket+"'\nfsync = off\nautovacuum = off\nshared_buffers = 16MB\narchive_mode = on\n"+
		"archive_command = 'test ! -f "+h.backup+"/wal/%f && cp %p "+h.backup+"/wal/%f'\n")
	h.t.Cleanup(func() { _, _ = h.try15("pg_ctl", "-D", h.data, "stop", "-m", "immediate") })
	h.start()
	h.sql("create table people (id int primary key, name text); create table journal (at timestamptz, what text)")
	h.sql("insert into people select i, 'person number '||i||repeat(' x', 40) from generate_series(1, 900) i")
}

func (h *hall) start() {
	h.t.Helper()
	h.program("pg_ctl", "-D", h.data, "-l", filepath.Join(h.socket, "log"), "-w", "start")
}

func (h *hall) halt() {
	h.t.Helper()
	h.program("pg_ctl", "-D", h.data, "-m", "fast", "-w", "stop")
}

// as is how the agent runs a program as the database's user.
func (h *hall) as(argv ...string) []string {
	if os.Geteuid() == 0 {
		return append([]string{"runuser", "-u", "postgres", "--"}, argv...)
	}
	return argv
}

func (h *hall) try15(name string, args ...string) (string, error) {
	c := exec.Command(filepath.Join(pgBin, name), args...)
	c.Dir = h.socket
	c.Env = []string{"LC_ALL=C", "TZ=UTC", "PGHOST=" + h.socket, "PGUSER=postgres", "PGDATABASE=postgres", "PATH=" + os.Getenv("PATH")}
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)}} //nolint:gosec // a user's number
	}
	out, err := c.CombinedOutput()
	return string(out), err
}

func (h *hall) program(name string, args ...string) string {
	h.t.Helper()
	out, err := h.try15(name, args...)
	if err != nil {
		h.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(out)
}

func (h *hall) sql(text string) string {
	h.t.Helper()
	return h.program("psql", "-XqAtw", "-v", "ON_ERROR_STOP=1", "-c", text)
}

// back makes the point of a day: a base backup with the archived logs, in one snapshot.
func (h *hall) back(at time.Time) {
	h.t.Helper()
	day := filepath.Join(h.backup, "base", "day")
	if err := os.RemoveAll(day); err != nil {
		h.t.Fatal(err)
	}
	h.program("pg_basebackup", "-D", day, "-c", "fast", "-X", "none", "--no-sync")
	h.restic("backup", "--quiet", "--host", "db1", "--tag", "pg", "--time", at.Format(time.DateTime), h.backup)
}

func (h *hall) restic(args ...string) string {
	h.t.Helper()
	c := exec.Command("restic", append([]string{"--no-cache", "--repo", h.vault, "--password-file", h.password}, args...)...)
	c.Env = append(os.Environ(), "TZ=UTC")
	out, err := c.CombinedOutput()
	if err != nil {
		h.t.Fatalf("restic %q: %v: %s", args, err, out)
	}
	return string(out)
}

type resticSnapshot struct {
	ID, Original string
	Time         time.Time
	Tags         []string
}

// point is the snapshot's first id: a tag gives it another.
func (s resticSnapshot) point() string {
	if s.Original != "" {
		return s.Original
	}
	return s.ID
}

// snapshots are restic's own word on what is there, the oldest first.
func (h *hall) snapshots() []resticSnapshot {
	h.t.Helper()
	var list []resticSnapshot
	if err := json.Unmarshal([]byte(h.restic("--no-lock", "--json", "snapshots")), &list); err != nil {
		h.t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b resticSnapshot) int { return a.Time.Compare(b.Time) })
	return list
}

// held are the points that carry a hold, by restic's own word.
func (h *hall) held() (list []string) {
	h.t.Helper()
	for _, s := range h.snapshots() {
		if slices.ContainsFunc(s.Tags, func(tag string) bool { return strings.HasPrefix(tag, "blackstart-hold-") }) {
			list = append(list, s.point())
		}
	}
	return list
}

// damage is one of the two kinds that a lab has shown, with the level at which checks find it.
type damage struct {
	name      string
	checksums bool
	level     string
	do        func(*hall)
}

var (
	flipped = damage{"flipped bytes without checksums", false, "L3", (*hall).flip}
	stale   = damage{"a stale page with checksums", true, "L4", (*hall).stale}
)

// flip inverts 16 bytes in the first row of the table's first page, from its header on, while the server is stopped.
func (h *hall) flip() {
	h.t.Helper()
	path := h.heap()
	h.sql("checkpoint")
	h.halt()
	h.patch(path, func(page []byte) {
		row := int(binary.LittleEndian.Uint32(page[24:28]) & 0x7fff) // the first line pointer's offset
		for i := row + 18; i < row+34; i++ {
			page[i] ^= 0xff
		}
	})
	h.start()
}

// stale puts the table's first page back as it was before twenty of its rows were updated, with the checksum that it had: there are two of
// each of them now.
func (h *hall) stale() {
	h.t.Helper()
	path := h.heap()
	h.sql("checkpoint")
	var old []byte
	h.patch(path, func(page []byte) { old = append(old, page...) })
	h.sql("update people set name = 'new name of '||id where id <= 20")
	h.sql("checkpoint")
	h.halt()
	h.patch(path, func(page []byte) { copy(page, old) })
	h.start()
}

func (h *hall) heap() string {
	h.t.Helper()
	return filepath.Join(h.data, h.sql("select pg_relation_filepath('people')"))
}

func (h *hall) patch(path string, change func(page []byte)) {
	h.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	page := make([]byte, pgPage)
	if _, err := f.ReadAt(page, 0); err != nil {
		h.t.Fatal(err)
	}
	change(page)
	if _, err := f.WriteAt(page, 0); err != nil {
		h.t.Fatal(err)
	}
}

// book is a playbook for the outage: what the bad update put into the data directory must be gone, and a data directory be there.
func (h *hall) book() {
	h.t.Helper()
	dir := filepath.Join(h.dir, "playbooks", "edr-content-linux")
	if err := os.CopyFS(dir, os.DirFS("../../recovery-playbooks/edr-content-linux")); err != nil {
		h.t.Fatal(err)
	}
	h.write(filepath.Join(dir, "manifest.yaml"), `name: edr-content-linux
title: Bad file of an endpoint-security product in a data directory
match: {edr: edr-linux, os: [linux]}
reboot: helps
bad-content:
  - {name: file of the bad update, path: /srv/main/*.bin, header: 45 44 52 43 01 00}
good-content:
  - {name: a data directory of PostgreSQL 15, path: /srv/main/PG_VERSION, header: 31 35 0a}
scripts: {linux: repair.sh}
preserve: true
timeout: 1m
verify-within: 1m
soak: 2s
debts:
  - {id: kept-copies, what: The removed content files are kept on the host.}
sources:
  - {title: Blackstart's own example, url: "https://github.com/blackstart-recovery/blackstart", retrieved: 2026-11-21}
`)
}

// fleetFile describes the town hall. By itself nothing is checked while the test runs: the repository's quiet time is half a day away.
func (h *hall) fleetFile(asks string, attempts int) {
	h.t.Helper()
	public, err := os.ReadFile(h.key + ".pub")
	if err != nil {
		h.t.Fatal(err)
	}
	quiet := time.Now().UTC().Add(12 * time.Hour)
	words := func(argv []string) string {
		text, _ := json.Marshal(argv) // strings
		return string(text)
	}
	h.write(h.fleet, fmt.Sprintf(`fleet: municipality
policy: {tries-per-rung: 2, max-attempts: %d, backoff: 1s, backoff-max: 1s, incident-failures: 100%%}
tiers:
  - {name: first, title: Care, asks: %s, gate: {success: 100%%, soak: 1s, max-failed: 0, max-unreachable: 0}}
services:
  - {name: care, title: Social care, tier: first, rpo: 1h}
repositories:
  hall: {restic: %q, password: "file:%s", quiet: "%s-%s"}
backups:
  - name: people-db
    host: db1
    kind: database
    repository: hall
    policy: daily-14d
    engine: postgresql
    source: "host=db1,tag=pg"
    target: %q
    part: %q
    options: {base: base, wal: wal, scratch: %q}
    stop: %s
    start: %s
    invariants:
      - {name: people-unique, sql: "select count(*), count(distinct id) from people", expect: equal}
      - {name: still-used, sql: "select max(at) from journal", expect: within 26h}
ladders:
  data:
    - {name: ssh, kind: ssh, environment: linux, port: %d, host-keys: [%q]}
    - {name: restore, kind: restore, estimate: 5m}
defaults: {os: linux, edr: {product: edr-linux}}
hosts:
  - {name: db1, service: care, address: 127.0.0.1, data: primary, agent: true, ladder: data}
`, attempts, asks, h.vault, h.password, quiet.Format("15:04"), quiet.Add(time.Hour).Format("15:04"), h.data, h.backup, h.dir,
		words(h.as(pgBin+"/pg_ctl", "-D", h.data, "-m", "fast", "-w", "stop")),
		words(h.as(pgBin+"/pg_ctl", "-D", h.data, "-l", filepath.Join(h.socket, "log"), "-w", "start")),
		freePort(h.t, "127.0.0.1"), strings.TrimSpace(string(public))))
}

// open starts the responder's coordinator, and the agent of the town hall.
func (h *hall) open() {
	h.t.Helper()
	h.run("init", "--ip", "127.0.0.1")
	h.run("agent", "issue", "--fleet", h.fleet)
	h.serve()
	dir := filepath.Join(h.dir, "agent")
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	for from, to := range map[string]string{"ca.pem": "ca.pem", "agents/db1.pem": "db1.pem", "agents/db1-key.pem": "db1-key.pem"} {
		b, err := os.ReadFile(filepath.Join(h.dir, "bs", from))
		if err != nil {
			h.t.Fatal(err)
		}
		h.write(filepath.Join(dir, to), string(b))
	}
	h.startAgent()
	h.t.Cleanup(func() {
		if h.t.Failed() {
			out, _ := h.try("host", "show", "db1")
			incident, _ := h.try("incident", "show")
			h.t.Logf("the host's story:\n%s\n%s", out, incident)
		}
	})
}

func (h *hall) startAgent() {
	h.t.Helper()
	h.agent = start(h.t, exec.Command(h.agentBin, "run", "--coordinator", h.addr, "--dir", filepath.Join(h.dir, "agent"), "--root", h.root, "--restore"))
}
