//go:build unix

package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blackstart-recovery/blackstart/agent/restore"
)

// vaultWorld is a lab whose first machine h1 is a helper that is never hit, and the others have an image each.
func vaultWorld(t *testing.T, n int) (*world, *restore.Worker) {
	t.Helper()
	list := hosts(n)
	for i := range list[1:] {
		list[i+1].Image = 1 << 20
	}
	w := start(t, list, "never-hit: {hosts: [h1]}\n", func(c *Config) {
		c.Repositories = map[string]int64{"images": 10 << 10} // 100 s of the scenario's time for an image
	})
	worker, err := restore.New(restore.Config{StateDir: filepath.Join(t.TempDir(), "state"), Host: "h1", Backends: map[string]restore.Backend{"restic": w.vault}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Close)
	return w, worker
}

// imageJob restores a machine's image onto its disk.
func (w *world) imageJob(host, point string) restore.Work {
	w.Helper()
	disk, err := w.Disk(host)
	if err != nil {
		w.Fatal(err)
	}
	off, on := w.Power(host)
	return restore.Work{Incident: "i1", Job: host + "/1", Kind: restore.KindRestore, Timeout: time.Minute, Sets: []restore.SetWork{{
		Set:        restore.Set{Name: host + "-image", Host: host, Kind: "image", Target: disk, Stop: off, Start: on},
		Repository: restore.Repository{Name: "images", Kind: "restic"}, Point: point, Level: 2, Size: 1 << 20,
	}}}
}

// do has a job done and returns its result.
func (w *world) do(worker *restore.Worker, job restore.Work) restore.Result {
	w.Helper()
	results := make(chan restore.Result, 1)
	worker.Do(job, func(r restore.Report) {
		if r.Result != nil {
			results <- *r.Result
		}
	})
	select {
	case r := <-results:
		return r
	case <-w.ctx.Done():
		w.Fatal("the job does not end")
		return restore.Result{}
	}
}

// A machine whose disk was restored comes up by itself, in another boot, and what was on its disk is kept.
func TestARestoredMachineComesUp(t *testing.T) {
	w, worker := vaultWorld(t, 2)
	w.await("h2", func(m Truth) bool { return m.Bad > 0 && m.Boots > 1 })
	disk, err := w.Disk("h2")
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(disk, "not-in-the-image")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	points, err := w.vault.List(w.ctx, w.imageJob("h2", "").Sets[0])
	if err != nil || len(points) != 1 || points[0].Size != 1<<20 || !points[0].TakenAt.Before(w.Now()) {
		t.Fatalf("%v, %v", points, err)
	}
	r := w.do(worker, w.imageJob("h2", points[0].ID))
	if r.Class != restore.Succeeded || len(r.Sets) != 1 || !r.Sets[0].Swapped || r.Sets[0].Bytes != 1<<20 {
		t.Fatalf("%+v", r)
	}
	w.await("h2", func(m Truth) bool { return m.Up && m.Bad == 0 })
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the disk is the old one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.Sets[0].Kept, "not-in-the-image")); err != nil {
		t.Errorf("the old disk is not kept: %v", err)
	}
}

// What lies in no repository cannot be restored, and the machine goes on as it was.
func TestAMachineWithoutAnImage(t *testing.T) {
	w, worker := vaultWorld(t, 2)
	if points, err := w.vault.List(w.ctx, w.imageJob("h1", "").Sets[0]); err != nil || points != nil {
		t.Errorf("%v, %v", points, err)
	}
	if r := w.do(worker, w.imageJob("h2", "image-h1")); r.Class != restore.Failed || !strings.Contains(r.Detail, "h2") {
		t.Errorf("%+v", r)
	}
	if m := w.byName["h2"].truth(); m.Up || m.State == Off {
		t.Errorf("%+v", m)
	}
}

// All that is under way has an equal share of the line, and nothing of it is lost.
func TestRestoresShareTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{rate: 100, under: map[*transfer]struct{}{}, moved: make(chan struct{})}
		begun := time.Now()
		var mu sync.Mutex
		ended := map[string]time.Duration{}
		last := map[string]int64{}
		run := func(name string, size int64) {
			if err := l.carry(t.Context(), size, func(done, _ int64) {
				mu.Lock()
				defer mu.Unlock()
				last[name] = done
			}); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ended[name] = time.Since(begun).Round(10 * time.Millisecond)
		}
		go run("a", 1000)           // alone for 5 s, then half, and alone again when b has ended
		time.Sleep(5 * time.Second) //nolint:forbidigo // in a synctest bubble
		go run("b", 200)
		time.Sleep(time.Minute) //nolint:forbidigo // in a synctest bubble
		mu.Lock()
		defer mu.Unlock()
		if ended["b"] != 9*time.Second || ended["a"] != 12*time.Second || last["a"] != 1000 || last["b"] != 200 {
			t.Errorf("ended %v with %v", ended, last)
		}
	})
}

// A restore that is let go of gives its share back.
func TestARestoreThatIsLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{rate: 100, under: map[*transfer]struct{}{}, moved: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		go func() {
			if err := l.carry(ctx, 1000, func(int64, int64) {}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if err := l.carry(t.Context(), 1000, func(int64, int64) {}); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun).Round(10 * time.Millisecond); took != 11*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// Power that is switched twice the same way is switched once, and after the lab's end nothing starts.
func TestPowerOfAMachine(t *testing.T) {
	w, _ := vaultWorld(t, 2)
	m := w.byName["h1"]
	w.await("h1", func(m Truth) bool { return m.Up })
	m.switchOn()
	if now := m.truth(); !now.Up || now.Boots != 1 {
		t.Errorf("on when on: %+v", now)
	}
	m.switchOff()
	m.switchOff()
	if now := m.truth(); now.State != Off {
		t.Errorf("off: %+v", now)
	}
	m.switchOn()
	w.await("h1", func(m Truth) bool { return m.Up && m.Boots == 2 })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.switchOn()
	if now := m.truth(); now.State != Off {
		t.Errorf("after the end: %+v", now)
	}
}

func TestALineNeedsBandwidth(t *testing.T) {
	w, err := New(Config{Scenario: scenario(t, testScenario), AuthorizedKey: start(t, hosts(1), "").login.PublicKey(), Dir: filepath.Join(t.TempDir(), "lab"), Repositories: map[string]int64{"images": 0}})
	if err == nil || !strings.Contains(err.Error(), "bandwidth") {
		t.Errorf("%v, %v", w, err)
	}
}
