package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

const (
	here  = "192.0.2.10:7443"
	there = "192.0.2.11:7443"
)

func write(t testing.TB, root, name, data string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(data), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestHelloAndHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		cfg.BootMode = func() string { return "safe" }
		cfg.EDRVersion = func() string { return "7.11" }
		defer start(t, cfg)()
		v := c.next(t)
		h := v.hello
		if h.GetHost() != "app1" || h.GetBootId() != "boot-1" || h.GetBootMode() != pb.BootMode_BOOT_MODE_SAFE || h.GetAgentVersion() != "test" ||
			h.GetEdrVersion() != "7.11" || len(h.GetInstance()) < 20 || h.GetEpoch() != 0 {
			t.Errorf("hello: %v", h)
		}
		if got := h.GetFacts().GetHealth(); len(got) != 1 || !got[0].GetOk() || !h.GetFacts().GetGatheredAt().AsTime().Equal(time.Now()) {
			t.Errorf("facts of the hello: %v", h.GetFacts())
		}
		last := time.Now()
		for range 120 { // twenty quiet minutes
			b := v.heartbeat()
			if since := time.Since(last); since != 10*time.Second || b.GetAnswers() != "" || b.GetRefused() != "" {
				t.Fatalf("after %v: %v", since, b)
			}
			last = time.Now()
		}
		v.say(standBy("s1", 1, 1))
		if b := v.heartbeat(); b.GetAnswers() != "s1" || time.Since(last) != 0 {
			t.Errorf("stand-by is answered at once: %v after %v", b, time.Since(last))
		}
	})
}

func TestStandByChangesTheBeatWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		defer start(t, w.config("app1", here))()
		v := c.next(t)
		for i, step := range []struct{ asked, want time.Duration }{
			{3 * time.Second, 3 * time.Second},
			{time.Millisecond, time.Second},
			{0, time.Second},
			{-time.Hour, time.Second},
			{time.Hour, 5 * time.Minute},
		} {
			in := standBy("s", 1, uint64(i+1))
			in.GetStandBy().Beat = durationpb.New(step.asked)
			v.say(in)
			v.answer("s")
			v.heartbeat() // the interval in which it changed
			began := time.Now()
			v.heartbeat()
			if got := time.Since(began); got < step.want || got > step.want+maxLook/2 {
				t.Errorf("asked for %v: %v between heartbeats", step.asked, got)
			}
		}
	})
}

func TestProbesAreRunRememberedAndReportedWhenTheyTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		write(t, cfg.Root, "content/a.bin", "good content")
		stop := start(t, cfg)
		v := c.next(t)
		v.say(standBy("s0", 1, 1))
		v.answer("s0")
		v.heartbeat()
		v.say(probe("p1", 1, 2, badFile()))
		got := v.heartbeat()
		if f := got.GetFacts().GetContent(); got.GetAnswers() != "p1" || len(f) != 1 || f[0].GetGood() != 1 || f[0].GetBad() != 0 || f[0].GetPlaybookDigest() != "sha256:play" {
			t.Fatalf("answer: %v", got)
		}
		slow := standBy("s", 1, 3)
		slow.GetStandBy().Beat = durationpb.New(5 * time.Minute)
		v.say(slow)
		v.answer("s")
		began := time.Now()
		write(t, cfg.Root, "content/b.bin", "bad content")
		if f := v.heartbeat().GetFacts().GetContent()[0]; f.GetBad() != 1 || f.GetGood() != 1 || time.Since(began) > maxLook {
			t.Errorf("%v after %v", f, time.Since(began))
		}
		stop()
		for range v.beats { // what comes after the change, up to the end
		}

		// After a reboot the first words have the facts already, and of the disk as it is now.
		write(t, cfg.Root, "content/c.bin", "bad content")
		cfg.BootID = func() (string, error) { return "boot-2", nil }
		defer start(t, cfg)()
		again := c.next(t).hello
		if f := again.GetFacts().GetContent(); again.GetBootId() != "boot-2" || again.GetInstance() == v.hello.GetInstance() || again.GetEpoch() != 1 || len(f) != 1 || f[0].GetBad() != 2 {
			t.Errorf("hello after the reboot: %v", again)
		}
	})
}

func TestVerifyLooksAfresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		write(t, cfg.Root, "content/a.bin", "good")
		var asked atomic.Int32
		cfg.Checks = []health.Check{{Name: "count", Run: func(context.Context) (string, error) { return fmt.Sprint(asked.Add(1)), nil }}}
		defer start(t, cfg)()
		v := c.next(t)
		v.say(probe("p1", 1, 1, badFile()))
		before := v.answer("p1")
		v.say(verify("v1", 1, 2))
		after := v.answer("v1")
		if before.GetFacts().GetHealth()[0].GetDetail() == after.GetFacts().GetHealth()[0].GetDetail() || after.GetFacts().GetContent()[0].GetGood() != 1 {
			t.Errorf("before %v, after %v", before, after)
		}
	})
}

func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		stop := start(t, w.config("app1", here))
		v := c.next(t)
		v.say(standBy("s", 1, 1))
		v.answer("s")
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("a coordinator that listens delays the shutdown by %v", took)
		}
		var words []*pb.Heartbeat
		for b := range v.beats {
			words = append(words, b)
		}
		if len(words) != 1 || len(words[0].GetFacts().GetHealth()) != 1 {
			t.Errorf("last words: %v", words)
		}
	})
}

// What accepts a connection and says nothing is left within the deadline, and the next address is tried at once.
func TestSilentAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen(here) // accepts and says nothing
		defer func() { _ = l.Close() }()
		c := w.coordinator(there)
		defer c.stop()
		began := time.Now()
		stop := start(t, w.config("app1", here, there))
		defer stop()
		c.next(t)
		if took := time.Since(began); took > connectLimit {
			t.Errorf("the other coordinator was reached after %v", took)
		}
	})
}

// A coordinator that takes nothing in any more must not hold up a shutdown.
func TestDeafCoordinatorAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		c.deaf.Store(true)
		stop := start(t, w.config("app1", here))
		c.next(t)
		began := time.Now()
		stop()
		if took := time.Since(began); took != closeLimit {
			t.Errorf("shut down after %v", took)
		}
	})
}

// A coordinator that takes nothing in any more is given up when it cannot be written to.
func TestDeafCoordinatorIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		c.deaf.Store(true)
		cfg := w.config("app1", here)
		cfg.Checks = nil
		for range 100 {
			cfg.Checks = append(cfg.Checks, health.Check{Name: "long", Run: func(context.Context) (string, error) { return strings.Repeat("x", 500), nil }})
		}
		defer start(t, cfg)()
		c.next(t)
		began := time.Now()
		c.deaf.Store(false)
		c.next(t)
		if took := time.Since(began); took > 2*time.Minute { // both ends hold some hundred KiB back
			t.Errorf("dialled again after %v", took)
		}
	})
}

func TestSecondCoordinatorTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := w.coordinator(here), w.coordinator(there)
		defer second.stop()
		defer start(t, w.config("app1", here, there))()
		v := first.next(t)
		v.say(standBy("s", 1, 1))
		v.answer("s")
		began := time.Now()
		first.stop()
		second.next(t)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("taken over after %v", took)
		}
	})
}

func TestReconnectStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		cfg := w.config("app1", here)
		defer start(t, cfg)()
		v := c.next(t)
		v.say(standBy("s", 1, 1))
		v.answer("s")
		c.stop()

		gone := time.Now()
		time.Sleep(2 * time.Hour) //nolint:forbidigo // the clock of a synctest bubble
		tries := w.dialled()[1:]
		var longest time.Duration
		last := gone
		for i, d := range tries {
			gap := d.at.Sub(last)
			if limit := min(time.Second<<i, 30*time.Second); i < 20 && gap > limit {
				t.Errorf("try %d after %v, at most %v", i+1, gap, limit)
			}
			last, longest = d.at, max(longest, gap)
		}
		if n := len(tries); n < 300 || n > 700 { // 15 s on average
			t.Errorf("%d tries in two hours", n)
		}
		if longest > 30*time.Second || longest < 20*time.Second {
			t.Errorf("longest wait %v", longest)
		}

		c = w.coordinator(here)
		defer c.stop()
		back := time.Now()
		again := c.next(t)
		if again.hello.GetInstance() != v.hello.GetInstance() || time.Since(back) > 30*time.Second {
			t.Errorf("back after %v as %v", time.Since(back), again.hello)
		}
	})
}

// A coordinator that refuses the agent is not stormed.
func TestRefusedStreamBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		go func() {
			for v := range c.visits {
				v.end <- status.Error(codes.AlreadyExists, "a second agent claims this host")
			}
		}()
		defer close(c.visits)
		defer start(t, w.config("app1", here))()
		time.Sleep(time.Hour) //nolint:forbidigo // the clock of a synctest bubble
		if n := len(w.dialled()); n < 120 || n > 400 {
			t.Errorf("%d tries in an hour", n)
		}
	})
}

func TestHangingDiskDoesNotSilenceTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		hang := make(chan struct{})
		var calls atomic.Int32
		cfg.Checks = []health.Check{{Name: "disk", Run: func(context.Context) (string, error) {
			if calls.Add(1) > 2 {
				<-hang // whatever the context says
			}
			return "", nil
		}}}
		stop := start(t, cfg)
		v := c.next(t)
		var said []string
		last := time.Now()
		for range 12 {
			b := v.heartbeat()
			if gap := time.Since(last); gap > 2*cfgBeat {
				t.Errorf("silent for %v", gap)
			}
			last = time.Now()
			for _, h := range b.GetFacts().GetHealth() {
				if !h.GetOk() {
					said = append(said, h.GetName())
				}
			}
		}
		if len(said) < 5 || said[0] != "agent-gathering" {
			t.Errorf("the hanging disk is not reported: %v", said)
		}
		if n := calls.Load(); n != 3 {
			t.Errorf("%d gatherings at once", n-2)
		}
		close(hang)
		for ok := false; !ok; {
			f := v.heartbeat().GetFacts().GetHealth()
			ok = len(f) == 1 && f[0].GetOk()
		}
		stop()
	})
}

// A disk that hangs from the start does not keep the agent from phoning home.
func TestHangingDiskAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		hang := make(chan struct{})
		cfg.Checks = []health.Check{{Name: "disk", Run: func(context.Context) (string, error) { <-hang; return "", nil }}}
		began := time.Now()
		stop := start(t, cfg)
		v := c.next(t)
		if took := time.Since(began); took > maxLook || v.hello.GetFacts() != nil {
			t.Errorf("after %v: %v", took, v.hello)
		}
		close(hang)
		if b := v.heartbeat(); len(b.GetFacts().GetHealth()) != 1 {
			t.Errorf("%v", b)
		}
		stop()
	})
}

const cfgBeat = 10 * time.Second

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		hang := make(chan struct{})
		var hanging atomic.Bool
		cfg.Checks = []health.Check{{Name: "slow", Run: func(ctx context.Context) (string, error) {
			if hanging.Load() {
				<-hang
			}
			return "", nil
		}}}
		defer start(t, cfg)()
		v := c.next(t)
		hanging.Store(true)
		for i := range 1 + maxPending + 1 {
			v.say(verify(fmt.Sprintf("v%d", i), 1, uint64(i+1)))
		}
		if b := v.heartbeat(); !strings.Contains(b.GetRefused(), fmt.Sprintf(`"v%d"`, maxPending+1)) {
			t.Errorf("the one too many is refused: %v", b)
		}
		close(hang)
		for i := range 1 + maxPending {
			v.answer(fmt.Sprintf("v%d", i))
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	for want, change := range map[string]func(*Config){
		"no host":        func(c *Config) { c.Host = "" },
		"ClientTLS":      func(c *Config) { c.TLS = nil },
		"no coordinator": func(c *Config) { c.Coordinators = nil },
		"not IP:port":    func(c *Config) { c.Coordinators = []string{here, "coordinator.example:7443"} },
		"not IP:port ":   func(c *Config) { c.Coordinators = []string{"192.0.2.1"} },
		"boot id: none":  func(c *Config) { c.BootID = func() (string, error) { return "", errors.New("none") } },
	} {
		cfg := w.config("app1", here)
		change(&cfg)
		if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
