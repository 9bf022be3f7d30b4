//go:build machines && e2e && linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A machine's disk is a raw file: MBR and GRUB, an ext4 volume, and on the Windows-like machine an NTFS volume. It is made
// without root devices and without an installer: mke2fs fills the ext4 volume from a folder, GRUB is written where the BIOS looks.

// Places on the disk, in bytes. GRUB lies between the MBR and the first volume.
const (
	sector    = 512
	linuxFrom = 1 << 20
	linuxSize = 96 << 20
	ntfsFrom  = linuxFrom + linuxSize
	ntfsSize  = 24 << 20
)

// grubConfig is built into GRUB. panic=1: a machine that crashes boots again, by itself, for as long as it has power.
const grubConfig = `set root=(hd0,msdos1)
linux /boot/vmlinuz console=ttyS0 quiet panic=1 nokaslr mitigations=off
initrd /boot/initrd
boot
`

// guestModules are the drivers of a qemu machine, in the order in which they need each other.
var guestModules = []string{
	"drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
	"drivers/virtio/virtio_pci", "drivers/block/virtio_blk", "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net", "fs/fuse/fuse",
}

// guestInitrd is /init of the machines' initial ramdisk. On the Windows-like machine the system that plays Windows lies in a
// folder, so that whoever looks at the disk sees one system on it: the Windows folder.
const guestInitrd = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /dev /proc /sys /volume /root
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
for m in %s; do /bin/busybox insmod "/modules/${m##*/}.ko"; done
n=0
while [ ! -b /dev/vda1 ] && [ $n -lt 200 ]; do /bin/busybox usleep 50000; n=$((n + 1)); done
/bin/busybox mount -t ext4 /dev/vda1 /volume
/bin/busybox mount --bind "/volume%s" /root
for d in dev proc sys; do /bin/busybox mount --move /$d /root/$d; done
exec /bin/busybox switch_root /root /sbin/init
`

// parts are what all machines' disks are made of.
type parts struct {
	kernel  string // folder with boot/vmlinuz-* and lib/modules/*
	system  string // folder tree of a small Linux with OpenSSH and the agent
	initrds string // folder of initial ramdisks
}

// newParts collects the parts below dir.
func newParts(t *testing.T, dir, kernel, agent string) *parts {
	t.Helper()
	p := &parts{kernel: kernel, system: filepath.Join(dir, "system"), initrds: filepath.Join(dir, "initrds")}
	for _, folder := range []string{"bin", "dev", "proc", "sys", "run", "tmp", "mnt", "root/.ssh", "boot", "var/log", "var/lab"} {
		if err := os.MkdirAll(filepath.Join(p.system, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox := staticBusybox(t)
	copyFile(t, busybox, filepath.Join(p.system, "bin/busybox"))
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if err := os.Symlink("busybox", filepath.Join(p.system, "bin", applet)); err != nil && applet != "busybox" {
			t.Fatal(err)
		}
	}
	copyFile(t, agent, filepath.Join(p.system, "usr/sbin/blackstart-agent"))
	copyFile(t, glob(t, kernel, "boot/vmlinuz-*"), filepath.Join(p.system, "boot/vmlinuz"))
	for _, program := range []string{"/usr/sbin/sshd", sftpServer, which(t, "ntfs-3g")} {
		copyProgram(t, program, p.system)
	}
	for file, text := range map[string]string{
		"etc/passwd":          "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/false\n",
		"etc/group":           "root:x:0:\nnogroup:x:65534:\n",
		"etc/shadow":          "root:*:19000:0:99999:7:::\n",
		"etc/ssh/sshd_config": "HostKey /etc/ssh/ssh_host_ed25519_key\nPidFile none\nUsePAM no\nUseDNS no\nPasswordAuthentication no\nSubsystem sftp " + sftpServer + "\n",
		"sbin/reboot":         "#!/bin/sh\nsync\necho b >/proc/sysrq-trigger\n",
		"sbin/init":           guestInit,
	} {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		writeFile(t, filepath.Join(p.system, file), text, mode)
	}
	p.ramdisk(t, "linux", "", busybox)
	p.ramdisk(t, "windows", windowsPlayer, busybox)
	return p
}

// windowsPlayer is the folder of the system that plays Windows.
const windowsPlayer = "/player"

// ramdisk makes an initial ramdisk whose system lies in a folder of the first volume.
func (p *parts) ramdisk(t *testing.T, name, folder, busybox string) {
	t.Helper()
	dir := filepath.Join(p.initrds, name+".d")
	writeFile(t, filepath.Join(dir, "init"), fmt.Sprintf(guestInitrd, strings.Join(guestModules, " "), folder), 0o755)
	copyFile(t, busybox, filepath.Join(dir, "bin/busybox"))
	for _, module := range guestModules {
		copyFile(t, glob(t, p.kernel, "lib/modules/*/kernel/"+module+".ko"), filepath.Join(dir, "modules", filepath.Base(module)+".ko"))
	}
	c := exec.Command("cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0")
	c.Dir = dir
	c.Stdin = strings.NewReader("init\nbin\nbin/busybox\nmodules\nmodules/" + strings.Join(bases(guestModules), ".ko\nmodules/") + ".ko\n")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	writeFile(t, filepath.Join(p.initrds, name), string(out), 0o644)
}

// makeDisk makes the machine's disk out of the parts and the machine's own files.
func (m *vm) makeDisk(t *testing.T, p *parts) {
	t.Helper()
	volume := m.path("volume") // what lies on the ext4 volume
	system, initrd := volume, "linux"
	if m.windows {
		system, initrd = volume+windowsPlayer, "windows"
	}
	if err := os.MkdirAll(filepath.Dir(system), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "-a", "--link", p.system, system)
	for file, f := range m.files {
		writeFile(t, filepath.Join(system, file), f.text, f.mode)
	}
	copyFile(t, filepath.Join(p.initrds, initrd), filepath.Join(system, "boot/initrd"))
	if m.windows {
		if err := os.Rename(filepath.Join(system, "boot"), filepath.Join(volume, "boot")); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(linuxFrom + linuxSize)
	if m.windows {
		size += ntfsSize
	}
	disk, err := os.Create(m.path("disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(size); err != nil {
		t.Fatal(err)
	}
	m.putGRUB(t, disk)
	if !m.windows {
		m.lay(t, volume)
	}
	command(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", m.name, "-d", volume, "-E", fmt.Sprintf("offset=%d", linuxFrom), disk.Name(), fmt.Sprintf("%dk", linuxSize>>10))
	if m.windows {
		m.putWindows(t, disk)
	}
	if err := os.RemoveAll(volume); err != nil {
		t.Fatal(err)
	}
}

// putGRUB writes the boot sector with the table of volumes, and GRUB behind it, to where that boot sector looks for it.
func (m *vm) putGRUB(t *testing.T, disk *os.File) {
	t.Helper()
	config, core := m.path("grub.cfg"), m.path("core.img")
	writeFile(t, config, grubConfig, 0o600)
	command(t, "grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", "-c", config, "biosdisk", "part_msdos", "ext2", "linux")
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil || len(boot) != sector {
		t.Fatalf("GRUB's boot sector: %v, %d bytes", err, len(boot))
	}
	clear(boot[446:])
	entry := func(n int, kind byte, active byte, from, size uint32) {
		e := boot[446+16*n:]
		e[0], e[4] = active, kind
		binary.LittleEndian.PutUint32(e[8:], from/sector)
		binary.LittleEndian.PutUint32(e[12:], size/sector)
	}
	entry(0, 0x83, 0x80, linuxFrom, linuxSize)
	if m.windows {
		entry(1, 0x07, 0, ntfsFrom, ntfsSize)
	}
	boot[510], boot[511] = 0x55, 0xaa
	image, err := os.ReadFile(core)
	if err != nil || len(image) > linuxFrom-sector {
		t.Fatalf("GRUB's core image: %v, %d bytes", err, len(image))
	}
	if _, err := disk.WriteAt(append(boot, image...), 0); err != nil {
		t.Fatal(err)
	}
}

// putWindows makes the NTFS volume with the folders of a Windows system. No Windows can run here: a Linux on the first volume
// plays it and reads its driver's file from this volume, with the driver of Debian's ntfs-3g.
func (m *vm) putWindows(t *testing.T, disk *os.File) {
	t.Helper()
	image := m.path("ntfs")
	writeFile(t, image, "", 0o600)
	if err := os.Truncate(image, ntfsSize); err != nil {
		t.Fatal(err)
	}
	command(t, "mkntfs", "-q", "-F", "-Q", "-L", "Windows", "-p", fmt.Sprint(ntfsFrom/sector), "-H", "255", "-S", "63", image)
	at, unmount := mountNTFS(t, image)
	for _, dir := range []string{"Windows/System32/config", "Windows/System32/drivers/CrowdStrike", "Users", "Program Files"} {
		if err := os.MkdirAll(filepath.Join(at, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(at, "Windows/System32/config/SYSTEM"), "regf"+strings.Repeat("\x00", 4092), 0o644)
	writeFile(t, filepath.Join(at, "Windows/System32/ntoskrnl.exe"), "MZ"+strings.Repeat("\x00", 4094), 0o644)
	m.lay(t, at)
	unmount()
	putBack(t, image, disk)
}

// lay puts the product's files where they belong below root.
func (m *vm) lay(t *testing.T, root string) {
	t.Helper()
	for _, c := range m.content {
		file := filepath.Join(root, c.file)
		writeFile(t, file, c.text, 0o644)
		if err := os.Chtimes(file, c.at, c.at); err != nil {
			t.Fatal(err)
		}
	}
}

// offline mounts the system volume of a machine that is off and lets somebody look at it, or work on it.
func (m *vm) offline(t *testing.T, work func(root string)) {
	t.Helper()
	if said, err := m.ask("status"); err != nil || !strings.Contains(said, "OFF") {
		t.Fatalf("%s is to be looked at and is not off: %v, %s", m.name, err, said)
	}
	if !m.windows {
		at := t.TempDir()
		command(t, "mount", "-t", "ext4", "-o", fmt.Sprintf("loop,offset=%d", linuxFrom), m.path("disk"), at)
		defer command(t, "umount", at)
		work(at)
		return
	}
	disk, err := os.OpenFile(m.path("disk"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	data, err := io.ReadAll(io.NewSectionReader(disk, ntfsFrom, ntfsSize))
	if err != nil {
		t.Fatal(err)
	}
	image := m.path("ntfs")
	writeFile(t, image, string(data), 0o600)
	at, unmount := mountNTFS(t, image)
	work(at)
	unmount()
	putBack(t, image, disk)
}

// putBack writes the image of the NTFS volume to its place on the disk.
func putBack(t *testing.T, image string, disk *os.File) {
	t.Helper()
	if _, err := disk.WriteAt([]byte(readFile(t, image)), ntfsFrom); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
}

// mountNTFS mounts the image and returns its folder, and what unmounts it: only when the driver's process has ended is all written.
func mountNTFS(t *testing.T, image string) (at string, unmount func()) {
	t.Helper()
	at = t.TempDir()
	driver := exec.Command("ntfs-3g", "-o", "no_detach", image, at)
	var said bytes.Buffer
	driver.Stdout, driver.Stderr = &said, &said
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the NTFS volume is mounted", 10*time.Second, func() bool { return mounted(at) })
	return at, func() {
		command(t, "umount", at)
		if err := driver.Wait(); err != nil {
			t.Fatalf("ntfs-3g: %v\n%s", err, &said)
		}
	}
}

func mounted(at string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	return err == nil && bytes.Contains(mounts, []byte(" "+at+" "))
}

// content is one file of the product, with the time of its last change.
type content struct {
	file, text string
	at         time.Time
}

// The Linux product's files are a header and what its driver takes for code: "ok" runs, anything else crashes.
func linuxContent(good bool) content {
	if good {
		return content{"opt/edr/content/c-2.bin", "EDRC\x01\x00ok, run this\n", time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)}
	}
	return content{"opt/edr/content/c-1.bin", "EDRC\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n", time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)}
}

// The Windows product's files have the header of Channel File 291; good and bad share it.
func windowsContent(good bool) content {
	const folder, header = "Windows/System32/drivers/CrowdStrike/", "\xaa\xaa\xaa\xaa\x01\x00\x23\x01"
	if good {
		return content{folder + "C-00000291-00000000-00000033.sys", header + "ok, run this\n", time.Date(2024, 7, 19, 5, 27, 30, 0, time.UTC)}
	}
	return content{folder + "C-00000291-00000000-00000032.sys", header + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n", time.Date(2024, 7, 19, 4, 9, 30, 0, time.UTC)}
}

// copyProgram copies a program and the libraries that it is linked with.
func copyProgram(t *testing.T, program, root string) {
	t.Helper()
	copyFile(t, program, filepath.Join(root, program))
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", program, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			copyFile(t, word, filepath.Join(root, word))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(to) // it may be a link to a file of somebody else's
	writeFile(t, to, string(data), info.Mode().Perm())
}

// staticBusybox is Debian's busybox-static, unpacked; the machine's own may be another one.
func staticBusybox(t *testing.T) string {
	t.Helper()
	return glob(t, filepath.Join(os.Getenv(machinesDir), "busybox"), "*bin/busybox")
}

func which(t *testing.T, program string) string {
	t.Helper()
	file, err := exec.LookPath(program)
	if err == nil {
		file, err = filepath.EvalSymlinks(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// glob is the one file below dir that the pattern names.
func glob(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %q", pattern, dir, err, found)
	}
	return found[0]
}

func bases(files []string) []string {
	list := slices.Clone(files)
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	return list
}
