package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/climb"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// fakeBMC is a program that keeps the fence agents' contract: its state is files in a folder, and it notes what it is asked.
const fakeBMC = `#!/bin/sh
while IFS='=' read -r key value; do
  case $key in action) action=$value ;; password) password=$value ;; esac
done
echo "$action" >>HERE/asked
[ "$password" = right ] || { echo 'Unable to connect/login to fencing device' >&2; exit 1; }
case $action in
on | off) echo "$action" >HERE/power ;;
boot-rescue) echo rescue >HERE/boot ;;
boot-disk) echo disk >HERE/boot ;;
status) [ "$(cat HERE/power)" = on ] || exit 2 ;;
boot-status) cat HERE/boot ;;
esac
exit 0
`

type bmc struct{ dir string }

func newBMC(t *testing.T, power, boot string) bmc {
	t.Helper()
	b := bmc{t.TempDir()}
	for name, text := range map[string]string{"fence": strings.ReplaceAll(fakeBMC, "HERE", b.dir), "power": power + "\n", "boot": boot + "\n", "password": "right\n"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b bmc) control(name string) *recovery.Control {
	return &recovery.Control{Name: name, Kind: recovery.ControlAgent, Program: filepath.Join(b.dir, "fence"), Secrets: map[string]string{"password": "file:" + filepath.Join(b.dir, "password")}}
}

func (b bmc) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(b.dir, name))
	return strings.TrimSpace(string(text))
}

func imageDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"vmlinuz", "initrd"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Reach says all that a rung from outside lacks, and changes nothing.
func TestReachFromOutside(t *testing.T) {
	e := newFakeEstate(t)
	helper := e.host(0, false).Ladder[0]
	helper.Name, helper.Kind, helper.Environment, helper.Attach = "helper", recovery.RungHelper, recovery.EnvRescueLinux, "attach"
	for _, c := range []struct {
		name      string
		change    func(*recovery.Host, *ReachConfig, bmc)
		class     recovery.Class
		step      remedy.Step
		signature string
		missing   int
		power     string
		target    string
		lacks     string
	}{
		{"ready", func(*recovery.Host, *ReachConfig, bmc) {}, recovery.Succeeded, remedy.StepNeeds, "", 0, "on", "disk", ""},
		{"set for rescue", func(h *recovery.Host, _ *ReachConfig, b bmc) { write(t, b, "boot", "rescue\n") }, recovery.Succeeded, remedy.StepNeeds, "", 0, "on", "rescue", remedy.LackOwnDisk},
		{"off", func(h *recovery.Host, _ *ReachConfig, b bmc) { write(t, b, "power", "off\n") }, recovery.Succeeded, remedy.StepNeeds, "", 0, "off", "disk", ""},
		{"nothing named", func(h *recovery.Host, cfg *ReachConfig, _ bmc) {
			h.MACs, h.Ladder[0].Unlock, cfg.RescueImage, cfg.BootURL = nil, "file:/no/such/key", "", ""
		}, recovery.Failed, remedy.StepPower, "no MAC address or UUID, no rescue image, no boot URL, unlock secret not readable", 4, "on", "disk", ""},
		{"no image", func(_ *recovery.Host, cfg *ReachConfig, _ bmc) { cfg.RescueImage = "/no/such/folder" }, recovery.Failed, remedy.StepPower, "no rescue image", 1, "on", "disk", ""},
		{"no power", func(h *recovery.Host, _ *ReachConfig, _ bmc) { h.Power = nil }, recovery.Failed, remedy.StepNone, "no power control", 1, "", "disk", ""},
		{"no secret", func(h *recovery.Host, _ *ReachConfig, b bmc) { _ = os.Remove(filepath.Join(b.dir, "password")) }, recovery.Failed, remedy.StepNone, "fence: secret missing", 1, "", "", ""},
		{"unknown kind", func(h *recovery.Host, _ *ReachConfig, _ bmc) {
			h.Ladder[0].Boot = &recovery.Control{Name: "x", Kind: "magic"}
		}, recovery.Failed, remedy.StepPower, "unknown kind of control", 1, "on", "", ""},
		{"helper", func(h *recovery.Host, _ *ReachConfig, _ bmc) { h.Ladder[0] = helper }, recovery.Succeeded, remedy.StepNeeds, "", 0, "on", "", ""},
		{"helper that is another", func(h *recovery.Host, _ *ReachConfig, _ bmc) {
			h.Ladder[0] = helper
			h.Ladder[0].HostKeys, h.Ladder[0].Attach = nil, ""
		}, recovery.HostKeyMismatch, remedy.StepBanner, "unknown host key, no attach command", 2, "on", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBMC(t, "on", "disk")
			h := recovery.Host{Name: "h", Tier: "apps", Service: "app", Power: b.control("bmc"), MACs: []string{"52:54:00:12:34:56"},
				Ladder: []recovery.Rung{{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvRescueLinux, Address: "10.0.0.9", Boot: b.control("bmc")}}}
			cfg := ReachConfig{SSH: e.config(), RescueImage: imageDir(t), BootURL: "http://10.0.0.1:7480"}
			c.change(&h, &cfg, b)
			cfg.Hosts = []recovery.Host{h}
			power, boot := b.read("power"), b.read("boot")
			found, err := Reach(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := found[0].Rungs[0]
			if r.Class != c.class || r.Step != c.step || r.Signature != c.signature || r.Detail == "" || strings.Join(r.Lacks, " ") != c.lacks {
				t.Errorf("%+v", r.Reached)
			}
			if r.Outside == nil || len(r.Outside.Missing) != c.missing || r.Outside.Power != c.power || r.Outside.BootTarget != c.target {
				t.Errorf("%+v", r.Outside)
			}
			if (found[0].Verdict == Repairable) != (c.class == recovery.Succeeded) {
				t.Errorf("%+v", found[0])
			}
			if b.read("power") != power || b.read("boot") != boot {
				t.Error("something was changed")
			}
		})
	}
}

func write(t *testing.T, b bmc, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// One helper that serves many hosts is logged in to once.
func TestReachAsksASharedHelperOnce(t *testing.T) {
	e := newFakeEstate(t)
	cfg := ReachConfig{SSH: e.config()}
	for n := range 20 {
		h := e.host(0, false)
		h.Name = "h" + string(rune('a'+n))
		h.Ladder[0].Kind, h.Ladder[0].Attach = recovery.RungHelper, "attach"
		cfg.Hosts = append(cfg.Hosts, h)
	}
	found, err := Reach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range found {
		if h.Verdict != Repairable {
			t.Errorf("%+v", h)
		}
	}
	if n := e.dials.Load(); n != 1 {
		t.Errorf("%d dials", n)
	}
}

// Each kind of job goes to what does it, through the wiring's own controls.
func TestJobsFindTheirRemedy(t *testing.T) {
	b := newBMC(t, "off", "rescue")
	e := newFakeEstate(t)
	ssh, err := remedy.New(e.config())
	if err != nil {
		t.Fatal(err)
	}
	defer ssh.Close()
	r := &remedies{ssh: ssh, climber: climb.New(climb.Config{SSH: ssh, Switch: openSwitch, Boot: openBoot}), books: &playbook.Library{}}
	job := recovery.Job{ID: "h/1", Incident: "i", Kind: recovery.JobUnboot, Host: recovery.Host{Name: "h", Power: b.control("bmc")},
		Rung: recovery.Rung{Name: "rescue", Kind: recovery.RungRescue, Address: "10.0.0.9", Boot: b.control("bmc")}}
	told := func(recovery.Step, string) error { return nil }
	if res := r.Run(t.Context(), job, told); res.Class != recovery.Succeeded || res.BootTarget != recovery.BootTargetDisk || b.read("boot") != "disk" {
		t.Errorf("%+v", res)
	}
	job.Kind = recovery.JobRepair
	if res := r.Run(t.Context(), job, told); res.Signature != "playbook missing" || b.read("power") != "off" {
		t.Errorf("%+v", res)
	}
	job.Step = recovery.StepPowerOn // whatever is missing now, the host is not left where it is
	if res := r.Run(t.Context(), job, told); res.Signature != "no rescue system" || b.read("power") != "on" || !res.Rebooted {
		t.Errorf("%+v", res)
	}
}

func TestRescueSecretIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := rescueSecret(dir)
	if err != nil || len(first) != 32 {
		t.Fatal(first, err)
	}
	info, err := os.Stat(filepath.Join(dir, RescueSecretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if again, err := rescueSecret(dir); err != nil || string(again) != string(first) {
		t.Error(again, err)
	}
	if other, err := rescueSecret(t.TempDir()); err != nil || string(other) == string(first) {
		t.Error("two data folders have one secret", err)
	}
	if err := os.WriteFile(filepath.Join(dir, RescueSecretFile), first[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rescueSecret(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
}
