//go:build e2e && linux

package restore

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// resticWorld is a real repository of the restic that is installed.
type resticWorld struct {
	*Restic
	work     SetWork
	location string
	password string // file that holds it
	days     int    // with a point
}

const resticSecret = "correct-horse"

func newResticWorld(t *testing.T) *resticWorld {
	t.Helper()
	if _, err := exec.LookPath("restic"); err != nil {
		wanted(t, "restic is not installed")
	}
	dir := t.TempDir()
	w := &resticWorld{Restic: NewRestic(), location: filepath.Join(dir, "repository"), password: filepath.Join(dir, "password")}
	plant(t, dir, map[string]string{"password": resticSecret})
	w.work = SetWork{
		Set:        Set{Name: "files", Host: "db1", Kind: "files", Source: "host=db1,tag=nightly"},
		Repository: Repository{Name: "vault", Kind: "restic", Location: w.location, Password: "file:" + w.password},
	}
	w.patience = 0 // what is locked in a test stays so
	w.restic(t, "init", "--quiet")
	return w
}

// hand is restic as a person starts it.
func (w *resticWorld) hand(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "restic", append([]string{"--no-cache"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_REPOSITORY="+w.location, "RESTIC_PASSWORD_FILE="+w.password)
	return cmd
}

func (w *resticWorld) restic(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.hand(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("restic %s: %v: %s", args, err, out)
	}
	return string(out)
}

func (w *resticWorld) take(t *testing.T, tree string, at time.Time) string {
	t.Helper()
	w.restic(t, "backup", "--quiet", "--host=db1", "--tag=nightly,pg", "--time="+at.Format(time.DateTime), tree)
	return tree
}

// point takes one, a day after the last, of a folder with a file of size bytes, and returns the work on it.
func (w *resticWorld) point(t *testing.T, size int) (s SetWork, tree string) {
	t.Helper()
	tree = t.TempDir()
	noise(t, filepath.Join(tree, "noise"), size)
	w.days++
	w.take(t, tree, time.Date(2026, 3, w.days, 2, 0, 0, 0, time.UTC))
	points, err := w.List(t.Context(), w.work)
	if err != nil || len(points) == 0 {
		t.Fatalf("listed %v, %v", points, err)
	}
	s = w.work
	s.Point = points[len(points)-1].ID
	return s, tree
}

// packs are the files of the repository that hold data, the largest first.
func (w *resticWorld) packs(t *testing.T) []string {
	t.Helper()
	var packs []string
	sizes := make(map[string]int64)
	err := filepath.WalkDir(filepath.Join(w.location, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			packs, sizes[path] = append(packs, path), info.Size()
		}
		return err
	})
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	slices.SortFunc(packs, func(a, b string) int { return int(sizes[b] - sizes[a]) })
	return packs
}

// rot turns bytes in the middle of a file.
func rot(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		data[len(data)/3+i] ^= 0xff
	}
	if err := os.Remove(path); err != nil { // restic's files are read-only
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o400); err != nil {
		t.Fatal(err)
	}
}

func (w *resticWorld) locks(t *testing.T) []string {
	t.Helper()
	return entriesOf(t, filepath.Join(w.location, "locks"))
}

// noise writes a file that no compression makes smaller, unlike any other.
func noise(t *testing.T, path string, size int) {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestResticConforms(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	conform(t, conformWorld{
		backend: w.Restic,
		work:    w.work,
		take:    w.take,
		wrong: func(*testing.T) SetWork {
			s := w.work
			s.Repository.Password = "env:PATH" // what it holds is not the password
			return s
		},
		secrets: []string{resticSecret, os.Getenv("PATH")},
		marked:  "RESTIC_REPOSITORY=" + w.location,
		unreachable: func(t *testing.T) SetWork {
			s := w.work
			s.Repository.Location = filepath.Join(t.TempDir(), "not-mounted")
			return s
		},
		damage:            func(t *testing.T) { rot(t, w.packs(t)[0]) },
		restoreSeesDamage: true,
		held: func(t *testing.T, id string) bool {
			// The retention that Restic's comment asks for, tried only: it would keep nothing but the newest of another tag, and the held.
			var groups []struct{ Keep []snapshot }
			out, err := w.hand(t, "forget", "--json", "--dry-run", "--keep-tag="+holdTag("INC-2026/03 02,a"), "--keep-tag=none-has-this").Output()
			if err := json.NewDecoder(bytes.NewReader(out)).Decode(&groups); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				if slices.ContainsFunc(g.Keep, func(sn snapshot) bool { return sn.point() == id }) {
					return true
				}
			}
			return false
		},
	})
	if locks := w.locks(t); len(locks) > 0 {
		t.Errorf("locks %v were left in the repository", locks)
	}
}

// A missing pack is found by a restore and by a check, each after restic's own retries, which take most of a minute. The tests that sit
// these out do so side by side.
func TestResticMissingPackInRestore(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, _ := w.point(t, 8<<20)
	if err := os.Remove(w.packs(t)[0]); err != nil {
		t.Fatal(err)
	}
	isFault(t, conformWorld{}, w.Restore(t.Context(), s, t.TempDir(), nil), Failed, SignatureDamagedPoint)
}

func TestResticMissingPackInCheck(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, _ := w.point(t, 8<<20)
	if err := os.Remove(w.packs(t)[0]); err != nil {
		t.Fatal(err)
	}
	_, err := w.Check(t.Context(), s, nil)
	isFault(t, conformWorld{}, err, Failed, SignatureDamagedPoint)
}

// Every pack is read by one of the parts, and only damage in the part that is read is found.
func TestResticChecksAllPartsOfARepository(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, _ := w.point(t, 64<<20)
	pack := w.packs(t)[0]
	rot(t, pack)
	const parts = 3
	var found []int
	for n := 1; n <= parts; n++ {
		s.Part, s.Parts = n, parts
		by, err := w.Check(t.Context(), s, nil)
		if err != nil {
			isFault(t, conformWorld{}, err, Failed, SignatureDamagedPoint)
			found = append(found, n)
		}
		if want := "restic check " + string(rune('0'+n)) + "/3"; by != want {
			t.Errorf("checked by %q, want %q", by, want)
		}
	}
	if len(found) != 1 {
		t.Errorf("one pack is damaged; parts %v found it", found)
	}
	for _, c := range []struct{ part, parts int }{{4, 3}, {0, 3}, {1, 257}, {1, -1}} {
		s.Part, s.Parts = c.part, c.parts
		_, err := w.Check(t.Context(), s, nil)
		isFault(t, conformWorld{}, err, Failed, "no such part of a repository")
	}
}

// A rotten pack makes bad the points whose data it holds, and no other.
func TestResticDamageIsOfThePointsThatNeedIt(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	old, _ := w.point(t, 1<<20)
	before := w.packs(t)
	recent, _ := w.point(t, 1<<20)
	for _, pack := range w.packs(t) {
		if data, err := os.ReadFile(pack); err != nil {
			t.Fatal(err)
		} else if !slices.Contains(before, pack) && len(data) > 1<<19 {
			rot(t, pack)
		}
	}
	_, err := w.Check(t.Context(), recent, nil)
	isFault(t, conformWorld{}, err, Failed, SignatureDamagedPoint)
	_, err = w.Check(t.Context(), old, nil)
	isFault(t, conformWorld{}, err, Failed, signatureOther)
}

// exclusive starts a check of restic 0.14 that holds the exclusive lock until it is ended.
func (w *resticWorld) exclusive(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := w.hand(t, "--limit-download=1", "check", "--read-data")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "the lock is there", func() bool { return len(w.locks(t)) == 1 })
	return cmd
}

// until waits for what another process does; it has no event to wait for.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still not so after a minute: %s", what)
		}
	}
}

func TestResticLockedRepository(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, tree := w.point(t, 4<<20)
	other := w.exclusive(t)
	t.Run("RestoreWaitsForAnotherTry", func(t *testing.T) {
		into := t.TempDir()
		isFault(t, conformWorld{}, w.Restore(t.Context(), s, into, nil), Unreachable, signatureLocked)
		isEmpty(t, into)
	})
	t.Run("HoldToo", func(t *testing.T) {
		s := s
		s.Hold = "INC-1"
		isFault(t, conformWorld{}, w.Hold(t.Context(), s), Unreachable, signatureLocked)
	})
	t.Run("ListAndCheckNeedNoLock", func(t *testing.T) {
		if points, err := w.List(t.Context(), w.work); err != nil || len(points) != 1 {
			t.Errorf("listed %v, %v", points, err)
		}
		if _, err := w.Check(t.Context(), s, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("DamageMayBeAPruneAtWork", func(t *testing.T) {
		pack := w.packs(t)[0]
		sound, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		rot(t, pack)
		_, err = w.Check(t.Context(), s, nil)
		isFault(t, conformWorld{}, err, Unreachable, signatureLocked)
		if err := os.Remove(pack); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pack, sound, 0o400); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("TheLockOfADeadProcessIsTakenAway", func(t *testing.T) {
		if err := other.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = other.Wait()
		if len(w.locks(t)) != 1 {
			t.Fatal("a killed restic leaves its lock")
		}
		into := t.TempDir()
		if err := w.Restore(t.Context(), s, into, nil); err != nil {
			t.Fatal(err)
		}
		sameTree(t, tree, filepath.Join(into, tree), nil)
		if locks := w.locks(t); len(locks) > 0 {
			t.Errorf("locks %v are left", locks)
		}
	})
}

// Nothing can be written to an off-site copy that is mounted read-only: it is restored from without a lock.
func TestResticReadOnlyRepository(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, tree := w.point(t, 1<<20)
	mounted := t.TempDir()
	mount(t, "--bind", w.location, mounted)
	mount(t, "-o", "remount,bind,ro", mounted)
	s.Repository.Location = mounted
	into := t.TempDir()
	if err := w.Restore(t.Context(), s, into, nil); err != nil {
		t.Fatal(err)
	}
	sameTree(t, tree, filepath.Join(into, tree), nil)
}

func TestResticFullDisk(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, _ := w.point(t, 24<<20)
	into := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=8m", "tmpfs", into)
	isFault(t, conformWorld{}, w.Restore(t.Context(), s, into, nil), Failed, signatureFull)
}

// mount mounts on the last argument until the test has ended.
func mount(t *testing.T, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		wanted(t, "mounting a file system needs root")
	}
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		wanted(t, "a file system cannot be mounted: "+string(out))
	}
	at := args[len(args)-1]
	t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
}

// Nothing is lost when restic is killed: the fault says so, no lock stays, and the next restore does it all.
func TestResticKilledInMidRestore(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, tree := w.point(t, 24<<20)
	slow := s
	slow.Rate = conformSlow
	into := t.TempDir()
	killed := make(chan struct{})
	err := w.Restore(t.Context(), slow, into, func(done, _ int64) {
		select {
		case <-killed:
			return
		default:
		}
		if done > 0 {
			killRestic(t, into)
			close(killed)
		}
	})
	isFault(t, conformWorld{}, err, Failed, "restic was killed")
	if locks := w.locks(t); len(locks) > 0 {
		t.Errorf("locks %v are left", locks)
	}
	again := t.TempDir()
	if err := w.Restore(t.Context(), s, again, nil); err != nil {
		t.Fatal(err)
	}
	sameTree(t, tree, filepath.Join(again, tree), nil)
}

func killRestic(t *testing.T, into string) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, path := range found {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte("\x00--target="+into+"\x00")) {
			if out, err := exec.Command("kill", "-KILL", filepath.Base(filepath.Dir(path))).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			return
		}
	}
	t.Error("no restic was found to be killed")
}

// listenSilently takes connections and never says a word.
func listenSilently(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String() // the kernel takes them, as nobody accepts
}

// What does not answer at all is given up by the agent's own watch; what refuses is told at once.
func TestResticUnreachableStorage(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	silent := listenSilently(t)
	for _, location := range []string{
		"rest:http://ada:geheim@127.0.0.1:9/",
		"rest:http://ada:geheim@" + silent + "/",
		"sftp://ada@" + "127.0.0.1:9//srv/vault",
		"rest:http://ada:geheim@no-such-host.invalid/",
	} {
		t.Run(strings.ReplaceAll(location, "/", "_"), func(t *testing.T) {
			w.reach = 5 * time.Second
			s := w.work
			s.Repository.Location = location
			began := time.Now()
			_, err := w.List(t.Context(), s)
			isFault(t, conformWorld{secrets: []string{"geheim"}}, err, Unreachable, signatureAway)
			if took := time.Since(began); took > w.reach+letGo+drainTime {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// So it is in a restore, before its first byte and in the middle of it, where restic by itself would go on trying for minutes.
func TestResticStorageAwayInRestore(t *testing.T) {
	t.Parallel()
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		w := newResticWorld(t)
		w.reach = 10 * time.Second
		s := unknownPoint(SetWork{Point: strings.Repeat("0a", 32), Set: w.work.Set, Repository: w.work.Repository})
		s.Repository.Location = "rest:http://ada:geheim@" + listenSilently(t) + "/"
		began := time.Now()
		isFault(t, conformWorld{secrets: []string{"geheim"}}, w.Restore(t.Context(), s, t.TempDir(), nil), Unreachable, signatureAway)
		if took := time.Since(began); took > w.reach+letGo+drainTime {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("in the middle", func(t *testing.T) {
		t.Parallel()
		w := newResticWorld(t)
		w.reach = 10 * time.Second
		s, _ := w.point(t, 24<<20)
		s.Rate = conformSlow
		var gone time.Time
		err := w.Restore(t.Context(), s, t.TempDir(), func(done, _ int64) {
			if done > 0 && gone.IsZero() {
				gone = time.Now()
				if err := os.Rename(w.location, w.location+".away"); err != nil {
					t.Error(err)
				}
			}
		})
		isFault(t, conformWorld{}, err, Unreachable, signatureAway)
		if took := time.Since(gone); took > 4*w.reach+letGo+drainTime { // what restic holds open is still read first, for a time that is not ours
			t.Errorf("it took %v", took)
		}
	})
}

func TestResticProgramMissing(t *testing.T) {
	s := SetWork{Repository: Repository{Name: "vault", Program: filepath.Join(t.TempDir(), "restic")}}
	_, err := NewRestic().List(t.Context(), s)
	isFault(t, conformWorld{}, err, Failed, "program missing")
}

// A point keeps its name when its tags change, and when a change of tags was cut short and left both snapshots.
func TestResticPointKeepsItsName(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, tree := w.point(t, 1<<20)
	before := entriesOf(t, filepath.Join(w.location, "snapshots"))[0]
	original, err := os.ReadFile(filepath.Join(w.location, "snapshots", before))
	if err != nil {
		t.Fatal(err)
	}
	w.restic(t, "tag", "--add=other", before)
	other := t.TempDir()
	if err := w.Restore(t.Context(), s, other, nil); err != nil {
		t.Fatal(err)
	}
	sameTree(t, tree, filepath.Join(other, tree), nil)
	plant(t, filepath.Join(w.location, "snapshots"), map[string]string{before: string(original)})
	if n := len(entriesOf(t, filepath.Join(w.location, "snapshots"))); n != 2 {
		t.Fatalf("%d snapshots", n)
	}
	points, err := w.List(t.Context(), w.work)
	if err != nil || len(points) != 1 || points[0].ID != s.Point {
		t.Errorf("listed %v, %v; want %s", points, err, s.Point)
	}
	s.Hold = "INC-1"
	if err := w.Hold(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if out := w.restic(t, "snapshots", "--tag="+holdTag("INC-1")); !strings.Contains(out, "2 snapshots") {
		t.Errorf("both are to be held: %s", out)
	}
	into := t.TempDir()
	if err := w.Restore(t.Context(), s, into, nil); err != nil {
		t.Fatal(err)
	}
	sameTree(t, tree, filepath.Join(into, tree), nil)
}

// A source takes only its own snapshots out of a repository that many share.
func TestResticListsOnlyItsSource(t *testing.T) {
	t.Parallel()
	w := newResticWorld(t)
	s, tree := w.point(t, 1000)
	w.restic(t, "backup", "--quiet", "--host=web1", "--tag=nightly", tree)
	w.restic(t, "backup", "--quiet", "--host=db1", "--tag=weekly", tree)
	w.restic(t, "backup", "--quiet", "--host=db1", "--tag=nightly", w.password)
	for source, want := range map[string]int{
		"host=db1,tag=nightly,tag=pg,path=" + tree: 1, "host=db1": 3, "": 3, "host=db1,host=web1": 4, "path=" + tree: 3, "tag=none": 0,
	} {
		s.Set.Source = source
		if points, err := w.List(t.Context(), s); err != nil || len(points) != want {
			t.Errorf("%q lists %v, %v; want %d", source, points, err, want)
		}
	}
}

// TestResticThroughput restores the same point by hand, which is one restic restore, and by the agent, in turns; the disk is kept out of it, as both
// wait for the same one. It is held to processor time, which other work on the machine hardly changes, and less tightly to the clock.
func TestResticThroughput(t *testing.T) {
	const rounds, size = 9, 256 << 20
	if os.Geteuid() == 0 {
		t.Setenv("TMPDIR", t.TempDir())
		mount(t, "-t", "tmpfs", "-o", "size=2g", "tmpfs", os.TempDir())
	}
	w := newResticWorld(t)
	s, _ := w.point(t, size)
	s.Size = size
	into := filepath.Join(filepath.Dir(w.location), "into")
	ways := map[string]func(){
		"hand": func() {
			w.restic(t, "restore", "--target="+into, s.Point)
		},
		"agent": func() {
			if err := w.Restore(t.Context(), s, into, func(int64, int64) {}); err != nil {
				t.Fatal(err)
			}
		},
	}
	clock, cpu := make(map[string][]time.Duration), make(map[string]time.Duration)
	for round := range rounds {
		order := []string{"hand", "agent"}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, who := range order {
			if err := os.Mkdir(into, 0o700); err != nil {
				t.Fatal(err)
			}
			began, used := time.Now(), processorTime(t)
			ways[who]()
			clock[who] = append(clock[who], time.Since(began))
			cpu[who] += processorTime(t) - used
			if err := os.RemoveAll(into); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, took := range clock {
		slices.Sort(took)
	}
	ratio := func(hand, agent time.Duration) float64 { return hand.Seconds() / agent.Seconds() }
	hand, agent := clock["hand"], clock["agent"]
	t.Logf("%d MB: by hand %v, by agent %v", size>>20, hand, agent)
	quick := func(list []time.Duration) (sum time.Duration) { // the quicker half: other work only ever adds
		for _, took := range list[:rounds/2+1] {
			sum += took
		}
		return sum
	}
	median, best, half := ratio(hand[rounds/2], agent[rounds/2]), ratio(hand[0], agent[0]), ratio(quick(hand), quick(agent))
	t.Logf("throughput of the agent / by hand: median %.2f, best %.2f, quicker half %.2f, processor time %.2f", median, best, half, ratio(cpu["hand"], cpu["agent"]))
	if r := ratio(cpu["hand"], cpu["agent"]); r < 0.9 {
		t.Errorf("by processor time the agent restores at %.2f of the rate by hand; want 0.9", r)
	}
	if best < 0.8 {
		t.Errorf("by the clock the agent restores at %.2f of the rate by hand; want 0.9, and 0.8 on a busy machine", best)
	}
}

// processorTime is what this process and those that it has waited for have used.
func processorTime(t *testing.T) (sum time.Duration) {
	t.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
