package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sqliteEngine checks SQLite databases with the sqlite3 program: the one in the PATH, or Options["sqlite3"]. The database is the file
// Options["file"] inside of what was restored, or what was restored itself.
type sqliteEngine struct{}

// Prepare takes what lies in a write-ahead log or a hot journal beside the database into it (or back), as every opening of it does,
// so that it is whole in one file.
func (sqliteEngine) Prepare(ctx context.Context, s SetWork, dir string) (time.Time, error) {
	file, err := sqliteFile(s, dir)
	if err != nil || !sqliteOpen(file) {
		return time.Time{}, err
	}
	rows, err := sqlite(ctx, s, file, "mode=rw", "SELECT count(*) FROM sqlite_master; PRAGMA wal_checkpoint(TRUNCATE)")
	var damaged *sqliteDamage
	switch {
	case errors.As(err, &damaged):
		return time.Time{}, &Fault{Failed, SignatureDamagedPoint, sentence(fmt.Sprintf("The database of %q cannot be opened: %s", s.Set.Name, damaged.said))}
	case err != nil:
		return time.Time{}, err
	case len(rows) < 2 || rows[1][0] != "0" || sqliteOpen(file):
		return time.Time{}, &Fault{Failed, signatureNoAnswer, fmt.Sprintf("The write-ahead log of the database of %q was not taken into it; something else has it open.", s.Set.Name)}
	}
	return time.Time{}, nil
}

// Check is sqlite's integrity_check: all pages, all rows against their indexes, UNIQUE, CHECK and NOT NULL. Foreign keys are not part of
// it: SQLite does not keep them unless asked to, so sound databases break them; an invariant can ask for them. Nothing is written,
// not even beside the database.
func (sqliteEngine) Check(ctx context.Context, s SetWork, dir string, level int) ([]Check, error) {
	if level < 3 {
		return nil, nil
	}
	file, err := sqliteFile(s, dir)
	if err != nil {
		return nil, err
	}
	if sqliteOpen(file) {
		return nil, &Fault{Failed, signatureNoAnswer, fmt.Sprintf("The database of %q has a write-ahead log or journal that was not taken into it, and cannot be checked so.", s.Set.Name)}
	}
	c, err := sqliteIntegrity(ctx, s, file)
	if err != nil {
		return nil, err
	}
	return invariants(ctx, s, dir, level, []Check{c}, sqliteInvariant)
}

func sqliteIntegrity(ctx context.Context, s SetWork, file string) (Check, error) {
	const by = "sqlite integrity_check"
	if info, err := os.Stat(file); err == nil && info.Size() == 0 { // to sqlite it is a sound database
		return checkOf(s, 3, by, false, "the database file is empty"), nil
	}
	rows, err := sqlite(ctx, s, file, sqliteReadOnly, "PRAGMA integrity_check(10)")
	var damaged *sqliteDamage
	switch {
	case errors.As(err, &damaged):
		return checkOf(s, 3, by, false, damaged.said), nil
	case err != nil:
		return Check{}, err
	case len(rows) == 1 && rows[0][0] == "ok":
		return checkOf(s, 3, by, true, "ok"), nil
	case len(rows) == 0:
		return Check{}, &Fault{Failed, signatureNoAnswer, fmt.Sprintf("The sqlite3 program said nothing about the database of %q; try it by hand.", s.Set.Name)}
	}
	var found []string
	for _, row := range rows {
		found = append(found, strings.Join(row, " "))
	}
	return checkOf(s, 3, by, false, cut(clean(strings.Join(found, "\n"), maxSaid), maxAnswer)), nil
}

// sqliteInvariant asks an invariant's SQL, or its command.
func sqliteInvariant(ctx context.Context, s SetWork, dir string, inv Invariant) (Check, error) {
	if inv.SQL == "" {
		return commandInvariant(ctx, s, dir, inv)
	}
	file, err := sqliteFile(s, dir)
	if err != nil {
		return Check{}, err
	}
	rows, err := sqlite(ctx, s, file, sqliteReadOnly, inv.SQL)
	var damaged *sqliteDamage
	switch {
	case errors.As(err, &damaged):
		return checkOf(s, 4, "invariant "+inv.Name, false, damaged.said), nil
	case err != nil:
		return Check{}, err
	case len(rows) > 1:
		return Check{}, &Fault{Failed, signatureNoAnswer, fmt.Sprintf("Invariant %q of data set %q answers with %d rows; ask for one.", inv.Name, s.Set.Name, len(rows))}
	case len(rows) == 0:
		return answered(s, inv, nil)
	}
	return answered(s, inv, rows[0])
}

// sqliteFile is where the database lies: in what was restored, and not behind a link that leads out of it, perhaps to the live one.
func sqliteFile(s SetWork, dir string) (string, error) {
	name := s.Set.Options["file"]
	cannot := func(why string) error {
		return &Fault{Failed, signatureNoAnswer, sentence(fmt.Sprintf("The database of %q cannot be checked: %s", s.Set.Name, why))}
	}
	if name == "" {
		if info, err := os.Lstat(dir); err != nil || !info.Mode().IsRegular() {
			return "", cannot("what was restored is no file; name the file inside of it by the option file")
		}
		return dir, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", cannot("the folder that was restored cannot be opened: " + err.Error())
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return "", cannot(fmt.Sprintf("what was restored holds no file %q; correct the option file", name))
	}
	return filepath.Join(dir, name), nil
}

// sqliteOpen says whether a database was not closed when it was backed up: its log holds frames, or its journal is hot.
func sqliteOpen(file string) bool {
	if info, err := os.Stat(file + "-wal"); err == nil && info.Size() > 0 {
		return true
	}
	journal, err := os.Open(file + "-journal")
	if err != nil {
		return false
	}
	defer journal.Close()
	var first [1]byte // a journal that is done with begins with zeros
	_, err = io.ReadFull(journal, first[:])
	return err == nil && first[0] != 0
}

// sqliteReadOnly opens a database that nobody changes: nothing is locked, and no file is made beside it.
const sqliteReadOnly = "mode=ro&immutable=1"

// sqliteDamage is what sqlite3 says of a database that is not sound, apart from what a check of it finds.
type sqliteDamage struct{ said string }

func (d *sqliteDamage) Error() string { return d.said }

// What separates columns and rows in sqlite3's answers.
const (
	columnEnd = "\x1f"
	rowEnd    = "\x1e"
)

// sqlite asks a database and returns the rows. A statement begins with a blank, so that the program takes it for no option of its own, and
// for none of its dot commands.
func sqlite(ctx context.Context, s SetWork, file, mode, sql string) ([][]string, error) {
	program := s.Set.Options["sqlite3"]
	if program == "" {
		program = "sqlite3"
	}
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	uri := "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + mode
	answer := &headWriter{max: maxLine}
	c := command{
		path: program, dir: filepath.Dir(file), out: answer,
		args: []string{"-batch", "-bail", "-init", os.DevNull, "-list", "-noheader", "-nullvalue", "", "-separator", columnEnd, "-newline", rowEnd, uri, " " + sql},
	}
	e, err := c.run(ctx)
	switch said := strings.ToLower(e.said); {
	case err != nil:
		return nil, faultOf(ctx, "check by sqlite3", err)
	case strings.Contains(said, "image is malformed"), strings.Contains(said, "malformed database schema"), strings.Contains(said, "is not a database"):
		return nil, &sqliteDamage{clean(e.said, maxAnswer)}
	case e.signal != "":
		return nil, &Fault{Failed, signatureNoAnswer, sentence("The sqlite3 program was ended by a signal (" + e.signal + ")")}
	case e.exit != 0:
		return nil, &Fault{Failed, signatureNoAnswer, sentence(fmt.Sprintf("The sqlite3 program ended with exit status %d: %s", e.exit, e.said))}
	}
	var rows [][]string
	for row := range strings.SplitSeq(strings.TrimSuffix(string(answer.kept), rowEnd), rowEnd) {
		rows = append(rows, strings.Split(row, columnEnd))
	}
	if len(answer.kept) == 0 {
		return nil, nil
	}
	return rows, nil
}

// headWriter keeps the beginning of what is written.
type headWriter struct {
	max  int
	kept []byte
}

func (w *headWriter) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[:min(len(p), w.max-len(w.kept))]...)
	return len(p), nil
}
