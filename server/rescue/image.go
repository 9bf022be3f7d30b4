package rescue

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

//go:embed all:image
var scripts embed.FS

// packages beside the kernel. Only what they hold of programs, and the libraries that these need, goes into the image.
var packages = []string{"busybox-static", "openssh-server", "ntfs-3g", "dislocker", "lvm2", "dmsetup", "cryptsetup-bin", "mdadm", "util-linux", "libgcc-s1"}

// programs of the image, and libraries that a program opens only while it runs.
var programs = []string{
	"usr/bin/busybox",
	"usr/sbin/sshd",
	"usr/bin/ntfs-3g", "usr/bin/ntfs-3g.probe", "usr/bin/ntfsfix", "usr/bin/ntfsinfo",
	"usr/bin/dislocker-fuse", "usr/bin/dislocker-metadata",
	"usr/sbin/lvm", "usr/sbin/dmsetup", "usr/sbin/cryptsetup", "usr/sbin/mdadm",
	"usr/sbin/blkid", "usr/bin/lsblk",
	"libgcc_s.so.1",
}

// Manifest says what an image is made of. Nothing in it depends on when or where the image was built.
type Manifest struct {
	Kernel   string          `json:"kernel"` // its release
	URL      string          `json:"url"`
	Keys     []string        `json:"ssh_keys"` // fingerprints
	CAs      []string        `json:"ssh_cas"`
	Packages []Package       `json:"packages"` // those that something in the image is from, by name
	Drivers  []string        `json:"drivers"`
	Files    map[string]File `json:"files"` // vmlinuz, initrd and perhaps rescue.iso
}

// Package is a Debian package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	SHA256       string `json:"sha256"`
}

// File is a file of the image folder.
type File struct {
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// assemble puts the initramfs together and begins the manifest.
func assemble(cfg Config, t *tree) (archive, Manifest, error) {
	mods, err := chooseModules(t)
	if err != nil {
		return nil, Manifest{}, err
	}
	a, used := archive{}, map[*deb]bool{}
	skeleton(a)
	if err := addScripts(a); err != nil {
		return nil, Manifest{}, err
	}
	a.file("etc/blackstart/url", 0o644, []byte(cfg.URL+"\n"))
	a.file("etc/ssh/authorized_keys", 0o600, lines(cfg.Keys))
	a.file("etc/ssh/user_ca_keys", 0o600, lines(cfg.CAs))
	list, err := t.closure(programs)
	if err != nil {
		return nil, Manifest{}, err
	}
	base := "usr/lib/modules/" + mods.release + "/"
	for _, name := range mods.names() {
		list = append(list, base+mods.chosen[name].path)
	}
	list = append(list, base+"modules.builtin", base+"modules.builtin.modinfo")
	for _, name := range list {
		if err := t.copyTo(a, name, used); err != nil {
			return nil, Manifest{}, err
		}
	}
	a.file(base+"modules.dep", 0o644, mods.dep())
	a.file(base+"modules.alias", 0o644, mods.alias())
	used[t.files["boot/vmlinuz-"+mods.release].from] = true
	m := Manifest{Kernel: mods.release, URL: cfg.URL, Keys: fingerprints(cfg.Keys), CAs: fingerprints(cfg.CAs), Drivers: mods.names()}
	for d := range used {
		m.Packages = append(m.Packages, Package{d.name, d.version, d.arch, d.sha256})
	}
	slices.SortFunc(m.Packages, func(x, y Package) int { return strings.Compare(x.Name, y.Name) })
	return a, m, nil
}

// skeleton is what there must be before /init has mounted anything.
func skeleton(a archive) {
	for _, dir := range []string{"dev", "proc", "sys", "run", "mnt", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var"} {
		a.dir(dir, 0o755)
	}
	a.dir("root", 0o700)
	a.dir("tmp", 0o1777)
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		a.link(name, "usr/"+name)
	}
	a.link("var/run", "../run")
	a.link("var/lock", "../run/lock")
	a.link("var/tmp", "../tmp")
	a.link("etc/mtab", "/proc/mounts")
	a.device("dev/console", 0o600, 5, 1)
	a.device("dev/null", 0o666, 1, 3)
}

// addScripts adds the folder image of this package, each file at its own path.
func addScripts(a archive) error {
	return fs.WalkDir(scripts, "image", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := scripts.ReadFile(name)
		if err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			perm = 0o755
		}
		a.file(strings.TrimPrefix(name, "image/"), perm, data)
		return nil
	})
}

// copyTo adds a file or a link of the packages and notes where it is from.
func (t *tree) copyTo(a archive, name string, used map[*deb]bool) error {
	f, ok := t.files[name]
	if !ok {
		return fmt.Errorf("%s is in none of the packages", name)
	}
	used[f.from] = true
	if f.link != "" {
		a.link(name, f.link)
		return nil
	}
	data, err := os.ReadFile(t.path(name))
	if err != nil {
		return err
	}
	a.file(name, f.mode, data)
	return nil
}

func lines(keys []ssh.PublicKey) []byte {
	var b bytes.Buffer
	for _, k := range sorted(keys) {
		b.Write(ssh.MarshalAuthorizedKey(k))
	}
	return b.Bytes()
}

func fingerprints(keys []ssh.PublicKey) []string {
	list := []string{}
	for _, k := range sorted(keys) {
		list = append(list, ssh.FingerprintSHA256(k))
	}
	return list
}

// sorted are the keys without repetition, so that the order in which they were given does not matter.
func sorted(keys []ssh.PublicKey) []ssh.PublicKey {
	compare := func(x, y ssh.PublicKey) int { return bytes.Compare(x.Marshal(), y.Marshal()) }
	keys = slices.SortedFunc(slices.Values(keys), compare)
	return slices.CompactFunc(keys, func(x, y ssh.PublicKey) bool { return compare(x, y) == 0 })
}

// write writes all files beside their places and then puts them there, the manifest last.
func write(ctx context.Context, cfg Config, t *tree, a archive, m Manifest, dir string) (Manifest, error) {
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return Manifest{}, fmt.Errorf("the image folder cannot be made: %w", err)
	}
	stage, err := os.MkdirTemp(cfg.Out, ".new-")
	if err != nil {
		return Manifest{}, fmt.Errorf("the image folder cannot be written to: %w", err)
	}
	defer os.RemoveAll(stage)
	kernel, err := os.ReadFile(t.path("boot/vmlinuz-" + m.Kernel))
	if err != nil {
		return Manifest{}, err
	}
	if err := writeFile(filepath.Join(stage, KernelFile), kernel); err != nil {
		return Manifest{}, err
	}
	if err := writeInitrd(filepath.Join(stage, InitrdFile), a); err != nil {
		return Manifest{}, err
	}
	names := []string{KernelFile, InitrdFile}
	if cfg.ISO {
		cfg.Tell("writing " + ISOFile)
		if err := writeISO(ctx, stage, dir); err != nil {
			return Manifest{}, err
		}
		names = append(names, ISOFile)
	}
	m.Files = map[string]File{}
	for _, name := range names {
		sum, size, err := digestFile(filepath.Join(stage, name))
		if err != nil {
			return Manifest{}, err
		}
		m.Files[name] = File{size, sum}
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Manifest{}, err
	}
	if err := writeFile(filepath.Join(stage, ManifestFile), append(data, '\n')); err != nil {
		return Manifest{}, err
	}
	for _, name := range append(names, ManifestFile) {
		if err := os.Rename(filepath.Join(stage, name), filepath.Join(cfg.Out, name)); err != nil {
			return Manifest{}, fmt.Errorf("the image folder cannot be written to: %w", err)
		}
	}
	if !cfg.ISO { // one of another build would not be what the manifest tells of
		if err := os.Remove(filepath.Join(cfg.Out, ISOFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Manifest{}, err
		}
	}
	return m, nil
}

func writeFile(name string, data []byte) error {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("the image folder cannot be written to: %w", err)
	}
	return nil
}

func writeInitrd(name string, a archive) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("the image folder cannot be written to: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.DefaultCompression) // its header tells neither name nor time
	if err != nil {
		return err
	}
	if err := errors.Join(a.writeTo(z), z.Close(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the initramfs cannot be written: %w", err)
	}
	return nil
}
