package remedy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// windows makes a machine one that is up for a while in each period, from the first connection on. While it is down it swallows what is
// sent to it, and when it goes down its connections are cut.
type windows struct {
	*machine
	up     atomic.Bool
	swings sync.WaitGroup
	quit   chan struct{}
}

func (m *machine) windows(t *testing.T, up, down time.Duration) *windows {
	w := &windows{machine: m, quit: make(chan struct{})}
	w.swings.Go(func() {
		for {
			for _, phase := range []struct {
				up bool
				d  time.Duration
			}{{false, down}, {true, up}} {
				w.up.Store(phase.up)
				if !phase.up {
					m.cut()
				}
				select {
				case <-time.After(phase.d):
				case <-w.quit:
					return
				}
			}
		}
	})
	t.Cleanup(func() {
		close(w.quit)
		w.swings.Wait()
	})
	return w
}

func (w *windows) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !w.up.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func raceJob(m *machine, n int) recovery.Job {
	job := m.job(id(n))
	job.Rung.Kind, job.Rung.Within = recovery.RungRace, 20*time.Second
	return job
}

func TestRaceInWindows(t *testing.T) {
	t.Parallel()
	var w *windows
	r, key := newRemedy(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) { return w.dial(ctx, network, addr) }
	})
	m := new(machine).start(t, key)
	w = m.windows(t, time.Second, 2*time.Second)
	began := time.Now()
	res := r.Run(t.Context(), raceJob(m, 1), script(claimOK))
	want(t, res, recovery.Succeeded, "")
	if took := time.Since(began); m.ran() != 1 || took > 4*time.Second {
		t.Errorf("ran %d times, took %s", m.ran(), took)
	}
}

// What forwards ports accepts for a host that is down, and says nothing; that must not cost a window.
func TestRaceBehindAForwarder(t *testing.T) {
	t.Parallel()
	var w *windows
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	forwarder := &machine{raw: func(c net.Conn) {
		if !w.up.Load() {
			drain(c)
			return
		}
		far, err := net.Dial("tcp", m.listener.Addr().String())
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(far, c)
			_ = far.Close()
		}()
		_, _ = io.Copy(c, far)
		_ = far.Close()
	}}
	w = m.windows(t, 1500*time.Millisecond, 2*time.Second)
	forwarder.start(t, key)
	job := raceJob(m, 1)
	job.Rung.Port = forwarder.listener.Addr().(*net.TCPAddr).Port
	began := time.Now()
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Succeeded, "")
	if took := time.Since(began); m.ran() != 1 || took > 4*time.Second {
		t.Errorf("ran %d times, took %s", m.ran(), took)
	}
}

// A host that goes down in mid-script is joined when it is up again. The script's process did not live through a real crash; then the
// runner says that it was lost.
func TestRaceLostInMidRun(t *testing.T) {
	t.Parallel()
	var w *windows
	r, key := newRemedy(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) { return w.dial(ctx, network, addr) }
	})
	m := new(machine).start(t, key)
	w = m.windows(t, time.Second, 500*time.Millisecond)
	dies := script("kill -9 $PPID; kill -9 $(cut -d' ' -f1 \"$BLACKSTART_ROOT\"/.blackstart/attempts/*/claim); kill -9 0")
	want(t, r.Run(t.Context(), raceJob(m, 1), dies), recovery.Lost, "stopped in mid-run")

	gate := m.gate("gate")
	done := runAsync(t.Context(), r, raceJob(m, 2), script(`read -r x <"$BLACKSTART_ROOT/gate"; `+claimOK))
	pass(t, gate)
	res := <-done
	want(t, res, recovery.Succeeded, "")
	if m.ran() != 2 {
		t.Errorf("ran %d times", m.ran())
	}
}

// Inside the bubble dials are free and the clock is exact.
func TestRaceThatIsMissed(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse bool
		dials  int // at least and at most double
	}{{"silent", false, 200}, {"refused", true, 200}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dials, waiting, most atomic.Int32
				r, _ := newRemedy(t, func(cfg *Config) {
					cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
						dials.Add(1)
						n := waiting.Add(1)
						defer waiting.Add(-1)
						for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
						}
						if c.refuse {
							return nil, errors.New("refused")
						}
						<-ctx.Done()
						return nil, ctx.Err()
					}
				})
				began := time.Now()
				job := recovery.Job{ID: "h/1", Kind: recovery.JobRepair, Timeout: time.Hour, Host: recovery.Host{Name: "h"},
					Rung: recovery.Rung{Kind: recovery.RungRace, Environment: recovery.EnvLinux, Address: "10.0.0.1", Within: time.Minute}}
				want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Unreachable, neverUp)
				if took := time.Since(began); took < time.Minute || took > 61*time.Second {
					t.Errorf("took %s", took)
				}
				if n := int(dials.Load()); n < c.dials || n > 2*c.dials || most.Load() > mostDials {
					t.Errorf("%d dials, %d at once", n, most.Load())
				}
				job.Timeout = 10 * time.Second
				want(t, r.Run(t.Context(), job, script(claimOK)), recovery.Unreachable, neverUp)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(5*time.Second, cancel)
				want(t, r.Run(ctx, job, script(claimOK)), recovery.Cancelled, "cancelled")
			})
		})
	}
}

// A dial through a jump host that goes unanswered is a burden there long after it was given up.
func TestRaceSparesJumpHosts(t *testing.T) {
	h := hunt{pace: racePace, patience: racePatience}
	if near, far := h.through(0), h.through(2); near != h || far.pace < 2*time.Second || far.patience < far.pace {
		t.Errorf("%+v, %+v", near, far)
	}
}

// A word from the host is followed at once, and only by whoever waits for that host.
func TestRacePoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := make(chan time.Time, 1000)
		r, _ := newRemedy(t, func(cfg *Config) {
			cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
				at <- time.Now()
				return nil, errors.New("refused")
			}
		})
		h := hunt{pace: time.Hour, patience: time.Second, until: time.Now().Add(time.Minute)}
		x := r.racer.enter(recovery.Job{Host: recovery.Host{Name: "h"}})
		h.wake = x.poke
		ended := make(chan *end)
		go func() {
			_, _, e := r.racer.hunted(t.Context(), target{addr: "10.0.0.1:22", hunt: &h})
			ended <- e
		}()
		first := <-at
		time.Sleep(20 * time.Second) //nolint:forbidigo // in a synctest bubble
		r.Poke("another")
		synctest.Wait()
		r.Poke("h")
		if second := <-at; second.Sub(first) != 20*time.Second {
			t.Errorf("dialled %s after the first time", second.Sub(first))
		}
		if e := <-ended; e.class != recovery.Unreachable || len(at) != 0 {
			t.Errorf("%+v, %d more dials", e, len(at))
		}
		x.leave()
		r.Poke("h")
		if len(r.racer.races.set) != 0 {
			t.Error("a race that is over is still known")
		}
	})
}

func TestRaceEndsWhereWaitingDoesNotHelp(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	job := raceJob(m, 1)
	job.Rung.HostKeys = []string{line(newSigner(t))}
	began := time.Now()
	want(t, r.Run(t.Context(), job, script(claimOK)), recovery.HostKeyMismatch, "wrong host key")
	stranger := new(machine).start(t, newSigner(t).PublicKey())
	want(t, r.Run(t.Context(), raceJob(stranger, 2), script(claimOK)), recovery.AuthRefused, "no key accepted")
	if m.ran() != 0 || stranger.ran() != 0 {
		t.Error("it ran")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it was waited for %s", took)
	}
}

// A host that is half up turns logins away; that is not yet an answer.
func TestRaceThroughARefusedLogin(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	var logins atomic.Int32
	m := (&machine{refuses: func() bool { return logins.Add(1) <= 3 }}).start(t, key)
	want(t, r.Run(t.Context(), raceJob(m, 1), script(claimOK)), recovery.Succeeded, "")
	if n := logins.Load(); n != 4 || m.ran() != 1 {
		t.Errorf("%d logins, ran %d times", n, m.ran())
	}
}

// What a whole host says may be said by one that is half up; it is believed when it goes on, or when the window is over.
func TestRaceToAHostThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	job := raceJob(m, 1)
	job.Rung.Root, job.Rung.Within = "/proc/self", 2500*time.Millisecond
	res := r.Run(t.Context(), job, script(claimOK))
	want(t, res, recovery.Failed, "no place for the attempt")
	if n := m.connections.Load(); n < 2 || n > 4 || !strings.Contains(res.Detail, "when it was up") {
		t.Errorf("%d connections: %s", n, res.Detail)
	}
}

// Races have turns of their own: silent hosts do not hold back the sessions of others, nor more than so many races each other.
func TestRacesStarveNobody(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Racers, cfg.Sessions, cfg.Handshakes = 2, 1, 1 })
	silent, m := (&machine{raw: drain}).start(t, key), new(machine).start(t, key)
	ctx, cancel := context.WithCancel(t.Context())
	var races []<-chan recovery.Result
	for n := range 4 {
		races = append(races, runAsync(ctx, r, raceJob(silent, n), script(claimOK)))
	}
	for silent.connections.Load() < 2 {
		time.Sleep(time.Millisecond) //nolint:forbidigo // until a condition holds
	}
	want(t, r.Run(t.Context(), m.job(id(9)), script(claimOK)), recovery.Succeeded, "")
	if n := silent.connections.Load(); n > 2*mostDials {
		t.Errorf("%d connections of two racers", n)
	}
	cancel()
	for _, race := range races {
		want(t, <-race, recovery.Cancelled, "cancelled")
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	r, key := newRemedy(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !up.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	m := new(machine).start(t, key)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	want(t, r.Await(ctx, m.job(id(1)), nil), recovery.Unreachable, "no answer")

	awake := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() {
		up.Store(true)
		close(awake)
	})
	began := time.Now()
	want(t, r.Await(t.Context(), m.job(id(1)), awake), recovery.Succeeded, "")
	if took := time.Since(began); took > 700*time.Millisecond {
		t.Errorf("awake was heard after %s", took)
	}
	job := m.job(id(1))
	job.Rung.HostKeys = []string{line(newSigner(t))}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	want(t, r.Await(ctx, job, nil), recovery.HostKeyMismatch, "wrong host key")
	stranger := new(machine).start(t, newSigner(t).PublicKey())
	want(t, r.Await(t.Context(), stranger.job(id(1)), nil), recovery.AuthRefused, "no key accepted")
}

func TestExec(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts.Shell = 2 * time.Second })
	m := (&machine{chatter: "Welcome\n"}).start(t, key)
	odd := `it's "$HOME" \n ` + "`x`"
	for _, c := range []struct {
		name       string
		c          Command
		exit       int
		line, last string
	}{
		{"plain", Command{Line: "echo one; echo two"}, 0, "two", "two"},
		{"exit", Command{Line: "echo one; echo it broke >&2; exit 23"}, 23, "one", "it broke"},
		{"input", Command{Line: "cat; echo; cat", Input: odd}, 0, strings.TrimRight(odd, " "), recovery.Clean(odd, 400)},
		{"no input", Command{Line: "cat; echo end"}, 0, "end", "end"},
		{"environment", Command{Line: `printf "%s\n" "$BLACKSTART_HOST|$bs_nonce|$bs_input"`, Env: map[string]string{"BLACKSTART_HOST": odd}}, 0, odd + "||", recovery.Clean(odd+"||", 400)},
		{"not in the arguments", Command{Line: `tr '\0' ' ' </proc/$PPID/cmdline`, Input: "sesame"}, 0, "/bin/sh", "/bin/sh"},
		{"much", Command{Line: "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end"}, 0, "end", "end"},
		{"a daemon", Command{Line: "sleep 60 & echo $! >pid; echo end"}, 0, "end", "end"},
	} {
		said, failure := r.Exec(t.Context(), m.job(id(1)), c.c)
		if failure != nil || said.Exit != c.exit || said.Line() != c.line || said.Last != c.last || len(said.Output) > 3*keepSaid {
			t.Errorf("%s: %d %q %q %+v", c.name, said.Exit, said.Line(), said.Last, failure)
		}
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(m.file("pid"))); err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Errorf("no daemon: %v", err)
	}
	for _, c := range []struct {
		name      string
		c         Command
		class     recovery.Class
		signature string
	}{
		{"slow", Command{Line: "read -r x <gate", Limit: 100 * time.Millisecond}, recovery.TimedOut, "command without an end"},
		{"flood", Command{Line: "yes"}, recovery.Failed, "output flood"},
		{"dropped", Command{Line: "kill -9 $PPID"}, recovery.Unreachable, "connection lost"},
		{"two lines", Command{Line: "cat", Input: "a\nb"}, recovery.Failed, "command not usable"},
	} {
		if c.name == "slow" {
			t.Cleanup(func() { pass(t, filepath.Join(m.root, "gate")) })
			m.gate("gate")
		}
		_, failure := r.Exec(t.Context(), m.job(id(1)), c.c)
		if failure == nil {
			t.Fatalf("%s: no failure", c.name)
		}
		want(t, *failure, c.class, c.signature)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, failure := r.Exec(ctx, m.job(id(1)), Command{Line: "sleep 2"})
	if failure == nil {
		t.Fatal("no failure")
	}
	want(t, *failure, recovery.Lost, cancelledInMidRun)
	silent := (&machine{shell: []string{"sh", "-c", "cat >told"}}).start(t, key)
	_, failure = r.Exec(t.Context(), silent.job(id(1)), Command{Line: "cat", Input: "sesame"})
	if failure == nil {
		t.Fatal("no failure")
	}
	want(t, *failure, recovery.TimedOut, "shell silent")
	if told := silent.file("told"); strings.Contains(told, "sesame") {
		t.Errorf("something that is no shell was told %q", told)
	}
}

// file reads a file in the machine's root.
func (m *machine) file(name string) string {
	text, _ := os.ReadFile(filepath.Join(m.root, name))
	return string(text)
}
