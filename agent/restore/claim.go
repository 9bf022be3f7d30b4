package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A claim is a folder that outlives a crash: whoever makes it owns the job, and what lies in it says how far the job has come.
type claim struct {
	dir    string
	name   string
	work   Work
	record record
	step   func(string) // see Worker.step
}

// record is how far a claimed job has come. It is on disk before what it says is done.
type record struct {
	Stage   stage
	Began   time.Time
	Places  []place     `json:",omitempty"` // restore: one for each set, in order; check: where it restores to
	Sets    []SetResult `json:",omitempty"` // what is told of them when the swap has begun
	Failure *Fault      `json:",omitempty"` // why the swap is taken back
}

// stage is what a crash finds. Before swapping nothing that is live was touched, apart from programs that stopping stops.
type stage string

const (
	restoring  stage = "restoring"  // whatever lies beside is thrown away, and the job begins anew
	stopping   stage = "stopping"   // as before, and the programs are started first
	swapping   stage = "swapping"   // goes forward to its end
	swapped    stage = "swapped"    // all is new; the programs are started
	unswapping stage = "unswapping" // goes back to its end
	unswapped  stage = "unswapped"  // all is old; the programs are started
)

const (
	workFile   = "work.json"
	recordFile = "stage.json"
	resultFile = "result.json"
	maxFile    = 64 << 20 // bytes
	maxPoints  = 20_000   // of a list

	keepClaims = 200
	keepLeast  = 24 * time.Hour // even when there are more
	keepMost   = 30 * 24 * time.Hour
)

// claimName makes the folder's name: the incident and the job with "_" between them and for "/". A name that had to be changed more
// than that, that could be another's too, or that is long, ends in a digest that keeps it apart.
func claimName(incident, job string) string {
	changed := strings.ContainsAny(incident, "/_") || strings.Contains(job, "_") || incident == "" || job == ""
	name := strings.Map(func(c rune) rune {
		switch {
		case c == '/':
			return '_'
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
			return c
		}
		changed = true
		return '-'
	}, incident+"_"+job)
	if changed || len(name) > 80 || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") {
		name = "a" + name[:min(len(name), 60)] + "_" + digest(incident+"\x00"+job)
	}
	return name
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// makeClaim claims a job by making its folder, which only one can. The work is in it before anything is done.
func makeClaim(parent, name string, work Work, step func(string)) (*claim, error) {
	c := &claim{dir: filepath.Join(parent, name), name: name, work: work, step: step, record: record{Stage: restoring, Began: time.Now()}}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	step("claim: folder")
	return c, errors.Join(syncDir(parent), c.keep(workFile, work), c.keep(recordFile, c.record))
}

// openClaim reads a claim that an earlier process made. One that was cut short in its making has done nothing, and gets its work from
// whoever asks again.
func openClaim(parent, name string, step func(string)) (*claim, error) {
	c := &claim{dir: filepath.Join(parent, name), name: name, step: step, record: record{Stage: restoring, Began: time.Now()}}
	for file, into := range map[string]any{workFile: &c.work, recordFile: &c.record} {
		if err := c.read(file, into); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	switch c.record.Stage {
	case restoring, stopping, swapping, swapped, unswapping, unswapped:
		return c, nil
	}
	return c, fmt.Errorf("%s: %q is no stage that this version knows", filepath.Join(c.dir, recordFile), clean(string(c.record.Stage), 40))
}

// result is how the job ended; nil: it has not.
func (c *claim) result() (*Result, error) {
	var r Result
	switch err := c.read(resultFile, &r); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &r, nil
}

// to records how far the job has come.
func (c *claim) to(s stage) error {
	r := c.record
	r.Stage = s
	if err := c.keep(recordFile, r); err != nil {
		return &Fault{Failed, "claim cannot be kept", fmt.Sprintf("How far the job has come cannot be kept on disk: %v; make room or correct the rights.", err)}
	}
	c.record = r
	return nil
}

func (c *claim) read(name string, into any) error {
	f, err := os.Open(filepath.Join(c.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("longer than %d bytes", maxFile)
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// keep puts a file into the claim as a whole: after a crash there is the old one or the new one.
func (c *claim) keep(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, name)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	c.step("keep " + name + ": written")
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	c.step("keep " + name + ": renamed")
	return syncDir(c.dir)
}

// prune returns what lies in the folder of claims: by name, whether the job has ended. It removes claims that nobody will ask for again.
func prune(dir string, now time.Time) (names map[string]bool, removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	type found struct {
		name  string
		ended bool
		at    time.Time
	}
	var claims []found
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		f := found{name: e.Name()}
		at, err := os.Stat(filepath.Join(dir, e.Name(), resultFile))
		if f.ended = err == nil; !f.ended {
			at, err = e.Info()
		}
		if err == nil {
			f.at = at.ModTime()
		}
		claims = append(claims, f)
	}
	slices.SortFunc(claims, func(a, b found) int { return b.at.Compare(a.at) })
	names = map[string]bool{}
	ended := 0
	for _, f := range claims {
		if f.ended {
			ended++
			if age := now.Sub(f.at); age > keepMost || age > keepLeast && ended > keepClaims {
				if err := os.RemoveAll(filepath.Join(dir, f.name)); err == nil {
					removed = append(removed, f.name)
					continue
				}
			}
		}
		names[f.name] = f.ended
	}
	return names, removed, nil
}
