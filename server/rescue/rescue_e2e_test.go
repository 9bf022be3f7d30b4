//go:build e2e

package rescue

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// TestRescue builds the real image twice and starts machines from it: by network boot's way with all kinds of disks, from virtual
// media, and with nobody who wants it.
func TestRescue(t *testing.T) {
	person, _ := signer(t)
	authority, _ := signer(t)
	c := startCoordinator(t)
	cfg := Config{Out: t.TempDir(), URL: c.url(), Keys: []ssh.PublicKey{person.PublicKey()}, CAs: []ssh.PublicKey{authority.PublicKey()}, Kernel: cloudKernel, ISO: true, Tell: func(s string) { t.Log(s) }}
	m, err := Build(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("initrd %d bytes, vmlinuz %d bytes, iso %d bytes", m.Files[InitrdFile].Size, m.Files[KernelFile].Size, m.Files[ISOFile].Size)

	again := cfg // built a second time while the first machine works
	again.Out = filepath.Join(t.TempDir(), "elsewhere", "image")
	built := make(chan error, 1)
	go func() {
		_, err := Build(t.Context(), again)
		built <- err
	}()
	t.Run("disks", func(t *testing.T) { testDisks(t, cfg, c, person, authority) })
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	t.Run("same bytes again", func(t *testing.T) { testSameBytes(t, cfg, again, m) })
	t.Run("virtual media", func(t *testing.T) { testVirtualMedia(t, cfg, c, person) })
	t.Run("nobody", func(t *testing.T) { testNobody(t, cfg) })
}

func testSameBytes(t *testing.T, cfg, again Config, m Manifest) {
	for _, name := range []string{KernelFile, InitrdFile, ManifestFile, ISOFile} {
		one, _, err1 := digestFile(filepath.Join(cfg.Out, name))
		two, _, err2 := digestFile(filepath.Join(again.Out, name))
		if err1 != nil || err2 != nil || one != two {
			t.Errorf("%s: %s (%v) and %s (%v)", name, one, err1, two, err2)
		}
	}
	var kept Manifest
	data, err := os.ReadFile(filepath.Join(cfg.Out, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &kept); err != nil || kept.Files[InitrdFile] != m.Files[InitrdFile] || kept.URL != cfg.URL {
		t.Errorf("the manifest on disk is %+v (%v)", kept, err)
	}
}

// direct boots the kernel with the initramfs and, behind it, a seed.
func direct(t *testing.T, cfg Config, seed []byte, more string) []string {
	t.Helper()
	initrd, err := os.ReadFile(filepath.Join(cfg.Out, InitrdFile))
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "initrd")
	put(t, both, string(initrd)+string(pad(len(initrd)))+string(seed))
	return []string{"-kernel", filepath.Join(cfg.Out, KernelFile), "-initrd", both, "-append", "console=tty0 console=ttyS0 panic=60 blackstart=rescue " + more}
}

func testDisks(t *testing.T, cfg Config, c *coordinator, person, authority ssh.Signer) {
	d := disks(t)
	before := digests(t, d)
	host, private := signer(t)
	args := direct(t, cfg, seedArchive(t, c.url(), private), "")
	for _, serial := range slices.Sorted(maps.Keys(d)) {
		args = append(args, drive(d[serial], serial)...)
	}
	machine := boot(t, args...)
	told := awake(t, c, machine)
	for _, want := range []string{"rescue\t1\n", "host\tweb-1\n", "attempt\tweb-1/2\n", "address\teth0\t10.0.2.15/24\n", "\tntfs\twindows\thibernated\t"} {
		if !strings.Contains(told, want) {
			t.Errorf("the phone-home lacks %q:\n%s", want, told)
		}
	}
	logins(t, machine, host.PublicKey(), person, authority)
	client, err := machine.login(t, host.PublicKey(), person)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	o := on{t: t, Client: client}
	o.attached()
	looks(t, o, d)
	if after := digests(t, d); !maps.Equal(before, after) {
		t.Errorf("looking has changed disks:\n%v\n%v", before, after)
	}
	if out, exit := o.try("", "blackstart-disk open"); exit != 23 || !strings.HasPrefix(lastLine(out), "problem\tseveral volumes") {
		t.Errorf("open with several systems: exit %d\n%s", exit, out)
	}
	if out, exit := o.try("", "echo x >/dev/vda; dd if=/dev/zero of=/dev/vdb bs=512 count=1"); exit == 0 || !maps.Equal(before, digests(t, d)) {
		t.Errorf("the kernel let somebody write to a frozen disk:\n%s", out)
	}
	opensLinux(t, o)
	opensNTFS(t, o)
	opensLVM(t, o)
	opensLUKS(t, o)
	opensRAID(t, o)
	if _, ok := d["bitlocker"]; ok {
		opensBitLocker(t, o)
	}
	o.only("empty")
	if out, exit := o.try("", "blackstart-disk open"); exit != 21 || !strings.HasPrefix(lastLine(out), "problem\tno volume here") {
		t.Errorf("open without a system: exit %d\n%s", exit, out)
	}
	runner(t, o)
	// qemu was told not to start again, so a restart ends it
	_, _ = o.try("", "reboot")
	select {
	case <-machine.ended:
	case <-time.After(patience):
		t.Error("reboot did not restart the machine")
	}
}

// awake waits for the phone-home.
func awake(t *testing.T, c *coordinator, m *vm) string {
	t.Helper()
	select {
	case told := <-c.hello:
		return told
	case <-m.ended:
		t.Fatal("the machine ended")
	case <-time.After(patience):
		t.Fatal("the rescue system did not phone home")
	}
	return ""
}

func logins(t *testing.T, m *vm, host ssh.PublicKey, person, authority ssh.Signer) {
	t.Helper()
	stranger, _ := signer(t)
	if c, err := m.login(t, host, stranger); err == nil {
		c.Close()
		t.Error("a stranger's key was let in")
	}
	if c, err := m.login(t, stranger.PublicKey(), person); err == nil {
		c.Close()
		t.Error("the rescue system has another host key than the seed's")
	}
	certificate := func(by ssh.Signer, principal string) ssh.Signer {
		cert := &ssh.Certificate{Key: stranger.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{principal}, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewCertSigner(cert, stranger)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	c, err := m.login(t, host, certificate(authority, "root"))
	if err != nil {
		t.Fatalf("a certificate of the authority was refused: %v", err)
	}
	c.Close()
	for what, s := range map[string]ssh.Signer{"of somebody else": certificate(stranger, "root"), "for another user": certificate(authority, "ada")} {
		if c, err := m.login(t, host, s); err == nil {
			c.Close()
			t.Errorf("a certificate %s was let in", what)
		}
	}
}

// looks compares what look says of each disk, twice.
func looks(t *testing.T, o on, d map[string]string) {
	t.Helper()
	want := map[string]string{ // fstype, role, state, is it mounted, detail
		"linux":   "ext4 linux clean mounted Debian GNU/Linux 12",
		"journal": "ext4 linux dirty mounted Debian GNU/Linux 12; its journal holds changes that were not finished",
		"windows": "ntfs windows clean mounted -",
		"crashed": "ntfs windows dirty mounted its log holds changes that were not finished: Windows crashed, or lost its power",
		"asleep":  "ntfs windows hibernated mounted Windows sleeps in it (hibernation or fast start-up)",
		"luks":    "- none clean - nothing known on it",
		"lvm":     "- none clean - nothing known on it",
		"raid":    "- none clean - nothing known on it",
		"empty":   "- none clean - nothing known on it",
	}
	if _, ok := d["bitlocker"]; ok {
		want["bitlocker"] = "BitLocker none locked - bitlocker " + bitlockerKey
	}
	first := o.run("", "blackstart-disk look")
	if again := o.run("", "blackstart-disk look"); again != first {
		t.Errorf("look says first\n%s\nthen\n%s", first, again)
	}
	got := map[string]string{}
	for line := range strings.Lines(first) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 7 || f[0] != "volume" {
			t.Fatalf("not a line of look: %q", line)
		}
		serial := strings.TrimSpace(o.run("", "cat /sys/block/"+strings.TrimPrefix(f[1], "/dev/")+"/serial"))
		if f[5] == "/mnt/"+strings.TrimPrefix(f[1], "/dev/") {
			f[5] = "mounted"
		}
		got[serial] = strings.Join(f[2:], " ")
	}
	if !maps.Equal(got, want) {
		t.Errorf("look says\n%s", first)
		for _, serial := range slices.Sorted(maps.Keys(want)) {
			if got[serial] != want[serial] {
				t.Errorf("%s: got %q, want %q", serial, got[serial], want[serial])
			}
		}
	}
}

// opens opens with a secret, twice, writes, and closes.
func (o on) opens(secret, root, content string) string {
	o.t.Helper()
	out := o.run(secret, "blackstart-disk open")
	if lastLine(out) != "root\t"+root {
		o.t.Fatalf("open ends with %q, want root %s\n%s", lastLine(out), root, out)
	}
	if again := o.run("", "blackstart-disk open"); lastLine(again) != "root\t"+root {
		o.t.Fatalf("open again ends with %q\n%s", lastLine(again), again)
	}
	o.run("", "set -e; mkdir -p "+root+"/.blackstart; echo here >"+root+"/.blackstart/proof; [ -e "+root+content+" ]")
	o.run("", "blackstart-disk close && blackstart-disk close && ! grep -q ' /mnt' /proc/mounts")
	if back := o.run(secret, "blackstart-disk open >/dev/null && cat "+root+"/.blackstart/proof && blackstart-disk close"); back != "here\n" {
		o.t.Fatalf("what was written is gone: %q", back)
	}
	return out
}

func opensLinux(t *testing.T, o on) {
	t.Helper()
	for _, serial := range []string{"linux", "journal"} {
		o.only(serial)
		o.opens("", "/mnt/vda", "/opt/edr/bad")
		if out, exit := o.try("", "echo x >/dev/vda"); exit == 0 {
			t.Errorf("after close the disk can be written to: %s", out)
		}
	}
}

func opensNTFS(t *testing.T, o on) {
	t.Helper()
	const file = "/WINDOWS/system32/drivers/CrowdStrike/C-00000291-1.sys"
	o.only("windows")
	if out := o.opens("", "/mnt/vda", file); strings.Contains(out, "note") {
		t.Errorf("a clean NTFS opens with notes:\n%s", out)
	}
	o.only("crashed")
	if out := o.opens("", "/mnt/vda", file); !strings.HasPrefix(out, "note\tthe NTFS log of /dev/vda held changes") {
		t.Errorf("a dirty NTFS opens with:\n%s", out)
	}
	// ntfsfix asks Windows for a check
	if out, _ := o.try("", "ntfsinfo -m /dev/vda"); !strings.Contains(out, "Volume is scheduled for check") {
		t.Errorf("the crashed volume is not marked for a check:\n%s", out)
	}
	o.only("asleep")
	out, exit := o.try("", "blackstart-disk open")
	if exit != 22 || !strings.HasPrefix(lastLine(out), "problem\tWindows sleeps in /dev/vda") {
		t.Errorf("open of a hibernated Windows: exit %d\n%s", exit, out)
	}
	if out, exit := o.try("", "grep ' /mnt/vda .* ro,' /proc/mounts && ! touch /mnt/vda/x"); exit != 0 {
		t.Errorf("after the refusal it is not mounted read-only: %s", out)
	}
}

// fill puts the Linux root of the disk linux onto a device.
const fill = "blackstart-disk close; blockdev --setrw /dev/vda && "

func opensLVM(t *testing.T, o on) {
	t.Helper()
	o.only("linux")
	o.run("", "dd if=/dev/vda of=/run/root.img bs=1M 2>&1")
	o.only("lvm")
	o.run("", fill+`(set -e
		lvm pvcreate /dev/vda; lvm vgcreate vg-0 /dev/vda; lvm lvcreate -n root -L 24M vg-0; lvm lvcreate -n data -L 8M vg-0
		dd if=/run/root.img of=/dev/mapper/vg--0-root bs=1M; mke2fs /dev/mapper/vg--0-data; sync; lvm vgchange -an) 2>&1 && blackstart-disk freeze`)
	out := o.run("", "blackstart-disk look")
	for _, want := range []string{
		"volume\t/dev/vda\tLVM2_member\tnone\tclean\t-\tpart of volume group vg-0\n",
		"volume\t/dev/mapper/vg--0-root\text4\tlinux\tclean\t/mnt/vg--0-root\tDebian GNU/Linux 12\n",
		"volume\t/dev/mapper/vg--0-data\text2\tdata\tclean\t/mnt/vg--0-data\t-\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("look lacks %q:\n%s", want, out)
		}
	}
	o.opens("", "/mnt/vg--0-root", "/opt/edr/bad")
}

func opensLUKS(t *testing.T, o on) {
	t.Helper()
	o.only("luks")
	o.run("a pass phrase", fill+`(set -e
		cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid 4c6f63ac-0000-4000-8000-000000000001 --key-file - /dev/vda) 2>&1`)
	o.run("a pass phrase", `(set -e; cryptsetup open --key-file - /dev/vda x
		lvm pvcreate /dev/mapper/x; lvm vgcreate crypt /dev/mapper/x; lvm lvcreate -n root -l 100%FREE crypt; dd if=/run/root.img of=/dev/mapper/crypt-root bs=1M
		sync; lvm vgchange -an; cryptsetup close x) 2>&1 && blackstart-disk freeze`)
	locked := "locked\t/dev/vda\tluks\t4c6f63ac-0000-4000-8000-000000000001"
	if out, exit := o.try("", "blackstart-disk open"); exit != 20 || lastLine(out) != locked {
		t.Errorf("open without a secret: exit %d\n%s", exit, out)
	}
	out, exit := o.try("a wrong phrase\n", "blackstart-disk open")
	if exit != 20 || lastLine(out) != locked || !strings.HasPrefix(out, "note\tthe secret does not open /dev/vda") {
		t.Errorf("open with a wrong secret: exit %d\n%s", exit, out)
	}
	if out, exit := o.try("", "echo x >/dev/vda"); exit == 0 {
		t.Errorf("after a wrong secret the disk can be written to: %s", out)
	}
	o.opens("a pass phrase\n", "/mnt/crypt-root", "/opt/edr/bad")
}

func opensRAID(t *testing.T, o on) {
	t.Helper()
	o.only("raid")
	o.run("", fill+`(set -e
		mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 /dev/vda missing
		dd if=/run/root.img of=/dev/md0 bs=1M; sync; mdadm --stop /dev/md0) 2>&1 && blackstart-disk freeze`)
	out := o.run("", "blackstart-disk look")
	if !strings.Contains(out, "volume\t/dev/vda\tlinux_raid_member\tnone\tclean\t-\tpart of a RAID\n") || !strings.Contains(out, "\text4\tlinux\tclean\t/mnt/md") {
		t.Fatalf("look at a RAID:\n%s", out)
	}
	md := strings.TrimSpace(o.run("", "ls -d /mnt/md*"))
	o.opens("", md, "/opt/edr/bad")
}

func opensBitLocker(t *testing.T, o on) {
	t.Helper()
	locked := "locked\t/dev/vda\tbitlocker\t" + bitlockerKey
	o.only("windows")
	o.run("", "dd if=/dev/vda of=/run/windows.img bs=1M 2>&1")
	o.only("bitlocker")
	if out, exit := o.try("", "blackstart-disk open"); exit != 20 || lastLine(out) != locked {
		t.Errorf("open without the recovery password: exit %d\n%s", exit, out)
	}
	// the volume comes without files, so it is given a Windows
	o.run(bitlockerPassword, fill+"(set -e; cryptsetup open --type bitlk --key-file - /dev/vda x; dd if=/run/windows.img of=/dev/mapper/x bs=1M; sync; cryptsetup close x) 2>&1 && blackstart-disk freeze")
	// once only: each time the key is derived takes a software processor half a minute
	const root = "/mnt/blackstart-vda"
	out := o.run(bitlockerPassword+"\r\n", "blackstart-disk open")
	if lastLine(out) != "root\t"+root {
		t.Fatalf("open ends with\n%s", out)
	}
	o.run("", "echo here >"+root+"/proof && [ -e "+root+"/WINDOWS/system32/drivers/CrowdStrike/C-00000291-1.sys ] && blackstart-disk close && ! grep -q ' /mnt' /proc/mounts")
}

// runner checks what the runner and the repair scripts ask of a host.
func runner(t *testing.T, o on) {
	t.Helper()
	out := o.run("", `for c in setsid dd tail sleep sync sha256sum od stat cp touch mkdir rm find env cat printf kill mount umount reboot; do
		command -v $c >/dev/null || echo $c; done; sync /etc/passwd && [ -r /proc/self/stat ] && [ -e /dev/null ] && echo "$0"`)
	if strings.TrimSpace(out) != "/bin/sh" && strings.TrimSpace(out) != "sh" && strings.TrimSpace(out) != "ash" {
		t.Errorf("missing: %s", out)
	}
}

func testVirtualMedia(t *testing.T, cfg Config, c *coordinator, person ssh.Signer) {
	host, private := signer(t)
	c.mu.Lock()
	c.seed = seedArchive(t, c.url(), private)
	c.mu.Unlock()
	machine := boot(t, "-cdrom", filepath.Join(cfg.Out, ISOFile), "-boot", "d", "-smbios", "type=1,uuid=11111111-2222-3333-4444-555555555555")
	told := awake(t, c, machine)
	if !strings.Contains(told, "host\tweb-1\n") {
		t.Errorf("it phones home with\n%s", told)
	}
	client, err := machine.login(t, host.PublicKey(), person)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if out := (on{t: t, Client: client}).run("", "ls -l /blackstart/seed/ssh_host_ed25519_key"); !strings.HasPrefix(out, "-rw------- ") {
		t.Errorf("the host key lies there as %s", out)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) != 2 || c.asked[1] != "mac=52-54-00-12-34-56&uuid=11111111-2222-3333-4444-555555555555" {
		t.Errorf("it asked for its seed with %q", c.asked)
	}
}

// testNobody: no seed, nobody who answers, nobody who logs in.
func testNobody(t *testing.T, cfg Config) {
	machine := boot(t, direct(t, cfg, nil, "blackstart.idle=8 blackstart.url=http://10.0.2.2:9")...)
	wait(t, "it says that it has no seed", func() bool {
		return machine.said("blackstart: no seed: it neither came with the boot nor from http://10.0.2.2:9")
	})
	stranger, _ := signer(t)
	if c, err := machine.login(t, stranger.PublicKey(), stranger); err == nil {
		c.Close()
		t.Error("an SSH server answers without a seed")
	} else if strings.Contains(err.Error(), "host key") {
		t.Errorf("an SSH server answers without a seed: %v", err)
	}
	select {
	case <-machine.ended:
	case <-time.After(patience):
		t.Error("a rescue system that nobody uses stays")
	}
	if !machine.said("nobody has used this rescue system for 8 s: restarting") || machine.said("the SSH server is up") {
		t.Error("it did not say why it restarts, or started an SSH server")
	}
}
