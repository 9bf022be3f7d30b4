package lab

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/agent/restore"
)

// fakeVault stands for backup repositories and the lines to them. Each lists one image of every machine that has one. A restore takes
// as long as its image takes through the bandwidth that all restores of the repository share; that time is the scenario's. What is
// written is real: the machine's disk as it was before the bad update. So is everything around it: the agent's worker claims the job,
// restores beside, swaps, and runs the programs that stop and start the machine.
type fakeVault struct {
	lab   *Lab
	lines map[string]*line // by repository
}

// imageAge is how old the images are when the bad update lands.
const imageAge = 7 * time.Hour

func newVault(l *Lab, repositories map[string]int64) *fakeVault {
	v := &fakeVault{lab: l, lines: make(map[string]*line)}
	for name, rate := range repositories {
		v.lines[name] = &line{rate: float64(rate) * l.speed, under: make(map[*transfer]struct{}), moved: make(chan struct{})}
	}
	return v
}

// slowest is the smallest of the repositories' rates.
func slowest(repositories map[string]int64) int64 {
	least := int64(math.MaxInt64)
	for _, rate := range repositories {
		least = min(least, rate)
	}
	return least
}

// find returns the machine whose image a job is about, and the line to where the image lies.
func (v *fakeVault) find(s restore.SetWork) (*machine, *line, error) {
	m, l := v.lab.byName[s.Set.Host], v.lines[s.Repository.Name]
	if m == nil || l == nil || m.spec.Image == 0 || s.Point != "" && s.Point != m.imageID() {
		return nil, nil, &restore.Fault{Class: restore.Failed, Signature: "restore point gone", Detail: fmt.Sprintf(
			"The simulated repository %s holds no such image of %s.", s.Repository.Name, s.Set.Host)}
	}
	return m, l, nil
}

func (m *machine) imageID() string { return "image-" + m.spec.Name }

// List implements restore.Backend.
func (v *fakeVault) List(_ context.Context, s restore.SetWork) ([]restore.Point, error) {
	m, _, err := v.find(s)
	if err != nil {
		return nil, nil //nolint:nilerr // a repository without an image of a machine is a repository
	}
	return []restore.Point{{ID: m.imageID(), Kind: "image", TakenAt: v.lab.story.Clock.Add(-imageAge), Size: m.spec.Image}}, nil
}

// Size implements restore.Sizer.
func (v *fakeVault) Size(_ context.Context, s restore.SetWork) (int64, error) {
	m, _, err := v.find(s)
	if err != nil {
		return 0, err
	}
	return m.spec.Image, nil
}

// Restore implements restore.Backend.
func (v *fakeVault) Restore(ctx context.Context, s restore.SetWork, into string, told restore.Progress) error {
	m, l, err := v.find(s)
	if err != nil {
		return err
	}
	if err := l.carry(ctx, m.spec.Image, told); err != nil {
		return err
	}
	_, err = newDisk(into, m.spec, m.disk.content, m.disk.upper)
	return err
}

// Check implements restore.Checker. Nothing is damaged here.
func (v *fakeVault) Check(context.Context, restore.SetWork, restore.Progress) (string, error) {
	return "simulated check of the repository", nil
}

// Hold implements restore.Holder. Nothing expires here.
func (v *fakeVault) Hold(context.Context, restore.SetWork) error { return nil }

// line is what lies between a repository and those who restore from it: whoever is under way has an equal share of the rate.
type line struct {
	rate float64 // bytes per second of real time

	mu    sync.Mutex
	at    time.Time // until when what is under way was reckoned
	under map[*transfer]struct{}
	moved chan struct{} // closed when somebody begins or ends, and so the shares change
}

// transfer is one restore under way.
type transfer struct{ left float64 } // bytes

// carry returns when size bytes have come through.
func (l *line) carry(ctx context.Context, size int64, told restore.Progress) error {
	t := &transfer{left: float64(size)}
	l.change(func() { l.under[t] = struct{}{} })
	defer l.change(func() { delete(l.under, t) })
	for {
		left, wait, moved := l.look(t)
		told(size-int64(math.Ceil(left)), size)
		if left == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-moved:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// look says how much a transfer has before it, how long that takes if nothing changes, and what tells of a change.
func (l *line) look(t *transfer) (left float64, wait time.Duration, moved <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reckon()
	if t.left < 1 {
		return 0, 0, l.moved
	}
	return t.left, time.Duration(t.left * float64(len(l.under)) / l.rate * float64(time.Second)), l.moved
}

// change lets somebody begin or end.
func (l *line) change(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reckon()
	what()
	close(l.moved)
	l.moved = make(chan struct{})
}

// reckon brings everything under way up to now.
func (l *line) reckon() {
	now := time.Now()
	if n := len(l.under); n > 0 {
		each := now.Sub(l.at).Seconds() * l.rate / float64(n)
		for t := range l.under {
			t.left = max(t.left-each, 0)
		}
	}
	l.at = now
}
