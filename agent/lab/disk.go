package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// disk is a folder that stands for a machine's system volume, with the EDR content on it.
type disk struct {
	root    string
	folder  string // the EDR's content folder
	content *Content
	upper   bool // of newDisk
}

// inWindow reports whether a content file of this age is bad.
func (c *Content) inWindow(t time.Time) bool { return !t.Before(c.From) && t.Before(c.To) }

// tree is what lies on a fresh disk beside the EDR content, by whether it is Windows. It is small: hundreds of disks are
// laid out at once, and folders are what that costs.
var tree = map[bool]struct{ folders, files []string }{
	true: {
		folders: []string{"Windows/System32/drivers"},
		files:   []string{"Windows/System32/ntoskrnl.exe", "Windows/System32/drivers/ntfs.sys"},
	},
	false: {
		folders: []string{"boot", "etc", "var/lib"},
		files:   []string{"boot/vmlinuz", "etc/fstab", "etc/os-release"},
	},
}

// newDisk lays out a machine's disk below root. Windows takes names in any case, and some installations wrote theirs in
// capitals: upper says that this is one of them.
func newDisk(root string, h HostSpec, c *Content, upper bool) (*disk, error) {
	win := windows(h.OS)
	name := func(slashed string) string {
		if upper && win && strings.HasPrefix(strings.ToLower(slashed), "windows/") {
			slashed = "WINDOWS" + slashed[len("windows"):]
		}
		return filepath.Join(root, filepath.FromSlash(slashed))
	}
	d := &disk{root: root, content: c, upper: upper}
	for _, f := range tree[win].folders {
		if err := os.MkdirAll(name(f), 0o755); err != nil {
			return nil, fmt.Errorf("lay out the disk of %s: %w", h.Name, err)
		}
	}
	for _, f := range tree[win].files {
		if err := os.WriteFile(name(f), []byte(h.Name+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("lay out the disk of %s: %w", h.Name, err)
		}
	}
	if c == nil {
		return d, nil
	}
	d.folder = name(c.Folder)
	if err := os.MkdirAll(d.folder, 0o755); err != nil {
		return nil, fmt.Errorf("lay out the disk of %s: %w", h.Name, err)
	}
	if c.Before != nil {
		if err := d.write(*c.Before); err != nil {
			return nil, fmt.Errorf("lay out the disk of %s: %w", h.Name, err)
		}
	}
	return d, nil
}

// boot leaves on the disk of a Linux machine what its kernel would show at this path: the id of the boot that runs. Scripts that
// look below BLACKSTART_ROOT find it there instead of this computer's own.
func (d *disk) boot(id string) error {
	file := filepath.Join(d.root, filepath.FromSlash("proc/sys/kernel/random/boot_id"))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("show the boot id: %w", err)
	}
	if err := os.WriteFile(file, []byte(id+"\n"), 0o644); err != nil {
		return fmt.Errorf("show the boot id: %w", err)
	}
	return nil
}

// write puts one content file onto the disk: the header, then zeros up to its size.
func (d *disk) write(f File) error {
	name := filepath.Join(d.folder, f.Name)
	if err := os.WriteFile(name, d.content.Header, 0o644); err != nil {
		return err
	}
	if f.Size > int64(len(d.content.Header)) {
		if err := os.Truncate(name, f.Size); err != nil {
			return err
		}
	}
	return os.Chtimes(name, f.Modified, f.Modified)
}

// deliver writes a content file; a disk of a machine that takes no update gets none.
func (d *disk) deliver(pick func(*Content) File) error {
	if d.content == nil {
		return nil
	}
	if err := os.MkdirAll(d.folder, 0o755); err != nil {
		return err
	}
	return d.write(pick(d.content))
}

func bad(c *Content) File  { return c.Bad }
func good(c *Content) File { return c.Good }

// scan does what the EDR's driver does at boot: it looks into the content folder and says which files are bad, by header
// and age, never by name.
func (d *disk) scan() (names []string, err error) {
	if d.content == nil {
		return nil, nil
	}
	entries, err := os.ReadDir(d.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing to load, nothing to crash on
	}
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(d.content.Header))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !d.content.inWindow(info.ModTime()) {
			continue
		}
		name := filepath.Join(d.folder, e.Name())
		if readHead(name, head) && bytes.Equal(head, d.content.Header) {
			names = append(names, name)
		}
	}
	return names, nil
}

func readHead(name string, head []byte) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	_, err = io.ReadFull(f, head)
	return err == nil
}

// clean removes the bad files, as a person at the machine does, or the EDR itself when it gets the chance.
func (d *disk) clean() error {
	names, err := d.scan()
	for _, n := range names {
		err = errors.Join(err, os.Remove(n))
	}
	return err
}

// mirror copies the disk to root, with the files' ages and without the state that attempts left on it.
func (d *disk) mirror(root string) error {
	return filepath.WalkDir(d.root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, name)
		if err != nil {
			return err
		}
		to := filepath.Join(root, rel)
		switch {
		case rel == stateFolder:
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(to, 0o755)
		case !e.Type().IsRegular():
			return nil
		}
		return copyFile(name, to, e)
	})
}

func copyFile(from, to string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// stateFolder is where a rescue environment keeps the attempts, below the root that it was given.
const stateFolder = ".blackstart"

// rejoin brings what a rescue wrote beside the system back from the other half of a split mirror, so that an attempt made
// there is known to those who look for it on the disk.
func (d *disk) rejoin(half string) error {
	for _, part := range []string{"attempts", "kept"} {
		from := filepath.Join(half, stateFolder, part)
		entries, err := os.ReadDir(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(d.root, stateFolder, part), 0o700); err != nil {
			return err
		}
		for _, e := range entries {
			to := filepath.Join(d.root, stateFolder, part, e.Name())
			if err := os.Rename(filepath.Join(from, e.Name()), to); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}
