// Package health answers two questions about the machine that it runs on: which content is on its disk (Scanner), and is
// it well (Checks)? It only reads; it starts no program. Whatever goes wrong becomes part of the answer.
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Probe matches regular files, links not. All conditions that are set must hold: a name alone never decides.
type Probe struct {
	Name         string    `json:"name,omitempty"`         // for people
	Path         string    `json:"path"`                   // absolute, slash-separated, below the root; any element may hold * and ?
	IgnoreCase   bool      `json:"ignore_case,omitempty"`  // match path elements without regard to case
	Header       []byte    `json:"header,omitempty"`       // the file's first bytes
	ModifiedFrom time.Time `json:"modified_from,omitzero"` // modified at this time or later
	ModifiedTo   time.Time `json:"modified_to,omitzero"`   // modified before this time
	SHA256       string    `json:"sha256,omitempty"`       // of the whole file, hex
	MinSize      int64     `json:"min_size,omitempty"`     // bytes
}

// ProbeSet tells one playbook's bad content from good content.
type ProbeSet struct {
	Playbook string  `json:"playbook"` // digest
	Bad      []Probe `json:"bad,omitempty"`
	Good     []Probe `json:"good,omitempty"`
}

// Fact is what one playbook's probes found.
type Fact struct {
	Playbook string
	Bad      int    // files that match a bad probe
	Good     int    // files that match a good probe and no bad one
	Missing  bool   // none of the folders that the probes look into exists: says nothing about bad or good
	Error    string // the probes could not run to their end: the counts are a lower bound
	Detail   string // names some of the bad files, or the missing place
}

// limits bound one look at the disk.
type limits struct {
	entries int   // directory entries read
	files   int   // files matched by name
	bytes   int64 // bytes read from files
}

var defaultLimits = limits{entries: 200_000, files: 10_000, bytes: 1 << 30}

// Scanner evaluates probes on the disk below a root folder, which it never leaves: a link is followed as if the root were
// "/". It remembers what it read from files whose size and times did not change. It is not safe for concurrent use.
type Scanner struct {
	root  string
	limit limits
	known map[string]reading
}

// NewScanner returns a Scanner for the disk below root, "/" or a mounted volume.
func NewScanner(root string) *Scanner { return &Scanner{root: root, limit: defaultLimits} }

// Content evaluates the probe sets on the disk below root, once, reading everything afresh.
func Content(ctx context.Context, root string, sets []ProbeSet) []Fact {
	return NewScanner(root).Content(ctx, sets, true)
}

// Content evaluates the probe sets until ctx ends and returns one Fact per set. With fresh, nothing remembered is used.
func (s *Scanner) Content(ctx context.Context, sets []ProbeSet, fresh bool) []Fact {
	facts := make([]Fact, len(sets))
	if len(sets) == 0 {
		return facts
	}
	for i, set := range sets {
		facts[i].Playbook = set.Playbook
	}
	root, err := os.OpenRoot(s.root)
	if err != nil {
		for i := range facts {
			facts[i].Error = fmt.Sprintf("root folder: %v; set the agent's root to the disk that is to be probed", err)
		}
		return facts
	}
	defer func() { _ = root.Close() }()

	look := &look{ctx: ctx, root: root, left: s.limit, limit: s.limit, old: s.known, new: map[string]reading{}}
	if fresh {
		look.old = nil
	}
	for i, set := range sets {
		look.set(set, &facts[i])
	}
	s.known = look.new
	return facts
}

// look is one look at the disk.
type look struct {
	ctx      context.Context
	root     *os.Root
	left     limits
	limit    limits
	old, new map[string]reading
	buf      []byte
}

func (l *look) set(set ProbeSet, f *Fact) {
	var place bool
	var errs []error
	files := map[string]bool{} // each counts once, bad before good
	count := func(probes []Probe) []string {
		var names []string
		for _, p := range probes {
			found, there, err := l.probe(p)
			place = place || there
			if err != nil {
				errs = append(errs, fmt.Errorf("probe %q: %w", clip(cmp.Or(p.Name, p.Path)), err))
			}
			for _, name := range found {
				if !files[name] {
					files[name] = true
					names = append(names, name)
				}
			}
		}
		slices.Sort(names)
		return names
	}
	bad, good := count(set.Bad), count(set.Good)
	f.Bad, f.Good = len(bad), len(good)
	switch {
	case len(errs) > 0:
		f.Error = clip(errs[0].Error())
	case !place && len(set.Bad)+len(set.Good) > 0:
		f.Missing = true
		f.Detail = clip("no such place: " + placeOf(set))
		return
	}
	if len(bad) > 0 {
		f.Detail = clip("bad: /" + strings.Join(bad[:min(len(bad), 3)], ", /"))
	}
}

// probe returns the files that match, and whether the folder that should hold them exists.
func (l *look) probe(p Probe) (found []string, place bool, err error) {
	elems, sum, err := p.parse()
	if err != nil {
		return nil, false, err
	}
	dirs := []string{"."}
	var errs []error
	last := len(elems) - 1
	for _, elem := range elems[:last] {
		var next []string
		for _, dir := range dirs {
			names, err := l.children(dir, elem, p.IgnoreCase)
			errs = append(errs, err)
			for _, name := range names {
				folder, info, err := l.resolve(dir, name)
				errs = append(errs, err)
				if err == nil && info != nil && info.IsDir() {
					next = append(next, folder)
				}
			}
		}
		slices.Sort(next)
		dirs = slices.Compact(next) // two links may lead to one folder
	}
	for _, dir := range dirs {
		names, err := l.children(dir, elems[last], p.IgnoreCase)
		errs = append(errs, err)
		for _, name := range names {
			if l.ctx.Err() != nil || l.left.files < 0 {
				break
			}
			file := path.Join(dir, name)
			info, err := l.root.Lstat(file)
			if err == nil && info.Mode().IsRegular() {
				var ok bool
				if ok, err = l.file(file, info, p, sum); ok && err == nil {
					found = append(found, file)
				}
			}
			errs = append(errs, err)
		}
	}
	return found, len(dirs) > 0, firstError(errs)
}

// refused are the bytes that no path element may hold.
var refused = map[bool]string{true: "\\\x00:", false: "\\\x00"}[runtime.GOOS == "windows"]

// parse splits the probe's path and decodes its digest.
func (p Probe) parse() (elems []string, sum []byte, err error) {
	if !strings.HasPrefix(p.Path, "/") {
		return nil, nil, fmt.Errorf("path %q must begin with /", clip(p.Path))
	}
	for elem := range strings.SplitSeq(p.Path, "/") {
		switch {
		case elem == "":
		case elem == "." || !filepath.IsLocal(elem) || strings.ContainsAny(elem, refused):
			return nil, nil, fmt.Errorf("path %q holds an element that is no plain name; write /folder/file with * and ? at most", clip(p.Path))
		default:
			elems = append(elems, elem)
		}
	}
	if len(elems) == 0 {
		return nil, nil, errors.New("path names no file")
	}
	sum, err = digest(p.SHA256)
	return elems, sum, err
}

// placeOf names the place of a set's first probe.
func placeOf(set ProbeSet) string {
	if len(set.Bad) > 0 {
		return path.Dir(set.Bad[0].Path)
	}
	return path.Dir(set.Good[0].Path)
}

// firstError skips nil and what only says that a file is not there (any more).
func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !notDirectory(err) {
			return err
		}
	}
	return nil
}

// clip bounds a text that goes over the wire.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
