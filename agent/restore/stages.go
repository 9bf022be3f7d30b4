package restore

import (
	"context"
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

// task is one job at work. It is for one goroutine.
type task struct {
	*Worker
	*job
	claim  *claim
	places []place
	sizes  []int64     // bytes that each set will write; 0: unknown
	sets   []SetResult // what has come of each so far
	points []Point
	done   int64 // bytes of the sets that are restored
}

// do is a job as a checklist.
func (t *task) do() *Result {
	if err := t.open(); err != nil {
		return t.lost(err)
	}
	fault := t.plan()
	if err := t.takeTurn(); errors.Is(err, errClosing) {
		return nil
	}
	if t.claim == nil {
		if err := t.make(); err != nil {
			return t.result(&Fault{Failed, "job cannot be claimed", fmt.Sprintf("The job cannot be claimed in %s: %v; make room or correct the rights.", t.dir, err)})
		}
	} else if r := t.takeUp(); r != nil {
		return t.keep(r)
	}
	if t.forget(t.job) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(t.job.ctx, jobTime(t.work.Timeout), errOutOfTime)
	defer cancel()
	var err error = fault
	if fault == nil || ctx.Err() != nil {
		err = t.perform(ctx)
	}
	if t.claim.record.Stage == swapping {
		return t.keep(t.finish())
	}
	if err != nil && errors.Is(context.Cause(ctx), errClosing) {
		t.startAgain()
		return nil
	}
	t.undo()
	return t.keep(t.result(because(ctx, err)))
}

// jobTime is how long a job may take.
func jobTime(asked time.Duration) time.Duration {
	if asked <= 0 || asked > longest {
		return longest
	}
	return asked
}

// perform does what the job is for. A restore that comes back with its claim at swapping is to be finished; after every other end of it, and
// of everything else, nothing that is live was changed.
func (t *task) perform(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch t.work.Kind {
	case KindRestore:
		return t.restore(ctx)
	case KindCheck:
		return t.check(ctx)
	case KindList:
		return t.list(ctx)
	default: // plan knows the kinds
		return t.hold(ctx)
	}
}

// restore goes up to the swap.
func (t *task) restore(ctx context.Context) error {
	for _, step := range []func(context.Context) error{t.findRoom, t.restoreBeside, t.stopPrograms, t.commit} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// open reads the claim, if there is one.
func (t *task) open() (err error) {
	if !t.known {
		return nil
	}
	if t.claim, err = openClaim(t.dir, t.name, t.step); err != nil {
		return err
	}
	switch asked, kept := t.work, t.claim.work; {
	case kept.Job == "": // it was cut short in its making, and begins now
		t.claim.work = asked
		return t.claim.keep(workFile, asked)
	case claimName(kept.Incident, kept.Job) != t.name:
		return fmt.Errorf("it is the claim of job %q of incident %q", clean(kept.Job, 100), clean(kept.Incident, 100))
	default:
		if left := asked.Timeout; left > 0 && (kept.Timeout <= 0 || left < kept.Timeout) {
			kept.Timeout = left // who asks waits no longer
		}
		t.mu.Lock()
		t.work = kept
		t.mu.Unlock()
	}
	return nil
}

// make claims the job.
func (t *task) make() (err error) {
	t.claim, err = makeClaim(t.dir, t.name, t.work, t.step)
	if err == nil {
		t.onDisk(t.name, false)
	}
	return err
}

// takeTurn waits for the job's turn. One that has something to take care of cannot be stopped before it has.
func (t *task) takeTurn() error {
	ctx := t.job.ctx
	places := t.places
	if t.claim != nil {
		ctx, places = t.Worker.ctx, append(slices.Clone(places), t.claim.record.Places...)
	}
	var targets []string
	for _, p := range places {
		if p.Target != "" {
			targets = append(targets, p.Target)
		}
	}
	return t.wait(ctx, t.job, targets)
}

// findRoom finds out how much will be written, and that there is room for it.
func (t *task) findRoom(ctx context.Context) error {
	t.at(t.job, "looking for room")
	t.sizes = make([]int64, len(t.work.Sets))
	for i, s := range t.work.Sets {
		if t.places[i].Beside == "" {
			continue // it is only read
		}
		t.sizes[i] = max(0, s.Size)
		sizer, ok := t.cfg.Backends[s.Repository.Kind].(Sizer)
		if t.sizes[i] > 0 || !ok {
			continue
		}
		size, err := sizer.Size(ctx, s)
		if err != nil {
			return err
		}
		t.sizes[i] = max(0, size)
	}
	if err := t.reserve(t.job, t.places, t.sizes); err != nil {
		return err
	}
	for _, p := range t.places {
		for _, path := range []string{p.Beside, p.Old} {
			if path == "" {
				continue
			}
			if _, err := os.Lstat(path); !isNothing(err) {
				return &Fault{Failed, "something is in the way", fmt.Sprintf("%s is there already, perhaps from a job whose claim is gone; look at it, and move it away.", path)}
			}
		}
	}
	t.claim.record.Places = t.places
	return t.claim.to(restoring)
}

// restoreBeside has every set restored, made ready and checked, and on the disk for good.
func (t *task) restoreBeside(ctx context.Context) error {
	for i := range t.work.Sets {
		if err := t.restoreSet(ctx, i); err != nil {
			return err
		}
	}
	for i, p := range t.places {
		t.at(t.job, "flushing "+t.work.Sets[i].Set.Name+" to disk")
		if err := flush(p.Beside); err != nil {
			return local(err)
		}
		t.step("flushed")
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// restoreSet restores one set into its place, makes it ready, and checks it.
func (t *task) restoreSet(ctx context.Context, i int) error {
	s, p, r := t.work.Sets[i], t.places[i], &t.sets[i]
	t.at(t.job, "restoring "+s.Set.Name)
	if err := os.MkdirAll(filepath.Dir(p.Beside), 0o755); err != nil {
		return local(err)
	}
	if err := os.Mkdir(p.Beside, 0o711); err != nil {
		return local(err)
	}
	t.step("beside made")
	if err := t.cfg.Backends[s.Repository.Kind].Restore(ctx, s, p.Beside, t.progress(i)); err != nil {
		t.checked(i, Check{Level: 2, By: "restore"}, err)
		return err
	}
	r.Bytes = t.written(t.job, i)
	t.done += r.Bytes
	t.step("restored")
	if err := pick(p); err != nil {
		t.checked(i, Check{Level: 2, By: "restore"}, err)
		return err
	}
	if e := t.cfg.Engines[s.Set.Engine]; e != nil {
		t.at(t.job, "preparing "+s.Set.Name)
		moment, err := e.Prepare(ctx, s, p.New)
		if err != nil {
			t.checked(i, Check{Level: 2, By: "restore"}, err)
			return err
		}
		if r.Moment = moment; !moment.IsZero() {
			s.Moment = moment // what the checks measure by
		}
		t.step("prepared")
	}
	r.Checks = append(r.Checks, Check{Level: 2, OK: true, At: time.Now(), By: "restore", Moment: r.Moment})
	if s.Level < 3 {
		return nil
	}
	t.at(t.job, "checking "+s.Set.Name)
	checks, err := t.cfg.Engines[s.Set.Engine].Check(ctx, s, p.New, s.Level)
	r.Checks = append(r.Checks, checks...)
	if err != nil {
		return err
	}
	t.step("checked")
	return passed(s, checks)
}

// passed holds what the engine says against what is asked: silence is no pass.
func passed(s SetWork, checks []Check) error {
	best := 0
	for _, c := range checks {
		if !c.OK {
			return &Fault{Failed, SignatureCheckFailed, fmt.Sprintf("%s did not pass %s (L%d): %s", s.Set.Name, clean(c.By, 200), c.Level, sentence(c.Detail))}
		}
		best = max(best, c.Level)
	}
	if best < s.Level {
		return &Fault{Failed, "not checked far enough", fmt.Sprintf("%s was to be checked to L%d, and the engine %s checked to L%d only.", s.Set.Name, s.Level, s.Set.Engine, best)}
	}
	return nil
}

// checked notes a check that a damaged point has failed. Another error says nothing about the point.
func (t *task) checked(i int, c Check, err error) {
	var f *Fault
	if errors.As(err, &f) && f.Signature == SignatureDamagedPoint {
		c.At, c.Detail = time.Now(), f.Detail
		t.sets[i].Checks = append(t.sets[i].Checks, c)
	}
}

// progress is what the backend tells of set i.
func (t *task) progress(i int) Progress {
	return func(done, total int64) {
		of, all := max(done, 0), t.done
		for k, size := range t.sizes {
			switch {
			case k == i && total > 0:
				size = total
			case k < i:
				size = 0 // is in t.done
			case size == 0:
				all = -1
			}
			if all >= 0 {
				all += size
			}
		}
		t.moved(t.job, i, of, t.done+of, max(all, 0))
	}
}

// pick sees that what is to become the target was restored, and is a file or folder of its own and not empty: that a program ended well is
// only a claim.
func pick(p place) error {
	for path := p.Beside; ; {
		info, err := os.Lstat(path)
		if isNothing(err) {
			return &Fault{Failed, "part not in the restore point", fmt.Sprintf("The restore point holds no %s; correct the data set's part, or choose another point.", strings.TrimPrefix(p.New, p.Beside))}
		}
		if err != nil {
			return local(err)
		}
		switch {
		case path == p.New && info.Mode().IsRegular():
			return nil
		case !info.IsDir():
			return &Fault{Failed, "part not in the restore point", fmt.Sprintf("In the restore point %s is neither a file nor a folder; correct the data set's part.", strings.TrimPrefix(path, p.Beside))}
		case path == p.New:
			return notEmpty(path)
		}
		rest := strings.TrimPrefix(p.New, withSlash(path))
		first, _, _ := strings.Cut(rest, string(filepath.Separator))
		path = filepath.Join(path, first)
	}
}

func notEmpty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return local(err)
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); errors.Is(err, io.EOF) {
		return &Fault{Failed, "nothing was restored", "The restore claims to have succeeded, and there is nothing in its folder; look at the data set's source and part."}
	} else if err != nil {
		return local(err)
	}
	return nil
}

// stopPrograms stops what uses the targets. A swap below something that still runs is none.
func (t *task) stopPrograms(ctx context.Context) error {
	programs := commands(t.work.Sets, func(s Set) []string { return s.Stop })
	slices.Reverse(programs)
	if err := t.claim.to(stopping); err != nil {
		return err
	}
	t.at(t.job, "stopping programs")
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	for _, argv := range programs {
		if err := t.run(ctx, argv, ""); err != nil {
			return &Fault{Failed, "stop failed", fmt.Sprintf("%s failed, so nothing was swapped: %s", strings.Join(argv, " "), sentence(err.Error()))}
		}
		t.step("program stopped")
	}
	return nil
}

// commit is the last moment to turn back: the programs stand still, so what is at the targets now is what will be kept.
func (t *task) commit(ctx context.Context) error {
	for i := range t.places {
		p := &t.places[i]
		live, err := os.Lstat(p.Target)
		if err != nil && !isNothing(err) {
			return local(err)
		}
		fresh, err2 := os.Lstat(p.New)
		if err2 != nil {
			return local(err2)
		}
		if p.Existed = err == nil; !p.Existed {
			p.Inode = inode(fresh)
			continue
		}
		if live.IsDir() != fresh.IsDir() || !live.IsDir() && !live.Mode().IsRegular() {
			return &Fault{Failed, "target is another kind of thing", fmt.Sprintf("%s is %s and what was restored is %s; correct the data set's target or part.", p.Target, kindOf(live), kindOf(fresh))}
		}
		p.Sides = nil
		if live.Mode().IsRegular() {
			p.Sides = sidesOf(p.Target)
		}
		if p.New == p.Beside {
			if err := dressAs(p.New, live); err != nil {
				return local(err)
			}
		}
		if p.Inode = inode(fresh); inode(live) == p.Inode {
			p.Inode = 0
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	sets := slices.Clone(t.sets)
	for i, p := range t.places {
		sets[i].Swapped = true
		if p.Existed {
			sets[i].Kept = p.Old
		}
	}
	t.claim.record.Places, t.claim.record.Sets = t.places, sets
	return t.claim.to(swapping)
}

func kindOf(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "a folder"
	case info.Mode().IsRegular():
		return "a file"
	}
	return "neither a file nor a folder"
}

// finish brings a swap that has begun to its end, from whatever stage of it: forward, or back when it cannot go forward. Nothing stops it.
func (t *task) finish() *Result {
	c := t.claim
	t.places, t.sets = c.record.Places, c.record.Sets
	m := mover{exchanges: t.moves, step: t.step, fail: t.fail}
	if c.record.Stage == swapping {
		t.at(t.job, "swapping")
		for i, p := range t.places {
			if err := p.swapIn(m); err != nil {
				c.record.Failure = &Fault{Failed, "swap failed", fmt.Sprintf("%s could not be swapped in, and everything is as it was: %s", c.work.Sets[i].Set.Name, sentence(err.Error()))}
				break
			}
		}
		if c.record.Failure != nil {
			t.note(unswapping)
		} else {
			t.note(swapped)
		}
	}
	if c.record.Stage == unswapping {
		t.at(t.job, "swapping back")
		for i, p := range slices.Backward(t.places) {
			if err := p.swapOut(m); err != nil {
				return t.result(&Fault{Lost, "swap is stuck half-way", fmt.Sprintf(
					"%s could be swapped neither forward nor back, and the programs stand still: %s The old data is at %s or %s: put it where it belongs by hand.",
					c.work.Sets[i].Set.Name, sentence(err.Error()), p.Target, p.Old)})
			}
			t.sets[i].Swapped, t.sets[i].Kept = false, ""
		}
		t.note(unswapped)
	}
	fault := c.record.Failure
	if err := t.startPrograms(); err != nil && fault != nil {
		fault.Detail += " The programs could not be started again: " + sentence(err.Error())
	} else if err != nil {
		fault = &Fault{Failed, "start failed after the swap", fmt.Sprintf("The restored data is live and the old is kept, and the programs could not be started: %s", sentence(err.Error()))}
	}
	t.sweep()
	if fault != nil {
		return t.result(fault)
	}
	return t.result(nil)
}

// note goes on to a stage of the swap. A crash finds the earlier stage when the disk does not take it, and goes through it again.
func (t *task) note(s stage) {
	if err := t.claim.to(s); err != nil {
		t.cfg.Log.Error("the swap goes on unrecorded", "job", t.name, "error", err)
		t.claim.record.Stage = s
	}
}

// takeUp takes care of what an earlier process has left. With a Result there is nothing more to do.
func (t *task) takeUp() *Result {
	switch t.claim.record.Stage {
	case swapping, swapped, unswapping, unswapped:
		return t.finish()
	case restoring, stopping:
		t.undo()
	}
	return nil
}

// undo takes away what a job has left that did not come to its swap, and starts the programs that it may have stopped.
func (t *task) undo() {
	t.startAgain()
	t.sweep()
}

// startAgain starts the programs of a job that was about to swap.
func (t *task) startAgain() {
	if t.claim.record.Stage != stopping {
		return
	}
	if err := t.startPrograms(); err != nil {
		t.cfg.Log.Error("programs could not be started again; start them by hand", "job", t.name, "error", err)
		return // the next process tries again
	}
	t.note(restoring)
}

// sweep removes what lies beside. There is never old or live data in it.
func (t *task) sweep() {
	for _, p := range t.claim.record.Places {
		t.sweepOne(p)
	}
}

func (t *task) sweepOne(p place) {
	if err := os.RemoveAll(p.Beside); err != nil {
		t.cfg.Log.Error("what a job left beside cannot be removed; remove it by hand", "job", t.name, "path", p.Beside, "error", err)
	}
	t.step("beside removed")
}
