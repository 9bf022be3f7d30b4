//go:build e2e

package netboot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// These tests boot real machines (qemu, software emulation) from the network with qemu's own iPXE: SeaBIOS, and UEFI (OVMF). Two run
// at a time on two cores.

const machineMAC = "52:54:00:b1:ac:01"

// fetched returns a file of a Debian package, which is downloaded and unpacked once into the user's cache folder. pattern has at
// most one match.
func fetched(t *testing.T, pkg, pattern string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "blackstart-e2e", pkg)
	find := func() string {
		if found, _ := filepath.Glob(filepath.Join(root, pattern)); len(found) > 0 {
			return found[0]
		}
		return ""
	}
	if file := find(); file != "" {
		return file
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(root), ".new") //nolint:usetesting // renamed below, so on the same file system
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	download := func() ([]byte, error) {
		c := exec.CommandContext(t.Context(), "apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", pkg)
		c.Dir = work
		return c.CombinedOutput()
	}
	out, err := download()
	if err != nil { // apt's lists may be old
		_ = exec.CommandContext(t.Context(), "apt-get", "update", "-q").Run()
		out, err = download()
	}
	if err != nil {
		t.Fatalf("apt-get download %s: %v\n%s", pkg, err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("apt-get download %s gave %v", pkg, debs)
	}
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-x", debs[0], filepath.Join(work, "x")).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(work, "x"), root); err != nil && find() == "" {
		t.Fatal(err)
	}
	if file := find(); file != "" {
		return file
	}
	t.Fatalf("%s holds no %s", pkg, pattern)
	return ""
}

// cloudKernel is the name of the package that holds Debian's cloud kernel.
func cloudKernel(t *testing.T) string {
	t.Helper()
	ask := func() ([]byte, error) {
		return exec.CommandContext(t.Context(), "apt-cache", "depends", "linux-image-cloud-amd64").Output()
	}
	out, err := ask()
	if err != nil || len(out) == 0 { // apt may have no lists
		_ = exec.CommandContext(t.Context(), "apt-get", "update", "-q").Run()
		out, err = ask()
	}
	if err != nil {
		t.Fatalf("apt-cache: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name
		}
	}
	t.Fatalf("linux-image-cloud-amd64 names no kernel:\n%s", out)
	return ""
}

// bootImage makes an image folder of Debian's cloud kernel, busybox and an init that says what it finds, phones home and stops.
func bootImage(t *testing.T) string {
	t.Helper()
	pkg := cloudKernel(t)
	dir := t.TempDir()
	kernel, err := os.ReadFile(fetched(t, pkg, "boot/vmlinuz-*"))
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(fetched(t, "busybox-static", "*bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var a archive
	for _, folder := range []string{"bin", "dev", "proc", "sys", "modules"} {
		a.folder(folder, 0o755)
	}
	a.file("bin/busybox", 0o755, busybox)
	modules := []string{
		"net/core/failover", "drivers/net/net_failover", "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
		"drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci", "drivers/net/virtio_net",
	}
	var insmod strings.Builder
	for _, module := range modules {
		content, err := os.ReadFile(fetched(t, pkg, "lib/modules/*/kernel/"+module+".ko"))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(module) + ".ko"
		a.file("modules/"+name, 0o644, content)
		insmod.WriteString("insmod /modules/" + name + "\n")
	}
	a.file("init", 0o755, []byte(`#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
exec </dev/null >/dev/ttyS0 2>&1
`+insmod.String()+`
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
. /blackstart/seed/env
{
	echo "cmdline $(cat /proc/cmdline)"
	ls -lnR /blackstart
	cat /blackstart/seed/ssh_host_ed25519_key.pub
	head -n 1 /blackstart/seed/ssh_host_ed25519_key
	echo "host $BLACKSTART_HOST attempt $BLACKSTART_ATTEMPT"
} >/findings
cat /findings
wget -q -O /answer --post-file /findings "$BLACKSTART_URL/rescue/$BLACKSTART_TOKEN/hello" && echo "hello answered: $(cat /answer)"
echo RESCUE-RAN
reboot -f
`))
	var initrd bytes.Buffer
	z, _ := gzip.NewWriterLevel(&initrd, gzip.BestSpeed)
	if _, err := z.Write(a.end()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{kernelFile: kernel, initrdFile: initrd.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// machine is one qemu process.
type machine struct {
	console string // file
	ended   <-chan struct{}
}

// start powers a machine on that boots from the network first. It ends with the test.
func start(t *testing.T, bootfile string, args ...string) *machine {
	t.Helper()
	m := &machine{console: filepath.Join(t.TempDir(), "console")}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-m", "512", "-display", "none", "-monitor", "none", "-serial", "file:" + m.console, "-nodefaults",
		"-netdev", "user,id=n,ipv6=off,bootfile=" + bootfile,
		"-device", "virtio-net-pci,netdev=n,bootindex=0,mac=" + machineMAC,
	}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("%v (Debian: qemu-system-x86, ipxe-qemu)", err)
	}
	ended := make(chan struct{})
	m.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			console, _ := os.ReadFile(m.console)
			t.Logf("qemu: %s\nconsole:\n%s", said.String(), console)
		}
	})
	return m
}

// says waits until the console shows the text.
func (m *machine) says(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		ended := false
		select {
		case <-m.ended:
			ended = true
		case <-look.C:
		case <-deadline:
			t.Fatalf("the console never said %q", text)
		}
		console, err := os.ReadFile(m.console)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if strings.Contains(string(console), text) {
			return
		}
		if ended {
			t.Fatalf("the machine ended and its console never said %q", text)
		}
	}
}

// listen opens a port of loopback; machines on qemu's user network reach it as 10.0.2.2.
func listen(t *testing.T, address string) (l net.Listener, url string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l, fmt.Sprintf("http://10.0.2.2:%d", l.Addr().(*net.TCPAddr).Port)
}

// serving starts a service on the listener. It ends with the test, or when stop is called.
func serving(t *testing.T, l net.Listener, cfg Config) (s *Service, stop func()) {
	t.Helper()
	cfg.URL = fmt.Sprintf("http://10.0.2.2:%d", l.Addr().(*net.TCPAddr).Port)
	cfg.Secret = secret
	cfg.Hosts = []recovery.Host{{Name: "db-1", MACs: []string{machineMAC}}}
	cfg.Log = hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Debug})
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// wantedOnce grants the rescue system to the first who asks.
func wantedOnce() func(context.Context, string, string) (string, string, error) {
	var asked atomic.Bool
	return func(context.Context, string, string) (string, string, error) {
		if asked.Swap(true) {
			return "", "", errors.New("its attempt has had the rescue system")
		}
		return "I1", "db-1/1", nil
	}
}

func notWanted(context.Context, string, string) (string, string, error) {
	return "", "", errors.New("no attempt wants it in rescue")
}

// saysHello checks that the wanted machine has booted with its own seed and phoned home.
func saysHello(t *testing.T, s *Service, m *machine) {
	t.Helper()
	select {
	case <-s.Awake("I1", "db-1/1"):
	case <-m.ended:
		t.Fatal("the machine ended without phoning home")
	case <-time.After(3 * time.Minute):
		t.Fatal("the machine never phoned home")
	}
	findings := s.Findings("I1", "db-1/1")
	for _, want := range []string{
		"cmdline", CommandLine, s.HostKey("I1", "db-1/1"), "-----BEGIN OPENSSH PRIVATE KEY-----", "host db-1 attempt db-1/1",
		"drwx------ 2 0 0", "-rw------- 1 0 0",
	} {
		if !strings.Contains(findings, want) {
			t.Errorf("findings without %q:\n%s", want, findings)
		}
	}
	m.says(t, "hello answered: ok")
	m.says(t, "RESCUE-RAN")
}

// The coordinator is killed when the machine has its script, and another one that has stored nothing gives it the rest. Then the
// machine restarts, asks again, and boots its own disk.
func TestBIOSBootsIntoRescueAcrossARestartAndThenItsOwnDisk(t *testing.T) {
	t.Parallel()
	dir, ask := bootImage(t), wantedOnce()
	granted := make(chan struct{})
	l, url := listen(t, "127.0.0.1:0")
	_, stop := serving(t, l, Config{ImageDir: dir, Ask: func(ctx context.Context, host, peer string) (string, string, error) {
		defer close(granted)
		return ask(ctx, host, peer)
	}})
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, bootSector("DISK-BOOTED"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, url+"/boot.ipxe", "-drive", "file="+disk+",format=raw,if=ide")
	select {
	case <-granted:
	case <-time.After(3 * time.Minute):
		t.Fatal("the machine never asked")
	}
	stop()

	dead, _ := listen(t, l.Addr().String()) // nobody answers: what asks is cut off, once
	conn, err := dead.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	dead.Close()

	l, _ = listen(t, l.Addr().String())
	s, _ := serving(t, l, Config{ImageDir: dir, Ask: ask, Running: func() []Boot { return []Boot{{"I1", "db-1/1", "db-1"}} }})
	saysHello(t, s, m)
	m.says(t, "DISK-BOOTED")
}

// A seed that somebody else has taken is no reason to stay in the firmware, or to boot a rescue system without one.
func TestBIOSWithoutASeedBootsItsOwnDisk(t *testing.T) {
	t.Parallel()
	l, url := listen(t, "127.0.0.1:0")
	s, _ := serving(t, l, Config{ImageDir: bootImage(t), Ask: wantedOnce()})
	if err := s.boots.takeSeed(s.boots.grant(Boot{"I1", "db-1/1", "db-1"})); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, bootSector("DISK-BOOTED"), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, url+"/boot.ipxe", "-drive", "file="+disk+",format=raw,if=ide").says(t, "DISK-BOOTED")
}

// A BIOS without a first disk goes on in its own boot order, here to a floppy disk.
func TestBIOSGoesOnWithoutAFirstDisk(t *testing.T) {
	t.Parallel()
	l, url := listen(t, "127.0.0.1:0")
	serving(t, l, Config{ImageDir: imageDir(t), Ask: notWanted})
	floppy := filepath.Join(t.TempDir(), "floppy")
	if err := os.WriteFile(floppy, bootSector("NEXT-BOOTED"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, url+"/boot.ipxe", "-drive", "file="+floppy+",format=raw,if=floppy", "-global", "isa-fdc.bootindexA=1")
	m.says(t, "NEXT-BOOTED")
}

// uefi is the firmware's files as arguments.
func uefi(t *testing.T) []string {
	t.Helper()
	code := fetched(t, "ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")
	vars, err := os.ReadFile(fetched(t, "ovmf", "usr/share/OVMF/OVMF_VARS_4M.fd"))
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(own, vars, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + code, "-drive", "if=pflash,format=raw,file=" + own,
		"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
	}
}

func TestUEFIBootsIntoRescue(t *testing.T) {
	t.Parallel()
	l, url := listen(t, "127.0.0.1:0")
	s, _ := serving(t, l, Config{ImageDir: bootImage(t), Ask: wantedOnce()})
	saysHello(t, s, start(t, url+"/boot.ipxe", uefi(t)...))
}

func TestUEFIBootsItsOwnDisk(t *testing.T) {
	t.Parallel()
	l, url := listen(t, "127.0.0.1:0")
	serving(t, l, Config{ImageDir: imageDir(t), Ask: notWanted})
	disk := t.TempDir()
	if err := os.MkdirAll(filepath.Join(disk, "EFI", "BOOT"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk, "EFI", "BOOT", "BOOTX64.EFI"), bootProgram("DISK-BOOTED"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, url+"/boot.ipxe", append(uefi(t), "-drive", "id=d,if=none,format=raw,file=fat:rw:"+disk, "-device", "ide-hd,drive=d,bootindex=1")...)
	m.says(t, "DISK-BOOTED")
}

// bootSector is a disk whose first sector, run by a BIOS, writes the word to the serial port and halts.
func bootSector(word string) []byte {
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x00, 0x7c, // mov si, word (set below)
		0xfc,             // cld
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xac,       // lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz to hlt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp to lodsb
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	}
	code[5] = byte(len(code))
	disk := make([]byte, 2880*512)
	copy(disk, append(code, word...))
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// bootProgram is the same for UEFI: a PE image of one section.
func bootProgram(word string) []byte {
	code := []byte{
		0x48, 0x8d, 0x35, 0, 0, 0, 0, // lea rsi, [rip + to the word] (set below)
		0xfc,                   // cld
		0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xac,       // lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz to hlt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp to lodsb
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	}
	code[3] = byte(len(code) - 7)
	image := make([]byte, 0x400)
	copy(image[0x200:], append(code, word...))
	le := binary.LittleEndian
	copy(image, "MZ")
	le.PutUint32(image[60:], 64)
	coff := image[64:]
	copy(coff, "PE\x00\x00")
	le.PutUint16(coff[4:], 0x8664)  // x86-64
	le.PutUint16(coff[6:], 1)       // sections
	le.PutUint16(coff[20:], 240)    // size of the optional header
	le.PutUint16(coff[22:], 0x0022) // executable, large addresses
	optional := coff[24:]
	le.PutUint16(optional, 0x020b)        // PE32+
	le.PutUint32(optional[4:], 0x200)     // size of code
	le.PutUint32(optional[16:], 0x1000)   // entry
	le.PutUint32(optional[20:], 0x1000)   // code
	le.PutUint64(optional[24:], 0x400000) // preferred address
	le.PutUint32(optional[32:], 0x1000)   // alignment in memory
	le.PutUint32(optional[36:], 0x200)    // alignment in the file
	le.PutUint32(optional[56:], 0x2000)   // size of the image
	le.PutUint32(optional[60:], 0x200)    // size of the headers
	le.PutUint16(optional[68:], 10)       // an EFI application
	le.PutUint32(optional[108:], 16)      // directories, all empty
	section := optional[240:]
	copy(section, ".text")
	le.PutUint32(section[8:], 0x200)
	le.PutUint32(section[12:], 0x1000)
	le.PutUint32(section[16:], 0x200)
	le.PutUint32(section[20:], 0x200)
	le.PutUint32(section[36:], 0x60000020) // code, may be run and read
	return image
}
