package restore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A folder that we made gets the owner and the rights of the one that it replaces.
func TestDressAs(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root gives files away")
	}
	dir := t.TempDir()
	live, fresh := filepath.Join(dir, "live"), filepath.Join(dir, "fresh")
	lay(t, live, "old", false)
	lay(t, fresh, "new", false)
	if err := errors.Join(os.Chown(live, 4711, 4712), os.Chmod(live, 0o750|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(live)
	if err == nil {
		err = dressAs(fresh, info)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := got.Sys().(*syscall.Stat_t); !ok || st.Uid != 4711 || st.Gid != 4712 || got.Mode() != info.Mode() {
		t.Errorf("it is %v of %d:%d", got.Mode(), st.Uid, st.Gid)
	}
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	lay(t, a, "old", false)
	lay(t, b, "new", false)
	if err := exchange(a, b); errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") == "" {
		t.Skip("this file system cannot exchange names")
	} else if err != nil {
		t.Fatal(err)
	}
	if holds(t, a) != "new" || holds(t, b) != "old" {
		t.Errorf("there are %q and %q", holds(t, a), holds(t, b))
	}
}

func TestMountIn(t *testing.T) {
	if got, err := mountIn("/"); err != nil || got == "" {
		t.Errorf("nothing is mounted below /: %v", err)
	}
	for path, want := range map[string]string{"/proc": "/proc", "/pro": ""} {
		if got, err := mountIn(path); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if got, err := mountIn(t.TempDir()); err != nil || got != "" {
		t.Errorf("a plain folder: %q, %v", got, err)
	}
	if got := unescape(`/mnt/a\040b\134`); got != `/mnt/a b\` {
		t.Errorf("read %q", got)
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	disk, free, err := room(filepath.Join(dir, "not", "yet", "there"))
	if err != nil || disk == "" || free <= 0 {
		t.Errorf("%q, %d, %v", disk, free, err)
	}
	if same, _, err := room(dir); err != nil || same != disk {
		t.Errorf("%q and %q are one disk, %v", disk, same, err)
	}
	if proc, _, err := room("/proc"); err != nil || proc == disk {
		t.Errorf("%q and %q are two disks, %v", disk, proc, err)
	}
}
