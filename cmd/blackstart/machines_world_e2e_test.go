//go:build machines && e2e && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Addresses of the machine room. Each machine is in a network of its own behind qemu's user mode network, where the laptop on
// which the coordinator runs is called gateway; its port 22 is to be had at the machine's address, its BMC at another.
const (
	gateway     = "10.0.2.2"
	agentPort   = 7443
	netbootPort = 8080
)

// A vm is one server: a disk with a boot loader, a kernel and a small Linux, a network card that can boot from the network, a
// serial console, and a BMC that has power over it. What it does at boot is guestInit's.
type vm struct {
	name, addr, bmc string
	mac, uuid       string
	dir             string // disk, console, and what the BMC needs
	windows         bool   // it plays a Windows server
	forgets         bool   // its BMC forgets to clear the boot target
	settings        string // for guestInit
	content         []content
	files           map[string]guestFile // its own files, beside those that all have
}

type guestFile struct {
	text string
	mode os.FileMode
}

// guestInit is the first process of a machine that boots from its disk. The driver of the security product reads its content
// before the network is there, as on the day; content that it cannot read it takes for code, and the kernel panics.
const guestInit = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
# name, coordinator, root (of the disk that the agent probes), content (what the driver reads); grace is for how many seconds
# the driver lets others run first; after as many crashes in a row as parks says, 0 for never, the machine gives up and waits
# for somebody, as Windows does.
. /etc/machine
say() { echo "$name: $*" >/dev/console; }

mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /run/sshd /var/lab
echo "$name" >/proc/sys/kernel/hostname
say "boots from its disk, boot id $(cat /proc/sys/kernel/random/boot_id)"
if [ "$root" = /windows ]; then
	mkdir -p /windows
	ntfs-3g /dev/vda2 /windows || say "cannot mount the NTFS volume"
fi

driver() {
	for file in $content; do
		[ "$(dd "if=$file" bs=1 skip=6 count=4 2>/dev/null | tr -cd a-z)" = ok ] || { bad=$file; return 1; }
	done
}
crash() {
	say "edr-sensor: $bad: invalid memory reference"
	sync
	echo c >/proc/sysrq-trigger
	sleep 3600
}
serve() {
	ip link set lo up
	ip link set eth0 up
	ip addr add 10.0.2.15/24 dev eth0
	ip route add default via 10.0.2.2
	/usr/sbin/sshd
	blackstart-agent run --coordinator "$coordinator" --root "$root" --dir /var/lib/blackstart-agent </dev/null >/var/log/agent.log 2>&1 &
}

if ! driver; then
	crashes=$(($(cat /var/lab/crashes 2>/dev/null) + 1))
	if [ "$parks" -gt 0 ] && [ "$crashes" -gt "$parks" ]; then
		say "parked after $parks crashes: somebody must look"
		while :; do sleep 3600; done
	fi
	echo "$crashes" >/var/lab/crashes
	[ "$grace" -gt 0 ] || crash
	serve
	say "up for $grace seconds"
	n=0
	while [ $n -lt $((grace * 10)) ] && ! driver; do usleep 100000; n=$((n + 1)); done
	driver || crash
	say "the content is good now"
else
	serve
fi
rm -f /var/lab/crashes
say "well"
while :; do
	driver || crash
	sleep 4
done
`

// room is the place where the machines are.
type room struct {
	t        *testing.T
	dir      string
	parts    *parts
	machines []*vm
	key      string // the responder's SSH key
}

// newRoom readies what all machines are made of. The test is inside a world of its own here.
func newRoom(t *testing.T, dir string) *room {
	t.Helper()
	r := &room{t: t, dir: dir, key: filepath.Join(os.Getenv(machinesDir), "id_ed25519")}
	r.parts = newParts(t, filepath.Join(dir, "parts"), filepath.Join(os.Getenv(machinesDir), "kernel"), filepath.Join(dir, "tools", "blackstart-agent"))
	command(t, "ip", "link", "set", "lo", "up")
	t.Cleanup(func() {
		if t.Failed() {
			r.tell()
		}
	})
	return r
}

// add puts a machine into the room; it has no disk yet.
func (r *room) add(m *vm) *vm {
	r.t.Helper()
	n := len(r.machines) + 1
	m.addr, m.bmc = fmt.Sprintf("10.66.0.%d", n), fmt.Sprintf("10.66.1.%d", n)
	m.mac, m.uuid = fmt.Sprintf("52:54:00:66:00:%02x", n), fmt.Sprintf("66000000-0000-4000-8000-%012d", n)
	m.dir = filepath.Join(r.dir, "machines", m.name)
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	command(r.t, "ip", "addr", "add", m.addr+"/32", "dev", "lo")
	command(r.t, "ip", "addr", "add", m.bmc+"/32", "dev", "lo")
	command(r.t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", m.name, "-f", m.path("host_key"))
	root, folder := "/", "/opt/edr/content/*.bin"
	if m.windows {
		root, folder = "/windows", "/windows/Windows/System32/drivers/CrowdStrike/C-00000291*.sys"
	}
	m.files = map[string]guestFile{
		"etc/machine": {fmt.Sprintf("name=%s coordinator=%s:%d root=%s content='%s' grace=0 parks=2\n%s\n",
			m.name, gateway, agentPort, root, folder, m.settings), 0o644},
		"etc/ssh/ssh_host_ed25519_key": {readFile(r.t, m.path("host_key")), 0o600},
		"root/.ssh/authorized_keys":    {readFile(r.t, r.key+".pub"), 0o600},
	}
	if !m.windows { // so that whoever looks at the disk sees a Linux system
		m.files["etc/os-release"] = guestFile{"NAME=\"Test Linux\"\nID=test\n", 0o644}
		m.files["etc/fstab"] = guestFile{"/dev/vda1 / ext4 defaults 0 1\n", 0o644}
		m.files["etc/hostname"] = guestFile{m.name + "\n", 0o644}
	}
	r.machines = append(r.machines, m)
	return m
}

// identify puts the agent's certificate on the machine's disk-to-be; issued is the folder of `blackstart init`.
func (r *room) identify(m *vm, issued string) {
	r.t.Helper()
	for from, to := range map[string]string{"ca.pem": "ca.pem", "agents/" + m.name + ".pem": m.name + ".pem", "agents/" + m.name + "-key.pem": m.name + "-key.pem"} {
		m.files["var/lib/blackstart-agent/"+to] = guestFile{readFile(r.t, filepath.Join(issued, from)), 0o600}
	}
}

// build makes the disks and starts the BMCs. No machine is on after it.
func (r *room) build() {
	r.t.Helper()
	for _, m := range r.machines {
		m.makeDisk(r.t, r.parts)
		m.startBMC(r.t)
	}
}

// tell prints every machine's console, and what its BMC did.
func (r *room) tell() {
	for _, m := range r.machines {
		r.t.Logf("%s: its BMC did: %s; boot target %q\n%s\nits console:\n%s", m.name, strings.Join(m.powerLog(), ", "), m.bootTarget(), m.qemuSaid(), m.gist())
	}
}

// console is what the machine said on its serial line so far, carriage returns and the boot loader's escapes apart.
func (m *vm) console() string {
	data, err := os.ReadFile(m.path("console"))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(data), "\r", "")
}

// gist is the end of the console without what the kernel and SSH servers say, the panics apart.
func (m *vm) gist() string {
	var lines []string
	for line := range strings.Lines(m.console()) {
		_, text, stamped := strings.Cut(line, "] ")
		if !stamped || !strings.HasPrefix(line, "[") || strings.HasPrefix(text, "Kernel panic") || strings.HasPrefix(text, "blackstart: ") && !strings.HasPrefix(text, "blackstart: sshd: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-80):], "")
}

func (m *vm) qemuSaid() string {
	data, _ := os.ReadFile(m.path("qemu.log"))
	return string(data)
}

// panics is how often the machine's kernel has panicked, by its own account.
func (m *vm) panics() int {
	return strings.Count(m.console(), "Kernel panic - not syncing: sysrq triggered crash")
}

// bootIDs are those of the machine's boots from its own disk.
func (m *vm) bootIDs() (ids []string) {
	for line := range strings.Lines(m.console()) {
		if _, id, ok := strings.Cut(line, m.name+": boots from its disk, boot id "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids
}

// ssh runs a command on whatever system the machine is in, as the test's own eyes and hands; the system is not verified.
func (r *room) ssh(m *vm, script string) (string, error) {
	c := exec.Command("ssh", "-F", "none", "-i", r.key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "KexAlgorithms=curve25519-sha256", "root@"+m.addr, script)
	out, err := c.CombinedOutput()
	return string(out), err
}

// eventually asks until what is wanted holds.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %s in vain for: %s", within, what)
		case <-tick.C:
		}
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// machinesDir is the variable that tells the test inside its world where kernel, rescue image and key are.
const machinesDir = "BLACKSTART_TEST_MACHINES"

// fetchMachineParts gets what is not in the world: the kernel from Debian's archive, and a key. It keeps the archive's file in the
// user's cache.
func fetchMachineParts(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts disks and makes namespaces: run it as root")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"qemu-system-x86_64", "ipmi_sim", "fence_ipmilan", "ipmitool", "grub-mkimage", "mke2fs", "mkntfs", "ntfs-3g", "cpio", "dpkg-deb", "apt-get", "/usr/lib/grub/i386-pc/boot.img"} {
		if _, err := os.Stat(tool); err == nil {
			continue
		}
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run tools/install-test-deps.sh", tool)
		}
	}
	dir := t.TempDir()
	aptKnows(t)
	command(t, "dpkg-deb", "-x", fetchedPackage(t, cloudKernel()), filepath.Join(dir, "kernel"))
	command(t, "dpkg-deb", "-x", fetchedPackage(t, "busybox-static"), filepath.Join(dir, "busybox"))
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "responder", "-f", filepath.Join(dir, "id_ed25519"))
	t.Setenv(machinesDir, dir)
	t.Setenv("CGO_ENABLED", "0") // what is built now runs on machines that have no C library of ours
	return dir
}

// buildRescue builds the rescue image as a responder would, in peace time: it takes Debian's archive, which is not in the world.
func buildRescue(t *testing.T, dir string) {
	t.Helper()
	command(t, "go", "run", ".", "rescue", "build", "--out", filepath.Join(dir, "rescue"), "--url", fmt.Sprintf("http://%s:%d", gateway, netbootPort),
		"--ssh-key", filepath.Join(dir, "id_ed25519.pub"), "--kernel", "linux-image-cloud-amd64")
}

// aptKnows fetches apt's lists where there are none.
func aptKnows(t *testing.T) {
	t.Helper()
	if cloudKernel() != "" {
		return
	}
	if out, err := exec.Command("apt-get", "update", "-q").CombinedOutput(); err != nil {
		t.Logf("apt-get update: %v\n%s", err, out)
	}
	if cloudKernel() == "" {
		t.Fatal("apt knows no linux-image-cloud-amd64: see its sources")
	}
}

// fetchedPackage is the file of a Debian package, fetched once.
func fetchedPackage(t *testing.T, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "blackstart", "machines")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	find := func() []string {
		found, _ := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
		slices.Sort(found)
		return found
	}
	if len(find()) == 0 {
		c := exec.Command("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name)
		c.Dir = cache
		if out, err := c.CombinedOutput(); err != nil {
			t.Logf("apt-get download %s: %v\n%s", name, err, out)
		}
	}
	found := find()
	if len(found) == 0 {
		t.Fatalf("%s is not in %s, and apt-get could not download it: run apt-get update", name, cache)
	}
	return found[len(found)-1]
}

// cloudKernel is the package that Debian's linux-image-cloud-amd64 stands for; empty when apt does not know.
func cloudKernel() string {
	out, _ := exec.Command("apt-cache", "depends", "linux-image-cloud-amd64").Output()
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name
		}
	}
	return ""
}
