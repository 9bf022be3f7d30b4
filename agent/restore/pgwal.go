package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"time"
)

// pgLogs are the write-ahead logs that a base backup can use: plain segment files in an archive, and those that it brought itself.
// Only whole segments count, and only the backup's own timeline: what a server wrote after a promotion is another history.
type pgLogs struct {
	archive  string
	own      string // the backup's pg_wal; "" when there is none
	size     int64  // of a segment
	segments []string
	programs pgPrograms
	seen     map[string]pgCommits // by path, as archives do not change
}

// pgCommits are the first and last end of a transaction in a segment; zero when it has none.
type pgCommits struct{ first, last time.Time }

// idleSegments is how many segments without a transaction, from the last one back, are looked at: a day at one in five minutes.
const idleSegments = 288

// follow finds the logs from the backup's start on, up to the first segment that is missing or not whole. It is false when that lies
// before the backup's end: such a backup cannot be restored.
func (l *pgLogs) follow(b *pgBase) bool {
	l.own, l.segments = filepath.Join(b.dir, pgWAL), nil
	return l.sized(b) && l.from(b.timeline, uint64(b.start)/uint64(l.size), uint64(max(b.start, b.end-1))/uint64(l.size))
}

// sized finds out how large segments are: the name of the first one follows from that.
func (l *pgLogs) sized(b *pgBase) bool {
	for _, mib := range []int64{16, 64, 32, 128, 256, 512, 1024, 8, 4, 2, 1} { // the usual ones first; these are all that there are
		l.size = mib << 20
		if l.find(l.name(b.timeline, uint64(b.start)/uint64(l.size))) != "" {
			return true
		}
	}
	return false
}

// continues finds the logs from the segment called first on, where the server itself says how large they are.
func (l *pgLogs) continues(first, size string) error {
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil || bytes < 1<<20 || bytes > 1<<30 || !pgLogName.MatchString(first) {
		return &Fault{Failed, SignatureDamagedPoint, sentence(fmt.Sprintf("The database does not say with which log its recovery begins: %.40q of %.20q bytes", first, size))}
	}
	l.size = bytes
	number := func(from int) uint64 {
		n, _ := strconv.ParseUint(first[from:from+8], 16, 32) // pgLogName says that it is one
		return n
	}
	n := number(8)*uint64(1<<32/bytes) + number(16)
	if !l.from(uint32(number(0)), n, n) {
		return &Fault{Failed, signatureLogs, sentence("The database needs the log " + first + " for its recovery, which was not restored with it; see that the option \"wal\" names where the logs are, or choose another point")}
	}
	return nil
}

// from collects segments from first on, and is true when last is among them.
func (l *pgLogs) from(timeline uint32, first, last uint64) bool {
	n := first
	for ; ; n++ {
		path := l.find(l.name(timeline, n))
		if path == "" {
			break
		}
		l.segments = append(l.segments, path)
	}
	return n > last
}

// find returns the path of a whole segment; "" when there is none.
func (l *pgLogs) find(name string) string {
	for _, dir := range []string{l.archive, l.own} {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == l.size {
			return path
		}
	}
	return ""
}

// name is what a segment's file is called.
func (l *pgLogs) name(timeline uint32, segment uint64) string {
	each := uint64(1<<32) / uint64(l.size)
	return fmt.Sprintf("%08X%08X%08X", timeline, segment/each, segment%each)
}

// bytes is the size of all segments.
func (l *pgLogs) bytes() int64 { return int64(len(l.segments)) * l.size }

// reach is the last moment that the logs hold: when the last transaction ended that is in them. The time at which the last segment
// came into the archive would say more than is known: an archive that lags, or was copied, has late times on old data. Zero: there
// was no transaction for long.
func (l *pgLogs) reach(ctx context.Context) (time.Time, error) {
	for i := len(l.segments) - 1; i >= max(0, len(l.segments)-idleSegments); i-- {
		if c, err := l.commits(ctx, l.segments[i]); err != nil || !c.last.IsZero() {
			return c.last, err
		}
	}
	return time.Time{}, nil
}

// until drops the segments that a recovery to moment does not need: those after the first transaction that ended later. One more stays,
// as ends are not quite in order, and so does all that the backup cannot do without.
func (l *pgLogs) until(ctx context.Context, b *pgBase, moment time.Time) error {
	if moment.IsZero() {
		return nil
	}
	var failed error
	next := func(i int) int { // the first segment from i on in which a transaction ended
		for ; i < len(l.segments); i++ {
			if c, err := l.commits(ctx, l.segments[i]); err != nil {
				failed = err
			} else if c.first.IsZero() {
				continue
			}
			break
		}
		return i
	}
	later := next(sort.Search(len(l.segments), func(i int) bool {
		i = next(i)
		return failed != nil || i == len(l.segments) || l.seen[l.segments[i]].first.After(moment)
	}))
	least := uint64(max(b.start, b.end-1))/uint64(l.size) - uint64(b.start)/uint64(l.size) + 1
	l.segments = l.segments[:min(len(l.segments), max(later+2, int(least)))] //nolint:gosec // a count of segments
	return failed
}

var pgEnd = regexp.MustCompile(`^rmgr: Transaction [^,]*,[^,]*,[^,]*,[^,]*, desc: (?:COMMIT|ABORT)(?:_PREPARED)? (?:\d+: )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,6}) UTC`)

// commits reads when transactions ended in a segment.
func (l *pgLogs) commits(ctx context.Context, path string) (pgCommits, error) {
	if c, ok := l.seen[path]; ok {
		return c, nil
	}
	var c pgCommits
	dump := command{path: l.programs.path("pg_waldump"), args: []string{"--rmgr=Transaction", path}, line: func(line string) {
		m := pgEnd.FindStringSubmatch(line)
		if m == nil {
			return
		}
		at, err := time.Parse("2006-01-02 15:04:05.999999", m[1])
		if err != nil {
			return
		}
		if c.first.IsZero() {
			c.first = at
		}
		c.last = at
	}}
	if _, err := dump.run(ctx); err != nil { // a damaged segment is read as far as it goes, as a recovery would
		return pgCommits{}, err
	}
	if l.seen == nil {
		l.seen = make(map[string]pgCommits)
	}
	l.seen[path] = c
	return c, nil
}

// sound says what is wrong with a segment; "" when every record in it has its checksum.
func (l *pgLogs) sound(ctx context.Context, path string) (string, error) {
	e, err := command{path: l.programs.path("pg_waldump"), args: []string{"--quiet", path}}.run(ctx)
	if err != nil || e.exit == 0 && e.signal == "" {
		return "", err
	}
	return clean(e.said, 300), nil
}

// histories are the files that say where timelines began, so that a recovery does not begin one that there is already.
func (l *pgLogs) histories() []string {
	found, _ := filepath.Glob(filepath.Join(l.archive, "????????.history")) // the pattern is a good one, and that is all that can fail
	return slices.DeleteFunc(found, func(path string) bool { return !pgHistory.MatchString(filepath.Base(path)) })
}

var pgHistory = regexp.MustCompile(`^[0-9A-F]{8}\.history$`)
