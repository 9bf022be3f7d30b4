// Package journal keeps incidents on disk: one bbolt file with an append-only, hash-chained journal per incident, the
// last sighting of each host and a few counters. The journal is the truth; what the coordinator holds in memory is its fold.
//
// What stands in the file, bucket by bucket:
//
//	entries/INCIDENT/SEQ   one entry; SEQ is 1, 2, 3 … as 8 bytes, big-endian
//	heads/INCIDENT         the last entry's number and hash, so that a cut tail shows
//	sightings/HOST         the last that was heard of a host
//	settings/NAME          format, epoch, how many sightings there are, and the stamp of the last write (see stamp.go)
//
// Every value is sealed (see seal.go): it carries the SHA-256 of its own bytes. Open reads the whole structure of the
// file before bbolt does (see pages.go), because bbolt ends the process on a damaged page. Read checks the chain.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Errors to be tested with errors.Is.
var (
	// ErrLocked says that another process has the file open.
	ErrLocked = errors.New("the journal is in use")
	// ErrConflict says that the incident has moved on since the caller looked; see ConflictError.
	ErrConflict = errors.New("the incident's journal has moved on")
	// ErrAppend says that the disk did not take a write. Nothing of it is in the journal and nothing more is accepted.
	ErrAppend = errors.New("the journal cannot be written")
	// ErrNoIncident says that the journal does not know the incident.
	ErrNoIncident = errors.New("no such incident")
)

// BrokenError says where a journal can no longer be believed.
type BrokenError struct {
	Incident string // empty: the damage is not at an incident's entries, or none can be found
	Seq      uint64 // the first entry that cannot be believed; 0 when Incident is empty
	Why      string
}

func (e *BrokenError) Error() string {
	if e.Incident == "" {
		return "the journal is damaged: " + e.Why + "; go on from its last snapshot"
	}
	return fmt.Sprintf("the journal of incident %q breaks at entry %d: %s; go on from its last snapshot", e.Incident, e.Seq, e.Why)
}

const (
	lockWait = time.Second
	format   = 1

	// mapping is address space, not memory. As long as the file fits in, appends need not wait for readers.
	mapping = 1 << 30
	// growth is the step in which the file grows.
	growth = 256 << 10
)

var (
	entriesBucket   = []byte("entries")
	headsBucket     = []byte("heads")
	settingsBucket  = []byte("settings")
	sightingsBucket = []byte("sightings")

	formatKey    = []byte("format")    // of this file
	epochKey     = []byte("epoch")     // how often a coordinator has started
	sightingsKey = []byte("sightings") // how many are kept
)

// Journal is an open journal file. Its methods may be called from several goroutines.
type Journal struct {
	path string
	db   *bbolt.DB

	mu       sync.Mutex // one writer at a time
	poisoned error      // the first failed write: memory must not run ahead of disk
}

// Open opens the journal at path for writing and makes it (0600) where there is none. It gives up after a second with
// ErrLocked when another process has it open, and with a *BrokenError when the file is damaged.
func Open(path string) (*Journal, error) {
	if err := checkUnderLock(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	j, err := open(path, false)
	if err != nil {
		return nil, err
	}
	if err := j.prepare(); err != nil {
		_ = j.db.Close()
		return nil, j.located(err)
	}
	return j, nil
}

// OpenReadOnly opens an existing journal for looking at it. Several readers may do so at the same time, but none while a
// coordinator has the file open: that is ErrLocked; a snapshot can be looked at instead.
func OpenReadOnly(path string) (*Journal, error) {
	if err := checkUnderLock(path); err != nil {
		return nil, err
	}
	j, err := open(path, true)
	if err != nil {
		return nil, err
	}
	if err := j.checkContents(); err != nil {
		_ = j.db.Close()
		return nil, j.located(err)
	}
	return j, nil
}

// Close ends the use of the file. It waits for calls that are under way.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.db.Close()
}

// checkUnderLock reads the structure of the file at path while no writer has it.
func checkUnderLock(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if info.IsDir() {
		return fmt.Errorf("journal: %s is a folder: name the file", path)
	}
	if info.Size() == 0 {
		return nil
	}
	db, err := openBolt(path, true)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	if err := checkFile(path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func open(path string, readOnly bool) (*Journal, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !readOnly, err == nil && info.Size() == 0 && !readOnly:
		// A new file: its name must survive a power cut as its content does.
		defer syncDir(filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("journal: %w", err)
	case info.Size() == 0:
		return nil, fmt.Errorf("journal: %s is empty: no coordinator has written to it", path)
	case info.Mode().Perm()&0o077 != 0 && !readOnly:
		// A copy made by hand is often readable for all; the fleet's addresses are nobody's business.
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
	}
	db, err := openBolt(path, readOnly)
	if err != nil {
		return nil, err
	}
	return &Journal{path: path, db: db}, nil
}

func openBolt(path string, readOnly bool) (*bbolt.DB, error) {
	opts := &bbolt.Options{
		Timeout:        lockWait,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true,
		ReadOnly:       readOnly,
		NoStatistics:   true,
	}
	if strconv.IntSize == 64 && runtime.GOOS != "windows" { // Windows would make the file itself that large
		opts.InitialMmapSize = mapping
	}
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, opts)
		return err
	})
	switch {
	case err == nil:
		db.AllocSize = growth
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, lockedError(path)
	}
	var broken *BrokenError
	if errors.As(checkFile(path), &broken) { // says it better
		return nil, fmt.Errorf("%s: %w", path, broken)
	}
	return nil, fmt.Errorf("journal %s cannot be opened: %w", path, err)
}

func lockedError(path string) error {
	if pid := holder(path); pid > 0 {
		return fmt.Errorf("%w: another blackstart has %s open (pid %d): wait for its end or stop it first", ErrLocked, path, pid)
	}
	return fmt.Errorf("%w: another blackstart has %s open: wait for its end or stop it first", ErrLocked, path)
}

// prepare makes the buckets in a new file and checks the contents of an old one.
func (j *Journal) prepare() error {
	fresh := false
	err := guard(func() error {
		return j.db.View(func(tx *bbolt.Tx) error {
			k, _ := tx.Cursor().First()
			fresh = k == nil && tx.ID() <= 1 // 1 is the number that bbolt gives to the empty file
			return nil
		})
	})
	if err != nil {
		return err
	}
	if !fresh {
		return j.checkContents()
	}
	return guard(func() error {
		return j.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{entriesBucket, headsBucket, settingsBucket, sightingsBucket} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			return errors.Join(putSetting(tx, formatKey, format), putSetting(tx, epochKey, 0), putSetting(tx, sightingsKey, 0), putStamp(tx))
		})
	})
}

// checkContents refuses a file that is not ours, and a journal whose entries and heads do not agree.
func (j *Journal) checkContents() error {
	err := guard(func() error {
		return j.db.View(func(tx *bbolt.Tx) error {
			want := map[string]bool{string(entriesBucket): true, string(headsBucket): true, string(settingsBucket): true, string(sightingsBucket): true}
			err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
				if !want[string(name)] {
					return fmt.Errorf("it is not a journal of Blackstart, or not one of ours alone: it holds a bucket %q", name)
				}
				delete(want, string(name))
				return nil
			})
			if err != nil {
				return err
			}
			if len(want) > 0 {
				return &BrokenError{Why: "a bucket is missing"}
			}
			n, err := setting(tx, formatKey)
			if err != nil {
				return err
			}
			if n != format {
				return fmt.Errorf("its format is %d and this program knows %d: use the Blackstart that wrote it", n, format)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if _, err = j.incidents(); err != nil {
		return err
	}
	return guard(func() error { return j.db.View(checkStamp) })
}

// located puts the file's name before an error.
func (j *Journal) located(err error) error { return fmt.Errorf("%s: %w", j.path, err) }

// guard turns a panic of bbolt, and a memory fault on a page that went away under it, into an error. It has no hold on
// bbolt's own goroutines: a writing transaction that is rolled back scans the file in one, and ends the process there when
// the file has been damaged meanwhile. So whatever can be refused is refused before a writing transaction begins.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &BrokenError{Why: fmt.Sprintf("a page cannot be read (%v)", p)}
		}
	}()
	return fn()
}

// syncDir makes a new name in a folder durable where the system can do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // Windows and some file systems refuse; there is nothing better to do there
		_ = d.Close()
	}
}
