//go:build e2e && linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is one server: a disk (a folder, or a small tmpfs), a network namespace with a cable to its switch, and power. A
// boot runs init in fresh process, mount and host-name namespaces with the disk as its root, a new boot id in /proc, the real
// sshd and the real agent. While the bad file is on its disk it crashes some time after each boot: the cable goes dead, every
// process of it dies at once, and it boots again.
type machine struct {
	name, ns, addr string
	disk           string
	port           [2]string // namespace and device of the switch's end of its cable
	coordinator    string    // what its agent calls; "" without an agent
	bad            string    // the file that makes it crash; "" on a machine that was never hit
	good           string
	tools          string
	umask          string
	tmpOptions     string        // of a tmpfs on /tmp; "" for a plain folder
	up             time.Duration // between boot and crash, roughly
	random         *rand.Rand
	console        string
	patient        bool // it puts its own crashes off while a script runs

	crash chan bool // asks for a crash now
	off   chan bool // closed: the end
	done  chan bool // closed when it is off

	mu      sync.Mutex
	boots   []boot
	trouble error
}

// boot is one time that a machine was up.
type boot struct {
	id  string
	end string // "", while it is up; "crash", "reboot" or "off"
}

// machineInit is the machine's boot: it makes the disk the root, then runs sshd and the agent until somebody asks for a
// reboot. As process 1 it collects orphans while it waits, as an init does.
const machineInit = `set -eu
disk=$1 name=$2 boot=$3 tools=$4 mask=$5 tmp=$6 agent=$7
mount --make-rprivate /
mount --bind "$disk" "$disk"
cd "$disk"
for d in usr bin sbin lib lib32 lib64 libx32; do
	if [ -d "/$d" ] && [ ! -L "/$d" ]; then mount --bind -o ro "/$d" "$d"; fi
done
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs -o mode=755,size=1m tmpfs run
[ -z "$tmp" ] || mount -t tmpfs -o "$tmp" tmpfs tmp
mount --bind -o ro "$tools" opt/lab
mkdir run/sshd
printf '%s\n' "$boot" >run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
pivot_root . mnt
umount -l /mnt
cd /
printf '%s' "$name" >/proc/sys/kernel/hostname
mkfifo /run/power
umask "$mask"
/usr/sbin/sshd -D -e </dev/null &
[ -z "$agent" ] || /opt/lab/blackstart-agent run --coordinator "$agent" </dev/null &
read -r why </run/power &
wait $!
`

// sftpServer is where Debian has it, and what its sshd uses unless told otherwise.
const sftpServer = "/usr/lib/openssh/sftp-server"

// rebootCommand is what a machine understands as reboot.
const rebootCommand = "echo reboot >/run/power"

// lay makes the machine's disk. Where size is given, the disk is a tmpfs of that size.
func (m *machine) lay(t *testing.T, size, authorized string) {
	t.Helper()
	if err := os.MkdirAll(m.disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if size != "" {
		mount(t, "tmpfs", m.disk, "tmpfs", 0, "mode=755,size="+size)
	}
	for _, dir := range []string{"dev", "proc", "run", "mnt", "opt/lab", "opt/edr/content", "var/lib", "var/log", "var/lab", "root/.ssh", "etc/ssh", "tmp"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(m.path("tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		info, err := os.Lstat("/" + dir)
		if err != nil {
			continue
		}
		if info.Mode()&os.ModeSymlink == 0 {
			err = os.Mkdir(m.path(dir), 0o755)
		} else if to, bad := os.Readlink("/" + dir); bad == nil {
			err = os.Symlink(to, m.path(dir))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		"etc/passwd":                "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
		"etc/group":                 "root:x:0:\nnogroup:x:65534:\n",
		"etc/shadow":                "root:*:19000:0:99999:7:::\n",
		"etc/nsswitch.conf":         nsswitch,
		"etc/resolv.conf":           "",
		"etc/hosts":                 "127.0.0.1 localhost\n",
		"etc/ssh/sshd_config":       "HostKey /etc/ssh/ssh_host_ed25519_key\nPidFile none\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp " + sftpServer + "\n",
		"root/.ssh/authorized_keys": authorized,
	} {
		writeFile(t, m.path(file), text, 0o600)
	}
	for _, file := range []string{"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/resolv.conf", "etc/hosts"} {
		if err := os.Chmod(m.path(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile("/etc/ld.so.cache"); err == nil {
		writeFile(t, m.path("etc/ld.so.cache"), string(data), 0o644)
	}
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", m.name, "-f", m.path("etc/ssh/ssh_host_ed25519_key"))
}

// path is a place on the machine's disk, seen from outside.
func (m *machine) path(name string) string { return filepath.Join(m.disk, name) }

// sshd changes the settings of the machine's SSH server.
func (m *machine) sshd(t *testing.T, old, text string) {
	t.Helper()
	file := m.path("etc/ssh/sshd_config")
	data, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(data), old) {
		t.Fatalf("%s: %v, %q", file, err, data)
	}
	writeFile(t, file, strings.Replace(string(data), old, text, 1), 0o600)
}

// hostKey is the machine's public key as in authorized_keys.
func (m *machine) hostKey(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(m.path("etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// power switches the machine on until the test ends.
func (m *machine) power(t *testing.T) {
	t.Helper()
	m.crash, m.off, m.done = make(chan bool, 1), make(chan bool), make(chan bool)
	console, err := os.Create(m.console)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.done)
		defer console.Close()
		for m.boot(console) {
			continue
		}
	}()
	t.Cleanup(func() {
		close(m.off)
		<-m.done
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.trouble != nil {
			t.Errorf("%s: %v", m.name, m.trouble)
		}
	})
}

// boot is one turn of the machine's life; false: it is off for good.
func (m *machine) boot(console *os.File) (again bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return m.broken(err)
	}
	b := boot{id: strings.TrimSpace(string(id))}
	c := exec.Command("/bin/sh", "-c", machineInit, "init", m.disk, m.name, b.id, m.tools, m.umask, m.tmpOptions, m.coordinator)
	c.Stdout, c.Stderr = console, console
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	c.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, Unshareflags: unix.CLONE_NEWNS, Setsid: true}
	fmt.Fprintf(console, "--- boot %s\n", b.id)
	if err := m.cable(true); err != nil {
		return m.broken(err)
	}
	if err := within(m.ns, c.Start); err != nil {
		return m.broken(err)
	}
	ended := make(chan bool)
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	m.mu.Lock()
	m.boots = append(m.boots, b)
	first := len(m.boots) == 1
	m.mu.Unlock()

	why := m.live(ended, first)
	if why != "reboot" {
		if err := m.cable(false); err != nil { // dead before its processes: nobody hears them die
			return m.broken(err)
		}
		_ = c.Process.Kill() // process 1 takes all others of its namespace with it
		<-ended
	} else if err := m.cable(false); err != nil {
		return m.broken(err)
	}
	m.mu.Lock()
	m.boots[len(m.boots)-1].end = why
	m.mu.Unlock()
	fmt.Fprintf(console, "--- %s\n", why)
	select {
	case <-m.off:
		return false
	case <-time.After(time.Duration(400+m.random.IntN(600)) * time.Millisecond): // its firmware
		return why != "off"
	}
}

// live waits for the boot's end and tells it. A crash by itself needs the bad file.
func (m *machine) live(ended <-chan bool, first bool) (why string) {
	up := m.up + time.Duration(m.random.Int64N(int64(m.up)))
	if first {
		up = time.Duration(3000+m.random.IntN(2000)) * time.Millisecond
	}
	timer := time.NewTimer(up)
	defer timer.Stop()
	for {
		select {
		case <-m.off:
			return "off"
		case <-ended:
			return "reboot"
		case <-m.crash:
			return "crash"
		case <-timer.C:
			if !m.hit() {
				continue // it lives
			}
			if m.patient && m.running() {
				timer.Reset(3 * time.Second)
				continue
			}
			return "crash"
		}
	}
}

func (m *machine) broken(err error) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = err
	return false
}

// cable plugs the machine's cable in, or pulls it.
func (m *machine) cable(in bool) error {
	state := "down"
	if in {
		state = "up"
	}
	if out, err := exec.Command("ip", "-n", m.port[0], "link", "set", m.port[1], state).CombinedOutput(); err != nil {
		return fmt.Errorf("cable %s: %w: %s", state, err, out)
	}
	return nil
}

// hit reports whether the bad file is on the machine's disk.
func (m *machine) hit() bool {
	if m.bad == "" {
		return false
	}
	_, err := os.Lstat(m.bad)
	return err == nil
}

// hold lets the repair script on this machine wait once it has begun, for what the test has in mind; release lets it go on.
func (m *machine) hold(t *testing.T) {
	t.Helper()
	m.patient = true
	writeFile(t, m.path("var/lab/hold"), "", 0o644)
}

func (m *machine) release(t *testing.T) {
	t.Helper()
	if err := os.Remove(m.path("var/lab/hold")); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) held() bool {
	_, err := os.Lstat(m.path("var/lab/hold"))
	return err == nil
}

// execution is what the repair script itself wrote to the disk about one run of it.
type execution struct {
	attempt, boot string
	begun         int
	ended         []string // its outcomes
}

// runs reads the execution counter on the machine's disk, in order of the first beginning.
func (m *machine) runs() (list []*execution) {
	data, err := os.ReadFile(m.path("var/lab/runs"))
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			list = append(list, &execution{attempt: "unreadable: " + string(line)})
			continue
		}
		i := slices.IndexFunc(list, func(r *execution) bool { return r.attempt == f[1] })
		if i < 0 {
			i = len(list)
			list = append(list, &execution{attempt: f[1], boot: f[2]})
		}
		switch f[0] {
		case "begin":
			list[i].begun++
		default:
			list[i].ended = append(list[i].ended, f[0])
		}
	}
	return list
}

// running reports whether a script has begun and not ended.
func (m *machine) running() bool {
	list := m.runs()
	return len(list) > 0 && len(list[len(list)-1].ended) == 0
}

// history is a copy of the machine's boots, oldest first.
func (m *machine) history() []boot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.boots)
}
