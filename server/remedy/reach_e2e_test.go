//go:build e2e

package remedy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestSSHDReach reaches a real sshd in its ways, and finds afterwards what was there before.
func TestSSHDReach(t *testing.T) {
	for name, more := range ways {
		t.Run(name, func(t *testing.T) {
			s := startSSHD(t, more...)
			r := s.remedy(nil)
			if err := os.WriteFile(filepath.Join(s.root, "theirs"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, s.root)
			for _, environment := range []string{recovery.EnvLinux, recovery.EnvRescueLinux} {
				job := s.job("brt-app01/1")
				job.Rung.Environment = environment
				got := reach(t, r, job)
				if got.Step != StepNeeds || got.Class != recovery.Succeeded || got.FreeKiB <= 0 || slices.Contains(got.Lacks, LackSetsid) {
					t.Errorf("%s: %+v", environment, got)
				}
			}
			job := s.job("brt-app01/1")
			job.Rung.HostKeys = []string{line(newSigner(t))}
			if got := reach(t, r, job); got.Step != StepBanner || got.Signature != "wrong host key" {
				t.Errorf("%+v", got)
			}
			file, _ := newKeyFile(t, "")
			stranger := s.remedy(func(c *Config) { c.Keys = []string{file} })
			if got := reach(t, stranger, s.job("brt-app01/1")); got.Step != StepHostKey || got.Class != recovery.AuthRefused {
				t.Errorf("%+v", got)
			}
			if after := snapshot(t, s.root); after != before {
				t.Errorf("it has left something behind:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

func TestSSHDReachForcedCommand(t *testing.T) {
	s := startSSHD(t, "ForceCommand /bin/false")
	if got := reach(t, s.remedy(nil), s.job("brt-app01/1")); got.Step != StepLogin || got.Signature != "no shell" {
		t.Fatalf("%+v", got)
	}
}

// TestSSHDReachThroughAJump goes through a jump host with sshd's own bounds.
func TestSSHDReachThroughAJump(t *testing.T) {
	jump, s := startSSHD(t), startSSHD(t, "MaxStartups 100") // one sshd stands for twenty hosts
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte("[127.0.0.1]:"+jump.port+" "+jump.hostKey), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.remedy(func(c *Config) { c.Keys, c.KnownHosts = []string{jump.identity, s.identity}, []string{known} })
	var all sync.WaitGroup
	var mu sync.Mutex
	count := map[string]int{}
	for n := range 20 {
		all.Go(func() {
			job := s.job(fmt.Sprintf("h%d/1", n))
			job.Rung.Jump = []string{me(t) + "@127.0.0.1:" + jump.port}
			got := reach(t, r, job)
			mu.Lock()
			defer mu.Unlock()
			count[string(got.Step)+" "+got.Signature]++
		})
	}
	all.Wait()
	if count["needs "] != 20 {
		t.Errorf("%v", count)
	}
}

// TestSSHDReachDisks says of full and read-only disks what an attempt says, under each shell.
func TestSSHDReachDisks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small disk needs root; run make e2e as root")
	}
	s := startSSHD(t)
	r := s.remedy(nil)
	for name, c := range map[string]struct {
		options string
		fill    bool
		after   string // remount options
		want    string
	}{
		"small":         {options: "size=512k"},
		"full":          {options: "size=512k", fill: true, want: "disk full"},
		"no inodes":     {options: "size=512k,nr_inodes=2", want: "disk full"},
		"read-only":     {options: "size=512k", after: "remount,ro", want: "read-only file system"},
		"a b c full":    {options: "size=512k", fill: true, want: "disk full"},
		"a b read-only": {options: "size=512k", after: "remount,ro", want: "read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := filepath.Join(s.dir, strings.ReplaceAll(name, "-", "_"))
			if err := os.MkdirAll(disk, 0o755); err != nil {
				t.Fatal(err)
			}
			mount := func(args ...string) {
				t.Helper()
				if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
					t.Fatalf("mount: %v: %s", err, out)
				}
			}
			mount("-t", "tmpfs", "-o", c.options, "tmpfs", disk)
			t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
			if c.fill {
				_ = exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(disk, "fill"), "bs=4k").Run() // ends when it is full
			}
			if c.after != "" {
				mount("-o", c.after, disk)
			}
			job := s.job("brt-app01/1")
			job.Rung.Root = disk
			got := reach(t, r, job)
			if got.Signature != c.want || c.want == "" && (got.Step != StepNeeds || !slices.Contains(got.Lacks, LackRoom)) {
				t.Errorf("%+v", got)
			}
			for _, shell := range [][]string{{"dash"}, {"busybox", "sh"}, {"bash"}} {
				out := looked(t, shell, "bs_env", recovery.EnvRescueLinux, "bs_root", disk, "bs_reboot", "reboot", "bs_tools", tools)
				_, e := readLook(out, func(Step) {})
				if c.want == "" && e != nil || c.want != "" && (e == nil || e.signature != c.want) {
					t.Errorf("%v says %q", shell, out)
				}
			}
			res := r.Run(t.Context(), job, Scripts{Repair: []byte(claimOK)})
			if res.Class != got.Class || res.Signature != got.Signature {
				t.Errorf("an attempt ends with %s %q (%s), reach says %s %q", res.Class, res.Signature, res.Detail, got.Class, got.Signature)
			}
		})
	}
}
