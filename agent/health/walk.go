package health

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links one name may lead through.
const maxLinks = 40

// children returns the names in dir that fit the pattern.
func (l *look) children(dir, pattern string, fold bool) ([]string, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, fmt.Errorf("stopped at /%s: %w", clean(dir), err)
	}
	if plain(pattern) && !fold {
		return []string{pattern}, nil // resolve finds out whether it exists
	}
	d, err := l.root.OpenFile(dir, openDir, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	var names []string
	for {
		batch, err := d.Readdirnames(256)
		for _, name := range batch {
			if match(pattern, name, fold) {
				names = append(names, name)
			}
		}
		l.left.entries -= len(batch)
		switch {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return names, fmt.Errorf("/%s: %w", clean(dir), err)
		case l.left.entries < 0:
			return names, fmt.Errorf("/%s: more than %d folder entries to look at; make the probe's path narrower", clean(dir), l.limit.entries)
		case l.ctx.Err() != nil:
			return names, fmt.Errorf("stopped at /%s: %w", clean(dir), l.ctx.Err())
		}
	}
}

// resolve finds what name in dir is, following links as if the root were "/": no link leads out. dir holds no link.
// The information is nil where there is nothing, also behind a dangling link or a circle.
func (l *look) resolve(dir, name string) (found string, info fs.FileInfo, err error) {
	at, rest := dir, []string{name}
	for links := 0; len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at, info = path.Dir(at), nil // path.Dir(".") is ".": above the root is the root
			continue
		}
		here := path.Join(at, next)
		if info, err = l.root.Lstat(here); err != nil {
			if errors.Is(err, fs.ErrNotExist) || notDirectory(err) {
				return "", nil, nil
			}
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = here
			continue
		}
		if links++; links > maxLinks {
			return "", nil, nil
		}
		target, err := l.root.Readlink(here)
		if err != nil {
			return "", nil, err
		}
		if filepath.VolumeName(target) != "" {
			return "", nil, fmt.Errorf("/%s is a link to another volume, %s, which the agent does not follow", here, target)
		}
		target = filepath.ToSlash(target)
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		rest, info = append(strings.Split(target, "/"), rest...), nil
	}
	if info == nil {
		info, err = l.root.Lstat(at)
	}
	return at, info, err
}

func notDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

func clean(dir string) string { return strings.TrimPrefix(dir, ".") }
