//go:build e2e

package power

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// example is the program that the documentation gives to sites.
func example(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../docs/examples/ipmi-boot")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Two programs drive the same board, and both must be right about the machine behind it.
func TestPowerOfARealBoard(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"fence_ipmilan", "fence_idrac", example(t)} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			a := Open(b.control(program))
			want := func(want State, power string) {
				t.Helper()
				if got, err := a.State(t.Context()); err != nil || got != want {
					t.Fatalf("state is %q (%v), want %q", got, err, want)
				}
				b.want("power", power)
			}
			if err := a.Monitor(t.Context()); err != nil {
				t.Fatal(err)
			}
			want(On, "1")
			begin := time.Now()
			for range 2 { // off twice changes nothing; off and on is the restart
				if err := a.Off(t.Context()); err != nil {
					t.Fatal(err)
				}
				want(Off, "0")
			}
			if err := a.On(t.Context()); err != nil {
				t.Fatal(err)
			}
			want(On, "1")
			b.want("boots", "none")
			t.Logf("off, off again and on took %s", time.Since(begin).Round(10*time.Millisecond))
		})
	}
}

func TestFaultsOfARealBoard(t *testing.T) {
	t.Parallel()
	option := func(key, value string) func(*testing.T, *recovery.Control) {
		return func(_ *testing.T, c *recovery.Control) { c.Options[key] = value }
	}
	login := func(user, level string) func(*testing.T, *recovery.Control) {
		return func(_ *testing.T, c *recovery.Control) { c.Options["username"], c.Options["privlvl"] = user, level }
	}
	wrongPassword := func(t *testing.T, c *recovery.Control) {
		c.Secrets["password"] = secretFile(t, "wr0ng-one")
	}
	deadPort := func(t *testing.T, c *recovery.Control) { c.Options["ipport"] = freePort(t) }
	for name, c := range map[string]struct {
		program   string
		change    func(*testing.T, *recovery.Control)
		class     recovery.Class
		signature string
	}{
		"password":          {"fence_ipmilan", wrongPassword, recovery.AuthRefused, "password refused"},
		"password, example": {example(t), wrongPassword, recovery.AuthRefused, "password refused"},
		"password, old IPMI": {"fence_ipmilan", func(t *testing.T, c *recovery.Control) {
			wrongPassword(t, c)
			delete(c.Options, "lanplus")
			c.Timeout = time.Minute
		}, recovery.AuthRefused, "password refused"},
		"user":                 {"fence_ipmilan", option("username", "nobody"), recovery.AuthRefused, "user refused"},
		"user, example":        {example(t), option("username", "nobody"), recovery.AuthRefused, "user refused"},
		"dead port":            {"fence_ipmilan", deadPort, recovery.Unreachable, "no answer"},
		"dead port, example":   {example(t), deadPort, recovery.Unreachable, "no answer"},
		"rights":               {"fence_ipmilan", login("looker", "user"), recovery.AuthRefused, "not enough rights"},
		"rights, example":      {example(t), login("looker", "user"), recovery.AuthRefused, "not enough rights"},
		"cipher":               {"fence_ipmilan", option("cipher", "17"), recovery.Failed, "cipher suite refused"},
		"no ipmitool":          {"fence_ipmilan", option("ipmitool_path", "/usr/bin/ipmitool-of-nobody"), recovery.Failed, "tool missing"},
		"an option it rejects": {"fence_ipmilan", option("privlvl", "king"), recovery.Failed, "exit 1"},
		"fence_pve, no service": {"fence_pve", func(_ *testing.T, c *recovery.Control) {
			c.Options = map[string]string{"ip": "127.0.0.1", "ipport": "1", "username": "root@pam", "plug": "100", "pve_node": "pve"}
		}, recovery.Unreachable, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			control := b.control(c.program)
			c.change(t, &control)
			a := Open(control)

			begin := time.Now()
			err := a.Off(t.Context())
			wantError(t, err, c.class, c.signature)
			t.Logf("%v (%s)", err, time.Since(begin).Round(10*time.Millisecond))
			b.want("power", "1")
		})
	}
}

// A board that says yes and does nothing is the worst of all. The login is no administrator: ipmitool's own probes fail for lack of
// rights then, and must not be taken for the reason.
func TestABoardThatDoesNotObey(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"fence_ipmilan", example(t)} {
		for _, want := range []State{Off, On} {
			t.Run(filepath.Base(program)+" "+string(want), func(t *testing.T) {
				t.Parallel()
				b := newBoard(t)
				b.set("deaf", "")
				control := b.control(program)
				control.Options["retry_on"] = "0" // else fence_ipmilan gives the order twice and waits twice
				control.Options["username"], control.Options["privlvl"] = "operator", "operator"
				if want == On {
					b.set("power", "0")
				}
				act := Open(control).Off
				if want == On {
					act = Open(control).On
				}
				wantError(t, act(t.Context()), recovery.Failed, string(want)+" not obeyed")
			})
		}
	}
}

func TestBootTargetOfARealBoard(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	a := Open(b.control(example(t)))
	do := func(acts ...func() error) {
		t.Helper()
		for i, act := range acts {
			if err := act(); err != nil {
				t.Fatalf("act %d: %v", i+1, err)
			}
		}
	}
	on := func() error { return a.On(t.Context()) }
	off := func() error { return a.Off(t.Context()) }
	rescue := func() error { return a.BootRescue(t.Context(), "http://192.0.2.1:8080/boot.ipxe") }
	disk := func() error { return a.BootDisk(t.Context()) }
	want := func(want string) {
		t.Helper()
		if got, err := a.BootTarget(t.Context()); err != nil || got != want {
			t.Fatalf("target is %q (%v), want %q", got, err, want)
		}
	}

	want("disk")
	do(off, rescue)
	want("rescue")
	do(on) // which uses it up
	want("disk")
	do(off, on)
	b.want("boots", "pxe none")

	do(rescue, disk) // called off
	want("disk")

	b.set("keeps", "")
	do(off, rescue, on)
	want("rescue") // forgotten: it would boot into rescue for ever
	do(disk)
	want("disk")
	do(off, on)
	b.want("boots", "pxe none pxe none")
}

func TestABoardWhoseBootTargetIsStuck(t *testing.T) {
	t.Parallel()
	for boot, c := range map[string]struct {
		act   func(*Agent) error
		words string
	}{
		"none": {func(a *Agent) error { return a.BootRescue(t.Context(), "") }, "boot-rescue not obeyed"},
		"pxe":  {func(a *Agent) error { return a.BootDisk(t.Context()) }, "boot-disk not obeyed"},
	} {
		t.Run(boot, func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			b.set("boot", boot)
			b.set("stuck", "")
			control := b.control(example(t))
			control.Timeout = 8 * time.Second
			wantError(t, c.act(Open(control)), recovery.Failed, c.words)
			b.want("boot", boot)
		})
	}
}

// While the example's ipmitool waits for a dead board, its command line and environment can be read at leisure.
func TestTheExampleShowsNoPassword(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	control := recovery.Control{
		Program: example(t), Timeout: 20 * time.Second,
		Options: map[string]string{"ip": "127.0.0.1", "ipport": port, "username": boardUser},
		Secrets: map[string]string{"password": secretFile(t, "seen-n0where")},
	}
	ended := make(chan error, 1)
	go func() { ended <- Open(control).Monitor(t.Context()) }()

	seen := 0
	for {
		folders, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
			environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
			if strings.Contains(string(cmdline), "seen-n0where") || strings.Contains(string(environ), "seen-n0where") {
				t.Fatalf("the password is seen from outside: %q", cmdline)
			}
			if strings.HasPrefix(string(cmdline), "ipmitool\x00") && strings.Contains(string(cmdline), "\x00"+port+"\x00") {
				seen++
			}
		}
		select {
		case err := <-ended:
			wantError(t, err, recovery.Unreachable, "no answer")
			if seen == 0 {
				t.Error("ipmitool was not seen at all")
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fence_dummy is the fence agents' own pretence of a device.
func TestFenceDummy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "status")
	a := Open(recovery.Control{Program: "fence_dummy", Options: map[string]string{"status_file": file}})
	if err := a.Monitor(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		act  func() error
		want State
	}{
		{func() error { return a.On(t.Context()) }, On},
		{func() error { return a.Off(t.Context()) }, Off},
		{func() error { return a.On(t.Context()) }, On},
	} {
		if err := c.act(); err != nil {
			t.Fatal(err)
		}
		if is, err := a.State(t.Context()); err != nil || is != c.want {
			t.Fatalf("state is %q (%v), want %q", is, err, c.want)
		}
		if content, err := os.ReadFile(file); err != nil || string(content) != fmt.Sprint(c.want) {
			t.Fatalf("the device holds %q (%v), want %q", content, err, c.want)
		}
	}
	if err := os.WriteFile(file, []byte("melted"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := a.State(t.Context())
	wantError(t, err, recovery.Failed, "no status")
	wantError(t, a.BootDisk(t.Context()), recovery.Failed, "action not known")
}
