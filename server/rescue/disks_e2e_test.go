//go:build e2e

package rescue

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// disks makes one disk of each kind, by serial.
func disks(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string, size int) string {
		path := filepath.Join(dir, name+".img")
		tool(t, "", "truncate", "-s", megabytes(size), path)
		return path
	}
	d := map[string]string{"linux": at("linux", 24), "journal": at("journal", 24), "windows": at("windows", 24), "crashed": at("crashed", 24), "asleep": at("asleep", 24),
		"luks": at("luks", 64), "lvm": at("lvm", 48), "raid": at("raid", 32), "empty": at("empty", 4)}
	root := filepath.Join(dir, "root")
	put(t, filepath.Join(root, "etc", "os-release"), "PRETTY_NAME=\"Debian\tGNU/Linux 12\"\n")
	put(t, filepath.Join(root, "opt", "edr", "bad"), "bad\n")
	for _, name := range []string{"linux", "journal"} {
		tool(t, "", "mkfs.ext4", "-q", "-d", root, d[name])
	}
	// a journal that was written to and not replayed
	tool(t, "jo\njw -b 5000 /dev/zero\njc\n", "debugfs", "-w", d["journal"])
	for _, name := range []string{"windows", "crashed", "asleep"} {
		windows(t, d[name], name == "asleep")
	}
	crash(t, d["crashed"])
	if path := bitlocker(t, dir); path != "" {
		d["bitlocker"] = path
	}
	return d
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// windows makes an NTFS with the folders of a Windows.
func windows(t *testing.T, path string, asleep bool) {
	t.Helper()
	tool(t, "", "mkntfs", "-q", "-F", "-Q", path)
	mount := filepath.Join(t.TempDir(), "m")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "ntfs-3g", path, mount)
	put(t, filepath.Join(mount, "WINDOWS", "system32", "drivers", "CrowdStrike", "C-00000291-1.sys"), "bad")
	if asleep {
		put(t, filepath.Join(mount, "hiberfil.sys"), "hibr"+strings.Repeat("\x00", 8192))
	}
	tool(t, "", "umount", mount)
}

// crash puts a log into an NTFS as a Windows leaves it that stopped in the middle of its work: two restart pages of which one
// client has not signed off.
func crash(t *testing.T, path string) {
	t.Helper()
	size := len(toolBytes(t, "ntfscat", "-i", "2", path))
	if size < 1<<20 {
		t.Fatalf("the NTFS log has %d bytes", size)
	}
	bits := 0
	for n := size; n > 0; n >>= 1 {
		bits++
	}
	page := make([]byte, 4096)
	le := binary.LittleEndian
	copy(page, "RSTR")
	le.PutUint16(page[4:], 0x1e)  // update sequence: where
	le.PutUint16(page[6:], 9)     // and how many
	le.PutUint32(page[16:], 4096) // system page
	le.PutUint32(page[20:], 4096) // log page
	le.PutUint16(page[24:], 0x30) // restart area: where
	le.PutUint16(page[26:], 1)    // version 1.1
	le.PutUint16(page[28:], 1)
	area := page[0x30:]
	le.PutUint64(area[0:], 0x1000)  // current sequence number
	le.PutUint16(area[8:], 1)       // clients
	le.PutUint16(area[10:], 0xffff) // none free
	le.PutUint16(area[12:], 0)      // the first in use
	le.PutUint32(area[16:], uint32(67-bits))
	le.PutUint16(area[20:], 48+160) // length of the area
	le.PutUint16(area[22:], 48)     // clients: where
	le.PutUint64(area[24:], uint64(size))
	le.PutUint16(area[36:], 0x30)
	le.PutUint16(area[38:], 0x40)
	le.PutUint32(area[40:], 1)
	client := area[48:]
	le.PutUint64(client[0:], 0x1000)
	le.PutUint64(client[8:], 0x1000)
	le.PutUint16(client[16:], 0xffff)
	le.PutUint16(client[18:], 0xffff)
	le.PutUint32(client[28:], 8)
	for i, c := range utf16.Encode([]rune("NTFS")) {
		le.PutUint16(client[32+2*i:], c)
	}
	le.PutUint16(page[0x1e:], 1)
	for end := 512; end <= 4096; end += 512 {
		le.PutUint16(page[end-2:], 1)
	}
	log := make([]byte, size)
	for i := range log {
		log[i] = 0xff
	}
	copy(log, page)
	copy(log[4096:], page)
	file := filepath.Join(t.TempDir(), "log")
	put(t, file, string(log))
	tool(t, "", "ntfscp", "-q", "-f", "-i", path, file, "2")
}

func toolBytes(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

// What cryptsetup's own tests tell of the volume that bitlocker returns.
const (
	bitlockerImage    = "bitlk-aes-xts-128.img"
	bitlockerKey      = "64311DEA-4587-4029-924A-BA299647998E"
	bitlockerPassword = "235818-357951-253979-013365-241120-245575-342914-591910"
)

// bitlocker is a volume that Windows has encrypted. Nothing on Linux can make one, but cryptsetup's source package, which apt has, holds
// some for its tests. Empty when apt has no sources here.
func bitlocker(t *testing.T, dir string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "blackstart", "rescue", "source")
	found := func() string {
		list, _ := filepath.Glob(filepath.Join(cache, "cryptsetup_*.orig.tar.gz"))
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	if found() == "" {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		a, err := openApt(filepath.Dir(cache))
		if err != nil {
			t.Fatal(err)
		}
		lists := filepath.Join(cache, "lists")
		if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o755); err != nil {
			t.Fatal(err)
		}
		sources := filepath.Join(cache, "sources.list")
		put(t, sources, "deb-src http://deb.debian.org/debian bookworm main\n")
		flags := []string{"-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::sourcelist=" + sources, "-o", "Dir::State::lists=" + lists}
		t.Chdir(cache)
		for _, args := range [][]string{{"update"}, {"source", "--download-only", "cryptsetup"}} {
			if _, err := a.get(t.Context(), append(flags, args...)...); err != nil {
				t.Logf("LEFT OUT: BitLocker, for the source package of cryptsetup, which holds a volume, cannot be had: %v", err)
				return ""
			}
		}
	}
	tool(t, "", "tar", "-xzf", found(), "-C", dir, "--wildcards", "--no-same-owner", "--strip-components=2", "*/tests/bitlk-images.tar.xz")
	tool(t, "", "tar", "-xJSf", filepath.Join(dir, "bitlk-images.tar.xz"), "-C", dir, "--no-same-owner", "bitlk-images/"+bitlockerImage)
	return filepath.Join(dir, "bitlk-images", bitlockerImage)
}

// digests of all disks, by serial.
func digests(t *testing.T, d map[string]string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for serial, path := range d {
		sum, size, err := digestFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[serial] = sum + " " + strconv.FormatInt(size, 10)
	}
	return sums
}
