package rescue

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// node is one entry of the initramfs.
type node struct {
	mode         uint32 // as stat tells it, with the kind
	major, minor uint32 // of a device
	data         []byte // contents, or where a symbolic link leads
}

const (
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeLink    = 0o120000
	modeChar    = 0o020000
)

// archive is the initramfs by path, without leading slashes.
type archive map[string]node

// dir adds a folder and those above it.
func (a archive) dir(name string, perm fs.FileMode) {
	a.parents(name)
	a[name] = node{mode: modeDir | uint32(perm)}
}

func (a archive) file(name string, perm fs.FileMode, data []byte) {
	a.parents(name)
	a[name] = node{mode: modeRegular | uint32(perm), data: data}
}

func (a archive) link(name, to string) {
	a.parents(name)
	a[name] = node{mode: modeLink | 0o777, data: []byte(to)}
}

// device adds a character device.
func (a archive) device(name string, perm fs.FileMode, major, minor uint32) {
	a.parents(name)
	a[name] = node{mode: modeChar | uint32(perm), major: major, minor: minor}
}

func (a archive) parents(name string) {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if _, ok := a[dir]; !ok {
			a[dir] = node{mode: modeDir | 0o755}
		}
	}
}

// writeTo writes it in the newc format of cpio, which the kernel reads: sorted, owned by root, with times of zero.
func (a archive) writeTo(w io.Writer) error {
	serial := uint32(0)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		serial++
		if err := a[name].write(w, name, serial); err != nil {
			return err
		}
	}
	return node{}.write(w, "TRAILER!!!", 0)
}

func (n node) write(w io.Writer, name string, serial uint32) error {
	if name == "" || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%q cannot be the name of a file", name)
	}
	if uint64(len(n.data)) > 1<<32-1 {
		return fmt.Errorf("%s is too large for an initramfs", name)
	}
	links := 1
	if n.mode&0o170000 == modeDir {
		links = 2
	}
	var b bytes.Buffer
	b.WriteString("070701")
	for _, field := range []uint32{
		serial, n.mode, 0, 0, uint32(links), 0, uint32(len(n.data)), // inode, mode, owner, group, links, time, size
		0, 0, n.major, n.minor, uint32(len(name)) + 1, 0, // on which device, which device, length of the name, checksum
	} {
		fmt.Fprintf(&b, "%08x", field)
	}
	b.WriteString(name)
	b.WriteByte(0)
	b.Write(pad(b.Len()))
	b.Write(n.data)
	b.Write(pad(len(n.data)))
	_, err := w.Write(b.Bytes())
	return err
}

// pad fills up to a multiple of four bytes.
func pad(length int) []byte { return make([]byte, -length&3) }
