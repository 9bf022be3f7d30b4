package health

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMountOf(t *testing.T) {
	const info = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 21 0:5 / /dev rw - devtmpfs udev rw
31 21 8:2 / /srv/my\040data ro,relatime shared:9 - xfs /dev/sdb1 rw,attr2
32 21 8:3 / /broken rw,relatime - ext4 /dev/sdc1 ro,errors=remount-ro
33 21 8:4 / /srv rw - ext4 /dev/sdd1 rw
odd line
`
	for folder, want := range map[string][3]string{
		"/":                  {"/", "ext4", "rw,errors=remount-ro"},
		"/etc":               {"/", "ext4", "rw,errors=remount-ro"},
		"/srv/my data/x":     {"/srv/my data", "xfs", "rw,attr2"},
		"/broken":            {"/broken", "ext4", "ro,errors=remount-ro"},
		"/broken-not-at-all": {"/", "ext4", "rw,errors=remount-ro"},
		"/srv/my dataset":    {"/srv", "ext4", "rw"},
	} {
		point, kind, options := mountOf([]byte(info), folder)
		if got := [3]string{point, kind, options}; got != want {
			t.Errorf("%s: %q, want %q", folder, got, want)
		}
	}
}

func TestWritable(t *testing.T) {
	proc := t.TempDir()
	s := system{root: "/", proc: proc}
	put(t, proc, "self/mountinfo", []byte("1 0 8:1 / / ro - ext4 /dev/sda1 rw\n"), time.Now())
	if _, err := s.writable(t.Context()); err != nil {
		t.Errorf("a mount made read-only for the service alone: %v", err)
	}
	put(t, proc, "self/mountinfo", []byte("1 0 8:1 / / rw - ext4 /dev/sda1 ro,errors=remount-ro\n"), time.Now())
	if _, err := s.writable(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a file system that gave up: %v", err)
	}
	put(t, proc, "self/mountinfo", nil, time.Now())
	if _, err := s.writable(t.Context()); err == nil {
		t.Error("no mount at all")
	}
}

func TestUnit(t *testing.T) {
	const slice = "system.slice/"
	cgroup := t.TempDir()
	s := system{cgroup: cgroup}
	put(t, cgroup, slice+"postgresql.service/cgroup.events", []byte("populated 1\nfrozen 0\n"), time.Now())
	put(t, cgroup, slice+"dead.service/cgroup.events", []byte("populated 0\nfrozen 0\n"), time.Now())
	put(t, cgroup, slice+`system-my\x2ddb.slice/my-db@main.service/cgroup.events`, []byte("populated 1\n"), time.Now())
	put(t, cgroup, "systemd/"+slice+"old.service/cgroup.procs", []byte("812\n"), time.Now())
	put(t, cgroup, "systemd/"+slice+"gone.service/cgroup.procs", nil, time.Now())
	for unit, want := range map[string]string{
		"postgresql": "", "postgresql.service": "", "my-db@main": "", "old": "",
		"dead": "empty", "gone": "empty", "never": "no control group", "../x": "no unit name", "a/b": "no unit name",
	} {
		_, err := s.unit(unit)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("unit %s: %v, want %q", unit, err, want)
		}
	}
}

func TestProcess(t *testing.T) {
	s := system{proc: "/proc"}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := s.process(t.Context(), filepath.Base(self), 0)
	if err != nil || !s.is(strconv.Itoa(pid), filepath.Base(self)) {
		t.Errorf("this process is not found: %d, %v", pid, err)
	}
	if again, err := s.process(t.Context(), filepath.Base(self), pid); again != pid || err != nil {
		t.Errorf("%d, %v", again, err)
	}
	if _, err := s.process(t.Context(), "no-such-process", pid); err == nil {
		t.Error("a process that is not there is found")
	}

	proc := t.TempDir()
	s = system{proc: proc}
	put(t, proc, "7/stat", []byte("7 (edr (sensor)) S 1 7"), time.Now())
	put(t, proc, "8/stat", []byte("8 (zombie) Z 1 8"), time.Now())
	put(t, proc, "9/stat", []byte("9 ("), time.Now())
	put(t, proc, "10/stat", []byte("10 (a-very-long-nam) S 1"), time.Now())
	put(t, proc, "10/cmdline", []byte("/opt/a-very-long-name-indeed\x00-x\x00"), time.Now())
	for name, want := range map[string]bool{"edr (sensor)": true, "zombie": false, "a-very-long-name-indeed": true, "a-very-long-name-at-all": false} {
		if _, err := s.process(t.Context(), name, 0); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
