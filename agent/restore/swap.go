package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// place is where the data of one set lies on this machine's disk. The live data is at Target. What a backend restores lies in the
// folder Beside, and New, in it or itself, is what becomes Target. The old data ends at Old. It is never in Beside, so that whoever
// removes Beside, we or a person, removes no live data and no old data.
type place struct {
	Target  string
	Beside  string
	New     string
	Old     string
	Existed bool     // there is something at Target
	Inode   uint64   // of New, which tells it from the old wherever it lies; 0: unknown, and the swap goes in two steps
	Sides   []string `json:",omitempty"` // "-wal": what belongs to the old file, lies beside it, and must not meet the new one
}

// standing is how far a swap has come, read from the disk alone.
type standing int

const (
	before    standing = iota // live is old, or nothing; the new lies at New
	exchanged                 // live is old; the new lies at Old, ready to be exchanged
	between                   // nothing is live; the old lies at Old, the new at New
	after                     // live is new; the old, if any, lies at Old
)

// stands looks where the old and the new are. An error says that somebody else has moved them.
func (p place) stands() (standing, error) {
	target, err1 := inodeOf(p.Target)
	fresh, err2 := inodeOf(p.New)
	old, err3 := inodeOf(p.Old)
	if err := errors.Join(err1, err2, err3); err != nil {
		return before, err
	}
	isNew := func(f found) bool { return f.there && (p.Inode == 0 || f.inode == p.Inode) }
	isOld := func(f found) bool { return f.there && (p.Inode == 0 || f.inode != p.Inode) }
	switch {
	case !p.Existed && !target.there && isNew(fresh) && !old.there, p.Existed && isOld(target) && isNew(fresh) && !old.there:
		return before, nil
	case !p.Existed && isNew(target) && !fresh.there && !old.there, p.Existed && isNew(target) && isOld(old) && !fresh.there:
		return after, nil
	case p.Existed && p.Inode != 0 && isOld(target) && isNew(old) && !fresh.there:
		return exchanged, nil
	case p.Existed && !target.there && isNew(fresh) && isOld(old):
		return between, nil
	}
	return before, fmt.Errorf("somebody else has moved what belongs at %s: look what lies there, at %s and at %s", p.Target, p.New, p.Old)
}

// swapIn makes the new live and keeps the old, from wherever an earlier try left off.
func (p place) swapIn(m mover) error {
	for {
		now, err := p.stands()
		switch {
		case err != nil:
			return err
		case now == after:
			return p.moveSides(m, p.Target, p.Old)
		case !p.Existed || now == between:
			err = m.rename(p.New, p.Target)
		case now == before && p.Inode != 0 && m.exchanges:
			err = m.rename(p.New, p.Old)
		case now == before:
			err = m.rename(p.Target, p.Old)
		case now == exchanged && m.exchanges:
			if err = m.exchange(p.Old, p.Target); errors.Is(err, errors.ErrUnsupported) {
				m.exchanges, err = false, nil
			}
		case now == exchanged:
			err = m.rename(p.Old, p.New)
		}
		if err != nil {
			return err
		}
	}
}

// swapOut makes the old live again, from wherever swapIn or an earlier swapOut left off. The new is at New afterwards.
func (p place) swapOut(m mover) error {
	for {
		now, err := p.stands()
		switch {
		case err != nil:
			return err
		case now == before:
			return p.moveSides(m, p.Old, p.Target)
		case now == after && p.Existed && p.Inode != 0 && m.exchanges:
			if err = m.exchange(p.Old, p.Target); errors.Is(err, errors.ErrUnsupported) {
				m.exchanges, err = false, nil
			}
		case now == after:
			err = m.rename(p.Target, p.New)
		case now == exchanged:
			err = m.rename(p.Old, p.New)
		case now == between:
			err = m.rename(p.Old, p.Target)
		}
		if err != nil {
			return err
		}
	}
}

// moveSides has what belongs to the old follow it.
func (p place) moveSides(m mover, from, to string) error {
	for _, side := range p.Sides {
		left, err1 := inodeOf(from + side)
		moved, err2 := inodeOf(to + side)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !left.there || moved.there {
			continue
		}
		if err := m.rename(from+side, to+side); err != nil {
			return err
		}
	}
	return nil
}

// sidesOf are what SQLite has left beside a database file that was not closed: a log that would be played into whatever has the
// database's name.
func sidesOf(path string) (sides []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f, head); err != nil || string(head) != magic {
		return nil
	}
	for _, side := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(path + side); err == nil {
			sides = append(sides, side)
		}
	}
	return sides
}

// mover moves files and folders on one disk, and sees that the disk has it.
type mover struct {
	exchanges bool // this system can exchange two names in one step
	step      func(string)
	fail      func(from, to string) error // a test's; nil: nothing fails
}

func (m mover) rename(from, to string) error { return m.move("rename", from, to, renameToNothing) }
func (m mover) exchange(a, b string) error   { return m.move("exchange", a, b, exchange) }
func (m mover) move(what, a, b string, move func(a, b string) error) error {
	if m.fail != nil {
		if err := m.fail(a, b); err != nil {
			return err
		}
	}
	if err := move(a, b); err != nil {
		return err
	}
	m.step(what)
	return errors.Join(syncDir(filepath.Dir(a)), syncDir(filepath.Dir(b)))
}

// found is what is at a path.
type found struct {
	there bool
	inode uint64 // 0: this system does not tell
}

func inodeOf(path string) (found, error) {
	info, err := os.Lstat(path)
	if isNothing(err) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	return found{true, inode(info)}, nil
}

// renameUnlessThere is for where the system cannot do both in one step.
func renameUnlessThere(from, to string) error {
	if _, err := os.Lstat(to); !isNothing(err) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

// isNothing says that there is nothing at a path, nor at what leads to it.
func isNothing(err error) bool { return errors.Is(err, fs.ErrNotExist) || isNotFolder(err) }

// overlap says that one path is the other, or leads to it.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, withSlash(b)) || strings.HasPrefix(b, withSlash(a))
}

func withSlash(path string) string {
	return strings.TrimSuffix(path, string(filepath.Separator)) + string(filepath.Separator)
}

// resolve is where a target really lies: links on the way to it, and the target itself where it is one, are followed. What is not
// there yet stays as it is named.
func resolve(path string) (string, error) {
	at, err := filepath.EvalSymlinks(path)
	if err == nil {
		return at, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a link to something that is not there", path)
	}
	parent := filepath.Dir(path)
	if parent == path {
		return "", err
	}
	at, err = resolve(parent)
	return filepath.Join(at, filepath.Base(path)), err
}
