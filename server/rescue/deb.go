package rescue

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tree is what packages hold, as if installed together on a system whose /bin, /sbin and /lib lead into /usr.
type tree struct {
	dir   string
	files map[string]file // by path without a leading slash
}

// file is a regular file or a symbolic link of a tree.
type file struct {
	mode fs.FileMode // permissions only
	link string      // where a symbolic link leads
	from *deb
}

// unpack reads the packages into dir. Devices, owners and times are left behind, so nobody need be root.
func unpack(ctx context.Context, dir, archives string, debs []deb) (*tree, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t := &tree{dir, map[string]file{}}
	for i := range debs {
		if err := t.add(ctx, root, filepath.Join(archives, debs[i].file), &debs[i]); err != nil {
			return nil, fmt.Errorf("the package %s cannot be unpacked: %w", debs[i].file, err)
		}
	}
	return t, nil
}

func (t *tree) add(ctx context.Context, root *os.Root, archive string, from *deb) error {
	ctx, cancel := context.WithTimeout(ctx, aptPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = t.read(root, tar.NewReader(out), from)
	_, _ = io.Copy(io.Discard, out) // so that dpkg-deb ends by itself
	return errors.Join(err, cmd.Wait())
}

func (t *tree) read(root *os.Root, r *tar.Reader, from *deb) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := merged(h.Name)
		if !wantedPath(name) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = t.regular(root, name, r)
			t.files[name] = file{mode: fs.FileMode(h.Mode) & 0o755, from: from}
		case tar.TypeSymlink:
			t.files[name] = file{mode: 0o777, link: h.Linkname, from: from}
		case tar.TypeLink:
			target := merged(h.Linkname)
			if _, ok := t.files[target]; !ok {
				return fmt.Errorf("%s is a link to %s, which is not there", name, target)
			}
			t.files[name] = file{mode: 0o777, link: "/" + target, from: from}
		}
		if err != nil {
			return err
		}
	}
}

func (t *tree) regular(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// wantedPath leaves out what no rescue system is made of.
func wantedPath(name string) bool {
	return strings.HasPrefix(name, "boot/") || strings.HasPrefix(name, "usr/") && !strings.HasPrefix(name, "usr/share/")
}

// merged is a path as it is where /bin, /sbin and /lib are links into /usr.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains([]string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}, first) {
		return "usr/" + name
	}
	return name
}

// resolve follows links from a path to a regular file; ok is false when there is none.
func (t *tree) resolve(name string) (string, bool) {
	for range 16 {
		f, ok := t.files[name]
		switch {
		case !ok:
			return "", false
		case f.link == "":
			return name, true
		case strings.HasPrefix(f.link, "/"):
			name = merged(f.link)
		default:
			name = merged(path.Join(path.Dir(name), f.link))
		}
	}
	return "", false
}

// path is where a regular file of the tree lies on the disk.
func (t *tree) path(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

// under lists the regular files below a folder, sorted.
func (t *tree) under(dir string) []string {
	var list []string
	for name, f := range t.files {
		if f.link == "" && strings.HasPrefix(name, dir) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
