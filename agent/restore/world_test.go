package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a machine with live data, a repository, an engine, programs, and its agent's folder. It outlives workers.
type site struct {
	*testing.T
	dir     string // live data
	cfg     Config
	machine machine
	backend *fakeBackend
	engine  *fakeEngine

	mu       sync.Mutex
	programs []string         // what was run, in order
	fails    map[string]error // by program
	boot     string
	restarts int
}

func newSite(t *testing.T) *site {
	inMemory(t)
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	x := &site{T: t, dir: filepath.Join(root, "srv"), fails: map[string]error{}, boot: "boot-1"}
	x.backend = &fakeBackend{entered: make(chan string, 1000)}
	x.engine = &fakeEngine{}
	x.cfg = Config{
		StateDir: filepath.Join(root, "state"),
		Host:     "db1",
		BootID:   func() (string, error) { return x.boot, nil },
		Backends: map[string]Backend{"fake": x.backend, "whole": fakeWhole{x.backend}},
		Engines:  map[string]Engine{"fake": x.engine},
		Restart: func() error {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.restarts++
			return nil
		},
	}
	x.machine = machine{
		room: func(string) (string, int64, error) { return "disk", 1 << 40, nil },
		run: func(_ context.Context, argv []string, said string) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.programs = append(x.programs, strings.Join(argv, " "))
			if (argv[0] == "start") != (said != "") {
				return fmt.Errorf("%s says into %q", argv[0], said)
			}
			return x.fails[argv[0]]
		},
		step:  func(string) {},
		moves: canExchange,
	}
	return x
}

// inMemory has temporary folders lie in memory where there is one for it: thousands of syncs are dear on a real disk.
func inMemory(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

func (x *site) open() *Worker {
	x.Helper()
	w, err := newWorker(x.cfg, x.machine)
	if err != nil {
		x.Fatal(err)
	}
	return w
}

// worker is one that is closed with the test.
func (x *site) worker() *Worker {
	x.Helper()
	w := x.open()
	x.Cleanup(w.Close)
	return w
}

// set is a data set with a folder as its target, which lives unless it is named none…
func (x *site) set(name string) SetWork {
	s := SetWork{
		Set:        Set{Name: name, Kind: "files", Target: filepath.Join(x.dir, name), Part: "srv/" + name, Stop: []string{"stop", name}, Start: []string{"start", name}},
		Repository: Repository{Name: "vault", Kind: "fake"},
		Point:      "p1", Level: 2, Size: 1 << 20,
	}
	file := strings.HasPrefix(name, "file")
	if file {
		s.Set.Options = map[string]string{"file": "yes"}
	}
	if !strings.Contains(name, "none") {
		lay(x.T, s.Set.Target, "old", file)
	}
	return s
}

func (x *site) job(id string, sets ...SetWork) Work {
	return Work{Incident: "inc-1", Job: id, Kind: KindRestore, Sets: sets, Timeout: time.Hour}
}

// live is what is at the target of a set, and kept what a Result says is kept of it.
func (x *site) live(name string) string { return holds(x.T, filepath.Join(x.dir, name)) }

func (x *site) remains() (found []string) {
	x.Helper()
	_ = filepath.WalkDir(filepath.Dir(x.dir), func(path string, _ os.DirEntry, _ error) error {
		if base := filepath.Base(path); strings.Contains(base, ".blackstart-new-") || strings.Contains(base, ".blackstart-check-") {
			found = append(found, path)
		}
		return nil
	})
	return found
}

func (x *site) ran() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.programs)
}

// stopped are programs that were stopped and not started since.
func (x *site) stopped() (names []string) {
	down := map[string]bool{}
	for _, line := range x.ran() {
		verb, name, _ := strings.Cut(line, " ")
		down[name] = verb == "stop"
	}
	for name, is := range down {
		if is {
			names = append(names, name)
		}
	}
	return names
}

// ask has a job done and returns where its Result will come.
func ask(w *Worker, work Work) <-chan Result {
	c := make(chan Result, 1)
	w.Do(work, func(r Report) {
		if r.Result != nil {
			c <- *r.Result
		}
	})
	return c
}

func (x *site) await(c <-chan Result) Result {
	x.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(time.Minute):
		buf := make([]byte, 1<<16)
		x.Fatalf("no result within a minute\n%s", buf[:runtime.Stack(buf, true)])
	}
	return Result{}
}

func (x *site) do(w *Worker, work Work) Result {
	x.Helper()
	return x.await(ask(w, work))
}

func (x *site) want(r Result, class, signature string) {
	x.Helper()
	if r.Class != class || r.Signature != signature {
		x.Errorf("ended %s, %q (%s); want %s, %q", r.Class, r.Signature, r.Detail, class, signature)
	}
	for _, s := range r.Sets {
		if strings.Contains(r.Signature, s.Set) {
			x.Errorf("the signature %q names a data set", r.Signature)
		}
	}
}

// fakeBackend restores a folder with one file, or a file, at the set's part.
type fakeBackend struct {
	entered chan string   // the set of every call that began
	hold    chan struct{} // calls wait until it is closed; nil: they do not
	err     error
	panics  bool
	moves   func(Progress) // tells of progress
	writes  string         // other than "new"

	mu           sync.Mutex
	calls        map[string]int // by set
	atOnce, most int
}

func (f *fakeBackend) call(ctx context.Context, s SetWork) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[s.Set.Name]++
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.atOnce--
		f.mu.Unlock()
	}()
	f.entered <- s.Set.Name
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return &Fault{Failed, "killed", "The program was killed."}
		}
	}
	if f.panics {
		panic("a fault")
	}
	return f.err
}

func (f *fakeBackend) count(set string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[set]
}

func (f *fakeBackend) List(ctx context.Context, s SetWork) ([]Point, error) {
	return []Point{{ID: "p2", TakenAt: time.Unix(2, 0)}, {ID: "p1", TakenAt: time.Unix(1, 0)}}, f.call(ctx, s)
}

func (f *fakeBackend) Restore(ctx context.Context, s SetWork, into string, p Progress) error {
	if names, err := os.ReadDir(into); err != nil || len(names) > 0 {
		return fmt.Errorf("the folder is not there or not empty: %v, %w", names, err)
	}
	what := "new"
	if f.writes != "" {
		what = f.writes
	}
	if f.moves != nil {
		f.moves(p)
	}
	path := filepath.Join(into, filepath.FromSlash(s.Set.Part))
	if s.Set.Options["file"] == "" {
		path = filepath.Join(path, "is")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(what), 0o600); err != nil {
		return err
	}
	return f.call(ctx, s)
}

// fakeWhole is a backend that can do everything.
type fakeWhole struct{ *fakeBackend }

func (f fakeWhole) Check(ctx context.Context, s SetWork, _ Progress) (string, error) {
	return fmt.Sprintf("fake check %d/%d", s.Part, s.Parts), f.call(ctx, s)
}

func (f fakeWhole) Hold(ctx context.Context, s SetWork) error { return f.call(ctx, s) }

func (f fakeWhole) Size(context.Context, SetWork) (int64, error) { return 5000, nil }

// fakeEngine passes what says "new".
type fakeEngine struct {
	moment time.Time
	err    error
	below  int // levels that it does not reach
	mu     sync.Mutex
	saw    []string
}

func (f *fakeEngine) note(what, dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saw = append(f.saw, what+" "+filepath.Base(dir))
}

func (f *fakeEngine) Prepare(_ context.Context, _ SetWork, dir string) (time.Time, error) {
	f.note("prepare", dir)
	return f.moment, nil
}

func (f *fakeEngine) Check(_ context.Context, _ SetWork, dir string, level int) ([]Check, error) {
	f.note("check", dir)
	if f.err != nil {
		return nil, f.err
	}
	data, err := os.ReadFile(dir)
	if err != nil {
		data, err = os.ReadFile(filepath.Join(dir, "is"))
	}
	if err != nil {
		return nil, err
	}
	var checks []Check
	for l := 3; l <= level-f.below; l++ {
		checks = append(checks, Check{Level: l, OK: string(data) == "new", By: "fake", Detail: "it says " + string(data)})
		if string(data) != "new" {
			break
		}
	}
	return checks, nil
}
