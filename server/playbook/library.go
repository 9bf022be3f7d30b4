// Package playbook reads recovery playbooks: folders of data that say which files on a host are bad and which are good,
// and hold one script per environment that repairs it. A playbook's identity is its digest, a content address over every
// file of its folder, so that each attempt records exactly what touched a host.
//
// The package decides nothing and runs nothing. It also writes the shell script that evaluates probes on a host without
// an agent, and reads that script's answer.
package playbook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Playbook is one version of a playbook, checked in full. It must not be changed.
type Playbook struct {
	Facts    recovery.Playbook // what the core needs; Facts.Digest is the identity
	Bad      []Probe           // what must not be on a host
	Good     []Probe           // what must be on it
	Preserve bool              // its scripts copy bad files aside before they delete them
	Sources  []Source          // whose advice it follows
	Hands    string            // what a person does at the console of a host that no rung reaches, as text; may be empty
	scripts  map[string][]byte // by environment
	files    map[string][]byte // every one, by its path in the folder
}

// Script returns a copy of the script for an environment, and whether there is one.
func (p *Playbook) Script(environment string) ([]byte, bool) {
	s, ok := p.scripts[environment]
	return slices.Clone(s), ok
}

// Library is a set of playbooks. It may be used by several goroutines; only Refresh and Keep change it.
type Library struct {
	dir  string // with playbooks that replace embedded ones; may be empty
	kept string // folder for copies of versions that were in use; may be empty. Set by Keep before the library is shared

	mu       sync.RWMutex
	byName   map[string]*Playbook
	byDigest map[string]*Playbook // a version that was once loaded stays
}

// handsName is the file of a playbook that tells a person what to do.
const (
	handsName = "hands.md"
	maxHands  = 16 << 10 // bytes
)

// maxPlaybooks bounds the folders of one library.
const maxPlaybooks = 256

// Load reads every top-level folder of fsys that has a manifest.yaml. The error joins every problem in every folder, each
// a *Problem with its place.
func Load(fsys fs.FS) (*Library, error) { return load(fsys, "") }

// LoadWithOverrides reads the embedded playbooks and those in dir. A playbook in dir replaces the embedded one of its name
// for ByName, All and Matching; ByDigest finds both. An empty dir means the embedded ones only.
func LoadWithOverrides(embedded fs.FS, dir string) (*Library, error) {
	base, err := Load(embedded)
	if err != nil {
		return nil, err
	}
	base.dir = dir
	if err := base.Refresh(); err != nil {
		return nil, err
	}
	return base, nil
}

// Refresh reads the folder of LoadWithOverrides again: what it holds by now is in use from here on, and ByDigest goes on finding the
// versions from before. An error leaves the library as it was. Without a folder nothing changes.
func (l *Library) Refresh() error {
	if l.dir == "" {
		return nil
	}
	own, err := loadDir(l.dir)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, p := range own.byName {
		l.byName[name] = p
		l.byDigest[p.Facts.Digest] = p
	}
	return nil
}

// loadDir reads the playbooks in a folder, of which there must be one.
func loadDir(dir string) (*Library, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("playbook folder %s cannot be opened; name an existing folder that holds one folder per playbook: %w", dir, err)
	}
	defer root.Close()
	own, err := load(root.FS(), dir)
	if err != nil {
		return nil, err
	}
	if len(own.byName) == 0 {
		return nil, fmt.Errorf("playbook folder %s holds no playbook; put one folder with a manifest.yaml per playbook into it", dir)
	}
	return own, nil
}

// load reads a library; prefix stands before file names in messages.
func load(fsys fs.FS, prefix string) (*Library, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("the playbooks cannot be listed; check the folder %s: %w", prefix, err)
	}
	lib := &Library{byName: map[string]*Playbook{}, byDigest: map[string]*Playbook{}}
	var problems []error
	folders := 0
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			problems = append(problems, &Problem{File: filepath.Join(prefix, e.Name()), What: "is a link, which is not followed; put the playbook's folder itself there"})
			continue
		}
		if !e.IsDir() {
			continue
		}
		if folders++; folders > maxPlaybooks {
			problems = append(problems, fmt.Errorf("there are more than %d playbook folders; is %q the right place?", maxPlaybooks, prefix))
			break
		}
		p, errs := loadPlaybook(fsys, e.Name(), filepath.Join(prefix, e.Name()))
		problems = append(problems, errs...)
		if p != nil {
			lib.byName[p.Facts.Name] = p
			lib.byDigest[p.Facts.Digest] = p
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return lib, nil
}

// loadPlaybook reads one folder. Without a manifest it is no playbook: nil without a problem.
func loadPlaybook(fsys fs.FS, folder, shown string) (*Playbook, []error) {
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return nil, []error{fmt.Errorf("playbook folder %s cannot be listed; check its permissions: %w", shown, err)}
	}
	found := false
	for _, e := range entries {
		switch {
		case e.Name() == manifestName:
			found = true
		case strings.EqualFold(e.Name(), manifestName), strings.EqualFold(e.Name(), "manifest.yml"):
			return nil, []error{&Problem{File: filepath.Join(shown, e.Name()), What: "a playbook's manifest is called manifest.yaml; rename it"}}
		}
	}
	if !found {
		return nil, nil
	}
	files, problems := readFolder(fsys, folder, shown)
	if len(problems) > 0 {
		return nil, problems
	}
	m, problems := parseManifest(filepath.Join(shown, manifestName), files[manifestName])
	if m == nil {
		return nil, problems
	}
	check := &yamlFile{name: filepath.Join(shown, manifestName), problems: problems}
	if m.nameNode != nil && m.facts.Name != folder {
		check.fail(m.nameNode, "name is %q but the folder is called %q; make them equal", m.facts.Name, folder)
	}
	p := &Playbook{Facts: m.facts, Bad: m.bad, Good: m.good, Preserve: m.preserve, Sources: m.sources, scripts: map[string][]byte{}, files: files}
	if p.Hands = string(files[handsName]); !utf8.ValidString(p.Hands) || len(p.Hands) > maxHands {
		check.problems = append(check.problems, &Problem{File: filepath.Join(shown, handsName), What: "must be text of at most 16 KiB that fits on a work card; shorten it"})
	}
	for _, env := range m.facts.Environments {
		s := m.scripts[env]
		body, ok := files[s.name]
		if !ok {
			check.fail(s.node, "script %s is not in the folder; add it or correct the name", s.name)
			continue
		}
		if problem := scriptProblem(s.name, body); problem != "" {
			check.fail(s.node, "script %s %s", s.name, problem)
		}
		if line := deletes(body); line > 0 && !m.preserve {
			check.fail(m.preserved, "script %s deletes files in line %d; have it copy them aside first and write preserve: true", s.name, line)
		}
		p.scripts[env] = body
	}
	if len(check.problems) > 0 {
		return nil, check.sorted()
	}
	p.Facts.Digest = digest(files)
	return p, nil
}

// ByDigest finds a version of a playbook, also one that an override has replaced.
func (l *Library) ByDigest(digest string) (*Playbook, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p, ok := l.byDigest[digest]
	return p, ok
}

// ByName finds the version of a playbook that is in use.
func (l *Library) ByName(name string) (*Playbook, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p, ok := l.byName[name]
	return p, ok
}

// leastDigest is how much of a digest names a version.
const leastDigest = len("sha256:") + 6

// Find finds a version by its playbook's name, which means the one in use, or by its digest or the beginning of that.
func (l *Library) Find(name string) (*Playbook, bool) {
	if p, ok := l.ByName(name); ok {
		return p, true
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	var found []*Playbook
	for digest, p := range l.byDigest {
		if len(name) >= leastDigest && strings.HasPrefix(digest, name) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return nil, false
	}
	return found[0], true
}

// All returns the playbooks in use, by name.
func (l *Library) All() []*Playbook {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]*Playbook, 0, len(l.byName))
	for _, p := range l.byName {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Playbook) int { return strings.Compare(a.Facts.Name, b.Facts.Name) })
	return out
}

// Matching returns the playbooks in use that fit at least one of the hosts, by name.
func (l *Library) Matching(hosts []recovery.Host) []*Playbook {
	return slices.DeleteFunc(l.All(), func(p *Playbook) bool { return !slices.ContainsFunc(hosts, p.Facts.Fits) })
}
