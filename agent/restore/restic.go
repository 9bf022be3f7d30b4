package restore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Restic is the backend for repositories of restic 0.14 and newer, with one repository shared by any number of hosts.
//
// A point is called after the snapshot that was first taken: restic writes a snapshot anew, under another id, whenever its tags change.
//
// Locks. A restore takes restic's shared lock, so that no prune can take its data away under it. Listing and checking take none: a
// check of restic wants the exclusive lock, and would keep every backup and restore waiting for as long as it reads. What a check then
// finds bad counts only when it is found again under that lock, since a prune at work looks like damage. A lock whose process is dead is
// removed (restic unlock: it knows which are), for a crash of many servers leaves many.
//
// Nothing is cached: a backend writes to the folder that it is given and nowhere else, and the disk of a crashed server is the last
// place to take data from unseen.
//
// Nor is it asked first whether a repository can be reached, since to open it takes as long as to restore a small point. Restic is
// watched instead: where it stands still, another one is to open the repository, and says whether there is any sense in waiting.
//
// Hold marks a point with the tag blackstart-hold-INCIDENT. restic forget minds it only when told to, by --keep-tag with the tag in full:
// up to 0.18 no version takes a pattern there, and none has a hold of its own.
type Restic struct {
	reach    time.Duration // until a repository that does not answer is given up
	patience time.Duration // with another restic's lock, which a hold has for a second or two
	once     sync.Mutex
	known    map[string]resticVersion
}

// NewRestic returns the backend. It is safe for concurrent use.
func NewRestic() *Restic {
	return &Restic{reach: 2 * time.Minute, patience: 45 * time.Second, known: make(map[string]resticVersion)}
}

const (
	tidyTime   = 10 * time.Second // to take away the lock of a restic that had to be ended
	maxListing = 64 << 20         // bytes of snapshots as JSON: about 100,000
	maxSubsets = 256              // restic cuts a repository into no more
	trickle    = 64 << 10         // bytes, more than restic moves when it only tries again
)

var errOutOfReach = errors.New("the repository did not answer in time")

// List implements Backend. The source names the data set's snapshots as "host=NAME,tag=TAG,path=PATH": all tags and paths must fit, and
// one of the hosts. An empty source takes every snapshot of the data set's host.
func (r *Restic) List(ctx context.Context, s SetWork) ([]Point, error) {
	filter, err := resticFilter(s.Set)
	if err != nil {
		return nil, err
	}
	snapshots, err := r.snapshots(ctx, s, filter...)
	if err != nil {
		return nil, err
	}
	points := make([]Point, 0, len(snapshots))
	for _, sn := range snapshots {
		if !slices.ContainsFunc(points, func(p Point) bool { return p.ID == sn.point() }) {
			points = append(points, Point{ID: sn.point(), Kind: s.Set.Kind, TakenAt: sn.Time, Size: sn.Summary.Bytes})
		}
	}
	return points, nil
}

// Restore implements Backend.
func (r *Restic) Restore(ctx context.Context, s SetWork, into string, p Progress) error {
	if err := mustBeEmpty(into); err != nil {
		return err
	}
	told := &resticProgress{tell: p, total: s.Size}
	restore := func(id string) error {
		args := append(limit(s), "--json", "restore", "--target="+into, id)
		return r.locked(ctx, s, resticRun{args: args, doing: "restore", told: told, moved: func(pid int) func() int64 { return written(pid, into) }})
	}
	err := error(gone(s))
	if snapshotID.MatchString(s.Point) { // nothing else may be taken for an id: "latest" is one to restic
		err = restore(s.Point)
	}
	if hasSignature(err, signatureGone) { // or under another id
		var current []snapshot
		if current, err = r.find(ctx, s); err == nil {
			err = restore(current[0].ID)
		}
	}
	if hasSignature(err, SignatureDamagedPoint, signatureRestic) {
		if _, away := r.find(ctx, s); away != nil { // a repository that went away on the way looks as if its data were missing
			return away
		}
	}
	if err == nil {
		told.end()
	}
	return err
}

// Size implements Sizer. A point that gets another id in between, because its tags change, is looked up once more.
func (r *Restic) Size(ctx context.Context, s SetWork) (int64, error) {
	for range 2 {
		current, err := r.find(ctx, s)
		if err != nil || current[0].Summary.Bytes > 0 {
			return max(0, sizeOf(current)), err
		}
		stats := struct {
			Size  int64 `json:"total_size"`
			Found int   `json:"snapshots_count"`
		}{Found: 1} // where a version does not say
		args := []string{"--no-lock", "--json", "stats", "--mode=restore-size", current[0].ID}
		if err := r.ask(ctx, s, &stats, args...); err != nil || stats.Found > 0 { // of what it does not know, 0.14 says that it has no bytes
			return stats.Size, err
		}
	}
	return 0, gone(s)
}

// Check implements Checker with restic check, which reads all of the repository's structure and part Part of Parts of its data.
func (r *Restic) Check(ctx context.Context, s SetWork, p Progress) (string, error) {
	by, subset := "restic check", "1/1"
	if s.Parts > 0 {
		subset = fmt.Sprintf("%d/%d", s.Part, s.Parts)
		by += " " + subset
	}
	if s.Parts > 0 && (s.Part < 1 || s.Part > s.Parts || s.Parts > maxSubsets) || s.Parts < 0 {
		return "", &Fault{Failed, "no such part of a repository", fmt.Sprintf(
			"There is no part %s of a repository; restic knows 1/1 to %d/%[2]d.", subset, maxSubsets)}
	}
	run := resticRun{args: append(limit(s), "check", "--read-data-subset="+subset), doing: "check", told: &resticProgress{tell: p}, moved: read}
	free := run
	free.args = append([]string{"--no-lock"}, run.args...)
	err := r.run(ctx, s, free)
	if hasSignature(err, SignatureDamagedPoint) {
		var said string
		run.said = &said
		err = r.locked(ctx, s, run)
		if hasSignature(err, SignatureDamagedPoint) && r.spared(ctx, s, said) {
			err = &Fault{Failed, signatureOther, fmt.Sprintf(
				"Data in repository %q is missing or damaged, but none that point %.8s needs; have the repository looked at, and check its other points.",
				s.Repository.Name, s.Point)}
		}
	}
	return by, err
}

// spared says for sure that nothing of the point is among what a check found bad.
func (r *Restic) spared(ctx context.Context, s SetWork, said string) bool {
	packs, ok := badPacks(said)
	if !ok {
		return false
	}
	current, err := r.find(ctx, s)
	if err != nil {
		return false
	}
	var uses []json.RawMessage
	args := append([]string{"--no-lock", "--json", "find", "--pack", "--snapshot=" + current[0].ID}, packs...)
	return r.ask(ctx, s, &uses, args...) == nil && uses != nil && len(uses) == 0
}

// Hold implements Holder with a tag.
func (r *Restic) Hold(ctx context.Context, s SetWork) error {
	current, err := r.find(ctx, s)
	if err != nil {
		return err
	}
	tag, do := holdTag(s.Hold), "--add="
	if s.Release {
		do = "--remove="
	}
	args := []string{"tag", do + tag}
	todo := len(args)
	for _, sn := range current {
		if slices.Contains(sn.Tags, tag) == s.Release {
			args = append(args, sn.ID)
		}
	}
	if len(args) == todo {
		return nil
	}
	return r.locked(ctx, s, resticRun{args: args, doing: "hold"})
}

// holdTag is the incident as a tag: restic parts tags at commas, and retention rules are written in shells.
func holdTag(incident string) string {
	return "blackstart-hold-" + strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
			return c
		default:
			return '-'
		}
	}, incident)
}

// snapshot is what restic snapshots tells of one; Summary since 0.17.
type snapshot struct {
	ID       string    `json:"id"`
	Original string    `json:"original"`
	Time     time.Time `json:"time"`
	Tags     []string  `json:"tags"`
	Summary  struct {
		Bytes int64 `json:"total_bytes_processed"`
	} `json:"summary"`
}

func (s snapshot) point() string { return cmp.Or(s.Original, s.ID) }

func sizeOf(current []snapshot) int64 {
	if len(current) == 0 {
		return 0
	}
	return current[0].Summary.Bytes
}

// snapshots lists those that fit the filter, oldest first.
func (r *Restic) snapshots(ctx context.Context, s SetWork, filter ...string) ([]snapshot, error) {
	var found []snapshot
	err := r.quickly(ctx, s, r.reach, &found, append([]string{"--no-lock", "--json", "snapshots"}, filter...)...)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(sn snapshot) bool {
		return !snapshotID.MatchString(sn.ID) || sn.Original != "" && !snapshotID.MatchString(sn.Original)
	})
	slices.SortStableFunc(found, func(a, b snapshot) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID)) })
	return found, nil
}

var snapshotID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// find returns the snapshots that are the point now: one, or two of the same content after a change of tags was cut short.
func (r *Restic) find(ctx context.Context, s SetWork) ([]snapshot, error) {
	found, err := r.snapshots(ctx, s)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(sn snapshot) bool { return sn.point() != s.Point })
	if len(found) == 0 {
		return nil, gone(s)
	}
	return found, nil
}

// resticFilter is a data set's source as restic's own filters.
func resticFilter(set Set) ([]string, error) {
	if set.Source == "" {
		return []string{"--host=" + set.Host}, nil
	}
	var filter, tags []string
	for part := range strings.SplitSeq(set.Source, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case value != "" && (key == "host" || key == "path"):
			filter = append(filter, "--"+key+"="+value)
		case value != "" && key == "tag":
			tags = append(tags, value)
		default:
			return nil, &Fault{Failed, "source not understood", sentence(fmt.Sprintf(
				"The source of data set %q has %q, which restic cannot look for; write it as host=NAME,tag=TAG,path=PATH", set.Name, part))}
		}
	}
	if tags != nil {
		filter = append(filter, "--tag="+strings.Join(tags, ","))
	}
	return filter, nil
}

func limit(s SetWork) []string {
	if s.Rate <= 0 {
		return nil
	}
	return []string{"--limit-download=" + strconv.FormatInt(max(1, s.Rate>>10), 10)}
}

// resticRun is one run of restic.
type resticRun struct {
	args  []string
	doing string // "restore"
	out   *listing
	said  *string // gets what it said on standard error
	told  *resticProgress
	moved func(pid int) func() int64 // how its bytes are counted where it does not tell; nil: not at all, and it is not watched
}

// ask runs what answers with one JSON document.
func (r *Restic) ask(ctx context.Context, s SetWork, answer any, args ...string) error {
	out := &listing{}
	if err := r.run(ctx, s, resticRun{args: args, doing: "list", out: out}); err != nil {
		return err
	}
	if err := json.Unmarshal(out.text, answer); err != nil {
		return &Fault{Failed, "answer not understood", sentence(fmt.Sprintf(
			"What restic told of repository %q is no JSON of the kind known: %v", s.Repository.Name, err))}
	}
	return nil
}

// quickly asks what any repository that can be reached answers within a time.
func (r *Restic) quickly(ctx context.Context, s SetWork, within time.Duration, answer any, args ...string) error {
	quick, cancel := context.WithTimeoutCause(ctx, within, errOutOfReach)
	defer cancel()
	err := r.ask(quick, s, answer, args...)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(quick), errOutOfReach) {
		return &Fault{Unreachable, signatureAway, fmt.Sprintf(
			"Repository %q did not answer within %v; see that it can be had from this machine.", s.Repository.Name, within)}
	}
	return err
}

// locked runs what takes a lock. A lock that its owner can no longer give back is taken away, whoever's it is. A repository that cannot be
// written to is used without one.
func (r *Restic) locked(ctx context.Context, s SetWork, run resticRun) error {
	err := r.run(ctx, s, run)
	unlock := resticRun{args: []string{"unlock"}, doing: "unlock"}
	switch {
	case hasSignature(err, signatureLocked):
		if r.run(ctx, s, unlock) == nil {
			err = r.run(ctx, s, run)
		}
		err = r.waitForLock(ctx, s, run, err)
	case hasSignature(err, signatureReadOnly):
		run.args = append([]string{"--no-lock"}, run.args...)
		err = r.run(ctx, s, run)
	}
	if ctx.Err() != nil || hasSignature(err, signatureKilled) {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		_ = r.run(tidy, s, unlock) // else the next who is locked out does it
	}
	return err
}

// waitForLock tries again what another restic's lock keeps out, each time after twice as long. Restic 0.14 cannot wait for a lock itself.
func (r *Restic) waitForLock(ctx context.Context, s SetWork, run resticRun, err error) error {
	for pause, left := time.Second, r.patience; hasSignature(err, signatureLocked) && pause <= left; pause *= 2 {
		left -= pause
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		err = r.run(ctx, s, run)
	}
	return err
}

func hasSignature(err error, among ...string) bool {
	var fault *Fault
	return errors.As(err, &fault) && slices.Contains(among, fault.Signature)
}

// run runs restic once. Its error is a Fault.
func (r *Restic) run(ctx context.Context, s SetWork, run resticRun) error {
	program, version, err := r.program(ctx, s.Repository)
	if err != nil {
		return faultOf(ctx, run.doing, err)
	}
	env, err := resticEnv(s.Repository)
	if err != nil {
		return err
	}
	c := command{path: program, args: append(resticOptions(s.Repository), run.args...), env: env}
	switch {
	case run.out != nil:
		c.out = run.out
	case run.told != nil:
		c.line = run.told.line
	}
	running, end := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	if run.moved != nil {
		c.started = func(pid int) { watch.Go(func() { r.watch(running, s, run, pid, end) }) }
	}
	ended, err := c.run(running)
	end(nil)
	watch.Wait()
	if err != nil {
		return faultOf(ctx, run.doing, err)
	}
	if run.said != nil {
		*run.said = ended.said
	}
	return resticFault(version, s, run.doing, ended)
}

// watch tells progress once a second, and ends a restic that stands still because its repository is out of reach: by itself it tries again
// for a quarter of an hour, or waits for good.
func (r *Restic) watch(ctx context.Context, s SetWork, run resticRun, pid int, end context.CancelCauseFunc) {
	moved := run.moved(pid)
	stirs := func() int64 {
		run.told.counted(moved())
		return run.told.soFar() + stirred(pid)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before, since := int64(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch now := stirs(); {
		case now-before >= trickle:
			before, since = now, time.Now()
		case time.Since(since) >= r.reach/2:
			var fault *Fault
			if err := r.opens(ctx, s); errors.As(err, &fault) && fault.Class == Unreachable && stirs()-before < trickle {
				end(fault)
				return
			}
			since = time.Now()
		}
	}
}

// opens is nil when the repository opens in the other half of the time in which it is given up.
func (r *Restic) opens(ctx context.Context, s SetWork) error {
	var config json.RawMessage
	return r.quickly(ctx, s, r.reach/2, &config, "--no-lock", "--json", "cat", "config")
}

// program finds restic and asks its version, once for each binary.
func (r *Restic) program(ctx context.Context, repository Repository) (string, resticVersion, error) {
	path, err := exec.LookPath(cmp.Or(repository.Program, "restic"))
	if err != nil {
		return "", resticVersion{}, &Fault{Failed, "program missing", sentence(fmt.Sprintf(
			"Restic is not on this machine: %v; install it, or name where it is as the program of repository %q", err, repository.Name))}
	}
	key := path
	if info, err := os.Stat(path); err == nil {
		key += info.ModTime().String()
	}
	r.once.Lock()
	defer r.once.Unlock()
	if v, ok := r.known[key]; ok {
		return path, v, nil
	}
	var v resticVersion
	e, err := command{path: path, args: []string{"version"}, line: func(l string) { v = cmp.Or(v, parseResticVersion(l)) }}.run(ctx)
	if err != nil {
		return "", v, err
	}
	if e.exit != 0 {
		return "", v, &Fault{Failed, "program does not run", sentence(fmt.Sprintf(
			"The program %s does not tell its version (exit code %d): %s", filepath.Base(path), e.exit, e.said))}
	}
	r.known[key] = v
	return path, v, nil
}

// resticOptions: the repository's options are restic's extended ones ("sftp.args"), which hold no secrets.
func resticOptions(repository Repository) []string {
	args := []string{"--no-cache"}
	for _, key := range slices.Sorted(maps.Keys(repository.Options)) {
		args = append(args, "--option="+key+"="+repository.Options[key])
	}
	return args
}

// resticSecrets are what restic reads the access to a storage from; the agent's own environment has them.
var resticSecrets = regexp.MustCompile(`^(AWS|AZURE|B2|GOOGLE|OS|ST|RCLONE|RESTIC_REST)_[A-Z0-9_]+=|^SSH_AUTH_SOCK=`)

// resticEnv tells restic what nobody else on the machine may read: a location can hold a password too.
func resticEnv(repository Repository) ([]string, error) {
	file, password, err := repository.password()
	if err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return !resticSecrets.MatchString(v) })
	env = append(env, "RESTIC_REPOSITORY="+repository.Location, "RESTIC_PROGRESS_FPS=1")
	switch {
	case file != "":
		env = append(env, "RESTIC_PASSWORD_FILE="+file)
	case password != "":
		env = append(env, "RESTIC_PASSWORD="+password)
	}
	return env, nil
}
