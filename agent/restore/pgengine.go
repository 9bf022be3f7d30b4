package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pgEngine makes restored PostgreSQL data ready for use and checks it. The data set's options are
//
//	bin       the folder of PostgreSQL's programs, where it is not the usual one of the version
//	user      the system user that the database runs as: "postgres"
//	role      the superuser within the database: "postgres"
//	database  whose invariants are asked: "postgres"
//	base      where in the restored folder the data directory or base backup is, or a folder of several: the newest one is taken
//	wal       where in the restored folder the archived logs are
//
// Every run starts a server of its own on the data, which nobody else reaches; see pgServer. Data outside the data directory
// (tablespaces, a pg_wal elsewhere) is refused, as it may be the live data.
type pgEngine struct{}

const (
	signatureMoment = "moment out of reach"
	pgAnyDatabase   = "template1"        // every cluster has it
	pgLifted        = ".blackstart-data" // a data directory on its way up
)

// Prepare makes dir a data directory that was recovered to the moment, promoted, and shut down cleanly, with its own settings. A
// moment that the logs do not reach is refused. What counts as reached is when the last transaction ended that is in the data.
func (pgEngine) Prepare(ctx context.Context, s SetWork, dir string) (time.Time, error) {
	reached, err := pgPrepare(ctx, s, dir)
	return reached, faultOf(ctx, "recovery of the database", err)
}

func pgPrepare(ctx context.Context, s SetWork, dir string) (time.Time, error) {
	withLogs, err := pgGather(s, dir)
	if err != nil {
		return time.Time{}, err
	}
	programs, control, err := pgOpenData(ctx, s, dir)
	if err != nil {
		return time.Time{}, err
	}
	recovery, reach, err := pgChoose(ctx, s, dir, programs, control, withLogs)
	if err != nil {
		return time.Time{}, err
	}
	if err := pgSignal(dir, recovery != nil); err != nil {
		return time.Time{}, err
	}
	if err := pgOwn(dir, pgUser(s)); err != nil {
		return time.Time{}, err
	}
	server, err := startPG(ctx, s, programs, dir, control, recovery)
	if err != nil {
		return time.Time{}, pgRecoveryFault(err)
	}
	defer server.kill() //nolint:errcheck // stop has said it
	reached, timeline, err := server.recovered(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if err := server.stop(ctx); err != nil {
		return time.Time{}, err
	}
	if recovery != nil && recovery.moment.IsZero() && reached.Before(reach) {
		return time.Time{}, damaged(s, fmt.Sprintf("the recovery ended at %s, and the logs hold transactions until %s", reached.Format(time.RFC3339), reach.Format(time.RFC3339)))
	}
	return reached, pgTidy(ctx, s, programs, dir, timeline)
}

// pgGather makes dir the data directory itself, with the logs in its pg_wal. It is true when logs came from outside the data directory.
func pgGather(s SetWork, dir string) (withLogs bool, err error) {
	from := dir
	if !isThere(filepath.Join(dir, "PG_VERSION")) {
		if from, err = pgPick(s, dir, s.Set.Options["base"]); err != nil {
			return false, err
		}
	}
	if wal := s.Set.Options["wal"]; wal != "" && filepath.IsLocal(wal) {
		if withLogs, err = pgMoveLogs(filepath.Join(dir, wal), filepath.Join(from, pgWAL)); err != nil {
			return false, err
		}
	}
	if from == dir {
		return withLogs, nil
	}
	return withLogs, pgLift(dir, from)
}

// pgPick finds the data directory below dir: at base, or the newest base backup in there that was taken by the moment.
func pgPick(s SetWork, dir, base string) (string, error) {
	missing := &Fault{Failed, "no database there", sentence(fmt.Sprintf("There is no PostgreSQL data directory in what was restored, at %.200q; name where it is as option \"base\" of the data set", "/"+base))}
	if base == "" || !filepath.IsLocal(base) {
		return "", missing
	}
	if at := filepath.Join(dir, base); isThere(filepath.Join(at, "PG_VERSION")) {
		return at, nil
	}
	found, _ := filepath.Glob(filepath.Join(pgLiteral(filepath.Join(dir, base)), "*", pgManifestName)) // a good pattern
	var best *pgBase
	for _, path := range found {
		b, err := readBase(filepath.Dir(path))
		if err != nil || !s.Moment.IsZero() && b.takenAt.After(s.Moment) {
			continue
		}
		if best == nil || b.takenAt.After(best.takenAt) {
			best = b
		}
	}
	if best == nil {
		return "", missing
	}
	return best.dir, nil
}

// pgLiteral quotes a path for Glob.
func pgLiteral(path string) string {
	if os.PathSeparator == '\\' {
		return path
	}
	return regexp.MustCompile(`[*?[\\]`).ReplaceAllString(path, `\$0`)
}

var pgLogName = regexp.MustCompile(`^([0-9A-F]{24}|[0-9A-F]{8}\.history)$`)

// pgMoveLogs moves segments and histories to where a recovery finds them.
func pgMoveLogs(from, to string) (bool, error) {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info, err := os.Lstat(to); err == nil && !info.IsDir() {
		return false, pgOutside(pgWAL)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return false, err
	}
	moved := false
	for _, e := range entries {
		if !e.Type().IsRegular() || !pgLogName.MatchString(e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return false, err
		}
		moved = true
	}
	return moved, nil
}

// pgLift puts the data directory in the place of all that was restored around it.
func pgLift(dir, from string) error {
	lifted := filepath.Join(dir, pgLifted)
	if err := os.Rename(from, lifted); err != nil {
		return err
	}
	around, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range around {
		if e.Name() != pgLifted {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	inside, err := os.ReadDir(lifted)
	if err != nil {
		return err
	}
	for _, e := range inside {
		if err := os.Rename(filepath.Join(lifted, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(lifted)
}

// pgOpenData sees to it that dir is a data directory which nobody uses and which holds all of its data, and finds its programs.
func pgOpenData(ctx context.Context, s SetWork, dir string) (pgPrograms, map[string]string, error) {
	if err := pgWithin(dir); err != nil {
		return pgPrograms{}, nil, err
	}
	if err := pgRelease(ctx, dir); err != nil {
		return pgPrograms{}, nil, err
	}
	if err := pgPutBack(dir); err != nil {
		return pgPrograms{}, nil, err
	}
	programs, err := pgProgramsFor(ctx, s.Set.Options["bin"], dir)
	if err != nil {
		return pgPrograms{}, nil, err
	}
	control, err := programs.control(ctx, dir)
	return programs, control, err
}

// pgWithin refuses a data directory that has data elsewhere: what it leads to may be in use.
func pgWithin(dir string) error {
	if info, err := os.Stat(filepath.Join(dir, "tablespace_map")); err == nil && info.Size() > 0 {
		return pgOutside("tablespace_map")
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		name, _ := filepath.Rel(dir, path) // it is below
		if pgOwnName(name) {
			return pgOutside(name)
		}
		return nil
	})
}

// pgOwnName is whether a path within a data directory belongs to the data.
func pgOwnName(name string) bool {
	top, _, _ := strings.Cut(filepath.ToSlash(name), "/")
	return strings.HasPrefix(top, "pg_") && !strings.HasSuffix(top, ".conf") || top == "base" || top == "global" || top == "PG_VERSION"
}

func pgOutside(name string) *Fault {
	return &Fault{Failed, signatureOutside, sentence(fmt.Sprintf(
		"The data directory leads elsewhere at %.100q, and that may be the live data: tablespaces and a pg_wal outside the data directory are not restored by Blackstart, so restore it by hand", name))}
}

// pgRelease ends a server that an earlier run, cut off, has left on the data. A postmaster.pid that came with the data means nothing here.
func pgRelease(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err == nil && pid > 1 && pgRunsOn(pid, dir) {
		if err := pgEndLeft(ctx, pid, dir); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// pgRunsOn is whether a process has dir as its working directory, as every PostgreSQL server has its data's.
func pgRunsOn(pid int, dir string) bool {
	at, err1 := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	want, err2 := os.Stat(dir)
	return err1 == nil && err2 == nil && os.SameFile(at, want)
}

// pgEndLeft ends a server that is not our child, so that there is nothing to wait on but its being gone.
func pgEndLeft(ctx context.Context, pid int, dir string) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	kill := time.NewTimer(pgGrace)
	defer kill.Stop()
	for signal := os.Signal(syscall.SIGQUIT); pgRunsOn(pid, dir); {
		_ = process.Signal(signal) // it may be gone
		select {
		case <-tick.C:
		case <-kill.C:
			signal = os.Kill
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// pgChoose decides what is to be replayed; nil: what a crash would need. reach is the last moment that the logs hold.
func pgChoose(ctx context.Context, s SetWork, dir string, programs pgPrograms, control map[string]string, withLogs bool) (_ *pgRecovery, reach time.Time, err error) {
	label, labelled := pgLine(filepath.Join(dir, pgLabelName), "START WAL LOCATION: ")
	if !labelled && !withLogs && s.Moment.IsZero() {
		return nil, time.Time{}, nil
	}
	first := control["Latest checkpoint's REDO WAL file"]
	if labelled {
		_, first, _ = strings.Cut(strings.TrimSuffix(label, ")"), "(file ")
	}
	if b, err := readBase(dir); err == nil && !s.Moment.IsZero() && s.Moment.Before(b.takenAt) {
		return nil, time.Time{}, pgTooEarly(s, b.takenAt) // PostgreSQL would not notice, as the logs begin only later
	}
	logs := &pgLogs{archive: filepath.Join(dir, pgWAL), programs: programs}
	if err := logs.continues(first, control["Bytes per WAL segment"]); err != nil {
		return nil, time.Time{}, err
	}
	if reach, err = logs.reach(ctx); err != nil {
		return nil, time.Time{}, err
	}
	known := reach
	if s.TakenAt.After(known) {
		known = s.TakenAt
	}
	switch {
	case s.Moment.After(known):
		return nil, time.Time{}, &Fault{Failed, signatureMoment, sentence(fmt.Sprintf("The logs hold transactions until %s only, and %s was wanted; restore to that moment, or as far as they reach",
			known.UTC().Format(time.RFC3339Nano), s.Moment.UTC().Format(time.RFC3339Nano)))}
	case s.Moment.Before(reach):
		return &pgRecovery{s.Moment}, reach, nil
	default: // a target that no transaction ended after is an error to PostgreSQL
		return &pgRecovery{}, reach, nil
	}
}

// pgSignal leaves the word that PostgreSQL looks for: it is to recover from logs, and it is no standby.
func pgSignal(dir string, fromLogs bool) error {
	if err := os.Remove(filepath.Join(dir, "standby.signal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path := filepath.Join(dir, "recovery.signal")
	if fromLogs {
		return os.WriteFile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func pgTooEarly(s SetWork, at time.Time) *Fault {
	return &Fault{Failed, signatureMoment, sentence(fmt.Sprintf("Point %.60q holds data from %s on only, and %s was wanted; choose an older point for it",
		s.Point, at.UTC().Format(time.RFC3339), s.Moment.UTC().Format(time.RFC3339Nano)))}
}

// pgRecoveryFault tells what PostgreSQL says of moments apart from damage.
func pgRecoveryFault(err error) error {
	var fault *Fault
	if errors.As(err, &fault) && strings.Contains(fault.Detail, "before consistent recovery point") {
		return &Fault{Failed, signatureMoment, "The moment wanted lies before the base backup was complete; choose an older point for it."}
	}
	return err
}

// recovered asks a server that came up how far it got, and on which timeline it goes on.
func (p *pgServer) recovered(ctx context.Context) (reached time.Time, timeline string, err error) {
	rows, said, err := p.query(ctx, pgAnyDatabase, nil, `select to_char(pg_catalog.pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)`)
	if err != nil {
		return time.Time{}, "", err
	}
	if said != "" || len(rows) != 1 || len(rows[0]) != 2 {
		return time.Time{}, "", pgComplains("The recovered database", said)
	}
	if rows[0][0] != "" { // no transaction was replayed
		if reached, err = time.Parse("2006-01-02 15:04:05.999999", rows[0][0]); err != nil {
			return time.Time{}, "", err
		}
	}
	return reached, rows[0][1], nil
}

// pgTidy takes away what the recovery left, and makes sure of the clean end.
func pgTidy(ctx context.Context, s SetWork, programs pgPrograms, dir, timeline string) error {
	for _, name := range []string{"backup_label.old", "tablespace_map.old", pgManifestName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Nothing was archived while the timeline began: its history is the first that the database itself is to archive, or the next
	// recovery from the same archive would begin the same timeline again.
	history := filepath.Join(dir, pgWAL, timeline+".history")
	if isThere(history) {
		ready := filepath.Join(dir, pgWAL, "archive_status", timeline+".history.ready")
		if err := errors.Join(os.WriteFile(ready, nil, 0o600), pgOwn(ready, pgUser(s))); err != nil {
			return err
		}
	}
	control, err := programs.control(ctx, dir)
	if err != nil {
		return err
	}
	if state := control["Database cluster state"]; state != "shut down" {
		return &Fault{Failed, "database not shut down", sentence(fmt.Sprintf("The recovered database is in the state %q instead of cleanly shut down; nothing was swapped, so try again", state))}
	}
	return nil
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
