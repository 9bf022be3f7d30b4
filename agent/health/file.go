package health

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// reading is what is remembered of a file's content.
type reading struct {
	size     int64
	modified time.Time
	changed  int64  // the inode's own change time where the system tells it, else 0
	head     []byte // the first bytes, as many as a probe asked for
	sum      []byte // nil: not computed
}

// settled is how old a change must be before a reading is remembered: a second change within the clock's grain would
// leave the times as they are.
const settled = 2 * time.Second

// file reports whether the file meets every condition of the probe, the cheap ones first.
func (l *look) file(name string, info fs.FileInfo, p Probe, sum []byte) (bool, error) {
	if err := l.ctx.Err(); err != nil {
		return false, fmt.Errorf("stopped at /%s: %w", name, err)
	}
	if l.left.files--; l.left.files < 0 {
		return false, fmt.Errorf("more than %d files match by name; make the probe's path narrower", l.limit.files)
	}
	modified := info.ModTime()
	switch {
	case info.Size() < p.MinSize, info.Size() < int64(len(p.Header)):
		return false, nil
	case !p.ModifiedFrom.IsZero() && modified.Before(p.ModifiedFrom):
		return false, nil
	case !p.ModifiedTo.IsZero() && !modified.Before(p.ModifiedTo):
		return false, nil
	case len(p.Header) == 0 && sum == nil:
		return true, nil
	}
	r := l.recall(name, info)
	if len(r.head) < len(p.Header) {
		if err := l.read(name, &r, len(p.Header), false); err != nil {
			return false, err
		}
	}
	match := bytes.HasPrefix(r.head, p.Header)
	if match && sum != nil {
		if r.sum == nil {
			if err := l.read(name, &r, 0, true); err != nil {
				return false, err
			}
		}
		match = bytes.Equal(r.sum, sum)
	}
	if age := time.Since(modified); age < 0 || age > settled {
		l.new[name] = r
	}
	return match, nil
}

// recall returns what is known of the file's content if the file is as it was.
func (l *look) recall(name string, info fs.FileInfo) reading {
	now := reading{size: info.Size(), modified: info.ModTime(), changed: changeTime(info)}
	for _, memory := range []map[string]reading{l.new, l.old} {
		if r, ok := memory[name]; ok && r.size == now.size && r.modified.Equal(now.modified) && r.changed == now.changed {
			return r
		}
	}
	return now
}

// read fills in the file's first bytes, or the digest of all of it.
func (l *look) read(name string, r *reading, head int, whole bool) error {
	f, err := l.root.OpenFile(name, openFile, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("/%s changed while it was looked at", name))
	}
	if !whole {
		r.head = make([]byte, head)
		n, err := io.ReadFull(f, r.head)
		l.left.bytes -= int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			r.head, err = r.head[:n], nil
		}
		return err
	}
	if r.sum, err = l.hash(f, name); err != nil {
		r.sum = nil
	}
	return err
}

func (l *look) hash(f *os.File, name string) ([]byte, error) {
	if l.buf == nil {
		l.buf = make([]byte, 32<<10)
	}
	h := sha256.New()
	for {
		n, err := f.Read(l.buf)
		_, _ = h.Write(l.buf[:n]) // a hash's Write never fails
		l.left.bytes -= int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return h.Sum(nil), nil
		case err != nil:
			return nil, err
		case l.left.bytes < 0:
			return nil, fmt.Errorf("/%s: more than %d MiB to read; add a size, header or time to the probe", name, l.limit.bytes>>20)
		case l.ctx.Err() != nil:
			return nil, fmt.Errorf("stopped in /%s: %w", name, l.ctx.Err())
		}
	}
}

// digest decodes a SHA-256 in hex; empty gives nil.
func digest(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	sum, err := hex.DecodeString(s)
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("sha256 %q must be %d hex digits", clip(s), 2*sha256.Size)
	}
	return sum, nil
}
