package playbook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Keep names the folder for copies of versions that were in use, one folder per digest, and loads those that it holds: ByDigest and Find
// find them, ByName does not. A copy that is not what its name says is left out, and the error says so.
func (l *Library) Keep(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = dir
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kept playbook versions in %s cannot be listed; check its permissions: %w", dir, err)
	}
	var problems []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			continue
		}
		copied, err := load(os.DirFS(filepath.Join(dir, e.Name())), filepath.Join(dir, e.Name()))
		if err == nil && copied.byDigest[digestPrefix+e.Name()] == nil {
			err = fmt.Errorf("the kept playbook version in %s is not what its name says; remove it", filepath.Join(dir, e.Name()))
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for digest, p := range copied.byDigest {
			if l.byDigest[digest] == nil {
				l.byDigest[digest] = p
			}
		}
	}
	return errors.Join(problems...)
}

const (
	digestPrefix = "sha256:"
	unfinished   = ".part-" // begins the name of a copy that is being written
)

// Save copies a version to the folder that Keep named, whole or not at all, so that it is known after a restart although the playbook
// folder holds another one by then. Without a folder nothing is copied.
func (l *Library) Save(digest string) error {
	p, ok := l.ByDigest(digest)
	if !ok || l.kept == "" {
		return nil
	}
	place := filepath.Join(l.kept, strings.TrimPrefix(digest, digestPrefix))
	if _, err := os.Stat(place); err == nil {
		return nil
	}
	if err := p.copyTo(l.kept, place); err != nil {
		return fmt.Errorf("version %s of playbook %s cannot be kept in %s; make room there: %w", digest, p.Facts.Name, l.kept, err)
	}
	return nil
}

func (p *Playbook) copyTo(dir, place string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	part, err := os.MkdirTemp(dir, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	for name, data := range p.files {
		file := filepath.Join(part, p.Facts.Name, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
	}
	return os.Rename(part, place)
}
