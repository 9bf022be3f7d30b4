package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// postgresqlBackend is a folder that is filled by pg_basebackup and archive_command: LOCATION/base/NAME holds base backups in plain
// format with their backup_manifest, LOCATION/wal the archived logs as plain segment files. A data set's Source names a folder between
// the two: LOCATION/SOURCE/base. A point's id is NAME.
//
// A held point has an empty file LOCATION/base/NAME.blackstart-hold-INCIDENT beside its folder, where it does not make the backup one
// that pg_verifybackup refuses. Whatever prunes the folder must leave such backups alone, and the logs from the oldest of them on.
type postgresqlBackend struct{}

const (
	signatureOutside = "data outside the data directory"
	signatureLogs    = "logs of the restore point missing"
)

// pgRepository is where the points of one data set lie.
type pgRepository struct{ base, wal string }

func pgOpen(s SetWork) (pgRepository, error) {
	source := filepath.Clean("/" + s.Set.Source)
	r := pgRepository{filepath.Join(s.Repository.Location, source, "base"), filepath.Join(s.Repository.Location, source, "wal")}
	return r, r.there(s)
}

// there is an error when the repository's folders cannot be had just now.
func (r pgRepository) there(s SetWork) error {
	for _, dir := range []string{r.base, r.wal} {
		f, err := os.Open(dir)
		if err == nil {
			_, err = f.Readdirnames(1)
			_ = f.Close() // only read
		}
		switch {
		case err == nil || errors.Is(err, io.EOF):
		case errors.Is(err, fs.ErrPermission):
			return &Fault{AuthRefused, "repository refuses to be read", sentence(fmt.Sprintf("Repository %q may not be read by the agent: %v; give the agent's user the right", s.Repository.Name, err))}
		default:
			return &Fault{Unreachable, signatureAway, sentence(fmt.Sprintf("Repository %q is not there: %v; see whether its disk or share is mounted", s.Repository.Name, err))}
		}
	}
	return nil
}

// point reads one base backup and finds its logs.
func (r pgRepository) point(ctx context.Context, s SetWork) (*pgBase, *pgLogs, error) {
	if s.Point == "" || s.Point != filepath.Base(s.Point) || !filepath.IsLocal(s.Point) {
		return nil, nil, gone(s)
	}
	b, err := readBase(filepath.Join(r.base, s.Point))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, gone(s)
	case errors.Is(err, errManifest):
		return nil, nil, damaged(s, err.Error())
	case err != nil:
		return nil, nil, err
	}
	programs, err := pgProgramsFor(ctx, r.bin(s), b.dir)
	if err != nil {
		return nil, nil, err
	}
	logs := &pgLogs{archive: r.wal, programs: programs}
	if !logs.follow(b) {
		return nil, nil, &Fault{Failed, signatureLogs, sentence(fmt.Sprintf(
			"Base backup %.60q needs logs that are neither in the archive nor with it, so it cannot be restored; choose another point, or bring back its segments from %s on", s.Point, logs.name(b.timeline, uint64(b.start)/uint64(logs.size))))}
	}
	return b, logs, nil
}

func (pgRepository) bin(s SetWork) string {
	for _, bin := range []string{s.Set.Options["bin"], s.Repository.Options["bin"], s.Repository.Program} {
		if bin != "" {
			return bin
		}
	}
	return ""
}

func damaged(s SetWork, what string) *Fault {
	return &Fault{Failed, SignatureDamagedPoint, sentence(fmt.Sprintf("Point %.60q of repository %q is damaged: %s; choose another point", s.Point, s.Repository.Name, what))}
}

// List lists the base backups that are finished and have the logs that they need. Until is the last moment that the logs hold without
// a gap. Size counts the logs up to there.
func (postgresqlBackend) List(ctx context.Context, s SetWork) ([]Point, error) {
	points, err := pgList(ctx, s)
	return points, faultOf(ctx, "listing of restore points", err)
}

func pgList(ctx context.Context, s SetWork) ([]Point, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r, err := pgOpen(s)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(r.base)
	if err != nil {
		return nil, err
	}
	points := []Point{}
	var unusable error
	seen := make(map[string]pgCommits)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		b, err := readBase(filepath.Join(r.base, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errManifest) {
			continue
		}
		if err != nil {
			return nil, err
		}
		programs, err := pgProgramsFor(ctx, r.bin(s), b.dir)
		if err != nil { // of a version that is gone from this machine
			unusable = err
			continue
		}
		logs := &pgLogs{archive: r.wal, programs: programs, seen: seen}
		if !logs.follow(b) {
			continue
		}
		until, err := logs.reach(ctx)
		if err != nil {
			return nil, err
		}
		p := Point{ID: e.Name(), Kind: s.Set.Kind, TakenAt: b.finishedAt(logs), Size: b.size + logs.bytes()}
		if until.After(p.TakenAt) {
			p.Until = until
		}
		points = append(points, p)
	}
	if len(points) == 0 && unusable != nil {
		return nil, unusable
	}
	slices.SortFunc(points, func(a, b Point) int {
		if c := a.TakenAt.Compare(b.TakenAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return points, nil
}

// Size is what Restore writes.
func (postgresqlBackend) Size(ctx context.Context, s SetWork) (int64, error) {
	b, logs, err := pgPlan(ctx, s)
	if err != nil {
		return 0, faultOf(ctx, "asking for the size", err)
	}
	return b.size + logs.bytes(), nil
}

// pgPlan finds what a restore of the point to the moment needs.
func pgPlan(ctx context.Context, s SetWork) (*pgBase, *pgLogs, error) {
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	r, err := pgOpen(s)
	if err != nil {
		return nil, nil, err
	}
	b, logs, err := r.point(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if at := b.finishedAt(logs); !s.Moment.IsZero() && s.Moment.Before(at) {
		return nil, nil, pgTooEarly(s, at)
	}
	return b, logs, logs.until(ctx, b, s.Moment)
}

// Restore lays down the data directory, each file held against the manifest on the way, with all logs that the moment needs in its
// pg_wal: a recovery then depends on nothing outside, no share can go away in its midst, and the database's user need not be
// able to read the archive.
func (postgresqlBackend) Restore(ctx context.Context, s SetWork, into string, p Progress) error {
	return faultOf(ctx, "restore", pgRestore(ctx, s, into, p))
}

func pgRestore(ctx context.Context, s SetWork, into string, p Progress) error {
	b, logs, err := pgPlan(ctx, s)
	if err != nil {
		return err
	}
	if err := mustBeEmpty(into); err != nil {
		return err
	}
	c := pgCopy{ctx: ctx, work: s, told: p, total: b.size + logs.bytes(), rate: s.Rate, began: time.Now()}
	if err := c.tree(b, into); err != nil {
		return c.because(err)
	}
	for _, path := range slices.Concat(logs.segments, logs.histories()) {
		if err := c.log(path, filepath.Join(into, pgWAL, filepath.Base(path))); err != nil {
			return c.because(err)
		}
	}
	c.tell()
	return nil
}

// Check reads the whole base backup and all its logs and holds them against their checksums, and has pg_verifybackup look for what is
// missing or too much. The repository is not checked in parts: a point is small enough to be checked as a whole.
func (postgresqlBackend) Check(ctx context.Context, s SetWork, p Progress) (string, error) {
	return "pg_verifybackup and pg_waldump", faultOf(ctx, "check of the repository", pgVerify(ctx, s, p))
}

func pgVerify(ctx context.Context, s SetWork, p Progress) error {
	s.Moment = time.Time{}
	b, logs, err := pgPlan(ctx, s)
	if err != nil {
		return err
	}
	args := []string{"--skip-checksums", "--quiet"} // we take them ourselves: it knows no limit of rate
	if filepath.Dir(logs.segments[0]) == logs.archive {
		args = append(args, "--wal-directory="+logs.archive)
	}
	links, err := pgLinks(b.dir)
	if err != nil {
		return err
	}
	e, err := command{path: logs.programs.path("pg_verifybackup"), args: slices.Concat(args, links, []string{b.dir})}.run(ctx)
	if err != nil {
		return err
	}
	if e.exit != 0 || e.signal != "" {
		return damaged(s, "pg_verifybackup says "+e.said)
	}
	c := pgCopy{ctx: ctx, work: s, told: p, total: b.size + logs.bytes(), rate: s.Rate, began: time.Now()}
	for i := range b.files {
		if err := c.file(filepath.Join(b.dir, b.files[i].Path), "", &b.files[i]); err != nil {
			return c.because(err)
		}
	}
	for _, path := range logs.segments {
		said, err := logs.sound(ctx, path)
		if err != nil {
			return err
		}
		if said != "" {
			return damaged(s, "its log "+filepath.Base(path)+" cannot be read: "+said)
		}
		if err := c.moved(logs.size); err != nil {
			return err
		}
	}
	c.tell()
	return nil
}

// pgLinks are the options by which pg_verifybackup overlooks links that mean nothing to PostgreSQL: no manifest can name them.
func pgLinks(dir string) (args []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		name, _ := filepath.Rel(dir, path) // it is below
		if pgOwnName(name) {
			return pgOutside(name)
		}
		args = append(args, "--ignore="+name)
		return nil
	})
	return args, err
}

// Hold places or takes away the file that keeps the point.
func (postgresqlBackend) Hold(ctx context.Context, s SetWork) error {
	return faultOf(ctx, "hold", pgHold(s))
}

func pgHold(s SetWork) error {
	r, err := pgOpen(s)
	if err != nil {
		return err
	}
	if s.Point == "" || s.Point != filepath.Base(s.Point) || !filepath.IsLocal(s.Point) {
		return gone(s)
	}
	path := pgMarker(r.base, s.Point, s.Hold)
	if s.Release {
		err = os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		if _, err := os.Stat(filepath.Join(r.base, s.Point, pgManifestName)); errors.Is(err, fs.ErrNotExist) {
			return gone(s)
		}
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err == nil { //nolint:gosec // for whoever prunes
			err = f.Close()
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return &Fault{Failed, "repository is read-only", sentence(fmt.Sprintf("The point cannot be held, as the agent may not write into %s; hold it there by hand, or stop what prunes it", r.base))}
	}
	return err
}

// pgMarker is the file that holds a point for an incident.
func pgMarker(base, point, incident string) string {
	return filepath.Join(base, point+".blackstart-hold-"+url.PathEscape(incident))
}

// pgCopy reads what lies in a repository, checks it, and writes it elsewhere where that is wanted; no faster than rate.
type pgCopy struct {
	ctx   context.Context //nolint:containedctx // it lives no longer than the call that made it
	work  SetWork
	told  Progress
	done  int64
	total int64
	rate  int64
	began time.Time
	chunk [256 << 10]byte
}

// tree lays down a base backup: its folders and links as they are, its files by the manifest. A file that the manifest does not name is
// no part of it.
func (c *pgCopy) tree(b *pgBase, into string) error {
	modes := make(map[string]fs.FileMode)
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(b.dir, path) // it is below
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			modes[name] = info.Mode().Perm()
			return os.Mkdir(filepath.Join(into, name), 0o700)
		case d.Type()&fs.ModeSymlink != 0:
			return pgLink(path, name, filepath.Join(into, name))
		default:
			return nil
		}
	})
	if err != nil {
		return err
	}
	for i := range b.files {
		f := &b.files[i]
		if err := c.file(filepath.Join(b.dir, f.Path), filepath.Join(into, f.Path), f); err != nil {
			return err
		}
	}
	for name, mode := range modes {
		if err := os.Chmod(filepath.Join(into, name), mode|0o700); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(into, pgWAL), 0o700)
}

// pgLink copies a link that means nothing to PostgreSQL. One among its own folders leads to data elsewhere, which may be the live data.
func pgLink(path, name, to string) error {
	if pgOwnName(name) {
		return pgOutside(name)
	}
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

// file reads a file of a base backup and holds it against the manifest. With to it is written there.
func (c *pgCopy) file(from, to string, f *pgFile) error {
	sum, err := f.newSum()
	if err != nil {
		return damaged(c.work, err.Error())
	}
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) && c.there() {
		return damaged(c.work, fmt.Sprintf("the file %.100q is missing", f.Path))
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != f.Size {
		return damaged(c.work, fmt.Sprintf("the file %.100q is not as its manifest says: %d bytes instead of %d", f.Path, info.Size(), f.Size))
	}
	writers := []io.Writer{io.Discard}
	if sum != nil {
		writers[0] = sum
	}
	if err := c.stream(from, to, info.Mode().Perm(), f.Size, writers); err != nil {
		return err
	}
	if !f.holds(sum) {
		return damaged(c.work, fmt.Sprintf("the file %.100q does not have the checksum of its manifest", f.Path))
	}
	return nil
}

// log copies a file of the logs. Their records have checksums of their own, which a recovery checks.
func (c *pgCopy) log(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	size := info.Size()
	if strings.HasSuffix(from, ".history") {
		c.total += size
	}
	return c.stream(from, to, 0o600, size, nil)
}

// stream moves size bytes of from into the writers and, unless to is empty, into a new file.
func (c *pgCopy) stream(from, to string, mode fs.FileMode, size int64, writers []io.Writer) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	if to == "" {
		return c.pump(io.MultiWriter(writers...), in, size)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o600)
	if err != nil {
		return err
	}
	err = c.pump(io.MultiWriter(append(writers, out)...), in, size)
	if err == nil {
		err = out.Chmod(mode)
	}
	return errors.Join(err, out.Close())
}

func (c *pgCopy) pump(out io.Writer, in io.Reader, size int64) error {
	for size > 0 {
		n, err := in.Read(c.chunk[:min(size, int64(len(c.chunk)))])
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = damaged(c.work, "a file is shorter than it was when it was opened")
			}
			return err
		}
		size -= int64(n)
		if _, err := out.Write(c.chunk[:n]); err != nil {
			return err
		}
		if err := c.moved(int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// moved counts bytes, tells of them, and waits as long as the rate asks.
func (c *pgCopy) moved(n int64) error {
	c.done += n
	c.tell()
	if c.rate > 0 {
		due := c.began.Add(time.Duration(float64(c.done) / float64(c.rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-c.ctx.Done():
			}
		}
	}
	return context.Cause(c.ctx)
}

func (c *pgCopy) tell() {
	if c.told != nil {
		c.told(c.done, c.total)
	}
}

// because says why a file could not be moved: the disk is full, the repository has gone, or what the error says.
func (c *pgCopy) because(err error) error {
	var fault *Fault
	switch {
	case errors.As(err, &fault) || c.ctx.Err() != nil:
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &Fault{Failed, signatureFull, "There is no space left on the disk that is restored to; make room there and try again."}
	case !c.there():
		_, err = pgOpen(c.work)
		return err
	}
	return err
}

func (c *pgCopy) there() bool {
	_, err := pgOpen(c.work)
	return err == nil
}

// pgLine is the first line of a file that starts with key, without it.
func pgLine(path, key string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close() //nolint:errcheck // only read
	scan := bufio.NewScanner(io.LimitReader(f, maxLine))
	for scan.Scan() {
		if value, ok := strings.CutPrefix(scan.Text(), key); ok {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}
