package climb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// rescueWay is all that is told and done when nothing goes wrong.
var rescueWay = []string{
	"told power-off", "off", "told boot-target", "boot-rescue", "told power-on", "on", "told inside", "told own-disk", "boot-status", "off", "on",
}

func TestRescue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	var last recovery.Step
	res := w.climber(m).Run(t.Context(), m.job(), script, w.teller(&last))
	want(t, res, recovery.Succeeded, "")
	if got := w.done(); !slices.Equal(got, rescueWay) {
		t.Errorf("done %v", got)
	}
	if !res.Rebooted || res.BootTarget != recovery.BootTargetDisk || res.Joined || res.Boot == "" {
		t.Errorf("%+v", res)
	}
	if calls := m.lines("calls"); !slices.Equal(calls, []string{"open", "close"}) || len(m.lines("ran")) != 1 {
		t.Errorf("disk %v, ran %v", calls, m.lines("ran"))
	}
	if !slices.Equal(m.starts, []string{inside, own}) {
		t.Errorf("started into %v", m.starts)
	}
	m.atHome()
}

// A coordinator that is stopped at any moment takes the attempt up again: the host is started into the rescue system once, the script
// runs once, and the host ends up at home.
func TestStoppedAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{recovery.RungRescue, recovery.RungHelper} {
		way := rescueWay
		if kind == recovery.RungHelper {
			way = helperWay
		}
		for n := range 2 * len(way) {
			t.Run(fmt.Sprintf("%s/%d", kind, n), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				m := w.machine("app01")
				c, job := w.climber(m), m.job()
				if kind == recovery.RungHelper {
					job = w.machine("helper").serves(m)
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				at, event := 0, ""
				w.hook = func(e string) {
					if at == n {
						event = e
						stop()
					}
					at++
				}
				var last recovery.Step
				first := c.Run(ctx, job, script, w.teller(&last))
				if event == "" {
					t.Fatalf("only %d moments", at)
				}
				if ctx.Err() != nil && first.Class != recovery.Lost && first.Class != recovery.Cancelled && event != "after on" {
					t.Errorf("stopped %s: %+v", event, first)
				}
				w.hook, job.Step = nil, last
				second := c.Run(t.Context(), job, script, w.teller(&last))
				switch {
				case second.Class == recovery.Succeeded:
				case second.Class == recovery.Lost && second.Signature == "result not collected":
				default:
					t.Fatalf("stopped %s, taken up at %q: %+v", event, job.Step, second)
				}
				if second.Joined != (job.Step != "") {
					t.Errorf("joined: %v", second.Joined)
				}
				if ran := len(m.lines("ran")); ran != 1 {
					t.Errorf("stopped %s: ran %d times", event, ran)
				}
				starts := []string{inside, own}
				if kind == recovery.RungHelper {
					starts = starts[1:]
				}
				if !slices.Equal(m.starts, starts) {
					t.Errorf("stopped %s: started into %v; %v", event, m.starts, w.done())
				}
				m.atHome()
			})
		}
	}
}

// A script that runs when the coordinator is stopped runs on, and is joined.
func TestStoppedWhileTheScriptRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	c, job := w.climber(m), m.job()
	long := remedy.Scripts{Repair: []byte(`echo x >>"$BLACKSTART_ROOT/../ran"; read -r x <"$BLACKSTART_ROOT/../gate"; echo BLACKSTART-RESULT outcome=repaired` + "\n")}
	gate := filepath.Join(m.disk, "..", "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var last recovery.Step
	first := make(chan recovery.Result)
	go func() { first <- c.Run(ctx, job, long, w.teller(&last)) }()
	for len(m.lines("ran")) == 0 {
		select {
		case res := <-first:
			t.Fatalf("%+v", res)
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	want(t, <-first, recovery.Lost, "cancelled in mid-run")
	job.Step = last
	second := make(chan recovery.Result)
	go func() { second <- c.Run(t.Context(), job, long, w.teller(&last)) }()
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil { // once the script reads
		t.Fatal(err)
	}
	want(t, <-second, recovery.Succeeded, "")
	if !slices.Equal(m.starts, []string{inside, own}) || len(m.lines("ran")) != 1 {
		t.Errorf("started into %v, ran %v", m.starts, m.lines("ran"))
	}
	m.atHome()
}

func silent() error {
	return &power.Error{Class: recovery.Unreachable, Signature: "no answer", Detail: "The control does not answer."}
}

func late() error {
	return &power.Error{Class: recovery.TimedOut, Signature: "slow", Detail: "The control is slow."}
}

func refuses() error {
	return &power.Error{Class: recovery.AuthRefused, Signature: "password refused", Detail: "The control refuses the password."}
}

func noSecret() error {
	return &power.Error{Class: recovery.Failed, Signature: "fence: secret missing", Detail: "The control's secret is not there."}
}

// Whatever fails, the host is brought home, or the result says that it is not.
func TestControlsThatFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		fail, half map[string]error
		class      recovery.Class
		signature  string
		home       bool   // it runs its own system
		cleared    bool   // the result says that its boot target is
		says       string // in the detail
		done       []string
	}{
		{name: "silent from the start", fail: map[string]error{"off": silent(), "on": silent()}, class: recovery.Unreachable, signature: "power control silent", home: true,
			done: []string{"told power-off"}},
		{name: "wrong password", fail: map[string]error{"off": refuses(), "on": refuses()}, class: recovery.AuthRefused, signature: "password refused", home: true,
			done: []string{"told power-off"}},
		{name: "a secret that is not there", fail: map[string]error{"off": noSecret(), "on": noSecret()}, class: recovery.Failed, signature: "fence: secret missing", home: true,
			done: []string{"told power-off"}},
		{name: "not sure of off", half: map[string]error{"off": late()}, class: recovery.TimedOut, signature: "slow", home: true, cleared: false,
			done: []string{"told power-off", "off", "told own-disk", "on"}},
		{name: "no boot target", fail: map[string]error{"boot-rescue": late()}, class: recovery.TimedOut, signature: "slow", home: true, cleared: true,
			done: []string{"told power-off", "off", "told boot-target", "told own-disk", "boot-status", "on"}},
		{name: "half a boot target", half: map[string]error{"boot-rescue": refuses()}, class: recovery.AuthRefused, signature: "password refused", home: true, cleared: true,
			done: []string{"told power-off", "off", "told boot-target", "boot-rescue", "told own-disk", "boot-status", "boot-disk", "on"}},
		{name: "not sure of on", half: map[string]error{"on": late()}, class: recovery.TimedOut, signature: "slow", home: true, cleared: true, says: "could not be started",
			done: []string{"told power-off", "off", "told boot-target", "boot-rescue", "told power-on", "on", "told own-disk", "boot-status", "off", "on"}},
		{name: "never on again", fail: map[string]error{"on": silent()}, class: recovery.Unreachable, signature: "no answer", cleared: true, says: "could not be started"},
		{name: "boot target unreadable", fail: map[string]error{"boot-status": late()}, class: recovery.Succeeded, home: true, cleared: true},
		{name: "boot target stuck", fail: map[string]error{"boot-status": late(), "boot-disk": late()}, class: recovery.Succeeded, home: true, says: "could not be cleared"},
		{name: "an error of no class", fail: map[string]error{"boot-rescue": errors.New("odd\x1b[31m")}, class: recovery.Failed, signature: "control failed", home: true, cleared: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			for event, err := range c.fail {
				w.fail[event] = err
			}
			for event, err := range c.half {
				w.half[event] = err
			}
			var last recovery.Step
			res := w.climber(m).Run(t.Context(), m.job(), script, w.teller(&last))
			want(t, res, c.class, c.signature)
			if c.done != nil && !slices.Equal(w.done(), c.done) {
				t.Errorf("done %v", w.done())
			}
			if home := m.runs() == own; home != c.home {
				t.Errorf("it runs %q: %+v", m.runs(), res)
			}
			if (res.BootTarget == recovery.BootTargetDisk) != c.cleared || !strings.Contains(res.Detail, c.says) || strings.Contains(res.Detail, "\x1b") {
				t.Errorf("%+v", res)
			}
			if c.cleared && m.target != targetDisk {
				t.Errorf("it would boot %s", m.target)
			}
		})
	}
}

// What the rescue system says of the disk is told, and the host is brought home.
func TestDisksThatDoNotOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		prepare   func(*machine, *recovery.Job)
		class     recovery.Class
		signature string
		says      string
		ran       int
	}{
		{"no key", func(m *machine, _ *recovery.Job) { m.put("wants", "open sesame") }, recovery.Locked, "disk locked: bitlocker", "1234-ABCD", 0},
		{"wrong key", func(m *machine, j *recovery.Job) {
			m.put("wants", "open sesame")
			m.put("key", "wrong one\n")
			j.Rung.Unlock = "file:" + m.disk + "/../key"
		}, recovery.Locked, "disk locked: bitlocker", "does not open it", 0},
		{"right key", func(m *machine, j *recovery.Job) {
			m.put("wants", "it's \"$HOME\" `x`")
			m.put("key", "it's \"$HOME\" `x`\n")
			j.Rung.Unlock = "file:" + m.disk + "/../key"
		}, recovery.Succeeded, "", "", 1},
		{"none", func(m *machine, _ *recovery.Job) { m.put("problem", "21") }, recovery.Failed, "no system on the disk", "it is like that.", 0},
		{"unsafe", func(m *machine, _ *recovery.Job) { m.put("problem", "22") }, recovery.Failed, "disk not safe to write", "it is like that.", 0},
		{"several", func(m *machine, _ *recovery.Job) { m.put("problem", "23") }, recovery.Failed, "several systems on the disk", "it is like that.", 0},
		{"unknown exit", func(m *machine, _ *recovery.Job) { m.put("problem", "9") }, recovery.Failed, "disk not opened: problem it is like that.", "it is like that.", 0},
		{"no root", func(m *machine, _ *recovery.Job) { m.install("blackstart-disk", "#!/bin/sh\necho root /\n") }, recovery.Failed, "no root from the rescue system", "", 0},
		{"odd root", func(m *machine, _ *recovery.Job) {
			m.install("blackstart-disk", "#!/bin/sh\nprintf 'root\\t/mnt/../etc\\n'\n")
		}, recovery.Failed, "no root from the rescue system", "", 0},
		{"no tool", func(m *machine, _ *recovery.Job) { m.install("blackstart-disk", "#!/no/such/thing\n") }, recovery.Failed, "disk not opened: sh: #: blackstart-disk: not found", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			job := m.job()
			c.prepare(m, &job)
			var last recovery.Step
			res := w.climber(m).Run(t.Context(), job, script, w.teller(&last))
			want(t, res, c.class, c.signature)
			if !strings.Contains(res.Detail, c.says) || strings.Contains(res.Detail, "wrong one") || strings.Contains(res.Detail, "sesame") {
				t.Errorf("%s", res.Detail)
			}
			if !res.Rebooted || res.BootTarget != recovery.BootTargetDisk || len(m.lines("ran")) != c.ran {
				t.Errorf("%+v, ran %v", res, m.lines("ran"))
			}
			m.atHome()
		})
	}
}

// A BMC that keeps the one-time boot target is seen through before the host is started again.
func TestForgetfulBMC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	m.set(func() { m.forgets = true })
	var last recovery.Step
	res := w.climber(m).Run(t.Context(), m.job(), script, w.teller(&last))
	want(t, res, recovery.Succeeded, "")
	if !strings.Contains(res.Detail, "had not cleared the one-time boot target") || res.BootTarget != recovery.BootTargetDisk {
		t.Errorf("%+v", res)
	}
	m.atHome()
}

// A host that asks the network at every start needs no boot target.
func TestWithoutBootTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	m.set(func() { m.network = true })
	job := m.job()
	job.Rung.Boot = nil
	var last recovery.Step
	res := w.climber(m).Run(t.Context(), job, script, w.teller(&last))
	want(t, res, recovery.Succeeded, "")
	if wanted := []string{"told power-off", "off", "told power-on", "on", "told inside", "told own-disk", "off", "on"}; !slices.Equal(w.done(), wanted) || res.BootTarget != recovery.BootTargetDisk {
		t.Errorf("%v, %+v", w.done(), res)
	}
	m.atHome()
}

func TestRescueSystemThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		prepare   func(*machine)
		signature string
	}{
		{"dead", func(m *machine) { m.set(func() { m.dumb = true }) }, "rescue system does not answer"},
		{"awake without SSH", func(m *machine) {
			m.set(func() { m.dumb = true })
			fakeNetboot{m.world}.Awake("inc", m.attempt)
			close(m.awakes["inc\x00"+m.attempt])
		}, "rescue system without SSH"},
		{"its own system", func(m *machine) {
			m.set(func() { m.attempt += "0" }) // whose key it shows
			fakeNetboot{m.world}.HostKey("inc", m.attempt)
		}, "another system instead of rescue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			job := m.job()
			job.Rung.Within = 1500 * time.Millisecond
			c.prepare(m)
			var last recovery.Step
			res := w.climber(m).Run(t.Context(), job, script, w.teller(&last))
			want(t, res, recovery.Unreachable, c.signature)
			if !res.Rebooted || res.BootTarget != recovery.BootTargetDisk || len(m.lines("ran")) != 0 {
				t.Errorf("%+v", res)
			}
			m.atHome()
		})
	}
}

// When a step cannot be recorded, nothing of it and nothing after it is done.
func TestStepsThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	for n, event := range rescueWay {
		if !strings.HasPrefix(event, "told ") {
			continue
		}
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			w.fail[event] = errors.New("the disk is full")
			var last recovery.Step
			res := w.climber(m).Run(t.Context(), m.job(), script, w.teller(&last))
			class, signature := recovery.Lost, "cancelled in mid-run"
			if n == 0 {
				class, signature = recovery.Cancelled, "cancelled"
			}
			want(t, res, class, signature)
			if !slices.Equal(w.done(), rescueWay[:n]) || !strings.Contains(res.Detail, "the disk is full") {
				t.Errorf("%v: %s", w.done(), res.Detail)
			}
		})
	}
}

// What is missing is found before the host is touched.
func TestNothingIsDoneInVain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*recovery.Job, *Climber)
		says   string
	}{
		{"no netboot", func(_ *recovery.Job, c *Climber) { c.cfg.Netboot = nil }, "--boot-listen"},
		{"no power", func(j *recovery.Job, _ *Climber) { j.Host.Power = nil }, "power control"},
		{"no address", func(j *recovery.Job, _ *Climber) { j.Rung.Address = "app01" }, "IP address"},
		{"no secret", func(j *recovery.Job, _ *Climber) { j.Rung.Unlock = "file:/no/such/key" }, "/no/such/key"},
		{"broken control", func(j *recovery.Job, _ *Climber) { j.Rung.Boot = &recovery.Control{} }, "no such port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			job, climber := m.job(), w.climber(m)
			c.change(&job, climber)
			var last recovery.Step
			res := climber.Run(t.Context(), job, script, w.teller(&last))
			if res.Class != recovery.Failed || res.Signature == "" || !strings.Contains(res.Detail, c.says) {
				t.Errorf("%+v", res)
			}
			if len(w.done()) > 0 {
				t.Errorf("done %v", w.done())
			}
		})
	}
}

// An attempt under way is brought home also when the coordinator no longer serves a rescue system.
func TestBroughtHomeWithoutNetboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	m.halt()
	m.set(func() { m.target = targetRescue })
	c, job, last := w.climber(m), m.job(), recovery.StepBootTarget
	c.cfg.Netboot, job.Step = nil, last
	want(t, c.Run(t.Context(), job, script, w.teller(&last)), recovery.Failed, "no rescue system")
	m.atHome()
}

// The attempt's time bounds what it waits for, and does not keep the host from being brought home.
func TestOutOfTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine("app01")
	m.set(func() { m.dumb = true })
	job := m.job()
	job.Timeout = time.Second
	var last recovery.Step
	want(t, w.climber(m).Run(t.Context(), job, script, w.teller(&last)), recovery.TimedOut, "no end in time")
	m.atHome()
}

func TestUnboot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		target string
		fail   error
		class  recovery.Class
		done   []string
	}{
		{"clear", targetDisk, nil, recovery.Succeeded, []string{"boot-status"}},
		{"set", targetRescue, nil, recovery.Succeeded, []string{"boot-status", "boot-disk"}},
		{"stuck", targetRescue, late(), recovery.TimedOut, []string{"boot-status"}},
		{"none", targetDisk, nil, recovery.Succeeded, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.machine("app01")
			m.set(func() { m.target = c.target })
			if c.fail != nil {
				w.fail["boot-disk"] = c.fail
			}
			job := m.job()
			job.Kind = recovery.JobUnboot
			if c.done == nil {
				job.Rung.Boot = nil
			}
			res := w.climber(m).Run(t.Context(), job, script, nil)
			if res.Class != c.class || (res.BootTarget == recovery.BootTargetDisk) != (c.class == recovery.Succeeded) || res.Detail == "" || !slices.Equal(w.done(), c.done) {
				t.Errorf("%+v, done %v", res, w.done())
			}
		})
	}
}

// What the rescue system finds on the disks stands in the note of the step, clean; what else it says does not.
func TestWhatTheRescueSystemFindsIsTold(t *testing.T) {
	r := &rescue{ascent: &ascent{Climber: New(Config{Netboot: fakeNetboot{}})}}
	if got, want := r.volumes(), "; it finds /dev/vda1 ext4 linux clean /mnt/vda1 Debian, /dev/vdb - none"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
