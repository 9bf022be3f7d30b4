//go:build e2e

package redfish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
)

// The fake is believed because clients that know nothing of us accept it, and our client because they see on the fake what it has
// done, and it sees what they have done. The clients are Debian's: redfishtool (DMTF), fence_redfish (ClusterLabs), sushy (OpenStack).

// run starts a program with text on its standard input and returns what it prints.
func run(t *testing.T, stdin, program string, args ...string) (string, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing; make deps installs it", program)
	}
	command := exec.CommandContext(ctx, program, args...)
	command.Stdin = strings.NewReader(stdin)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONWARNINGS=ignore"} // nothing about proxies or authorities
	var out, problem strings.Builder
	command.Stdout, command.Stderr = &out, &problem
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, problem.String())
	}
	return out.String(), err
}

// redfishtool runs one of its commands on the systems.
func (b *fakeBMC) redfishtool(t *testing.T, login string, args ...string) string {
	t.Helper()
	host := strings.TrimPrefix(b.URL, "https://")
	out, err := run(t, "", "redfishtool", append([]string{"-r", host, "-u", fakeUser, "-p", fakePassword, "-S", "Always", "-A", login, "-n", "Systems", "-I", "1"}, args...)...)
	if err != nil {
		t.Fatalf("redfishtool %v: %v: %s", args, err, out)
	}
	return out
}

// fence runs one action of fence_redfish and returns its exit status.
func (b *fakeBMC) fence(t *testing.T, action string) int {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(b.URL, "https://"))
	good(t, err)
	_, err = run(t, fmt.Sprintf("action=%s\nip=%s\nipport=%s\nusername=%s\npassword=%s\nssl_insecure=1\n", action, host, port, fakeUser, fakePassword), "fence_redfish")
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit.ExitCode() != 2 {
		t.Logf("fence_redfish %s: %v", action, err)
	}
	return exit.ExitCode()
}

// sushy runs a few lines of Python that have the system as s and its virtual CD as cd.
func (b *fakeBMC) sushy(t *testing.T, login, lines string) string {
	t.Helper()
	script := fmt.Sprintf(`
import sushy
from sushy import auth
root = sushy.Sushy(%q, verify=False, auth=auth.%s(username=%q, password=%q))
s = root.get_system("/redfish/v1/Systems/1")
def drive():
    for m in root.get_manager("/redfish/v1/Managers/1").virtual_media.get_members():
        if sushy.VirtualMediaType.CD in m.media_types:
            return m
%s
`, b.URL+"/redfish/v1/", login, fakeUser, fakePassword, lines)
	out, err := run(t, script, "/usr/bin/python3", "-") // Debian's, which has Debian's sushy
	if err != nil {
		t.Fatalf("sushy: %v: %s", err, out)
	}
	return strings.TrimSpace(out)
}

// TestIndependentClientsDriveTheFake has nothing of our client in it.
func TestIndependentClientsDriveTheFake(t *testing.T) {
	t.Run("redfishtool", func(t *testing.T) {
		for _, login := range []string{"Basic", "Session"} {
			b := startBMC(t, quirks{wantsMatch: true})
			m := b.machine()
			b.redfishtool(t, login, "setBootOverride", "Once", "Pxe")
			if m.enabled != "Once" || m.target != "Pxe" {
				t.Errorf("%s: the override is %s %s", login, m.enabled, m.target)
			}
			b.redfishtool(t, login, "reset", "On")
			if m.power != "On" || !slices.Equal(m.boots, []string{"Pxe"}) || m.enabled != "Disabled" {
				t.Errorf("%s: the machine is %s, has booted %v, and its override is %s", login, m.power, m.boots, m.enabled)
			}
			b.redfishtool(t, login, "setBootOverride", "Continuous", "Hdd")
			b.redfishtool(t, login, "reset", "ForceOff")
			if m.power != "Off" || m.target != "Hdd" {
				t.Errorf("%s: the machine is %s with %s", login, m.power, m.target)
			}
			b.redfishtool(t, login, "setBootOverride", "Disabled")
			if m.enabled != "Disabled" {
				t.Errorf("%s: the override is %s", login, m.enabled)
			}
		}
	})
	t.Run("fence_redfish", func(t *testing.T) {
		b := startBMC(t, quirks{slow: 1})
		for _, step := range []struct {
			action string
			exit   int
			power  string
		}{
			{"status", 2, "Off"}, {"monitor", 0, "Off"}, {"on", 0, "On"}, {"status", 0, "On"}, {"off", 0, "Off"}, {"status", 2, "Off"},
		} {
			if exit := b.fence(t, step.action); exit != step.exit || b.machine().power != step.power {
				t.Errorf("%s: exit status %d and the machine %s; want %d and %s", step.action, exit, b.machine().power, step.exit, step.power)
			}
		}
	})
	t.Run("sushy", func(t *testing.T) {
		for _, q := range []quirks{{}, {mediaPatch: true}, {settings: true}} {
			b := startBMC(t, q)
			m := b.machine()
			b.sushy(t, "SessionAuth", `
drive().insert_media("`+fakeISO+`")
s.set_system_boot_options(target=sushy.BootSource.CD, enabled=sushy.BootSourceOverrideEnabled.ONCE)
s.reset_system(sushy.ResetType.ON)`)
			if want := []string{"Cd " + fakeISO}; !slices.Equal(m.boots, want) || m.power != "On" {
				t.Errorf("%+v: the machine is %s and has booted %q", q, m.power, m.boots)
			}
			b.sushy(t, "BasicAuth", `
drive().eject_media()
s.reset_system(sushy.ResetType.FORCE_OFF)`)
			if m.inserted || m.power != "Off" {
				t.Errorf("%+v: the machine is %s, its drive %q", q, m.power, m.image)
			}
		}
	})
}

// TestIndependentClientsSeeWhatOursHasDone compares readings of the same state.
func TestIndependentClientsSeeWhatOursHasDone(t *testing.T) {
	b := startBMC(t, quirks{})
	c, ctx := b.client(), t.Context()
	good(t, c.BootRescue(ctx, fakeISO))
	boot := b.redfishtool(t, "Session", "get", "-P", "Boot")
	for _, line := range []string{`"BootSourceOverrideEnabled": "Once"`, `"BootSourceOverrideTarget": "Cd"`} {
		if !strings.Contains(boot, line) {
			t.Errorf("redfishtool does not see %s:\n%s", line, boot)
		}
	}
	seen := b.sushy(t, "SessionAuth", `print(s.boot.enabled.value, s.boot.target.value, s.power_state.value, drive().inserted, drive().image)`)
	if seen != "Once Cd Off True "+fakeISO {
		t.Errorf("sushy sees %s", seen)
	}
	good(t, c.On(ctx))
	if exit := b.fence(t, "status"); exit != 0 {
		t.Errorf("fence_redfish says exit status %d of a machine that we switched on", exit)
	}
	good(t, c.Off(ctx))
	if exit := b.fence(t, "status"); exit != 2 {
		t.Errorf("fence_redfish says exit status %d of a machine that we switched off", exit)
	}
	good(t, c.BootDisk(ctx))
	seen = b.sushy(t, "SessionAuth", `print(s.boot.enabled.value, s.power_state.value, drive().inserted, drive().image)`)
	if seen != "Disabled Off False None" {
		t.Errorf("sushy sees %s", seen)
	}
	boot = b.redfishtool(t, "Basic", "get", "-P", "Boot")
	if !strings.Contains(boot, `"BootSourceOverrideEnabled": "Disabled"`) {
		t.Errorf("redfishtool sees an override:\n%s", boot)
	}
}

// TestOursSeesWhatIndependentClientsHaveDone is the other way round.
func TestOursSeesWhatIndependentClientsHaveDone(t *testing.T) {
	b := startBMC(t, quirks{})
	c, ctx := b.client(), t.Context()
	state := func(wanted power.State) {
		t.Helper()
		if got, err := c.State(ctx); got != wanted || err != nil {
			t.Errorf("the power is %q, %v; want %q", got, err, wanted)
		}
	}
	b.redfishtool(t, "Session", "setBootOverride", "Continuous", "Pxe")
	target(t, c, Rescue)
	b.redfishtool(t, "Session", "setBootOverride", "Disabled")
	target(t, c, Disk)
	b.sushy(t, "SessionAuth", `drive().insert_media("http://192.0.2.9/theirs.iso")`)
	target(t, c, Rescue)
	b.sushy(t, "SessionAuth", `drive().eject_media()`)
	target(t, c, Disk)
	if exit := b.fence(t, "on"); exit != 0 {
		t.Errorf("fence_redfish on: exit status %d", exit)
	}
	state(power.On)
	if exit := b.fence(t, "off"); exit != 0 {
		t.Errorf("fence_redfish off: exit status %d", exit)
	}
	state(power.Off)
}
