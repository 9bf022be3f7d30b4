package rescue

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var shellScripts = []string{"image/init", "image/usr/sbin/blackstart-disk", "image/usr/share/blackstart/dhcp"}

// ash is the shell of the rescue system.
func ash(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		leaveOut(t, "busybox is not here")
	}
	return busybox
}

func TestScriptsAreShell(t *testing.T) {
	busybox := ash(t)
	for _, name := range shellScripts {
		if out, err := exec.Command(busybox, "ash", "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// in runs a line with the functions of blackstart-disk, with tools of our own before the machine's.
func in(t *testing.T, dir, line string) string {
	t.Helper()
	busybox := ash(t)
	script, err := filepath.Abs("image/usr/sbin/blackstart-disk")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(busybox, "ash", "-c", `. "$1"; PATH=$BLACKSTART_RUN/bin:$PATH; `+line, "test", script)
	cmd.Env = append(os.Environ(), "BLACKSTART_RUN="+dir, "BLACKSTART_MNT="+filepath.Join(dir, "mnt"), "BLACKSTART_SYS="+filepath.Join(dir, "sys"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return string(out)
}

func plant(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestDiskKnowsWhichDevicesHoldVolumes(t *testing.T) {
	dir := t.TempDir()
	block := filepath.Join(dir, "sys", "class", "block")
	for name, size := range map[string]string{"sda": "100000", "sda1": "2", "sda2": "90000", "sdb": "80000", "loop0": "90000", "sr0": "90000", "dm-0": "90000", "dm-1": "90000", "cciss!c0d0": "90000"} {
		plant(t, filepath.Join(block, name, "size"), size+"\n")
	}
	plant(t, filepath.Join(block, "sda", "sda1", "partition"), "1\n")
	plant(t, filepath.Join(block, "dm-0", "dm", "uuid"), "LVM-abc\n")
	plant(t, filepath.Join(block, "dm-0", "dm", "name"), "vg-root\n")
	plant(t, filepath.Join(block, "dm-1", "dm", "uuid"), "LVM-abc-tdata\n")
	if got := in(t, dir, "devices"); got != "cciss!c0d0\ndm-0\nsda2\nsdb\n" {
		t.Errorf("devices are %q", got)
	}
	got := in(t, dir, `for d in sda2 dm-0 'cciss!c0d0'; do name "$d"; echo "$name $dev"; done; kernel vg-root; echo $kernel`)
	if got != "sda2 /dev/sda2\nvg-root /dev/mapper/vg-root\ncciss-c0d0 /dev/cciss/c0d0\ndm-0\n" {
		t.Errorf("names are %q", got)
	}
}

func TestDiskReadsBitLockerKey(t *testing.T) {
	dump := `GUID:         	2a66874f-3f92-4160-aab1-20ee31c1426c
Keyslots:
 0: VMK
	GUID:       	c0fe19b7-75d4-4663-81ed-ab9e3bf4b549
	Protection: 	VMK protected with passphrase
 1: VMK
	GUID:       	69a49ad2-6a11-41b2-bb14-bda04b1c97e1
	Protection: 	VMK protected with recovery passphrase
`
	if got := in(t, t.TempDir(), "bitlocker_key <<'E'\n"+dump+"E\n"); got != "69A49AD2-6A11-41B2-BB14-BDA04B1C97E1\n" {
		t.Errorf("the key id is %q", got)
	}
	if got := in(t, t.TempDir(), "echo nothing | bitlocker_key"); got != "" {
		t.Errorf("out of nothing comes %q", got)
	}
}

func TestDiskNamesNTFSStates(t *testing.T) {
	if got := in(t, t.TempDir(), "for e in 0 14 15 13 12 16 1; do ntfs_state $e; done"); got != "clean\nhibernated\ndirty\nunreadable\nunreadable\nunreadable\nunreadable\n" {
		t.Errorf("states are %q", got)
	}
}

func TestDiskCleansWhatDisksSay(t *testing.T) {
	if got := in(t, t.TempDir(), `printf 'a\tb\033[31m\nc  d\200 ' | clean`); strings.TrimSuffix(got, "\n") != "a b[31m c d" {
		t.Errorf("it becomes %q", got)
	}
}

func TestDiskFindsSystems(t *testing.T) {
	dir := t.TempDir()
	plant(t, filepath.Join(dir, "win", "wInDoWs", "SYSTEM32", "x"), "")
	plant(t, filepath.Join(dir, "winlink", "other", "System32", "x"), "")
	if err := os.Symlink("other", filepath.Join(dir, "winlink", "Windows")); err != nil {
		t.Fatal(err)
	}
	plant(t, filepath.Join(dir, "lin", "etc", "os-release"), "ID=x\nPRETTY_NAME=\"Some\x1bthing 1\"\n")
	plant(t, filepath.Join(dir, "sub", "@", "etc", "os-release"), "PRETTY_NAME=Sub\n")
	got := in(t, dir, `
		try() { role=data at=$BLACKSTART_RUN/$1 detail=- fstype=$2; $3; tell "$1" $role "${at#$BLACKSTART_RUN/}" "$detail"; }
		try win ntfs find_windows; try winlink ntfs find_windows; try lin ext4 find_linux; try sub btrfs find_linux; try sub ext4 find_linux`)
	want := "win\twindows\twin\t-\nwinlink\tdata\twinlink\t-\nlin\tlinux\tlin\tSomething 1\nsub\tlinux\tsub/@\tSub\nsub\tdata\tsub\t-\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestDiskOpensOnlyTheOneSystem plays open on volumes that were found out before.
func TestDiskOpensOnlyTheOneSystem(t *testing.T) {
	locked := "/dev/sda2\tBitLocker\tnone\tlocked\t-\tbitlocker KEY-1\n"
	windows := "/dev/sdb1\tntfs\twindows\tclean\t/mnt/sdb1\t-\n"
	asleep := "/dev/sdc1\tntfs\twindows\thibernated\t/mnt/sdc1\t-\n"
	linux := "/dev/sdd1\text4\tlinux\tclean\t/mnt/sdd1\t-\n"
	swap := "/dev/sde1\tswsuspend\tnone\thibernated\t-\t-\n"
	for what, c := range map[string]struct {
		volumes map[string]string
		last    string
	}{
		"nothing":              {nil, "problem\tno volume here holds a Windows folder or a Linux root: look at what 'blackstart-disk look' says\n(exit status 21)"},
		"locked":               {map[string]string{"sda2": locked}, "locked\t/dev/sda2\tbitlocker\tKEY-1\n(exit status 20)"},
		"two systems":          {map[string]string{"sdb1": windows, "sdd1": linux}, "problem\tseveral volumes hold a system, and nothing says which one is meant: /dev/sdb1 /dev/sdd1\n(exit status 23)"},
		"asleep":               {map[string]string{"sdc1": asleep}, "problem\tWindows sleeps in"},
		"Linux asleep":         {map[string]string{"sdd1": linux, "sde1": swap}, "problem\ta Linux system sleeps in /dev/sde1"},
		"one":                  {map[string]string{"sdb1": windows}, "root\t/mnt/sdb1\n"},
		"one and a locked one": {map[string]string{"sda2": locked, "sdb1": windows}, "root\t/mnt/sdb1\n"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for name, fields := range c.volumes {
				plant(t, filepath.Join(dir, "volumes", name), fields)
				plant(t, filepath.Join(dir, "sys", "class", "block", name, "size"), "90000\n")
			}
			if got := in(t, dir, "assemble() { :; }; survey() { :; }; unlock() { :; }; writable() { return 0; }; open </dev/null"); !strings.HasPrefix(got, c.last) {
				t.Errorf("open says %q, want %q", got, c.last)
			}
		})
	}
}

// TestInitNeverRunsTheSeed: what comes over the network is read, not obeyed.
func TestInitNeverRunsTheSeed(t *testing.T) {
	busybox := ash(t)
	text, err := os.ReadFile("image/init")
	if err != nil {
		t.Fatal(err)
	}
	_, function, ok := strings.Cut(string(text), "\nfact() {")
	function, _, closed := strings.Cut(function, "\n}\n")
	if !ok || !closed {
		t.Fatal("there is no function fact in init")
	}
	env := filepath.Join(t.TempDir(), "env")
	plant(t, env, "BLACKSTART_URL='http://10.0.0.5:1'\nexport BLACKSTART_HOST=web-1\nBLACKSTART_TOKEN='$(touch x)'\nBLACKSTART_ATTEMPT='web-1/2'\n")
	function = strings.ReplaceAll(function, "/blackstart/seed/env", env)
	out, err := exec.Command(busybox, "ash", "-c", "say() { echo \"SAID $*\"; }; fact() {"+function+"\n}; for f in URL HOST TOKEN ATTEMPT; do fact BLACKSTART_$f; echo; done").CombinedOutput()
	want := "http://10.0.0.5:1\nweb-1\nSAID the seed's BLACKSTART_TOKEN has strange characters, so it is not used\n\nweb-1/2\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}
